//! What executors say of attempts: an outcome that counts, one that does not, a failure.

use super::{
    conduct::Misconduct,
    core::Scheduler,
    event::{Action, Counter},
    foresight::Report,
    job::{At, Job, TaskState},
};
use std::{sync::Arc, time::Duration};
use tidemill_protocol::{
    id::{DataKey, TaskId},
    message::{StageRead, TaskFailure, TaskOutcome},
    time::Time,
};

impl Scheduler {
    pub(super) fn task_done(&mut self, now: Time, outcome: Arc<TaskOutcome>, out: &mut Vec<Action>) {
        let (task, holder) = (outcome.task, outcome.holder);
        let Some(Report::Done(outcome)) = self.keep_early(task, holder, Report::Done(outcome)) else {
            return;
        };
        let TaskId { key, attempt } = outcome.task;
        let at = (key.stage, key.partition);
        let is_out = |job: &&mut Job| job.find(at).is_some_and(|t| t.runs(attempt, outcome.holder));
        let Some(job) = self.jobs.get_mut(&key.batch).filter(is_out) else {
            return self.refuse(&outcome, out);
        };
        self.executors.give_back(outcome.holder);
        let stages_are_accepted = outcome.read_stages.iter().all(|read| is_accepted_stage(job, *read));
        if !stages_are_accepted || !outcome.read.iter().all(|read| is_accepted(job, *read)) {
            // It has read what does not count: the attempt is as good as never made.
            if !job.end_attempt(at, attempt) {
                self.queue.enter(key);
            }
            self.refuse(&outcome, out);
            return self.count_missing(key, outcome.holder, "read what was not accepted", out);
        }
        let overtaken = job.accept(now, at, attempt, Duration::from_nanos(outcome.run_ns));
        let sink = job.stage(at.0).sink;
        let task = job.task_mut(at);
        task.rows_in = outcome.rows_in;
        task.ran = Duration::from_nanos(outcome.run_ns);
        let full = outcome.outputs.iter().filter(|o| o.rows > 0 || o.bytes > 0);
        task.outputs = full.map(|o| (o.partition, o.bytes)).collect();
        task.outputs.sort_unstable();
        let is_last = job.stage(key.stage).missing == 0;
        if let Some(twin) = overtaken {
            let task = TaskId { key, attempt: twin.attempt };
            self.cancel(twin.on, task);
            out.extend(sink.map(|sink| Action::Discard { sink, task }));
        }
        out.push(Action::Count(Counter::TasksDone, 1));
        if is_last {
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

    pub(super) fn task_failed(&mut self, now: Time, failure: TaskFailure, out: &mut Vec<Action>) {
        let (task, reporter) = (failure.task, failure.reporter);
        let Some(Report::Failed(failure)) = self.keep_early(task, reporter, Report::Failed(failure)) else {
            return;
        };
        let TaskId { key, attempt } = failure.task;
        let at = (key.stage, key.partition);
        let is_out = |job: &&mut Job| job.find(at).is_some_and(|t| t.runs(attempt, failure.reporter));
        let Some(job) = self.jobs.get_mut(&key.batch).filter(is_out) else {
            return out.push(Action::Count(Counter::ReportsRefused, 1));
        };
        let (on, message) = (failure.reporter, failure.message.clone());
        out.push(Action::AttemptFailed { task: failure.task, on, message });
        self.executors.give_back(failure.reporter);
        let goes_on = job.end_attempt(at, attempt);
        if let Some(sink) = job.stage(key.stage).sink {
            out.push(Action::Discard { sink, task: failure.task });
        }
        if let Some(input) = failure.missing.filter(|input| is_input(job, at, *input)) {
            if !self.out_of_reach(now, failure.reporter, &failure.unreached, out) {
                return self.input_missing(now, key, input, failure.reporter, out);
            }
            // It is there for others, unless it was lost with the reporter.
            let job = self.jobs.get(&key.batch);
            if job.is_some_and(|job| job.task(at).state == TaskState::Ready) {
                self.queue.enter(key);
            }
            return;
        }
        job.failures += 1;
        let task = job.task_mut(at);
        task.avoid(failure.reporter);
        // An executor that had not enough says nothing about the task while there is one that was not asked. As each is asked
        // once, the refusals that do not count end with the executors.
        let is_refusal = failure.exhausted.is_some();
        let is_own = !is_refusal || !self.executors.has_others(&task.avoid);
        task.failures += u16::from(is_own);
        let failures = task.failures;
        if !goes_on {
            self.queue.enter(key);
        }
        out.push(Action::Count(Counter::TaskFailures, 1));
        if !is_own {
            return;
        }
        if failures >= self.config.failures_max {
            let (node, message) = (failure.reporter.node, failure.message);
            let text = match failure.exhausted {
                None => format!("{key} failed {failures} times, last on {node}: {message}"),
                Some(_) => format!("no executor has enough for {key}, tried last on {node}: {message}"),
            };
            return self.fail(key.batch, text, out);
        }
        if !is_refusal && self.conduct.task_failed(now, failure.reporter, key) {
            self.exclude(now, failure.reporter, Misconduct::Failures, out);
        }
    }
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

/// The same for the outputs of all tasks of a stage.
fn is_accepted_stage(job: &Job, read: StageRead) -> bool {
    let stage = job.stages.get(usize::from(read.stage.0));
    stage.is_some_and(|stage| {
        let is_read = |state| matches!(state, TaskState::Done { attempt, .. } if attempt == read.attempt);
        stage.tasks.iter().all(|task| is_read(task.state))
    })
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
