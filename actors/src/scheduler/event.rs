//! What the scheduler hears and what it asks for: two closed enums, and the values in them.

use super::conduct::Misconduct;
use crate::seam::{BatchPlan, JobPlan, Program};
use std::{sync::Arc, time::Duration};
use tidemill_protocol::{
    id::{BatchNumber, BlockId, DataKey, Member, SinkId, TaskId, TaskKey},
    message::{Route, TaskFacts, TaskFailure, TaskOutcome, TaskSpec},
    time::{BatchTime, Time},
};

/// What can happen to the scheduler.
#[derive(Clone, Debug)]
pub enum Event {
    /// An executor is there. It must be told before any block that it holds.
    ExecutorUp {
        /// Which life of which node.
        member: Member,
        /// How many tasks it runs at once; at least 1.
        slots: u16,
    },
    /// An executor is gone; nothing it says from now on counts.
    ExecutorDown {
        /// Which life of which node.
        member: Member,
        /// Whether its process is known to have ended, rather than to be out of reach.
        has_ended: bool,
    },
    /// An executor leaves: it is given nothing more; answered by [`Action::ExecutorDrained`].
    ExecutorLeaving {
        /// Which life of which node.
        member: Member,
    },
    /// Nothing was heard of an executor for longer than usual: others are used first, and what runs there goes on.
    ExecutorSuspected {
        /// Which life of which node.
        member: Member,
    },
    /// A suspected executor was heard of again.
    ExecutorTrusted {
        /// Which life of which node.
        member: Member,
    },
    /// A batch is to be run. A higher `version` of a batch that is not decided replaces the lower one (blocks were struck):
    /// everything it had is thrown away and it must become safe anew. See [`Event::plan`].
    Plan {
        /// The batch as a value.
        plan: Arc<BatchPlan>,
        /// What the program makes of it.
        job: Arc<JobPlan>,
        /// 0, and 1 more with each replacement.
        version: u32,
        /// Where its blocks are.
        blocks: Vec<BlockPlace>,
    },
    /// The place of a block has changed: replaces what was said before.
    BlockHolders(BlockPlace),
    /// All blocks of this batch are safe (also told for a batch without blocks). The batch may be decided.
    BatchSafe {
        /// The batch.
        batch: BatchNumber,
    },
    /// While all executors leave: whether blocks wait in batches that are still to be planned.
    BlocksWait {
        /// Whether they do.
        wait: bool,
    },
    /// A task has ended well.
    TaskDone(Arc<TaskOutcome>),
    /// A task has ended badly.
    TaskFailed(TaskFailure),
    /// An executor was not told, or has forgotten, that a task of this batch has ended whose outputs are read there.
    NoticeLost {
        /// The batch.
        batch: BatchNumber,
        /// Where tasks may wait for it.
        reader: Member,
        /// Who says so: the reader, or who could not tell it.
        by: Member,
    },
    /// A cancelled task would not end; its slot was replaced. Counted only.
    SlotLeaked {
        /// The task that holds the thread.
        task: TaskId,
    },
    /// The answer to [`Action::Publish`].
    Published {
        /// The batch.
        batch: BatchNumber,
        /// The sink.
        sink: SinkId,
        /// Whether the sink has it.
        result: Result<(), PublishFailure>,
    },
    /// The deadline has come.
    Wake,
    /// Decided batches are published, within 10 s, and all others dropped; then [`Action::Stopped`].
    Stop,
}

impl Event {
    /// The event for a batch's plan: asks the program for the job.
    pub fn plan(program: &dyn Program, plan: Arc<BatchPlan>, version: u32, blocks: Vec<BlockPlace>) -> Event {
        let job = Arc::new(program.plan(&plan));
        Event::Plan { plan, job, version, blocks }
    }
}

/// Where a block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// The block.
    pub block: BlockId,
    /// Who holds it. What nobody holds is waited for, because its batch will be planned again without it; only a decided batch
    /// will not be, and ends the pipeline.
    pub holders: Vec<Member>,
}

