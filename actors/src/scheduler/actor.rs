//! Carries out what the scheduler asks for: wire messages to executors, word to those who follow batches, and publication,
//! which fetches prepared outputs and hands them to the sink on the user runtime. Started by the driver's supervisor as
//! `Shell<Scheduler>`.

use super::{
    conduct::Misconduct,
    core::Scheduler,
    event::{Action, Event, PreparedPart, PublishFailure},
    messages::{FetchPrepared, Followers, TellExecutors, TellScheduler, fetch_all},
    outbox::Outbox,
};
use crate::{
    core::Perform,
    seam::{Published, SinkHost},
    shell::ShellAddress,
    supervision::panic::catch_future,
};
use std::sync::Arc;
use tidemill_protocol::{
    id::{BatchNumber, RunId, SinkId, TaskId},
    message::ToExecutor,
    time::BatchTime,
    world::Spawner,
};

/// The performer of [`Scheduler`].
pub struct SchedulerPerformer<E, F> {
    /// The links to executors.
    pub executors: E,
    /// Who is told about batches.
    pub followers: F,
    /// How prepared outputs come here.
    pub prepared: Arc<dyn FetchPrepared>,
    /// The program's sinks.
    pub sinks: Arc<dyn SinkHost>,
    /// This start of the driver.
    pub run: RunId,
    /// Where publication runs.
    pub spawner: Spawner,
    /// What executors are told at the end of the turn.
    pub outbox: Outbox,
}

impl<E: TellExecutors, F: Followers> Perform<Scheduler> for SchedulerPerformer<E, F> {
    fn perform(&mut self, action: Action, me: &ShellAddress<Scheduler>) {
        self.carry_out(action, me);
    }

    fn end_turn(&mut self) {
        self.outbox.take().for_each(|(member, orders)| self.executors.tell(member, orders));
    }
}

impl<E: TellExecutors, F: Followers> SchedulerPerformer<E, F> {
    pub(super) fn carry_out(&mut self, action: Action, me: &impl TellScheduler) {
        match action {
            Action::Launch { member, facts, tasks, routes } => {
                self.outbox.put(member, ToExecutor::Run { facts, tasks, routes });
            }
            Action::Name { member, tasks } => self.outbox.put(member, ToExecutor::NameInputs { tasks }),
            Action::Cancel { member, tasks } => self.outbox.put(member, ToExecutor::Cancel { tasks }),
            Action::Drop { member, keys } => self.outbox.put(member, ToExecutor::Drop { keys }),
            Action::ReleaseOutputs { member, up_to } => self.outbox.release(member, up_to),
            Action::Decided { batch } => self.followers.decided(batch),
            Action::Publish { batch, time, sink, parts } => {
                self.publish(batch, time, sink, parts, me.clone())
            }
            Action::Discard { sink, task } => self.discard(sink, task),
            Action::Completed(timings) => self.followers.completed(&timings),
            Action::Release { batch, members } => {
                members.into_iter().for_each(|member| self.outbox.release(member, batch));
                self.followers.released(batch);
            }
            Action::PipelineFailed { batch, text } => {
                // Whoever waits for the end is told, and says it: at a higher level the user would read it twice.
                tracing::info!(%batch, %text, "the pipeline has failed");
                self.followers.failed(batch, &text);
            }
            Action::TasksLost { batch, member, tasks } => {
                tracing::info!(%batch, %member, tasks = tasks.len(), "an executor was lost: tasks run again");
                self.followers.tasks_lost(batch, member, &tasks);
            }
            Action::AttemptFailed { task, on, message } => {
                tracing::info!(%task, %on, message, "an attempt has failed");
                self.followers.attempt_failed(task, on, message);
            }
            Action::ExecutorDrained { member } => self.followers.drained(member),
            Action::Copied { task, slow, waited } => {
                tracing::debug!(%task, %slow, ?waited, "a task takes too long: a copy starts elsewhere");
                self.followers.copied(task, slow);
            }
            Action::Excluded { member, time, why } => {
                match why {
                    // Each failure is told already, and a faulty program fails everywhere; so is the exclusion of an earlier life.
                    Misconduct::Failures | Misconduct::EarlierLife => {
                        tracing::info!(%member, ?time, ?why, "an executor gets no tasks for a time")
                    }
                    Misconduct::Slowness | Misconduct::OutOfReach => {
                        tracing::warn!(%member, ?time, ?why, "an executor gets no tasks for a time")
                    }
                }
                self.followers.excluded(member, time, why);
            }
            Action::Included { member } => tracing::info!(%member, "an executor gets tasks again"),
            Action::Stopped => self.followers.stopped(),
            Action::Count(counter, n) => metrics::counter!(counter.name()).increment(n),
        }
    }

    fn discard(&self, sink: SinkId, task: TaskId) {
        let (sinks, spawner, run) = (self.sinks.clone(), self.spawner.clone(), self.run);
        self.spawner.spawn(async move { _ = spawner.blocking(move || sinks.discard(run, sink, task)).await });
    }

    fn publish(
        &self,
        batch: BatchNumber,
        time: BatchTime,
        sink: SinkId,
        parts: Vec<PreparedPart>,
        me: impl TellScheduler,
    ) {
        let (prepared, sinks, run) = (self.prepared.clone(), self.sinks.clone(), self.run);
        self.spawner.spawn(async move {
            // Users' code, both of it: records are decoded as they come. A panic that went by unseen would leave the batch waiting
            // for its answer for ever.
            let fetched = catch_future(async move { fetch_all(&*prepared, parts).await }).await;
            let result = match fetched {
                Ok(Ok(partitions)) => {
                    let published = Published { run, sink, batch, time, partitions };
                    match catch_future(async move { sinks.publish(published).await }).await {
                        Ok(answer) => answer.map_err(|refused| PublishFailure::Refused(refused.to_string())),
                        Err(panic) => Err(PublishFailure::Refused(format!("it panicked: {panic}"))),
                    }
                }
                Ok(Err(failure)) => Err(failure),
                Err(panic) => {
                    Err(PublishFailure::Unreadable(format!("a record that was read panicked: {panic}")))
                }
            };
            me.tell(Event::Published { batch, sink, result });
        });
    }
}
