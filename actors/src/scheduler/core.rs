//! The scheduler's state machine: which event leads to what. What executors say is in `outcome`, losses are in `loss`, copies
//! in `copies`, who is excluded in `review`, the way out of a batch in `publish`.
//!
//! Each event is taken in three steps: change the books; decide and publish what has become possible; launch what has room.
//! So a batch whose inputs are there is launched in the event that brought its plan, and a reader in the event that brought
//! its last input.

use super::{
    conduct::{Conduct, ConductLimits},
    event::{Action, BlockPlace, Counter, Event},
    executors::{Counted, Executors},
    foresight::PreschedulingLimits,
    job::{Job, TaskState},
    pace::{History, SpeculationLimits},
    queue::Queue,
    reach::Reach,
    releases::{LateRelease, Releases},
};
use crate::{
    core::Core,
    seam::{BatchPlan, JobPlan},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidemill_protocol::{
    id::{BatchNumber, DataKey, Epoch, Member, RunId, SinkId, TaskId},
    time::Time,
};

/// What the scheduler is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// The driver's reign.
    pub epoch: Epoch,
    /// This start of the driver.
    pub run: RunId,
    /// The first batch that will be planned.
    pub first: BatchNumber,
    /// After this many failures of one task by its own fault the pipeline fails.
    pub failures_max: u16,
    /// Tasks that an executor may hold beyond its slots, for each slot: they hide the round trip.
    pub queue_per_slot: u16,
    /// How long a task waits that could not read a block although somebody holds it.
    pub block_retry: Duration,
    /// After this many reports of one task that an input could not be had, the pipeline fails.
    pub missing_max: u16,
    /// When a copy of a running task starts; none: never.
    pub speculation: Option<SpeculationLimits>,
    /// When an executor gets no tasks for a time.
    pub conduct: ConductLimits,
    /// When the tasks of later stages are sent with those of the first; none: stage by stage.
    pub prescheduling: Option<PreschedulingLimits>,
    /// How long small outputs may stay on executors beyond their batch; none: not at all.
    pub late_release: Option<LateRelease>,
    /// What the outputs for one sink of one batch may take together, in bytes: they come to the driver.
    pub result_bytes_max: u64,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        SchedulerConfig {
            epoch: Epoch(0),
            run: RunId(0),
            first: BatchNumber(0),
            failures_max: 4,
            queue_per_slot: 1,
            block_retry: Duration::from_millis(100),
            missing_max: 50,
            speculation: Some(SpeculationLimits::default()),
            conduct: ConductLimits::default(),
            prescheduling: Some(PreschedulingLimits::default()),
            late_release: Some(LateRelease::default()),
            result_bytes_max: u64::MAX,
        }
    }
}

/// The scheduler.
#[derive(Clone, Debug)]
pub struct Scheduler {
    pub(super) config: SchedulerConfig,
    pub(super) executors: Executors,
    /// Batches that are not released.
    pub(super) jobs: BTreeMap<BatchNumber, Job>,
    pub(super) queue: Queue,
    pub(super) conduct: Conduct,
    pub(super) reach: Reach,
    pub(super) history: History,
    pub(super) releases: Releases,
    /// When running tasks are looked at next, for copies. Moved forward only, so that a steady flow of tasks does not set a
    /// timer for each.
    pub(super) look_at: Option<Time>,
    /// The next batch to be decided; all before it are.
    pub(super) next: BatchNumber,
    /// What a sink is being given.
    pub(super) publishing: Option<(BatchNumber, SinkId)>,
    /// Batches that were safe before their plan came.
    safe_early: BTreeSet<BatchNumber>,
    /// While all executors leave: blocks wait in batches that are still to be planned.
    pub(super) blocks_wait: bool,
    /// After a failure or a stop: batches from this one on are not taken.
    pub(super) limit: Option<BatchNumber>,
    pub(super) has_failed: bool,
    pub(super) has_stopped: bool,
    /// After a failure or a stop: what is decided and not published by then is given up.
    pub(super) give_up_at: Option<Time>,
    /// Gathered during one event, so that each executor gets one message.
    cancels: BTreeMap<Member, Vec<TaskId>>,
    pub(super) drops: BTreeMap<Member, Vec<DataKey>>,
}

