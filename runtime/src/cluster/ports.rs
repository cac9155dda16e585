//! What a receiver gets from the executor it runs on: where its blocks are kept, who copies them, and the way to the driver.

use super::executor::Life;
use crate::graph::Pipeline;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tidemill_actors::{
    block_store::Share,
    receiver::{BlockHold, NotCopied, Replicator, TellDriver},
    seam::{Held, Program},
    supervision::panic::{catch, catch_future},
    transport::ReplicateError,
};
use tidemill_protocol::{
    id::{BlockId, DataKey, Member},
    message::ToDriver,
};
use tokio::sync::watch;

/// What a receiver needs from its executor.
#[derive(Clone)]
pub(super) struct Ports {
    pub(super) life: Arc<Life>,
    pub(super) pipeline: Arc<Pipeline>,
}

impl BlockHold for Ports {
    fn put(&self, block: BlockId, held: Held) {
        // Refused only when the executor was killed meanwhile: then the block is lost with all others.
        let _ = self.life.store.put_received(block, held);
    }

    fn room(&self) -> watch::Receiver<bool> {
        self.life.store.has_room()
    }
}

impl Replicator for Ports {
    fn replicate(&self, block: BlockId, to: Member) -> BoxFuture<'static, Result<(), NotCopied>> {
        let ports = self.clone();
        Box::pin(async move {
            let (store, key) = (&ports.life.store, DataKey::Block(block));
            let weight = store.weight(key).ok_or(NotCopied::Refused)?;
            // For the encoded form. Blocks are small beside the share.
            let bytes = weight.bytes.min(store.budget().share(Share::Sending));
            let _counted = store.credit(Share::Sending, bytes).await;
            let held = store.load(key).await.ok_or(NotCopied::Refused)?;
            let transport = &ports.life.connected.transport;
            // Records are written and read by their own code, inside one process on this thread.
            let sent = catch_future(async { transport.replicate(to, block, held.clone()).await }).await;
            match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(ReplicateError::Encode(error))) => Err(ports.broken(block, &held, &error.to_string())),
                // A peer does not say why it takes no copy; whether it is the block is seen here.
                Ok(Err(_)) | Err(_) => {
                    Err(ports.flaw(&held).map_or(NotCopied::Refused, |why| ports.broken(block, &held, &why)))
                }
            }
        })
    }
}

impl Ports {
    /// What keeps every executor from reading these data, if anything.
    fn flaw(&self, held: &Held) -> Option<String> {
        let travelled = catch(|| held.encode().and_then(|pieces| Held::decode(&*self.pipeline, &pieces)));
        match travelled {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(format!("its codec panicked: {panic}")),
        }
    }

    fn broken(&self, block: BlockId, held: &Held, why: &str) -> NotCopied {
        let stream = Program::streams(&*self.pipeline).get(usize::from(block.receiver.stream.0));
        let name = stream.map_or("", |stream| stream.name.as_str());
        let what = held.pieces.first().map(|piece| format!("{piece:?}")).unwrap_or_default();
        let text = format!(
            "the stream {name:?} has received records that no other executor can read ({what} in {block}): {why}; try a record \
             of this type with tidemill::testing::round_trip, and change how it is serialised"
        );
        tracing::error!("{text}");
        NotCopied::Broken(text)
    }
}

impl TellDriver for Ports {
    fn tell(&self, message: ToDriver) {
        self.life.connected.uplink.tell(message);
    }
}
