//! One batch: its stages, its tasks and their states.
//!
//! | from \ to | Waiting | Ready | Running | Done | Lost |
//! |---|---|---|---|---|---|
//! | **Waiting**: a parent's task is not done | | its parents are done | | | |
//! | **Ready**: its inputs are there | an input was lost | | placed | | |
//! | **Running**: an attempt is out | an input was lost | failed, or its executor was lost | its copy goes on alone | its outcome was accepted | |
//! | **Done**: its output is held, or empty | | | | | its holder was lost, it was reported missing, or it was spoiled |
//! | **Lost**: was done; nobody needs it | it is needed again | | | | |
//!
//! Every change of state goes through [`Job::set`], which keeps the counts. A running task may have a second attempt, its
//! copy; whichever ends well first is the task's, the other is stopped. Attempts are in `attempts`. A waiting task may have been
//! sent ahead (`foresight`): then its first attempt is out, and becomes the running one when its parents are done.

use super::{
    event::BlockPlace,
    foresight::Foreseen,
    lineage::{Copy as Output, LineageStage, LineageTask},
    pace::Pace,
};
use crate::seam::{BatchPlan, JobPlan, PlannedPart, StageOutput, StreamInput};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidemill_protocol::{
    id::{Attempt, BlockId, Member, PartitionId, SinkId, StageId, TaskId, TaskKey},
    message::Route,
    time::Time,
};

/// A task within its job.
pub(super) type At = (StageId, PartitionId);

/// Where a task is in its life; the table is in the module's doc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskState {
    Waiting,
    Ready,
    Running { attempt: Attempt, on: Member },
    Done { attempt: Attempt, holder: Member },
    Lost,
}

impl TaskState {
    /// Whether the task has still to run or to end.
    pub fn is_open(self) -> bool {
        matches!(self, TaskState::Waiting | TaskState::Ready | TaskState::Running { .. })
    }

    /// Whether its output is there.
    pub fn is_done(self) -> bool {
        matches!(self, TaskState::Done { .. })
    }

    /// The table of legal transitions.
    fn may_become(self, next: TaskState) -> bool {
        use TaskState::{Done, Lost, Ready, Running, Waiting};
        match (self, next) {
            (Waiting, Ready) | (Ready, Waiting | Running { .. }) => true,
            (Running { .. }, Waiting | Ready) => true,
            (Running { attempt, .. }, Running { attempt: copy, .. }) => attempt < copy,
            (Running { attempt, on }, Done { attempt: accepted, holder }) => {
                attempt == accepted && on == holder
            }
            (Done { .. }, Lost) | (Lost, Waiting) => true,
            _ => false,
        }
    }
}

/// One task: its state, and what its attempts have taught.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// The stages it reads, ascending.
    pub parents: Vec<StageId>,
    /// Where it is in its life; written by [`Job::set`] only.
    pub state: TaskState,
    /// When the running attempt was launched.
    pub launched: Time,
    /// The other attempt of a running task.
    pub copy: Option<Twin>,
    /// Its first attempt, if that was sent before the inputs were there, and is the one that it waits with or runs.
    pub foreseen: Option<Foreseen>,
    /// The number of its next attempt; never goes back.
    pub next_attempt: u16,
    /// Attempts that failed by their own fault.
    pub failures: u16,
    /// How often it, or a reader of it, could not have an input.
    pub missing: u16,
    /// Executors to stay away from.
    pub avoid: Vec<Member>,
    /// The outputs that are not empty, with their bytes, by partition; meaningful while done.
    pub outputs: Vec<(PartitionId, u64)>,
    /// The records it read; meaningful while done.
    pub rows_in: u64,
    /// Its time on the slot; meaningful while done.
    pub ran: Duration,
}

/// A second attempt beside the running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Twin {
    pub attempt: Attempt,
    pub on: Member,
    pub launched: Time,
}

impl Task {
    /// Stays away from `member` as long as there is anybody else.
    pub fn avoid(&mut self, member: Member) {
        if !self.avoid.contains(&member) {
            self.avoid.push(member);
        }
    }

    /// Whether its first attempt is the one that counts, or may still become it.
    pub fn keeps_promise(&self, first: Attempt) -> bool {
        match self.state {
            TaskState::Waiting | TaskState::Ready => self.foreseen.is_some() || self.next_attempt == first.0,
            TaskState::Running { attempt, .. } | TaskState::Done { attempt, .. } => attempt == first,
            TaskState::Lost => false,
        }
    }
}

/// One stage.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    /// Its tasks, by partition.
    pub tasks: Vec<Task>,
    /// How many of them are not done.
    pub missing: usize,
    /// The sink it writes, if it does.
    pub sink: Option<SinkId>,
    /// How long its tasks take.
    pub pace: Pace,
}

