//! Publishing to the outside world: on the driver, once per decided batch, in order of batches.

use super::Held;
use futures_util::future::BoxFuture;
use tidemill_protocol::{
    id::{BatchNumber, RunId, SinkId, TaskId},
    time::BatchTime,
};

/// The program's sinks.
pub trait SinkHost: Send + Sync {
    /// Publishes the prepared output of one sink for one decided batch. Called in order of batches; must be idempotent in
    /// (sink, batch).
    fn publish(&self, published: Published) -> BoxFuture<'static, Result<(), PublishError>>;
    /// Throws away what an attempt prepared and nobody will publish.
    fn discard(&self, run: RunId, sink: SinkId, task: TaskId);
}

/// A decided batch's output for one sink.
#[derive(Clone, Debug)]
pub struct Published {
    /// The run of the driver in which it was made.
    pub run: RunId,
    /// The sink.
    pub sink: SinkId,
    /// The batch.
    pub batch: BatchNumber,
    /// Its time.
    pub time: BatchTime,
    /// For each partition in order: the accepted attempt and what it prepared (empty for sinks whose records stay in tasks).
    pub partitions: Vec<(TaskId, Held)>,
}

/// A sink refused a batch: the pipeline stops there, with this text.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct PublishError(pub String);
