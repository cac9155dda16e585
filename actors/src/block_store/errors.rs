//! Why data were not kept.

use tidemill_protocol::{
    id::BatchNumber,
    message::{Exhausted, Resource},
};

/// A block was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutBlockError {
    /// The budget is used up. Try another executor, or this one later.
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
        "resources exhausted: no room for an output of {needed} bytes: {used} of {limit} bytes are in use: raise \
         memory_bytes_max, let outputs go to disk (spill_bytes_max), or use more partitions"
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
    #[error(
        "resources exhausted: no room for an output of {needed} bytes in {limit} bytes of memory, nor on disk: {reason}: raise \
         memory_bytes_max, or make room on the disk"
    )]
    Disk {
        /// The output's bytes.
        needed: u64,
        /// The budget with the part on top.
        limit: u64,
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

impl PutOutputError {
    /// What there was not enough of, as the driver is told.
    pub fn exhausted(&self) -> Option<Exhausted> {
        let (resource, needed, max) = match *self {
            PutOutputError::Full { needed, limit, .. } => (Resource::Outputs, needed, limit),
            PutOutputError::Disk { needed, limit, .. } => (Resource::Disk, needed, limit),
            PutOutputError::Released(_) | PutOutputError::Closed => return None,
        };
        Some(Exhausted { resource, needed, max })
    }
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
