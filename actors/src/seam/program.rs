//! What a program says about itself, and the job that a batch's plan becomes. All of it is values.

use std::collections::BTreeMap;
use tidemill_protocol::{
    id::{BatchNumber, BlockId, PartitionId, ProgramId, SinkId, StageId, StreamId},
    time::BatchTime,
};

/// The graph of an application, as the roles see it.
pub trait Program: Send + Sync {
    /// Its identity: graph, parameters, executable.
    fn id(&self) -> ProgramId;
    /// Its input streams, by id from 0.
    fn streams(&self) -> &[StreamInfo];
    /// Its sinks, by id from 0.
    fn sinks(&self) -> &[SinkInfo];
    /// The job of a batch. Pure: the same plan gives the same job on every node.
    fn plan(&self, plan: &BatchPlan) -> JobPlan;
}

/// An input stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its number.
    pub id: StreamId,
    /// The user's name for it.
    pub name: String,
    /// What is promised about it.
    pub kind: StreamKind,
    /// How many receivers read it in parallel (0 for a planned stream).
    pub receivers: u16,
    /// When a block counts as safe.
    pub storage: StorageLevel,
}

/// What a source can do after its reader has died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Tasks read ranges, and read them again: files, generators. Exactly once.
    Planned,
    /// Static data beside the streams: every batch sees all of it, and a program's plans name it without being told. Exactly
    /// once.
    Static,
    /// The sender repeats what was not acknowledged, and only what is safe is acknowledged. Exactly once while safe holds.
    Acknowledged,
    /// What stood between the sender and a safe block is gone when the receiver dies. At most once there; losses are counted.
    Unacknowledged,
}

/// When a received block is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StorageLevel {
    /// In the memory of executors on two nodes. With one node alone nothing is safe, unless `allow_degraded`.
    #[default]
    Replicated,
    /// As `Replicated`, but one copy is safe while there is only one executor.
    ReplicatedAllowDegraded,
    /// In the memory of the executor that received it.
    Single,
}

/// A sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkInfo {
    /// Its number.
    pub id: SinkId,
    /// The user's name for it, or kind and place.
    pub name: String,
    /// Where it acts.
    pub kind: SinkKind,
}

/// Where a sink acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkKind {
    /// On the driver, once per decided batch, with the records (`foreach_batch`, `print`).
    Driver,
    /// Tasks prepare, the driver publishes without seeing the records (`save_as_text_files`).
    Staged,
    /// Tasks act themselves, at least once (`foreach_partition`).
    InTask,
}

/// A batch as a value: everything its result depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchPlan {
    /// Its number.
    pub batch: BatchNumber,
    /// Its time.
    pub time: BatchTime,
    /// The program it is for.
    pub program: ProgramId,
    /// The seed of its tasks' generators.
    pub seed: u64,
    /// How many partitions a shuffle has where the program does not say.
    pub default_partitions: u32,
    /// The input of every stream, by id.
    pub inputs: BTreeMap<StreamId, StreamInput>,
}

/// The share of a stream that belongs to a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamInput {
    /// Received blocks, in order of their ids.
    Blocks(Vec<PlannedBlock>),
    /// Ranges of a planned source, in order of partition.
    Ranges(Vec<PlannedRange>),
}

/// A received block in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedBlock {
    /// Its name.
    pub id: BlockId,
    /// Its records.
    pub rows: u64,
    /// Its bytes in memory.
    pub bytes: u64,
}

/// A range of a planned source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlannedRange {
    /// The partition of the source.
    pub partition: PartitionId,
    /// From this offset …
    pub from: u64,
    /// … up to, and without, this one.
    pub to: u64,
    /// Its records, if the source knows them; else 0.
    pub rows: u64,
}

/// The job of a batch: stages in topological order, cut at shuffles.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JobPlan {
    /// The stages; `stages[i].id == StageId(i)`, parents before children.
    pub stages: Vec<StagePlan>,
}

/// One stage: the same chain of operators over each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagePlan {
    /// Its number.
    pub id: StageId,
    /// For each partition, for each input of the stage, the parts in the order of the value.
    pub tasks: Vec<Vec<Vec<PlannedPart>>>,
    /// What becomes of the result.
    pub output: StageOutput,
    /// False if an operator in it is marked nondeterministic.
    pub deterministic: bool,
}

/// A part of a task's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlannedPart {
    /// A received block.
    Block(BlockId),
    /// A range of a planned source.
    Range(StreamId, PlannedRange),
    /// Reduce partition `partition` of every task of stage `parent`, in order of their partitions.
    Shuffle {
        /// The stage that writes it.
        parent: StageId,
        /// The reduce partition.
        partition: PartitionId,
    },
}

/// What becomes of a stage's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageOutput {
    /// It is dealt out to this many reduce partitions.
    Shuffle {
        /// How many.
        partitions: u32,
    },
    /// It belongs to a sink.
    Sink(SinkId),
}
