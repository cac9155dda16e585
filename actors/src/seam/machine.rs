//! Which executors die together: those of one machine.

use std::net::{IpAddr, SocketAddr};

/// A machine, known by its address. Two copies of a block on one machine are lost with it, so they are put on two where there
/// are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machine(IpAddr);

impl Machine {
    /// The machine that listens there.
    pub fn at(address: SocketAddr) -> Self {
        Machine(address.ip())
    }
}
