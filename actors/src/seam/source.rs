//! Reading the outside world: received sources push into a block sink, planned ones say which ranges there are.

use super::PlannedRange;
use crate::receiver::BlockSink;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use tidemill_protocol::id::{PartitionId, Position, ReceiverId, StreamId};

/// The program's sources.
pub trait SourceHost: Send + Sync {
    /// Reads a received stream until it ends, fails, or the sink is closed. Runs on the user runtime. `resume_after` is the
    /// last position that is safe: the source goes on after it.
    fn receive(
        &self,
        receiver: ReceiverId,
        resume_after: Option<Position>,
        sink: BlockSink,
    ) -> BoxFuture<'static, Result<(), SourceError>>;

    /// The ranges of a planned stream that the next batch shall hold, given how far each partition was planned (missing:
    /// from the start) and how many records are permitted (`None`: no limit). An empty answer: nothing new.
    fn next_ranges(
        &self,
        stream: StreamId,
        planned: &BTreeMap<PartitionId, u64>,
        records_max: Option<u64>,
    ) -> BoxFuture<'static, Result<Vec<PlannedRange>, SourceError>>;

    /// Whether a planned stream has ended: no later call of `next_ranges` will give a range.
    fn is_exhausted(&self, stream: StreamId, planned: &BTreeMap<PartitionId, u64>) -> bool;
}

/// A source cannot go on. Retryable: the receiver is started again, with backoff, from its last safe position.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);
