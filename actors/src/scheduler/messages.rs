//! Whom the scheduler's performer talks to, as narrow traits: the driver's assembly plugs in links, roles and transport.

use super::{
    conduct::Misconduct,
    core::Scheduler,
    event::{BatchTimings, Event, PreparedPart, PublishFailure},
};
use crate::{seam::Held, shell::ShellAddress, transport::FetchError};
use futures_util::future::{BoxFuture, try_join_all};
use std::time::Duration;
use tidemill_protocol::{
    id::{BatchNumber, DataKey, Member, PartitionId, TaskId, TaskKey},
    message::ToExecutor,
};

/// Sends control messages to executors.
pub trait TellExecutors: 'static {
    /// Sends without waiting, in order per executor. To a dead incarnation nothing is sent.
    fn tell(&self, to: Member, message: ToExecutor);
}

/// Those who follow the fate of batches: the batch generator, the rate controller, progress. None of these may wait.
pub trait Followers: 'static {
    /// A batch is decided: its result cannot change any more.
    fn decided(&self, batch: BatchNumber);
    /// A batch is published entirely.
    fn completed(&self, timings: &BatchTimings);
    /// Blocks of this batch and of all before it will not be asked for again.
    fn released(&self, batch: BatchNumber);
    /// An executor's loss makes these tasks run again.
    fn tasks_lost(&self, batch: BatchNumber, member: Member, tasks: &[TaskKey]);
    /// An attempt that counted has failed.
    fn attempt_failed(&self, task: TaskId, on: Member, message: String);
    /// Nothing of this leaving executor's tasks and outputs is needed any more.
    fn drained(&self, member: Member);
    /// A copy of a task that takes too long on `slow` starts elsewhere.
    fn copied(&self, task: TaskId, slow: Member);
    /// An executor gets no tasks for a time.
    fn excluded(&self, member: Member, time: Duration, why: Misconduct);
    /// Nothing from this batch on will be published, for this reason.
    fn failed(&self, batch: BatchNumber, text: &str);
    /// After a failure or a stop: all that could be published in time has been.
    fn stopped(&self);
}

/// Fetches prepared outputs to the driver.
pub trait FetchPrepared: Send + Sync {
    /// The output, from its holder.
    fn fetch(&self, key: DataKey, holder: Member) -> BoxFuture<'static, Result<Held, FetchError>>;
}

/// Where the answer to a publication goes: the scheduler itself.
pub(super) trait TellScheduler: Clone + Send + 'static {
    /// Delivers an event without waiting.
    fn tell(&self, event: Event);
}

impl TellScheduler for ShellAddress<Scheduler> {
    fn tell(&self, event: Event) {
        ShellAddress::tell(self, event);
    }
}

/// All parts in order, fetched at the same time; the first that cannot be had ends it.
pub(super) async fn fetch_all(
    prepared: &dyn FetchPrepared,
    parts: Vec<PreparedPart>,
) -> Result<Vec<(TaskId, Held)>, PublishFailure> {
    try_join_all(parts.into_iter().map(|part| async move {
        if !part.has_rows {
            return Ok((part.task, Held::default()));
        }
        let key = DataKey::Output { task: part.task, partition: PartitionId(0) };
        match prepared.fetch(key, part.holder).await {
            Ok(held) => Ok((part.task, held)),
            Err(error) if error.is_retryable() => Err(PublishFailure::Missing(key)),
            // Made again it would be the same.
            Err(error) => Err(PublishFailure::Unreadable(error.to_string())),
        }
    }))
    .await
}