/// The most partitions of a shuffle: what a task has made is told in one message, a row for each.
pub(super) const SHUFFLE_PARTITIONS_MAX: u32 = 2_400;

/// A plan that is not one: a fault of the program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JobError {
    /// `stages[i].id` is not `i`.
    #[error("the job's stage {0} is not at its place")]
    StageOutOfPlace(StageId),
    /// More partitions than a message holds.
    #[error(
        "{stage} writes {partitions} partitions, and there may be {SHUFFLE_PARTITIONS_MAX}: use repartition or \
         reduce_by_key_into with fewer"
    )]
    TooManyPartitions {
        /// Who writes them.
        stage: StageId,
        /// How many.
        partitions: u32,
    },
    /// A stage reads one that does not come before it, or one that writes to a sink.
    #[error("{reader} reads {parent}, which is not an earlier shuffle")]
    NoSuchParent {
        /// Who reads.
        reader: StageId,
        /// What it reads.
        parent: StageId,
    },
}

/// One batch in the books.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub plan: Arc<BatchPlan>,
    pub job: Arc<JobPlan>,
    pub version: u32,
    pub stages: Vec<Stage>,
    /// Tasks that are waiting, ready or running.
    pub open: usize,
    /// Whether all its blocks are safe.
    pub is_safe: bool,
    pub blocks: BTreeMap<BlockId, BlockPlace>,
    /// Bytes of each block, for placement.
    pub block_bytes: BTreeMap<BlockId, u64>,
    /// Sinks that do not have it yet, ascending; the first may be being published.
    pub unpublished: Vec<SinkId>,
    pub submitted: Time,
    pub first_launch: Option<Time>,
    pub decided: Option<Time>,
    pub failures: u64,
    /// How many processes have ended while a task ran there.
    pub deaths: BTreeMap<At, u16>,
    /// Whose attempts were overtaken by their copies.
    pub overtaken: Vec<Member>,
    /// The number of the first attempt of each task: what readers that were sent ahead are promised.
    pub first: Attempt,
    /// Whether later stages were thought of when the first tasks were launched.
    pub looked_ahead: bool,
    /// Whom to tell when tasks end, by stage; and who has been sent that.
    pub routes: Vec<Arc<Route>>,
    pub routed: BTreeSet<(Member, StageId)>,
    /// Tasks that wait, and were sent ahead.
    pub expected: usize,
    /// Some first attempt has fallen, or will not be made.
    pub broken: bool,
    /// The inputs of some of those that were sent ahead are there.
    pub due: bool,
}

impl Job {
    /// The job of a plan, all tasks waiting; attempts count from `next_attempt`.
    pub fn new(
        now: Time,
        plan: Arc<BatchPlan>,
        job: Arc<JobPlan>,
        version: u32,
        blocks: Vec<BlockPlace>,
        next_attempt: u16,
    ) -> Result<Job, JobError> {
        let mut stages: Vec<Stage> = Vec::with_capacity(job.stages.len());
        for (index, planned) in job.stages.iter().enumerate() {
            if usize::from(planned.id.0) != index {
                return Err(JobError::StageOutOfPlace(planned.id));
            }
            let tasks: Vec<Task> =
                planned.tasks.iter().map(|inputs| new_task(inputs, next_attempt)).collect();
            for parent in tasks.iter().flat_map(|task| &task.parents) {
                let fault = JobError::NoSuchParent { reader: planned.id, parent: *parent };
                stages.get(usize::from(parent.0)).filter(|s| s.sink.is_none()).ok_or(fault)?;
            }
            if let StageOutput::Shuffle { partitions } = planned.output
                && partitions > SHUFFLE_PARTITIONS_MAX
            {
                return Err(JobError::TooManyPartitions { stage: planned.id, partitions });
            }
            let sink = match planned.output {
                StageOutput::Sink(sink) => Some(sink),
                StageOutput::Shuffle { .. } => None,
            };
            stages.push(Stage { missing: tasks.len(), tasks, sink, pace: Pace::default() });
        }
        let mut unpublished: Vec<SinkId> = stages.iter().filter_map(|s| s.sink).collect();
        unpublished.sort_unstable();
        unpublished.dedup();
        Ok(Job {
            open: stages.iter().map(|s| s.tasks.len()).sum(),
            block_bytes: block_bytes(&plan),
            blocks: blocks.into_iter().map(|place| (place.block, place)).collect(),
            plan,
            job,
            version,
            stages,
            is_safe: false,
            unpublished,
            submitted: now,
            first_launch: None,
            decided: None,
            failures: 0,
            deaths: BTreeMap::new(),
            overtaken: Vec::new(),
            first: Attempt(next_attempt),
            looked_ahead: false,
            routes: Vec::new(),
            routed: BTreeSet::new(),
            expected: 0,
            broken: false,
            due: false,
        })
    }

