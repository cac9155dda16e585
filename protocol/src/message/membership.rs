//! Who is in the cluster.

use crate::id::{Incarnation, Member, ProgramId};
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
    /// What the program is made of, to say what differs.
    #[serde(default)]
    pub made_of: ProgramPrint,
    /// The life of this node whose process has certainly ended, as whoever started both has seen: its place is this one's at
    /// once, without asking it first.
    #[serde(default)]
    pub ended: Option<Incarnation>,
    /// With `ended`: the first of the lives up to that one whose processes have all certainly ended. Without it that one alone has.
    #[serde(default)]
    pub ended_since: Option<Incarnation>,
    /// Which start of which agent has started this process: a number drawn by lot. Only of its own processes an agent knows
    /// that they have ended; another one that was given the same number counts lives of its own.
    #[serde(default)]
    pub agent: Option<u64>,
}

impl Registration {
    /// Whether the process of another life of the node has certainly ended: this one's agent has started it, and has seen that.
    #[must_use]
    pub fn says_ended(&self, other: &Registration) -> bool {
        let life = other.member.incarnation;
        let is_named = |last| self.ended_since.unwrap_or(last) <= life && life <= last;
        self.agent == other.agent && self.ended.is_some_and(is_named)
    }
}

/// What a program is made of, as hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramPrint {
    /// The file that runs.
    pub executable: u64,
    /// How many partitions a shuffle has that does not say.
    pub partitions: u32,
    /// The application's parameters.
    pub parameters: u64,
    /// The lines of the graph's description, at most 4,096.
    pub operators: Vec<u64>,
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
