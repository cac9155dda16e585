//! What happens to an executor, what it asks for, and what it needs from those around it.

use crate::{executor::ExecutorCore, shell::ShellAddress, transport::Noticed};
use std::{fmt, sync::Arc};
use tidemill_protocol::{
    id::{BatchNumber, DataKey, Epoch, Member, PartitionId, TaskId},
    message::{Exhausted, Notice, OutputInfo, Piece, Route, TaskFacts, TaskSpec, ToDriver, ToExecutor},
};

/// A slot of an executor, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotIndex(pub u16);

impl fmt::Display for SlotIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot-{}", self.0)
    }
}

/// What can happen to an executor.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A driver has registered it.
    Welcome {
        /// The driver's reign: tasks of earlier ones are dropped.
        epoch: Epoch,
    },
    /// Tasks of one batch.
    Run {
        /// What they share.
        facts: TaskFacts,
        /// The tasks.
        tasks: Vec<Arc<TaskSpec>>,
        /// Whom to tell when tasks of the batch end.
        routes: Vec<Arc<Route>>,
    },
    /// Where the inputs are of attempts that were ordered before, in case they wait for notices.
    NameInputs {
        /// The attempts, with all their inputs by name.
        tasks: Vec<Arc<TaskSpec>>,
    },
    /// Results of these attempts are not wanted; may come before their `Run`.
    Cancel {
        /// Which attempts.
        tasks: Vec<TaskId>,
    },
    /// Nobody will ask for these data again.
    Drop {
        /// Which.
        keys: Vec<DataKey>,
    },
    /// Nobody will ask for outputs of these batches again.
    ReleaseOutputs {
        /// The last of them.
        up_to: BatchNumber,
    },
    /// Stop everything and leave.
    Shutdown,
    /// The inputs of a task are here.
    InputsReady {
        /// Which task.
        task: TaskId,
    },
    /// The inputs of a task cannot be had.
    InputsFailed {
        /// Which task.
        task: TaskId,
        /// The input to make again; none if it cannot be read.
        missing: Option<DataKey>,
        /// What there was not enough of, if that is why.
        exhausted: Option<Exhausted>,
        /// Who should hold the missing input and could not be reached.
        unreached: Vec<Member>,
        /// In words.
        message: String,
    },
    /// A task has left its slot.
    SlotFree {
        /// Which slot.
        slot: SlotIndex,
        /// Which task.
        task: TaskId,
        /// How it ended.
        end: TaskEnd,
    },
    /// The progress counters of running tasks, as [`Action::ReadProgress`] asked.
    Progress {
        /// Tasks that have ended meanwhile may be among them.
        counters: Vec<(TaskId, u64)>,
    },
    /// Another executor tells of a task that has ended well there; may come before the `Run` whose tasks wait for it.
    Noticed(Noticed),
    /// A notice from here did not reach its executor.
    NoticeUndelivered {
        /// The batch.
        batch: BatchNumber,
        /// Whom it was for.
        to: Member,
    },
    /// The deadline has come.
    Wake,
}

impl Event {
    /// The event that a driver's message is for an executor.
    ///
    /// # Errors
    /// The message itself, if it is for another role (receivers, membership).
    pub fn from_wire(message: ToExecutor) -> Result<Event, ToExecutor> {
        Ok(match message {
            ToExecutor::Welcome { epoch } => Event::Welcome { epoch },
            ToExecutor::Run { facts, tasks, routes } => Event::Run { facts, tasks, routes },
            ToExecutor::NameInputs { tasks } => Event::NameInputs { tasks },
            ToExecutor::Cancel { tasks } => Event::Cancel { tasks },
            ToExecutor::Drop { keys } => Event::Drop { keys },
            ToExecutor::ReleaseOutputs { up_to } => Event::ReleaseOutputs { up_to },
            ToExecutor::Shutdown => Event::Shutdown,
            other => return Err(other),
        })
    }
}

