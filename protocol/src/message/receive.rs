//! Receivers and their blocks.

use crate::id::{BatchNumber, BlockId, Member, Position, ReceiverId};
use serde::{Deserialize, Serialize};

/// The order to start one life of a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverOrder {
    /// Its name, with the new incarnation.
    pub receiver: ReceiverId,
    /// The last safe position: the source goes on after it. `None`: from the beginning.
    pub resume_after: Option<Position>,
    /// The batch that is open: blocks closed before the first cut belong to it.
    pub open_batch: BatchNumber,
    /// The permitted rate at the start, in records per second (slow start).
    pub records_per_s_max: u64,
}

/// A block as the driver's books hold it: never its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockInfo {
    /// Its name.
    pub block: BlockId,
    /// The batch it was stamped with.
    pub batch: BatchNumber,
    /// How many records.
    pub rows: u64,
    /// How many bytes in memory.
    pub bytes: u64,
    /// Position of the first record, if the source has positions.
    pub first: Option<Position>,
    /// Position of the last record.
    pub last: Option<Position>,
    /// Who cut it and holds it.
    pub holder: Member,
    /// Whether the batch must wait until the block is safe (`acknowledged` and `plain` sources with replication).
    pub awaits_safety: bool,
}

/// Why a receiver ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReceiverExitReason {
    /// It was told to.
    Stopped,
    /// Its source has no more records; it is not started again.
    Exhausted,
    /// Its source returned an error; it is started again with backoff.
    Failed(String),
    /// Its code panicked: message and location.
    Panicked(String),
    /// Its records cannot be copied to any executor, in no life of it: the pipeline fails with this text.
    Uncopyable(String),
}
