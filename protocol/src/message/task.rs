//! Tasks: what is sent to a slot, and what comes back.

use super::{Piece, StageRead, compact};
use crate::id::{
    Attempt, BatchNumber, DataKey, Epoch, Member, PartitionId, ProgramId, RunId, StageId, StreamId, TaskId,
};
use crate::time::BatchTime;
use serde::{Deserialize, Serialize};

/// What all tasks of a batch share: facts of the plan, and nothing that a clock would say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFacts {
    /// The driver's reign.
    pub epoch: Epoch,
    /// The program; an executor refuses another one.
    pub program: ProgramId,
    /// The batch.
    pub batch: BatchNumber,
    /// Its time.
    pub time: BatchTime,
    /// The seed that tasks derive their generators from.
    pub seed: u64,
    /// The run of the driver: what tasks leave outside of the cluster carries it in its name.
    #[serde(default)]
    pub run: RunId,
}

/// One attempt of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Its name.
    pub task: TaskId,
    /// What it reads: for each input of the stage, the parts in the order of the value.
    #[serde(with = "compact::inputs")]
    pub inputs: Vec<Vec<InputPart>>,
}

/// A part of a task's input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InputPart {
    /// Data held by executors: a received block or a shuffle output, with those who hold it (the first is nearest).
    Held {
        /// What.
        key: DataKey,
        /// By whom.
        holders: Vec<Member>,
    },
    /// A range of a planned source, read by the task itself.
    Range {
        /// Which stream.
        stream: StreamId,
        /// Which partition of the source.
        partition: PartitionId,
        /// From this offset …
        from: u64,
        /// … up to, and without, this one.
        to: u64,
    },
    /// What all tasks of a stage make for one partition, in the order of the tasks. It may not be made yet: those who run them tell
    /// by a [`Notice`](super::Notice) when it is there, and where.
    Shuffle {
        /// The stage that is read.
        stage: StageId,
        /// The reduce partition.
        partition: PartitionId,
        /// How many tasks the stage has.
        writers: u32,
        /// Which attempt of each is read.
        attempt: Attempt,
    },
}

/// One piece of a task's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputInfo {
    /// The reduce partition (0 for a sink).
    pub partition: PartitionId,
    /// How many records.
    pub rows: u64,
    /// How many bytes in memory.
    pub bytes: u64,
}

/// A task that ended well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskOutcome {
    /// Its name.
    pub task: TaskId,
    /// Which incarnation holds the output.
    pub holder: Member,
    /// The outputs that are not empty, by partition.
    #[serde(with = "compact::outputs")]
    pub outputs: Vec<OutputInfo>,
    /// Records read.
    pub rows_in: u64,
    /// Time on the slot, in nanoseconds.
    pub run_ns: u64,
    /// The inputs that were read, with their attempts.
    #[serde(with = "compact::keys")]
    pub read: Vec<DataKey>,
    /// And those that were read as `InputPart::Shuffle`.
    #[serde(default)]
    pub read_stages: Vec<StageRead>,
    /// What it made for a sink, if that is no more than [`REPORTED_BYTES_MAX`]: then the driver need not ask for it.
    #[serde(default)]
    pub prepared: Vec<Piece>,
}

/// The most bytes of pieces that a task's report may bring.
pub const REPORTED_BYTES_MAX: u64 = 4 * 1024;

/// A task that ended badly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFailure {
    /// Its name.
    pub task: TaskId,
    /// Who says so.
    pub reporter: Member,
    /// In words: for a panic, message and location.
    pub message: String,
    /// An input that could not be had; then the failure is not the task's fault, and the input is made again.
    #[serde(default)]
    pub missing: Option<DataKey>,
    /// What the executor had not enough of; then the failure is not the task's fault as long as another may have it.
    #[serde(default)]
    pub exhausted: Option<Exhausted>,
    /// Of the executors that should hold the missing input, those that could not be reached.
    #[serde(default)]
    pub unreached: Vec<Member>,
}

/// What an executor had not enough of for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exhausted {
    /// Of what.
    pub resource: Resource,
    /// How many bytes were asked for.
    pub needed: u64,
    /// How many there can be at most, in bytes.
    pub max: u64,
}

/// What of an executor can be used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// Memory for the inputs of a task.
    Inputs,
    /// Memory for the outputs of tasks, where none may go to disk.
    Outputs,
    /// Memory for the outputs of tasks, and the disk that they would have gone to.
    Disk,
}
