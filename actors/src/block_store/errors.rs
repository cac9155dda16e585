//! Why data were not kept.

use tidemill_protocol::id::BatchNumber;

/// A block was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutBlockError {
    /// The budget is used up. Wait for [`BlockStore::wait_for_room`](super::BlockStore::wait_for_room) and try again.
    #[error("no room for a block of {needed} bytes: {used} of {bytes_max} bytes are in use")]
    Full {
        /// The block's bytes.
        needed: u64,
        /// Bytes in use.
        used: u64,
        /// The budget.
        bytes_max: u64,
    },
    /// The block alone is larger than the whole budget: cut smaller blocks or raise the budget.
    #[error("a block of {needed} bytes is larger than the whole memory budget of {bytes_max} bytes")]
    TooLarge {
        /// The block's bytes.
        needed: u64,
        /// The budget.
        bytes_max: u64,
    },
    /// The executor was killed; its memory does not come back.
    #[error("the block store is closed")]
    Closed,
}

impl PutBlockError {
    /// Whether the same block may be taken later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, PutBlockError::Full { .. })
    }
}

/// An output was not taken; its task fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutOutputError {
    /// The budget and what outputs may have on top of it are used up, and there is no disk to spill to: raise it, or let
    /// fewer batches be in flight.
    #[error(
        "resources exhausted: no room for an output of {needed} bytes: {used} of {limit} bytes are in use"
    )]
    Full {
        /// The output's bytes.
        needed: u64,
        /// Bytes in use.
        used: u64,
        /// The budget with the part on top.
        limit: u64,
    },
    /// As `Full`, and the disk did not take it either. Another executor may; so may this one when there is space again.
    #[error("resources exhausted: no room for an output of {needed} bytes in memory, nor on disk: {reason}")]
    Disk {
        /// The output's bytes.
        needed: u64,
        /// What the disk says.
        reason: String,
    },
    /// The batch is released: nobody will ask for this.
    #[error("{0} is released: nobody will ask for its outputs again")]
    Released(BatchNumber),
    /// The executor was killed; its memory does not come back.
    #[error("the block store is closed")]
    Closed,
}

/// What went with a killed executor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Received blocks.
    pub blocks: u64,
    /// Task outputs.
    pub outputs: u64,
    /// The bytes of both in memory.
    pub bytes: u64,
}
