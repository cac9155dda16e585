//! What differs between a cluster in one process and a cluster over QUIC: how messages and data travel. Everything else is
//! the same code.
//!
//! ```text
//!                 in one process               over QUIC
//!   Uplink        a call on the driver's inbox  a control link; lost links end the executor's incarnation
//!   Transport     by Arc                        bulk streams
//! ```

use std::{net::SocketAddr, sync::Arc};
use tidemill_actors::{
    block_store::BlockStore,
    supervision::{Address, Message},
    transport::{Ear, Transport},
};
use tidemill_protocol::{
    id::{Member, NodeId},
    message::{PeerInfo, ToDriver, ToExecutor},
};

/// A driver's message on its way to an executor's agent. It names the incarnation that it was sent to, because what waits in
/// a mailbox outlives a restart of the actor that reads it.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) to: Member,
    pub(crate) message: ToExecutor,
}

impl Message for Order {
    type Reply = ();
}

/// This incarnation of an executor must end now, as if its process had been killed.
#[derive(Debug)]
pub(crate) struct Die {
    /// Why, in words.
    pub(crate) reason: String,
}

impl Message for Die {
    type Reply = ();
}

/// This executor shall leave in good order: its agent asks the driver, and ends for good once it may.
#[derive(Debug)]
pub(crate) struct Leave;

impl Message for Leave {
    type Reply = ();
}

/// How incarnations are ended.
pub(crate) trait End {
    /// Ends the present incarnation. Such messages have a lane of their own, which orders cannot fill: if it is full, the
    /// incarnation has been told often enough.
    fn end(&self, reason: String);
}

impl End for Address<Die> {
    fn end(&self, reason: String) {
        // Gone is as good as ended.
        let _ = self.try_send(Die { reason });
    }
}

/// The way from one incarnation of an executor to its driver. Sends in order, without waiting; once the incarnation is
/// dead, nothing arrives.
pub(crate) trait Uplink: Send + Sync {
    fn tell(&self, message: ToDriver);
}

/// How one incarnation of an executor is connected.
pub(crate) struct Connected {
    pub(crate) uplink: Arc<dyn Uplink>,
    pub(crate) transport: Arc<dyn Transport>,
    /// Where it serves bulk data; none inside one process.
    pub(crate) bulk_address: Option<SocketAddr>,
}

/// Where one incarnation of an executor hears what is said to it.
#[derive(Clone)]
pub(crate) struct Hears {
    pub(crate) orders: Address<Order>,
    pub(crate) ear: Ear,
    pub(crate) die: Address<Die>,
}

/// Connects executors.
pub(crate) trait Plumbing: Send + Sync {
    /// Connects a new incarnation; called on the control thread. What the driver says goes to `orders`, what other executors
    /// tell to `ear`; when the connection is lost, `die` is told.
    fn connect(&self, member: Member, store: &BlockStore, hears: Hears) -> Result<Connected, String>;

    /// Where data are fetched, encoded and decoded.
    fn bulk(&self) -> tokio::runtime::Handle {
        tokio::runtime::Handle::current()
    }

    /// The driver's list of live executors.
    fn peers(&self, member: Member, peers: &[PeerInfo]);

    /// Machines with these numbers were denied: they are not served any more. Inside one process nobody is.
    fn denied(&self, _member: Member, _nodes: &[NodeId]) {}

    /// The incarnation is dead: nothing of it may be heard any more.
    fn disconnect(&self, member: Member);
}
