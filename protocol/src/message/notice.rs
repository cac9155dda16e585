//! Notices: what executors tell each other when a task has ended, so that its readers begin without the driver.
//!
//! ```text
//!   driver ── Run { tasks, routes } ──> executor A          one message for all stages of a batch
//!          ── Run { tasks } ──────────> executor B          B's reader has the part Shuffle { stage, partition, … }
//!                     executor A ── Notice ──> executor B   a bulk request; small outputs travel inside
//! ```
//!
//! Only the attempt that the driver promised to the readers is told of: an attempt's number is what tells old from new here, as
//! everywhere.

use super::{OutputInfo, Piece};
use crate::id::{Attempt, Epoch, Incarnation, Member, NodeId, PartitionId, StageId, TaskId};
use serde::{Deserialize, Serialize};

/// The most bytes of pieces that a notice may bring.
pub const NOTICE_BYTES_MAX: u64 = 64 * 1024;

/// Whom to tell when tasks of one stage end: a part of [`ToExecutor::Run`](super::ToExecutor::Run). It grows with the partitions
/// of the stage, and is written as lists because each executor of a batch gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The stage that is read.
    pub stage: StageId,
    /// The attempt that readers were promised; of others nobody is told.
    pub attempt: Attempt,
    /// Executors with readers, each once.
    pub readers: Vec<(NodeId, Incarnation)>,
    /// Which partition is read by which of them (its place in `readers`). One that nobody reads is not here; one that several
    /// read is here several times.
    pub partitions: Vec<(PartitionId, u16)>,
}

impl Route {
    /// The executors with readers.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.readers.iter().map(|(node, incarnation)| Member { node: *node, incarnation: *incarnation })
    }
}

/// All outputs of a stage for one reader: what a task has read that was sent before its inputs were there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StageRead {
    /// The stage; the outputs of all its tasks were read.
    pub stage: StageId,
    /// Of which attempt of each.
    pub attempt: Attempt,
}

/// A task has ended well, told to an executor that has readers of its outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The driver's reign in which it ran.
    pub epoch: Epoch,
    /// Who tells it, and holds the outputs.
    pub from: Member,
    /// Whom: another life of the same node is not meant.
    pub to: Member,
    /// The attempt.
    pub task: TaskId,
    /// Its outputs that are read there and are not empty, by partition.
    pub outputs: Vec<OutputInfo>,
    /// Some of these outputs themselves; at most [`NOTICE_BYTES_MAX`] in all.
    #[serde(default)]
    pub brought: Vec<BroughtOutput>,
}

impl Notice {
    /// The bytes of all pieces that it brings.
    #[must_use]
    pub fn bytes_brought(&self) -> u64 {
        self.brought.iter().flat_map(|output| &output.pieces).map(|piece| piece.bytes.len() as u64).sum()
    }
}

/// An output that travels inside a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroughtOutput {
    /// The reduce partition.
    pub partition: PartitionId,
    /// The output, encoded.
    pub pieces: Vec<Piece>,
}
