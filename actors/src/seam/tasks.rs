//! Running one task: synchronous, on a slot's thread, with everything it may know in its context.

use super::Held;
use crate::{
    block_store::{ResourcesExhausted, WorkMeter},
    supervision::{Address, AskError, Message},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tidemill_protocol::{
    id::{PartitionId, StreamId, TaskId},
    message::TaskFacts,
    world::{Files, SeededRng},
};

/// What runs tasks: the program's operators.
pub trait Tasks: Send + Sync {
    /// Runs one task to its end. It may panic in user code; the slot catches that.
    ///
    /// # Errors
    /// [`TaskError`], with what went wrong in words.
    fn run(&self, request: TaskRequest, context: &TaskContext) -> Result<TaskOutput, TaskError>;

    /// Removes what an attempt left in `files` for a sink and nobody will publish: it failed, panicked, or is not wanted any
    /// more. There may be nothing.
    fn discard(&self, _task: TaskId, _facts: &TaskFacts, _files: &Files) {}
}

/// A task with its inputs at hand.
#[derive(Clone, Debug)]
pub struct TaskRequest {
    /// Which attempt of which task.
    pub task: TaskId,
    /// For each input of the stage, the parts in the order of the value.
    pub inputs: Vec<Vec<InputData>>,
}

/// A part of a task's input, at hand.
#[derive(Clone, Debug)]
pub enum InputData {
    /// A block or a shuffle output.
    Held(Held),
    /// A range of a planned source, read by the task.
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
}

/// What a task may know and touch besides its inputs.
#[derive(Clone)]
pub struct TaskContext {
    /// The plan's facts.
    pub facts: TaskFacts,
    /// Which attempt of which task.
    pub task: TaskId,
    /// Set when the result is no longer wanted.
    pub cancelled: Arc<AtomicBool>,
    /// Grows with every chunk; the executor tells a stuck task by it.
    pub progress: Arc<AtomicU64>,
    /// Files, for sinks that stage them and sources that read them.
    pub files: Files,
    /// What it builds is counted here, chunk by chunk.
    pub work: WorkMeter,
}

impl TaskContext {
    /// Whether the result is no longer wanted; checked between chunks.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Tells the executor that the task is getting on.
    pub fn record_progress(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// A generator that is the same for every attempt of this task.
    pub fn rng(&self) -> SeededRng {
        let key = self.task.key;
        let lane = (u64::from(key.stage.0) << 32) | u64::from(key.partition.0);
        SeededRng::new(self.facts.seed ^ lane.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// Asks an actor, and holds the task's slot for at most `patience` of real time. A task that runs again asks again. Not in
    /// simulation, where tasks and actors share one thread.
    ///
    /// # Errors
    /// [`AskError`]: the actor is gone, full, or did not answer in time; most tasks fail with it.
    pub fn ask<M: Message>(
        &self,
        whom: &Address<M>,
        message: M,
        patience: Duration,
    ) -> Result<M::Reply, AskError> {
        whom.ask_blocking(message, patience)
    }
}

/// What a task made.
#[derive(Clone, Debug, Default)]
pub struct TaskOutput {
    /// For a shuffle: the share of each reduce partition that is not empty, in order of partition. For a sink: at most one,
    /// under partition 0.
    pub outputs: Vec<(PartitionId, Held)>,
    /// Records read.
    pub rows_in: u64,
    /// Whether this is for a sink: the driver asks for it, and nobody else.
    pub is_for_sink: bool,
}

/// A task that could not do its work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// A user function returned an error, or a source could not be read.
    #[error("{0}")]
    Failed(String),
    /// The result is no longer wanted.
    #[error("cancelled")]
    Cancelled,
    /// It has built more than there is memory for. It may succeed on an executor with a larger budget.
    #[error(transparent)]
    Exhausted(#[from] ResourcesExhausted),
}