impl Scheduler {
    /// A scheduler without executors and batches.
    pub fn new(config: SchedulerConfig) -> Self {
        Scheduler {
            config,
            executors: Executors::default(),
            jobs: BTreeMap::new(),
            queue: Queue::default(),
            conduct: Conduct::new(config.conduct),
            reach: Reach::new(config.conduct.gap_min),
            history: History::default(),
            releases: Releases::new(config.late_release),
            look_at: None,
            next: config.first,
            publishing: None,
            safe_early: BTreeSet::new(),
            blocks_wait: false,
            limit: None,
            has_failed: false,
            has_stopped: false,
            give_up_at: None,
            cancels: BTreeMap::new(),
            drops: BTreeMap::new(),
        }
    }

    fn plan(&mut self, now: Time, planned: Planned, out: &mut Vec<Action>) {
        let Planned { plan, job, version, blocks } = planned;
        let batch = plan.batch;
        let is_old = self.jobs.get(&batch).is_some_and(|known| version <= known.version);
        if batch < self.next || self.limit.is_some_and(|limit| batch >= limit) || is_old {
            return out.push(Action::Count(Counter::PlansRefused, 1));
        }
        let replaced = self.abandon(batch, out);
        let next_attempt =
            replaced.iter().flat_map(Job::tasks).map(|(_, t)| t.next_attempt).max().unwrap_or(0);
        match Job::new(now, plan, job, version, blocks, next_attempt) {
            Ok(mut job) => {
                job.is_safe = self.safe_early.remove(&batch);
                if let Some(replaced) = replaced {
                    job.submitted = replaced.submitted;
                    job.first_launch = replaced.first_launch;
                    job.failures = replaced.failures;
                    job.deaths = replaced.deaths;
                }
                self.jobs.insert(batch, job);
                self.wake_tasks(batch);
            }
            Err(fault) => self.fail(batch, format!("{batch} has no job: {fault}"), out),
        }
    }

    fn batch_safe(&mut self, batch: BatchNumber) {
        if let Some(job) = self.jobs.get_mut(&batch) {
            job.is_safe = true;
        } else if batch >= self.next && self.limit.is_none() {
            self.safe_early.insert(batch);
        }
    }

    fn block_holders(&mut self, place: BlockPlace) {
        for (batch, job) in &mut self.jobs {
            if job.block_bytes.contains_key(&place.block) {
                job.blocks.insert(place.block, place.clone());
                self.queue.feed(*batch);
            }
        }
    }

    /// An attempt is not wanted any more.
    pub(super) fn cancel(&mut self, member: Member, task: TaskId) {
        self.executors.give_back(member);
        self.tell_cancel(member, task);
    }

    /// The executor of an attempt is told to stop it.
    pub(super) fn tell_cancel(&mut self, member: Member, task: TaskId) {
        if self.executors.is_live(member) {
            self.cancels.entry(member).or_default().push(task);
        }
    }

    /// The pipeline cannot have `batch`: it and all after it are dropped.
    pub(super) fn fail(&mut self, batch: BatchNumber, text: String, out: &mut Vec<Action>) {
        if !self.has_failed {
            self.has_failed = true;
            out.push(Action::PipelineFailed { batch, text });
        }
        self.close_from(batch, out);
    }

    fn close_from(&mut self, batch: BatchNumber, out: &mut Vec<Action>) {
        let limit = self.limit.map_or(batch, |limit| limit.min(batch));
        self.limit = Some(limit);
        let dropped: Vec<BatchNumber> = self.jobs.range(limit..).map(|(batch, _)| *batch).collect();
        for batch in dropped {
            self.abandon(batch, out);
        }
    }

    /// Tasks of a batch go to an executor; what it has not been told of earlier batches goes with them.
    pub(super) fn sends(&mut self, batch: BatchNumber, member: Member, out: &mut Vec<Action>) {
        self.releases.sent(batch, member);
        out.extend(self.releases.take(member).map(|up_to| Action::ReleaseOutputs { member, up_to }));
    }

    fn flush(&mut self, out: &mut Vec<Action>) {
        out.extend(
            std::mem::take(&mut self.drops).into_iter().map(|(member, keys)| Action::Drop { member, keys }),
        );
        let cancels = std::mem::take(&mut self.cancels).into_iter();
        out.extend(cancels.map(|(member, tasks)| Action::Cancel { member, tasks }));
    }
}

impl Core for Scheduler {
    type Event = Event;
    type Action = Action;

    const NAME: &'static str = "scheduler";

