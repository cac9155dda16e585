//! The scheduler's state machine: which event leads to what. Losses are in `loss`, the way out of a batch is in `publish`.
//!
//! Each event is taken in three steps: change the books; decide and publish what has become possible; launch what has room.
//! So a batch whose inputs are there is launched in the event that brought its plan, and a reader in the event that brought
//! its last input.

use super::{
    event::{Action, BlockPlace, Counter, Event},
    executors::Executors,
    job::{At, Job, TaskState},
    queue::Queue,
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
    id::{BatchNumber, DataKey, Epoch, Member, SinkId, TaskId},
    message::{TaskFailure, TaskOutcome},
    time::Time,
};

/// What the scheduler is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// The driver's reign.
    pub epoch: Epoch,
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
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        SchedulerConfig {
            epoch: Epoch(0),
            first: BatchNumber(0),
            failures_max: 4,
            queue_per_slot: 1,
            block_retry: Duration::from_millis(100),
            missing_max: 50,
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
    /// The next batch to be decided; all before it are.
    pub(super) next: BatchNumber,
    /// What a sink is being given.
    pub(super) publishing: Option<(BatchNumber, SinkId)>,
    /// Batches that were safe before their plan came.
    safe_early: BTreeSet<BatchNumber>,
    /// After a failure or a stop: batches from this one on are not taken.
    pub(super) limit: Option<BatchNumber>,
    has_failed: bool,
    pub(super) has_stopped: bool,
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
            next: config.first,
            publishing: None,
            safe_early: BTreeSet::new(),
            limit: None,
            has_failed: false,
            has_stopped: false,
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
            job.blocks.values_mut().for_each(|place| place.safe = true);
            self.queue.feed(batch);
        } else if batch >= self.next && self.limit.is_none() {
            self.safe_early.insert(batch);
        }
    }

    fn block_holders(&mut self, place: BlockPlace) {
        for (batch, job) in &mut self.jobs {
            if job.block_bytes.contains_key(&place.block) {
                let safe = place.safe || job.is_safe;
                job.blocks.insert(place.block, BlockPlace { safe, ..place.clone() });
                self.queue.feed(*batch);
            }
        }
    }

    fn task_done(&mut self, outcome: TaskOutcome, out: &mut Vec<Action>) {
        let TaskId { key, attempt } = outcome.task;
        let at = (key.stage, key.partition);
        let running = TaskState::Running { attempt, on: outcome.holder };
        let Some(job) =
            self.jobs.get_mut(&key.batch).filter(|j| j.find(at).is_some_and(|t| t.state == running))
        else {
            return self.refuse(&outcome, out);
        };
        self.executors.give_back(outcome.holder);
        if !outcome.read.iter().all(|read| is_accepted(job, *read)) {
            // It has read what does not count: the attempt is as good as never made.
            job.set(at, TaskState::Ready);
            self.queue.enter(key);
            self.refuse(&outcome, out);
            return self.count_missing(key, outcome.holder, "read what was not accepted", out);
        }
        let task = job.task_mut(at);
        task.rows_in = outcome.rows_in;
        let full = outcome.outputs.iter().filter(|o| o.rows > 0 || o.bytes > 0);
        task.outputs = full.map(|o| (o.partition, o.bytes)).collect();
        task.outputs.sort_unstable();
        job.set(at, TaskState::Done { attempt, holder: outcome.holder });
        out.push(Action::Count(Counter::TasksDone, 1));
        if job.stage(key.stage).missing == 0 {
            self.wake_tasks(key.batch);
        }
    }

    /// An outcome that does not count: what it made is thrown away.
    fn refuse(&mut self, outcome: &TaskOutcome, out: &mut Vec<Action>) {
        out.push(Action::Count(Counter::ReportsRefused, 1));
        let TaskId { key, attempt } = outcome.task;
        let at = (key.stage, key.partition);
        let job = self.jobs.get(&key.batch);
        let accepted = TaskState::Done { attempt, holder: outcome.holder };
        if job.and_then(|job| job.find(at)).is_some_and(|task| task.state == accepted) {
            return; // A report told twice: the output is the accepted one.
        }
        if let Some(sink) = job.and_then(|job| job.stages.get(usize::from(key.stage.0))?.sink) {
            out.push(Action::Discard { sink, task: outcome.task });
        }
        if self.executors.is_live(outcome.holder) && !outcome.outputs.is_empty() {
            let keys = outcome.outputs.iter();
            let keys = keys.map(|o| DataKey::Output { task: outcome.task, partition: o.partition });
            self.drops.entry(outcome.holder).or_default().extend(keys);
        }
    }

    fn task_failed(&mut self, now: Time, failure: TaskFailure, out: &mut Vec<Action>) {
        let TaskId { key, attempt } = failure.task;
        let at = (key.stage, key.partition);
        let running = TaskState::Running { attempt, on: failure.reporter };
        let Some(job) =
            self.jobs.get_mut(&key.batch).filter(|j| j.find(at).is_some_and(|t| t.state == running))
        else {
            return out.push(Action::Count(Counter::ReportsRefused, 1));
        };
        self.executors.give_back(failure.reporter);
        job.set(at, TaskState::Ready);
        if let Some(sink) = job.stage(key.stage).sink {
            out.push(Action::Discard { sink, task: failure.task });
        }
        if let Some(input) = failure.missing.filter(|input| is_input(job, at, *input)) {
            return self.input_missing(now, key, input, failure.reporter, out);
        }
        job.failures += 1;
        let task = job.task_mut(at);
        task.failures += 1;
        task.avoid(failure.reporter);
        let failures = task.failures;
        self.queue.enter(key);
        out.push(Action::Count(Counter::TaskFailures, 1));
        if failures >= self.config.failures_max {
            let (node, message) = (failure.reporter.node, failure.message);
            self.fail(key.batch, format!("{key} failed {failures} times, last on {node}: {message}"), out);
        }
    }

    /// An attempt is not wanted any more.
    pub(super) fn cancel(&mut self, member: Member, task: TaskId) {
        if self.executors.is_live(member) {
            self.executors.give_back(member);
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
                    // It may hold a block that was thought lost.
                    self.jobs.keys().for_each(|batch| self.queue.feed(*batch));
                }
            }
            Event::ExecutorDown { member } => self.executor_down(member, out),
            Event::ExecutorLeaving { member } => self.executors.leave(member),
            Event::Plan { plan, job, version, blocks } => {
                self.plan(now, Planned { plan, job, version, blocks }, out);
            }
            Event::BlockHolders(place) => self.block_holders(place),
            Event::BatchSafe { batch } => self.batch_safe(batch),
            Event::TaskDone(outcome) => self.task_done(outcome, out),
            Event::TaskFailed(failure) => self.task_failed(now, failure, out),
            Event::SlotLeaked { .. } => out.push(Action::Count(Counter::SlotsLeaked, 1)),
            Event::Published { batch, sink, result } => self.published(batch, sink, result, out),
            Event::Wake => {}
            Event::Stop => self.close_from(self.next, out),
        }
        self.queue.resume(now);
        loop {
            self.advance(now, out);
            self.flush(out);
            let Some((batch, text)) = self.launch(now, out) else {
                break;
            };
            self.fail(batch, text, out);
        }
        self.report_drained(out);
        self.stop_if_drained(out);
    }

    fn wake() -> Event {
        Event::Wake
    }

    fn next_deadline(&self) -> Option<Time> {
        self.queue.next_deadline()
    }

    fn assert_invariants(&self) {
        let mut running = BTreeMap::<Member, u32>::new();
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
                match task.state {
                    TaskState::Running { on, .. } => *running.entry(on).or_default() += 1,
                    TaskState::Ready => _ = ready.insert(job.key(at)),
                    TaskState::Done { holder, .. } => {
                        let is_safe = task.outputs.is_empty() || job.is_finished(at.0, publishing);
                        assert!(
                            is_safe || self.executors.is_live(holder),
                            "{} is held by a dead one",
                            job.key(at)
                        );
                    }
                    TaskState::Waiting | TaskState::Lost => {}
                }
            }
        }
        self.executors.assert_invariants(&running);
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

/// Whether an attempt was right to read this: a block of its batch, or the accepted output of another task.
fn is_accepted(job: &Job, read: DataKey) -> bool {
    match read {
        DataKey::Block(block) => job.block_bytes.contains_key(&block),
        DataKey::Output { task: TaskId { key, attempt }, .. } => {
            let task = job.find((key.stage, key.partition)).filter(|_| key.batch == job.plan.batch);
            task.is_some_and(
                |t| matches!(t.state, TaskState::Done { attempt: accepted, .. } if accepted == attempt),
            )
        }
    }
}

/// Whether the task reads this at all; otherwise a report that it is missing is the task's own fault.
fn is_input(job: &Job, at: At, key: DataKey) -> bool {
    match key {
        DataKey::Block(block) => job.block_bytes.contains_key(&block),
        DataKey::Output { task, .. } => {
            let producer = (task.key.stage, task.key.partition);
            let is_here = task.key.batch == job.plan.batch && job.find(producer).is_some();
            is_here && job.task(at).parents.contains(&task.key.stage)
        }
    }
}