    /// The full name of a task.
    pub fn key(&self, at: At) -> TaskKey {
        TaskKey { batch: self.plan.batch, stage: at.0, partition: at.1 }
    }

    /// The full name of an attempt.
    pub fn id(&self, at: At, attempt: Attempt) -> TaskId {
        TaskId { key: self.key(at), attempt }
    }

    pub fn stage(&self, stage: StageId) -> &Stage {
        &self.stages[usize::from(stage.0)]
    }

    /// The task, if there is one of that name.
    pub fn find(&self, at: At) -> Option<&Task> {
        self.stages.get(usize::from(at.0.0))?.tasks.get(at.1.0 as usize)
    }

    /// A task that is known to exist.
    pub fn task(&self, at: At) -> &Task {
        &self.stages[usize::from(at.0.0)].tasks[at.1.0 as usize]
    }

    pub fn task_mut(&mut self, at: At) -> &mut Task {
        &mut self.stages[usize::from(at.0.0)].tasks[at.1.0 as usize]
    }

    /// All tasks, by id.
    pub fn tasks(&self) -> impl Iterator<Item = (At, &Task)> {
        self.stages.iter().enumerate().flat_map(|(s, stage)| {
            let named = stage.tasks.iter().enumerate();
            named.map(move |(p, task)| ((StageId(s as u16), PartitionId(p as u32)), task))
        })
    }

    /// The one place where a state changes.
    pub fn set(&mut self, at: At, next: TaskState) {
        let stage = &mut self.stages[usize::from(at.0.0)];
        let task = &mut stage.tasks[at.1.0 as usize];
        let (was, kept) = (task.state, task.keeps_promise(self.first));
        assert!(was.may_become(next), "a task went from {was:?} to {next:?}");
        assert!(task.copy.is_none(), "a task left {was:?} behind with a copy");
        task.state = next;
        if let TaskState::Running { .. } = was {
            stage.pace.watched.remove(&(task.launched, at.1));
            task.foreseen = None;
        }
        self.broken |= kept && !task.keeps_promise(self.first);
        self.open = self.open + usize::from(next.is_open()) - usize::from(was.is_open());
        stage.missing = stage.missing + usize::from(was.is_done()) - usize::from(next.is_done());
    }

    /// Whether the task waits, and its first attempt is out.
    pub fn is_ahead(&self, at: At) -> bool {
        self.task(at).state == TaskState::Waiting && self.task(at).foreseen.is_some()
    }

    /// The first attempt of a waiting task is out no more.
    pub fn take_foreseen(&mut self, at: At) -> Option<Foreseen> {
        let foreseen = self.task_mut(at).foreseen.take()?;
        self.expected -= 1;
        self.broken = true;
        Some(foreseen)
    }

    /// Whether readers of this stage get what they were promised, as far as is known.
    pub fn keeps_promises(&self, stage: StageId) -> bool {
        self.stage(stage).tasks.iter().all(|task| task.keeps_promise(self.first))
    }

    /// Whether something has happened that matters to tasks which were sent ahead.
    pub fn has_news(&self) -> bool {
        self.expected > 0 && (self.broken || self.due)
    }

    /// Whether every stage that the task reads is done.
    pub fn has_inputs(&self, at: At) -> bool {
        self.task(at).parents.iter().all(|parent| self.stage(*parent).missing == 0)
    }

    /// Whether everything is there that its sinks need, and it may be decided when its turn comes.
    pub fn is_complete(&self) -> bool {
        self.is_safe && self.open == 0
    }

    /// Whether the outputs of `stage` will not be asked for by a sink any more: the sink has them, or (`publishing`) is being
    /// given them; in that case a loss is dealt with when publishing reports it.
    pub fn is_finished(&self, stage: StageId, publishing: Option<SinkId>) -> bool {
        self.stage(stage)
            .sink
            .is_some_and(|sink| publishing == Some(sink) || !self.unpublished.contains(&sink))
    }