    fn on_event(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::ExecutorUp { member, slots } => {
                if self.executors.enter(member, slots, self.config.queue_per_slot) {
                    self.welcome(now, member, out);
                    // It may hold a block that was thought lost.
                    self.jobs.keys().for_each(|batch| self.queue.feed(*batch));
                }
            }
            Event::ExecutorDown { member, has_ended } => {
                let poison = if has_ended { self.blame(member) } else { None };
                self.executor_down(member, out);
                self.keep_one_usable(now, out);
                if let Some((batch, text)) = poison {
                    self.fail(batch, text, out);
                }
            }
            Event::ExecutorSuspected { member } => {
                self.executors.suspect(member, true);
                self.keep_one_usable(now, out);
            }
            Event::ExecutorLeaving { member } => {
                self.executors.leave(member);
                self.keep_one_usable(now, out);
            }
            Event::ExecutorTrusted { member } => self.executors.suspect(member, false),
            Event::Plan { plan, job, version, blocks } => {
                self.plan(now, Planned { plan, job, version, blocks }, out);
            }
            Event::BlockHolders(place) => self.block_holders(place),
            Event::BatchSafe { batch } => self.batch_safe(batch),
            Event::BlocksWait { wait } => self.blocks_wait = wait,
            Event::TaskDone(outcome) => self.task_done(now, outcome, out),
            Event::TaskFailed(failure) => self.task_failed(now, failure, out),
            Event::NoticeLost { batch, reader, by } => {
                self.untold(now, by, reader);
                self.doubt(batch, Some(reader), out);
            }
            Event::SlotLeaked { .. } => out.push(Action::Count(Counter::SlotsLeaked, 1)),
            Event::Published { batch, sink, result } => self.published(batch, sink, result, out),
            Event::Wake => {}
            Event::Stop => self.close_from(self.next, out),
        }
        self.follow_up(now, out);
        self.queue.resume(now);
        self.review(now, out);
        loop {
            self.advance(now, out);
            self.flush(out);
            let Some((batch, text)) = self.launch(now, out) else {
                break;
            };
            self.fail(batch, text, out);
        }
        self.report_drained(out);
        self.speculate(now, out);
        let due = self.releases.due(now).into_iter();
        out.extend(due.map(|(member, up_to)| Action::ReleaseOutputs { member, up_to }));
        self.stop_if_drained(now, out);
    }

    fn wake() -> Event {
        Event::Wake
    }

    fn next_deadline(&self) -> Option<Time> {
        let deadlines = [
            self.queue.next_deadline(),
            self.conduct.next_deadline(),
            self.releases.next_deadline(),
            self.look_at,
            self.give_up_at.filter(|_| !self.has_stopped),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn assert_invariants(&self) {
        let mut counted = BTreeMap::<Member, Counted>::new();
        let mut ready = BTreeSet::new();
        for (batch, job) in &self.jobs {
            job.assert_invariants();
            assert_eq!(job.plan.batch, *batch, "a job stands under its batch");
            assert_eq!(
                job.decided.is_some(),
                *batch < self.next,
                "{batch}: the decided batches are a prefix"
            );
            assert!(self.limit.is_none_or(|limit| *batch < limit), "{batch} was dropped");
            let publishing = self.publishing_of(*batch);
            for (at, task) in job.tasks() {
                task.attempts().for_each(|twin| counted.entry(twin.on).or_default().running += 1);
                if let Some(foreseen) = &task.foreseen {
                    let counted = counted.entry(foreseen.on).or_default();
                    let is_ahead = u32::from(job.is_ahead(at));
                    counted.expecting += is_ahead;
                    counted.foreseen += 1 - is_ahead;
                }
                match task.state {
                    TaskState::Ready => _ = ready.insert(job.key(at)),
                    TaskState::Done { holder, .. } => {
                        let is_safe = task.outputs.is_empty() || job.is_finished(at.0, publishing);
                        assert!(
                            is_safe || self.executors.is_live(holder),
                            "{} is held by a dead one",
                            job.key(at)
                        );
                    }
                    TaskState::Running { .. } | TaskState::Waiting | TaskState::Lost => {}
                }
            }
        }
        self.executors.assert_invariants(&counted);
        self.releases.assert_invariants(|member| self.executors.is_live(member));
        self.queue.assert_holds(&ready);
        assert!(self.drops.is_empty() && self.cancels.is_empty(), "everything gathered has been told");
    }
}

/// The content of [`Event::Plan`].
struct Planned {
    plan: Arc<BatchPlan>,
    job: Arc<JobPlan>,
    version: u32,
    blocks: Vec<BlockPlace>,
}
