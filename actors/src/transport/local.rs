//! Executors of one process: a registry of their stores. Data change hands by `Arc`.

use super::{Ear, FetchError, Noticed, NotifyError, ReplicateError, Transport, through_the_wire};
use crate::{
    block_store::{BlockStore, PutBlockError, Weight},
    seam::{Held, PayloadCodec},
};
use futures_util::future::{self, BoxFuture, FutureExt};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};
use tidemill_protocol::{
    id::{BlockId, DataKey, Incarnation, Member, NodeId},
    message::Notice,
};

/// The stores of this process by member. Cloning it gives another handle to the same registry.
#[derive(Clone)]
pub struct LocalTransport(Arc<Registry>);

struct Registry {
    stores: RwLock<BTreeMap<NodeId, (Incarnation, BlockStore)>>,
    ears: RwLock<BTreeMap<Member, Ear>>,
    codec: Arc<dyn PayloadCodec>,
    checks_wire: bool,
}

/// A dead incarnation wanted to be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{refused} cannot be registered: {living} has taken its place")]
pub struct RegisterError {
    /// Who asked.
    pub refused: Member,
    /// Who is entered.
    pub living: Member,
}

impl LocalTransport {
    /// An empty registry. Debug builds send outputs and copies of blocks through the codec and compare.
    pub fn new(codec: Arc<dyn PayloadCodec>) -> Self {
        Self::with_wire_check(codec, cfg!(debug_assertions))
    }

    /// As [`new`](Self::new), with the check on or off whatever the build.
    pub fn with_wire_check(codec: Arc<dyn PayloadCodec>, checks_wire: bool) -> Self {
        LocalTransport(Arc::new(Registry {
            stores: RwLock::default(),
            ears: RwLock::default(),
            codec,
            checks_wire,
        }))
    }

    /// Enters a member's store, in place of an earlier incarnation's.
    ///
    /// # Errors
    /// [`RegisterError`] if a later incarnation is entered.
    pub fn register(&self, member: Member, store: BlockStore) -> Result<(), RegisterError> {
        let mut stores = self.0.stores.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((living, _)) = stores.get(&member.node)
            && *living > member.incarnation
        {
            let living = Member { node: member.node, incarnation: *living };
            return Err(RegisterError { refused: member, living });
        }
        stores.insert(member.node, (member.incarnation, store));
        Ok(())
    }

    /// Enters where a member hears notices, until it is taken out.
    pub fn listen(&self, member: Member, ear: Ear) {
        self.0.ears.write().unwrap_or_else(PoisonError::into_inner).insert(member, ear);
    }

    /// Takes a member's store and ear out; nothing happens if another incarnation is entered.
    pub fn unregister(&self, member: Member) {
        self.0.ears.write().unwrap_or_else(PoisonError::into_inner).remove(&member);
        let mut stores = self.0.stores.write().unwrap_or_else(PoisonError::into_inner);
        if stores.get(&member.node).is_some_and(|(living, _)| *living == member.incarnation) {
            stores.remove(&member.node);
        }
    }

    fn store_of(&self, member: Member) -> Option<BlockStore> {
        let stores = self.0.stores.read().unwrap_or_else(PoisonError::into_inner);
        let (incarnation, store) = stores.get(&member.node)?;
        (*incarnation == member.incarnation).then(|| store.clone())
    }

    fn take(&self, from: Member, key: DataKey) -> Result<Held, FetchError> {
        let store = self.store_of(from).ok_or_else(|| FetchError::Gone { peer: from, reason: gone() })?;
        let held = store.get(key).ok_or(FetchError::NotHere { from, key })?;
        self.own(key, held)
    }

    fn give(&self, to: Member, block: BlockId, held: Held) -> Result<(), ReplicateError> {
        let store = self.store_of(to).ok_or_else(|| ReplicateError::Gone { peer: to, reason: gone() })?;
        let held = if self.0.checks_wire { through_the_wire(&*self.0.codec, &held)? } else { held };
        store.put_block(block, held).map_err(|error| match error {
            PutBlockError::Full { .. } => ReplicateError::Full { peer: to },
            PutBlockError::TooLarge { .. } => ReplicateError::Refused { peer: to, reason: error.to_string() },
            PutBlockError::Closed => ReplicateError::Gone { peer: to, reason: error.to_string() },
        })
    }
}

impl LocalTransport {
    fn tell(&self, notice: Notice) -> Result<(), NotifyError> {
        let to = notice.to;
        let ear = self.0.ears.read().unwrap_or_else(PoisonError::into_inner).get(&to).cloned();
        let ear = ear.ok_or_else(|| NotifyError { to, reason: gone() })?;
        let heard = ear(Noticed { notice, kept: Vec::new() });
        heard.then_some(()).ok_or_else(|| NotifyError { to, reason: "it takes no notices".into() })
    }
}

fn gone() -> String {
    "it does not live in this process".into()
}

impl Transport for LocalTransport {
    fn fetch(&self, from: Member, key: DataKey) -> BoxFuture<'static, Result<Held, FetchError>> {
        let local = self.clone();
        async move {
            let store =
                local.store_of(from).ok_or_else(|| FetchError::Gone { peer: from, reason: gone() })?;
            let held = store.load(key).await.ok_or(FetchError::NotHere { from, key })?;
            local.own(key, held)
        }
        .boxed()
    }

    fn replicate(
        &self,
        to: Member,
        block: BlockId,
        held: Held,
    ) -> BoxFuture<'static, Result<(), ReplicateError>> {
        future::ready(self.give(to, block, held)).boxed()
    }

    fn notify(&self, notice: Notice) -> BoxFuture<'static, Result<(), NotifyError>> {
        future::ready(self.tell(notice)).boxed()
    }

    fn is_immediate(&self) -> bool {
        true
    }

    fn fetch_now(&self, from: Member, key: DataKey) -> Option<Result<Held, FetchError>> {
        Some(self.take(from, key))
    }

    fn weight_now(&self, from: Member, key: DataKey) -> Option<Weight> {
        self.store_of(from)?.weight(key)
    }

    fn own(&self, key: DataKey, held: Held) -> Result<Held, FetchError> {
        match key {
            DataKey::Output { .. } if self.0.checks_wire => Ok(through_the_wire(&*self.0.codec, &held)?),
            DataKey::Output { .. } | DataKey::Block(_) => Ok(held),
        }
    }
}
