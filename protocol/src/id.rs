//! Identities: one newtype each, so that no two bare numbers ever stand in a row.
//!
//! A *node* is a process (or, in `local`, a part of one that counts as a process). Its *incarnation* grows with each
//! start, so that what a dead incarnation still sends can be told from what its successor sends.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(/// A node of the cluster; the driver is [`NodeId::DRIVER`], executors count from 1.
    NodeId(u16), "node-");
id!(/// How often a node (or a receiver) has been started; a higher one makes all lower ones dead.
    Incarnation(u32), "i");
id!(/// The reign of a driver; messages of a lower epoch are refused.
    Epoch(u64), "e");
id!(/// One start of a driver. No two starts have the same, and a later one has a higher one, as long as the clock of the
    /// driver's machine goes forward.
    RunId(u64), "run-");
id!(/// An input stream of the program, in order of declaration.
    StreamId(u16), "stream-");
id!(/// A receiver of a stream: one of the parallel readers.
    ReceiverIndex(u16), "r");
id!(/// A batch: numbers have no gaps and begin at 0.
    BatchNumber(u64), "batch-");
id!(/// A stage of a batch's job, in the plan's order (parents before children).
    StageId(u16), "stage-");
id!(/// A partition of a stage's output, of an input, or of a shuffle.
    PartitionId(u32), "p");
id!(/// An attempt of a task, from 0.
    Attempt(u16), "a");
id!(/// A sink (output) of the program, in order of declaration.
    SinkId(u16), "sink-");
id!(/// An operator of the program, in order of declaration.
    OperatorId(u32), "op-");
id!(/// A dataset of the program whose payloads may leave the process: names the type, and so the codec, of a payload.
    DatasetId(u32), "dataset-");
id!(/// The hash that names a program: its graph, its parameters and its executable.
    ProgramId(u64), "program-");
id!(/// A record's position in its source: strictly growing within a (stream, receiver).
    Position(u64), "@");

impl NodeId {
    /// The node that drives.
    pub const DRIVER: NodeId = NodeId(0);
}

impl BatchNumber {
    /// The batch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        BatchNumber(self.0 + 1)
    }
}

impl Incarnation {
    /// The incarnation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Incarnation(self.0 + 1)
    }
}

/// One incarnation of a node: what messages are addressed to, and what results come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Which of its lives.
    pub incarnation: Incarnation,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.incarnation)
    }
}

/// One life of a receiver: (stream, index) names it, the incarnation tells its lives apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReceiverId {
    /// The stream it feeds.
    pub stream: StreamId,
    /// Which of the stream's receivers.
    pub index: ReceiverIndex,
    /// Which of its lives.
    pub incarnation: Incarnation,
}

impl fmt::Display for ReceiverId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.stream, self.index, self.incarnation)
    }
}

/// A received block: who received it and its place in that receiver's sequence. Blocks of a stream are ordered by
/// (receiver index, incarnation, sequence), which is the order of this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockId {
    /// The receiver's life that cut the block.
    pub receiver: ReceiverId,
    /// 0, 1, 2 … within that life.
    pub sequence: u64,
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.receiver, self.sequence)
    }
}

/// What a task computes: one partition of one stage of one batch. Its attempts are told apart by [`TaskId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskKey {
    /// The batch.
    pub batch: BatchNumber,
    /// The stage of the batch's job.
    pub stage: StageId,
    /// The partition of the stage.
    pub partition: PartitionId,
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.batch, self.stage, self.partition)
    }
}

/// One attempt of a task. Attempts are numbered over the whole life of the key: a recomputation after a loss takes the
/// next number, so no two runs ever share an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// What is computed.
    pub key: TaskKey,
    /// Which try.
    pub attempt: Attempt,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.key, self.attempt)
    }
}

/// A piece of data that executors hold for each other: a received block, or one partition of a task's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DataKey {
    /// A received block.
    Block(BlockId),
    /// The share of `task`'s output that belongs to reduce partition `partition` (shuffle), or its only output
    /// (`partition` 0, for a sink).
    Output {
        /// The attempt that made it.
        task: TaskId,
        /// The reduce partition.
        partition: PartitionId,
    },
}

impl fmt::Display for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataKey::Block(id) => write!(f, "block {id}"),
            DataKey::Output { task, partition } => write!(f, "output {task}→{partition}"),
        }
    }
}
