//! The way out of a batch: decided, published, released, strictly in order of batches; its sinks in order of id, one after
//! the other.
//!
//! ```text
//!   complete ──(all before it are decided)──> decided ──> sink-0 ──> sink-1 ──> … ──> released
//!                                                           └──missing──> made again, and once more
//! ```
//!
//! While a sink is being given a batch, the loss of a holder changes nothing: the sink's answer says whether it mattered, and
//! a file that is just being published is never discarded under its hands.

use super::{
    core::Scheduler,
    event::{Action, BatchTimings, Counter, PreparedPart, PublishFailure},
    job::{At, Job, TaskState},
};
use std::time::Duration;
use tidemill_protocol::{
    id::{BatchNumber, DataKey, SinkId},
    time::Time,
};

/// How long decided batches may take to be published after a failure or a stop.
const PATIENCE: Duration = Duration::from_secs(10);

impl Scheduler {
    /// The sink that is being given this batch.
    pub(super) fn publishing_of(&self, batch: BatchNumber) -> Option<SinkId> {
        self.publishing.filter(|(publishing, _)| *publishing == batch).map(|(_, sink)| sink)
    }

    /// Decides, publishes and releases what has become possible.
    pub(super) fn advance(&mut self, now: Time, out: &mut Vec<Action>) {
        while let Some(job) = self.jobs.get_mut(&self.next).filter(|job| job.is_complete()) {
            job.decided = Some(now);
            out.push(Action::Decided { batch: self.next });
            self.next = self.next.next();
        }
        while self.publishing.is_none() {
            let Some((batch, job)) = self.jobs.first_key_value() else {
                break;
            };
            let (batch, Some(decided)) = (*batch, job.decided) else {
                break;
            };
            match job.unpublished.first().copied() {
                Some(sink) => {
                    let Some(parts) = parts(job, sink) else { break };
                    let (bytes, bytes_max) = (bytes_for(job, sink), self.config.result_bytes_max);
                    if bytes > bytes_max {
                        self.fail(batch, too_large(sink, batch, bytes, bytes_max), out);
                        continue;
                    }
                    self.publishing = Some((batch, sink));
                    out.push(Action::Publish { batch, time: job.plan.time, sink, parts });
                }
                None => self.release(now, batch, decided, out),
            }
        }
    }

    /// After a failure or a stop: says when nothing is left to do, or when what is left takes too long.
    pub(super) fn stop_if_drained(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.limit.is_none() || self.has_stopped {
            return;
        }
        let give_up_at = *self.give_up_at.get_or_insert(now + PATIENCE);
        let is_drained = self.jobs.is_empty() && self.publishing.is_none();
        if !is_drained && now < give_up_at {
            return;
        }
        if !is_drained && !self.has_failed {
            let batch = self.jobs.keys().next().copied().unwrap_or(self.next);
            let text =
                format!("{batch} is decided, and could not be published within {PATIENCE:?} of the stop");
            self.has_failed = true;
            out.push(Action::PipelineFailed { batch, text });
        }
        self.has_stopped = true;
        out.push(Action::Stopped);
    }

    fn release(&mut self, now: Time, batch: BatchNumber, decided: Time, out: &mut Vec<Action>) {
        let Some(job) = self.withdraw(batch, out) else {
            return;
        };
        self.remember_pace(&job);
        self.judge(now, &job, out);
        out.push(Action::Count(Counter::BatchesPublished, 1));
        out.push(Action::Completed(BatchTimings {
            batch,
            version: job.version,
            time: job.plan.time,
            submitted: job.submitted,
            first_launch: job.first_launch.unwrap_or(job.submitted),
            decided,
            published: now,
            records_in: job.records_in(),
            tasks: job.tasks().count() as u64,
            failures: job.failures,
        }));
        out.push(Action::Release { batch, members: self.releases.release(now, batch, &job.bytes_held()) });
    }

    /// A sink has answered.
    pub(super) fn published(
        &mut self,
        batch: BatchNumber,
        sink: SinkId,
        result: Result<(), PublishFailure>,
        out: &mut Vec<Action>,
    ) {
        if self.publishing != Some((batch, sink)) {
            return; // An answer that nobody waits for: told twice.
        }
        self.publishing = None;
        let Some(job) = self.jobs.get_mut(&batch) else {
            return;
        };
        match result {
            Ok(()) => job.unpublished.retain(|other| *other != sink),
            Err(PublishFailure::Missing(key)) => self.prepared_missing(batch, sink, key, out),
            Err(PublishFailure::Unreadable(text)) => {
                self.fail(batch, format!("{sink} cannot be given {batch}: {text}"), out);
            }
            Err(PublishFailure::Refused(text)) => {
                self.fail(batch, format!("{sink} refused {batch}: {text}"), out)
            }
        }
    }

    /// A prepared output could not be fetched: it is made again, with all others whose holder is known to be dead.
    fn prepared_missing(
        &mut self,
        batch: BatchNumber,
        sink: SinkId,
        missing: DataKey,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(&batch) else {
            return;
        };
        // While the sink was being given them, the outputs were out of lineage's reach. If what they were made from has been
        // made anew meanwhile, and differently, then the one that is missing cannot be made to fit the others: all again.
        let is_repeatable = job.job.stages.iter().all(|stage| stage.deterministic);
        let mut lost: Vec<At> = Vec::new();
        let mut named = None;
        for (at, task) in job.tasks().filter(|(at, _)| job.stage(at.0).sink == Some(sink)) {
            let TaskState::Done { attempt, holder } = task.state else {
                continue;
            };
            let is_named = matches!(missing, DataKey::Output { task, .. } if task == job.id(at, attempt));
            if is_named {
                named = Some((at, holder));
            }
            let has_died = !task.outputs.is_empty() && !self.executors.is_live(holder);
            if is_named || has_died || !is_repeatable {
                lost.push(at);
            }
        }
        let Some((at, holder)) = named else {
            return self.fail(
                batch,
                format!("{sink} misses {missing}, which is no output of {batch} for it"),
                out,
            );
        };
        let key = job.key(at);
        job.task_mut(at).avoid(holder);
        for at in lost {
            self.lose(batch, at, out);
        }
        self.settle(batch, out);
        self.count_missing(key, holder, "had its output reported missing", out);
    }
}

/// The outputs for a sink in the order of the value; none if one of them is still being made.
fn parts(job: &Job, sink: SinkId) -> Option<Vec<PreparedPart>> {
    let tasks = job.tasks().filter(|(at, _)| job.stage(at.0).sink == Some(sink));
    tasks
        .map(|(at, task)| match task.state {
            TaskState::Done { attempt, holder } => {
                Some(PreparedPart { task: job.id(at, attempt), holder, has_rows: !task.outputs.is_empty() })
            }
            _ => None,
        })
        .collect()
}

/// What the outputs for a sink take where they are held.
fn bytes_for(job: &Job, sink: SinkId) -> u64 {
    let tasks = job.tasks().filter(|(at, _)| job.stage(at.0).sink == Some(sink));
    tasks.flat_map(|(_, task)| &task.outputs).fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
}

fn too_large(sink: SinkId, batch: BatchNumber, bytes: u64, bytes_max: u64) -> String {
    format!(
        "{sink} cannot be given {batch}: its records take {bytes} bytes, and result_bytes_max is {bytes_max}; make the result \
         smaller, raise the limit, or write from tasks with foreach_partition or save_as_text_files"
    )
}