/// Why a sink does not have a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishFailure {
    /// A prepared output could not be fetched: it is made again, and publishing is asked for again.
    Missing(DataKey),
    /// A prepared output cannot come to the driver, and would not if it were made again, in words: the pipeline ends.
    Unreadable(String),
    /// The sink refused it, in words: the pipeline ends.
    Refused(String),
}

/// A prepared output that belongs to a decided batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreparedPart {
    /// The accepted attempt.
    pub task: TaskId,
    /// Who holds the output, if there is one.
    pub holder: Member,
    /// Whether there is anything to fetch (under [`DataKey::Output`] with partition 0).
    pub has_rows: bool,
}

/// What the scheduler asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Run these tasks of one batch.
    Launch {
        /// Where.
        member: Member,
        /// What all of them share.
        facts: TaskFacts,
        /// The tasks, in order of stage and partition; also such as must wait until they are told that their inputs are there.
        tasks: Vec<Arc<TaskSpec>>,
        /// Whom to tell when tasks end.
        routes: Vec<Arc<Route>>,
    },
    /// Tell where the inputs are of attempts that were launched before, in case they still wait to be told.
    Name {
        /// Where the attempts are.
        member: Member,
        /// The tasks, in order of stage and partition.
        tasks: Vec<Arc<TaskSpec>>,
    },
    /// Stop these attempts; their results would be refused.
    Cancel {
        /// Where they run.
        member: Member,
        /// Which.
        tasks: Vec<TaskId>,
    },
    /// Drop these outputs: their attempts were refused or have been replaced.
    Drop {
        /// Who holds them.
        member: Member,
        /// Which.
        keys: Vec<DataKey>,
    },
    /// Every task of the batch is done, its blocks are safe, and all batches before it are decided.
    Decided {
        /// The batch.
        batch: BatchNumber,
    },
    /// Fetch these prepared outputs and give them to the sink; answered by [`Event::Published`]. One at a time.
    Publish {
        /// The batch.
        batch: BatchNumber,
        /// Its time.
        time: BatchTime,
        /// The sink.
        sink: SinkId,
        /// The outputs in the order of the value.
        parts: Vec<PreparedPart>,
    },
    /// What this attempt prepared for a sink will not be published. May be told more than once, also for attempts that
    /// prepared nothing.
    Discard {
        /// The sink.
        sink: SinkId,
        /// The attempt.
        task: TaskId,
    },
    /// A batch has been published entirely.
    Completed(BatchTimings),
    /// Nothing of this batch or any before it will be asked for again: executors drop outputs, the generator blocks.
    Release {
        /// The batch.
        batch: BatchNumber,
        /// The executors to tell now; others are told with their next tasks.
        members: Vec<Member>,
    },
    /// Tell an executor that batches are over, of which it has not been told when they were.
    ReleaseOutputs {
        /// Which executor.
        member: Member,
        /// The last of these batches.
        up_to: BatchNumber,
    },
    /// The pipeline cannot go on: nothing from this batch on will be published. Batches before it still will be. Told once.
    PipelineFailed {
        /// The batch that cannot be had.
        batch: BatchNumber,
        /// Why, in words for the user.
        text: String,
    },
    /// What an executor's loss cost a batch: these tasks run again.
    TasksLost {
        /// The batch.
        batch: BatchNumber,
        /// Who was lost.
        member: Member,
        /// The tasks, by id.
        tasks: Vec<TaskKey>,
    },
    /// No task runs on this leaving executor, and nobody will ask for an output of it. Told once.
    ExecutorDrained {
        /// Who.
        member: Member,
    },
    /// An attempt that counted has failed: its own fault, a panic for one, or an input was not to be had, or its executor had not
    /// enough for it. Of attempts that do not count any more nothing is told.
    AttemptFailed {
        /// The attempt.
        task: TaskId,
        /// Where it ran.
        on: Member,
        /// In words; for a panic, message and place.
        message: String,
    },
    /// A running task takes too long: this copy of it starts elsewhere, in the same event. The first to end well is taken.
    Copied {
        /// The copy.
        task: TaskId,
        /// Where the attempt runs that takes too long.
        slow: Member,
        /// For how long it has been out.
        waited: Duration,
    },
    /// An executor gets no tasks for a time.
    Excluded {
        /// Which.
        member: Member,
        /// For how long.
        time: Duration,
        /// Why.
        why: Misconduct,
    },
    /// An executor that was excluded gets tasks again.
    Included {
        /// Which.
        member: Member,
    },
    /// After a failure or [`Event::Stop`]: there is nothing left to do, or what there is has taken too long. Told once.
    Stopped,
    /// Add to a counter.
    Count(Counter, u64),
}