    /// The job as lineage sees it.
    pub fn lineage(&self, publishing: Option<SinkId>) -> Vec<LineageStage<'_>> {
        let copy = |state: TaskState| match state {
            TaskState::Done { .. } => Output::Held,
            TaskState::Lost => Output::Lost,
            TaskState::Waiting | TaskState::Ready | TaskState::Running { .. } => Output::Coming,
        };
        let stages = self.stages.iter().zip(&self.job.stages);
        stages
            .map(|(stage, planned)| {
                let finished = self.is_finished(planned.id, publishing);
                let tasks = stage.tasks.iter();
                LineageStage {
                    wanted: stage.sink.is_some() && !finished,
                    deterministic: planned.deterministic,
                    finished,
                    tasks: tasks.map(|t| LineageTask { parents: &t.parents, copy: copy(t.state) }).collect(),
                }
            })
            .collect()
    }

    /// The records of its input: as planned, or as read where the source did not know them.
    pub fn records_in(&self) -> u64 {
        let planned: u64 = self.plan.inputs.values().map(rows).sum();
        let sources = self.tasks().filter(|(_, task)| task.parents.is_empty());
        planned.max(sources.map(|(_, task)| task.rows_in).sum())
    }

    /// Panics if the counts are wrong or a state contradicts its surroundings.
    pub fn assert_invariants(&self) {
        let open = self.tasks().filter(|(_, task)| task.state.is_open()).count();
        assert_eq!(self.open, open, "{}: open tasks", self.plan.batch);
        for (s, stage) in self.stages.iter().enumerate() {
            let missing = stage.tasks.iter().filter(|task| !task.state.is_done()).count();
            assert_eq!(stage.missing, missing, "{}/stage-{s}: tasks that are not done", self.plan.batch);
        }
        let ahead = self.tasks().filter(|(at, _)| self.is_ahead(*at)).count();
        assert_eq!(self.expected, ahead, "{}: tasks that were sent ahead and wait", self.plan.batch);
        assert!(!self.has_news(), "{}: something has not been followed up", self.plan.batch);
        for (at, task) in self.tasks() {
            let is_running = matches!(task.state, TaskState::Running { .. });
            let is_watched = self.stage(at.0).pace.watched.contains(&(task.launched, at.1));
            assert!(is_running || task.copy.is_none(), "{} has a copy and does not run", self.key(at));
            assert_eq!(is_watched, is_running && task.copy.is_none(), "{}: watched", self.key(at));
            if matches!(task.state, TaskState::Ready | TaskState::Running { .. }) {
                assert!(self.has_inputs(at), "{} is {:?} without its inputs", self.key(at), task.state);
            }
            let runs_first =
                matches!(task.state, TaskState::Running { attempt, .. } if attempt == self.first);
            let may_be_foreseen = task.state == TaskState::Waiting || runs_first;
            assert!(task.foreseen.is_none() || may_be_foreseen, "{} is not ahead any more", self.key(at));
            if self.is_ahead(at) {
                let kept = task.parents.iter().all(|parent| self.keeps_promises(*parent));
                assert!(kept, "{} waits for an attempt that nobody makes", self.key(at));
            }
            if task.state == TaskState::Waiting {
                assert!(!self.has_inputs(at), "{} waits for nothing", self.key(at));
                let parents = task.parents.iter().flat_map(|p| &self.stage(*p).tasks);
                let is_coming = |t: &Task| t.state != TaskState::Lost;
                assert!(parents.into_iter().all(is_coming), "{} waits for a lost output", self.key(at));
            }
        }
    }
}

fn new_task(inputs: &[Vec<PlannedPart>], next_attempt: u16) -> Task {
    let parts = inputs.iter().flatten();
    let mut parents: Vec<StageId> = parts
        .filter_map(|part| match part {
            PlannedPart::Shuffle { parent, .. } => Some(*parent),
            PlannedPart::Block(_) | PlannedPart::Range(..) => None,
        })
        .collect();
    parents.sort_unstable();
    parents.dedup();
    Task {
        parents,
        state: TaskState::Waiting,
        foreseen: None,
        next_attempt,
        failures: 0,
        missing: 0,
        launched: Time(0),
        copy: None,
        avoid: Vec::new(),
        outputs: Vec::new(),
        rows_in: 0,
        ran: Duration::ZERO,
    }
}

fn block_bytes(plan: &BatchPlan) -> BTreeMap<BlockId, u64> {
    let blocks = plan.inputs.values().filter_map(|input| match input {
        StreamInput::Blocks(blocks) => Some(blocks),
        StreamInput::Ranges(_) => None,
    });
    blocks.flatten().map(|block| (block.id, block.bytes)).collect()
}

fn rows(input: &StreamInput) -> u64 {
    match input {
        StreamInput::Blocks(blocks) => blocks.iter().map(|block| block.rows).sum(),
        StreamInput::Ranges(ranges) => ranges.iter().map(|range| range.rows).sum(),
    }
}
