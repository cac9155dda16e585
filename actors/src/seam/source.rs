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
    /// from the start) and how many records are permitted (`None`: no limit). An empty answer: nothing new. The future must
    /// not block: whoever waits for it has a time limit, and drops it then.
    fn next_ranges(
        &self,
        stream: StreamId,
        planned: &BTreeMap<PartitionId, u64>,
        records_max: Option<u64>,
    ) -> BoxFuture<'static, Result<RangesFound, SourceError>>;
}

/// The answer of a planned source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangesFound {
    /// The ranges of the batch, in order of partition; empty: nothing new.
    pub ranges: Vec<PlannedRange>,
    /// Whether there will never be more after these.
    pub exhausted: bool,
}

/// A source cannot go on. Retryable: the receiver is started again, with backoff, from its last safe position.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);
