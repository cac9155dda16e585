//! Data between simulated executors without a network: for measurements of the driver, in whose thread all of that traffic
//! would be carried out as well.

use crate::{
    cluster::{
        plumbing::{Connected, Hears, Plumbing},
        quic::QuicPlumbing,
    },
    data::Codec,
};
use futures_util::future::BoxFuture;
use std::{fmt, sync::Arc};
use tidemill_actors::{
    block_store::BlockStore,
    seam::Held,
    transport::{FetchError, LocalTransport, NotifyError, ReplicateError, Transport},
};
use tidemill_protocol::{
    id::{BlockId, DataKey, Member, NodeId},
    message::{Notice, PeerInfo},
};

/// An executor's plumbing with a control link over QUIC; what executors ask and tell each other goes from hand to hand.
pub(super) struct ByHand {
    pub(super) quic: Arc<QuicPlumbing>,
    pub(super) hands: Hands,
}

impl Plumbing for ByHand {
    fn connect(&self, member: Member, store: &BlockStore, hears: Hears) -> Result<Connected, String> {
        let connected = self.quic.connect(member, store, hears.clone())?;
        self.hands.0.register(member, store.clone()).map_err(|error| error.to_string())?;
        self.hands.0.listen(member, hears.ear);
        Ok(Connected { transport: Arc::new(Elsewhere(self.hands.0.clone())), ..connected })
    }

    fn bulk(&self) -> tokio::runtime::Handle {
        self.quic.bulk()
    }

    fn peers(&self, member: Member, peers: &[PeerInfo]) {
        self.quic.peers(member, peers);
    }

    fn denied(&self, member: Member, nodes: &[NodeId]) {
        self.quic.denied(member, nodes);
    }

    fn disconnect(&self, member: Member) {
        self.hands.0.unregister(member);
        self.quic.disconnect(member);
    }
}

/// The stores of all executors of a simulation; clones share them.
#[derive(Clone)]
pub(super) struct Hands(LocalTransport);

impl Default for Hands {
    fn default() -> Self {
        // Data go as they are: nothing is decoded.
        Hands(LocalTransport::with_wire_check(Arc::new(Codec::default()), false))
    }
}

impl fmt::Debug for Hands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hands")
    }
}

/// The stores of this process, as if they were out of reach: tasks fetch before they take a slot, and reports bring what is
/// for the driver, as over a network.
struct Elsewhere(LocalTransport);

impl Transport for Elsewhere {
    fn fetch(&self, from: Member, key: DataKey) -> BoxFuture<'static, Result<Held, FetchError>> {
        self.0.fetch(from, key)
    }

    fn replicate(
        &self,
        to: Member,
        block: BlockId,
        held: Held,
    ) -> BoxFuture<'static, Result<(), ReplicateError>> {
        self.0.replicate(to, block, held)
    }

    fn notify(&self, notice: Notice) -> BoxFuture<'static, Result<(), NotifyError>> {
        self.0.notify(notice)
    }
}
