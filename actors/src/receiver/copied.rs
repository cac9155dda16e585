//! Who copies blocks to other executors, and how a copy may end.

use super::messages::ReceiverEvent;
use crate::supervision::panic::PanicText;
use futures_util::future::BoxFuture;
use tidemill_protocol::id::{BlockId, Member};

/// Who copies blocks to other executors.
pub trait Replicator: Send + Sync {
    /// Copies a block that is held here to `to`; completes once it is held there.
    fn replicate(&self, block: BlockId, to: Member) -> BoxFuture<'static, Result<(), NotCopied>>;
}

/// A block was not copied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCopied {
    /// This executor does not take it now. Retryable: another may, and so may this one later.
    #[error("it was not taken")]
    Refused,
    /// What is in it cannot be written, or not be read again: no executor will ever take it. The pipeline fails with this text,
    /// which says where and what to do.
    #[error("{0}")]
    Broken(String),
}

impl ReceiverEvent {
    /// How the copy of block `sequence` to `peer` has ended. One that panicked is one that was not taken: whoever copies
    /// knows better which panics are the block's own.
    pub(super) fn of_copy(
        sequence: u64,
        peer: Member,
        ended: Result<Result<(), NotCopied>, PanicText>,
    ) -> Self {
        match ended {
            Ok(Ok(())) => ReceiverEvent::Replicated { sequence, peer },
            Ok(Err(NotCopied::Broken(why))) => ReceiverEvent::Uncopyable { why },
            Ok(Err(NotCopied::Refused)) | Err(_) => ReceiverEvent::ReplicaFailed { sequence, peer },
        }
    }
}