/// How a task left its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskEnd {
    /// Well; its outputs are in the store.
    Done {
        /// The outputs that are not empty, by partition.
        outputs: Vec<OutputInfo>,
        /// Records read.
        rows_in: u64,
        /// Time on the slot, in nanoseconds.
        run_ns: u64,
        /// What it made for a sink, if it is little enough to travel with the report.
        prepared: Vec<Piece>,
    },
    /// Badly; nothing is kept.
    Failed {
        /// In words: for a panic, message and location.
        message: String,
        /// What there was not enough of, if that is why.
        exhausted: Option<Exhausted>,
    },
    /// An input that should have been at hand was not; it did not run.
    Missing {
        /// The input.
        key: DataKey,
        /// In words.
        message: String,
    },
    /// It gave up because it was cancelled; nothing is kept.
    Cancelled,
}

impl TaskEnd {
    /// An end by the task's own fault.
    pub fn failed(message: impl Into<String>) -> Self {
        TaskEnd::Failed { message: message.into(), exhausted: None }
    }
}

/// What an executor can ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Bring the inputs of a task; answered by `InputsReady` or `InputsFailed`.
    Fetch {
        /// Which task, and what it reads.
        spec: Arc<TaskSpec>,
    },
    /// Stop fetching for a task, and drop what was fetched.
    Forget {
        /// Which task.
        task: TaskId,
    },
    /// Run a task on a slot; answered by `SlotFree`.
    Start {
        /// Which slot.
        slot: SlotIndex,
        /// The facts of its batch.
        facts: TaskFacts,
        /// Which task.
        spec: Arc<TaskSpec>,
    },
    /// Raise the cancel flag of a running task.
    SetCancel {
        /// Which task.
        task: TaskId,
    },
    /// Read the progress counters; answered by `Progress`.
    ReadProgress,
    /// Put a new thread in the place of one that does not come back.
    ReplaceSlot {
        /// Which slot.
        slot: SlotIndex,
        /// The task that holds the old thread.
        task: TaskId,
    },
    /// Drop data from the store.
    DropData {
        /// Which.
        keys: Vec<DataKey>,
    },
    /// Drop outputs of batches from the store.
    ReleaseOutputs {
        /// The last batch.
        up_to: BatchNumber,
    },
    /// Remove what an attempt left for a sink, whose result came when nobody wanted it any more.
    Discard {
        /// The attempt.
        task: TaskId,
        /// The facts of its batch.
        facts: TaskFacts,
    },
    /// Tell another executor that a task has ended; answered by `NoticeUndelivered` if it cannot be told.
    Notify {
        /// What to tell whom, without data.
        notice: Notice,
        /// Those of its outputs that travel with it.
        bring: Vec<PartitionId>,
    },
    /// Tell the driver.
    TellDriver(ToDriver),
    /// Count something.
    Count(Counted),
    /// Everything is stopped, as `Shutdown` asked.
    Leave,
    /// Too many threads do not come back: only a new process helps.
    EndProcess {
        /// In words.
        reason: String,
    },
}

/// What an executor counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// A task ended well, after this time on its slot in nanoseconds.
    Done {
        /// The time.
        run_ns: u64,
    },
    /// A task failed.
    Failed,
    /// A task was cancelled after it had been sent.
    Cancelled,
    /// A slot was replaced.
    SlotLeaked,
    /// Tasks of an earlier driver or of another program were refused.
    Refused,
}

/// The way to the driver, as an executor needs it. It must not wait.
pub trait TellDriver: Send + 'static {
    /// Sends a message, in order with those before.
    fn tell(&self, message: ToDriver);
}

impl<F: Fn(ToDriver) + Send + 'static> TellDriver for F {
    fn tell(&self, message: ToDriver) {
        self(message);
    }
}

/// The node around an executor, as an executor needs it.
pub trait Lifecycle: Send + 'static {
    /// Everything is stopped, as the driver asked.
    fn left(&self);
    /// The process cannot go on: end it, and let it be started again.
    fn end_process(&self, reason: String);
}

/// The way back to the executor's core, from any thread. It must not wait.
pub trait Report: Clone + Send + 'static {
    /// Delivers an event.
    fn report(&self, event: Event);
}

impl Report for ShellAddress<ExecutorCore> {
    fn report(&self, event: Event) {
        self.tell(event);
    }
}
