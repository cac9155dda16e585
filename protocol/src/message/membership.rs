//! Who is in the cluster.

use crate::id::{Member, ProgramId};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// An executor introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Which life of which node.
    pub member: Member,
    /// How many tasks it runs at once.
    pub slots: u16,
    /// The program it was built with; another than the driver's is refused.
    pub program: ProgramId,
    /// Where it serves blocks and shuffle outputs; none inside the driver's process.
    #[serde(default)]
    pub bulk_address: Option<SocketAddr>,
}

/// A live executor, as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Which life of which node.
    pub member: Member,
    /// Where it serves blocks and shuffle outputs; none inside one process.
    #[serde(default)]
    pub bulk_address: Option<SocketAddr>,
}