/// What the scheduler counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Attempts that were launched.
    TasksLaunched,
    /// Outcomes that were accepted.
    TasksDone,
    /// Failures that were the task's own.
    TaskFailures,
    /// Tasks whose input could not be had.
    InputsMissing,
    /// Tasks that ran, or were to run, again because of a loss.
    TasksLost,
    /// Outcomes and failures of attempts that do not count any more.
    ReportsRefused,
    /// Slots that were replaced.
    SlotsLeaked,
    /// Plans that came too late or twice.
    PlansRefused,
    /// Batches that were published.
    BatchesPublished,
    /// Copies of tasks that took too long.
    TasksCopied,
    /// How often an executor was excluded.
    ExecutorsExcluded,
    /// Tasks that were sent ahead and had their inputs named, because a notice may have been lost.
    InputsNamed,
}

impl Counter {
    /// Its name as a metric.
    pub fn name(self) -> &'static str {
        match self {
            Counter::TasksLaunched => "tidemill_scheduler_tasks_launched",
            Counter::TasksDone => "tidemill_scheduler_tasks_done",
            Counter::TaskFailures => "tidemill_scheduler_task_failures",
            Counter::InputsMissing => "tidemill_scheduler_inputs_missing",
            Counter::TasksLost => "tidemill_scheduler_tasks_lost",
            Counter::ReportsRefused => "tidemill_scheduler_reports_refused",
            Counter::SlotsLeaked => "tidemill_scheduler_slots_leaked",
            Counter::PlansRefused => "tidemill_scheduler_plans_refused",
            Counter::BatchesPublished => "tidemill_scheduler_batches_published",
            Counter::TasksCopied => "tidemill_scheduler_tasks_copied",
            Counter::InputsNamed => "tidemill_scheduler_inputs_named",
            Counter::ExecutorsExcluded => "tidemill_scheduler_executors_excluded",
        }
    }
}

/// The times of a published batch, all on the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchTimings {
    /// Its number.
    pub batch: BatchNumber,
    /// Which of its plans was run.
    pub version: u32,
    /// Its time.
    pub time: BatchTime,
    /// When its plan arrived.
    pub submitted: Time,
    /// When its first task was launched; `submitted` if it had none.
    pub first_launch: Time,
    /// When it was decided.
    pub decided: Time,
    /// When its last sink had it.
    pub published: Time,
    /// The records of its input.
    pub records_in: u64,
    /// How many tasks it had.
    pub tasks: u64,
    /// How many attempts failed by their own fault.
    pub failures: u64,
}

impl BatchTimings {
    /// How long it waited for its first launch.
    pub fn scheduling_delay(&self) -> Duration {
        self.first_launch.since(self.submitted)
    }

    /// From its first launch until it was published.
    pub fn processing_time(&self) -> Duration {
        self.published.since(self.first_launch)
    }

    /// From its plan until it was published.
    pub fn total_delay(&self) -> Duration {
        self.published.since(self.submitted)
    }
}
