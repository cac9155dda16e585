//! How blocks and outputs travel between executors: by `Arc` inside one process, over QUIC between processes.
//!
//! ```text
//!   executor A                                  executor B
//!   slot ── fetch(B, key) ──> Transport ──────> BlockStore of B
//!   receiver ── replicate(B, block) ──> Transport ──────> BlockStore of B
//!
//!   LocalTransport   a registry of the process's stores; debug builds send outputs through the codec on the way
//!   QuicTransport    one bulk stream for each request; a cached connection for each peer
//! ```
//!
//! Executors tell each other over the same ways when a task has ended whose outputs are read there ([`Transport::notify`]).
//!
//! Whoever fetches for a task says how much memory is kept ready for the answer ([`Transport::fetch_within`]).
//!
//! A request without an answer is made again beside the first (`again`), for bad links. What has failed is not tried again here: who asks
//! knows other holders, or makes the data anew.

mod again;
mod local;
mod notice;
mod quic;
mod serve;
#[cfg(test)]
mod tests;
mod wire_check;

pub use local::{LocalTransport, RegisterError};
pub use notice::{Ear, Noticed, NotifyError, fill_notice, take_notice};
pub use quic::{BulkClient, BulkError, Heard, QuicTransport, StoreAnswer};
pub use serve::{FetchAnswer, serve_fetch, serve_store};
pub use wire_check::through_the_wire;

use crate::{
    block_store::Weight,
    seam::{Held, PayloadError},
};
use futures_util::future::BoxFuture;
use tidemill_protocol::{
    id::{BlockId, DataKey, Member},
    message::Notice,
};

/// Brings data from, and to, other executors.
pub trait Transport: Send + Sync {
    /// Asks `from` for the data of `key`.
    fn fetch(&self, from: Member, key: DataKey) -> BoxFuture<'static, Result<Held, FetchError>>;

    /// As [`fetch`](Self::fetch), if the data need no more than `credit` bytes of memory here, on their way and after;
    /// else [`FetchError::NeedsCredit`]. A transport that hands data over by reference needs none.
    fn fetch_within(
        &self,
        from: Member,
        key: DataKey,
        _credit: u64,
    ) -> BoxFuture<'static, Result<Held, FetchError>> {
        self.fetch(from, key)
    }

    /// Gives `to` a copy of `block`; completes when it is kept there.
    fn replicate(
        &self,
        to: Member,
        block: BlockId,
        held: Held,
    ) -> BoxFuture<'static, Result<(), ReplicateError>>;

    /// Tells another executor of a task that has ended; completes when it has heard it.
    fn notify(&self, notice: Notice) -> BoxFuture<'static, Result<(), NotifyError>>;

    /// Whether every holder is within reach of [`fetch_now`](Self::fetch_now): then tasks need no fetch before they take
    /// a slot. A constant of the transport.
    fn is_immediate(&self) -> bool {
        false
    }

    /// The data of `key`, without waiting, if `from` lives in this process; `None` if it does not.
    fn fetch_now(&self, _from: Member, _key: DataKey) -> Option<Result<Held, FetchError>> {
        None
    }

    /// What the data of `key` weigh, if `from` lives in this process and has them.
    fn weight_now(&self, _from: Member, _key: DataKey) -> Option<Weight> {
        None
    }

    /// What a task gets of data that its own executor holds: the same, unless the transport checks what survives the wire.
    ///
    /// # Errors
    /// [`FetchError::Decode`] if the check fails.
    fn own(&self, _key: DataKey, held: Held) -> Result<Held, FetchError> {
        Ok(held)
    }
}

/// Data could not be had from a holder.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The holder does not have it (any more).
    #[error("{from} does not hold {key}")]
    NotHere {
        /// Who was asked.
        from: Member,
        /// For what.
        key: DataKey,
    },
    /// The holder cannot be reached, or is dead.
    #[error("{peer} is out of reach: {reason}")]
    Gone {
        /// Who was asked.
        peer: Member,
        /// What happened.
        reason: String,
    },
    /// It is there, and larger than the credit: keep this much memory ready, and ask again.
    #[error("{key} at {from} needs {bytes} bytes of credit")]
    NeedsCredit {
        /// Who was asked.
        from: Member,
        /// For what.
        key: DataKey,
        /// What it needs.
        bytes: u64,
    },
    /// It is there, and cannot be sent: no other holder can send it either, and it is of no use to make it again.
    #[error("{key} cannot be sent by {from}: {reason}")]
    Unsendable {
        /// Who was asked.
        from: Member,
        /// For what.
        key: DataKey,
        /// What is wrong with it.
        reason: String,
    },
    /// It came, but cannot be read; another holder's copy cannot be read either.
    #[error(transparent)]
    Decode(#[from] PayloadError),
}

impl FetchError {
    /// Whether another holder may have it.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, FetchError::Decode(_) | FetchError::Unsendable { .. })
    }
}

/// A copy of a block was not kept.
#[derive(Debug, thiserror::Error)]
pub enum ReplicateError {
    /// The peer has no room: wait, or take another peer.
    #[error("{peer} has no room for the copy of a block")]
    Full {
        /// Who was asked.
        peer: Member,
    },
    /// The peer cannot be reached, or is dead: take another one.
    #[error("{peer} is out of reach: {reason}")]
    Gone {
        /// Who was asked.
        peer: Member,
        /// What happened.
        reason: String,
    },
    /// The peer refuses this block for good.
    #[error("{peer} refuses the copy of a block: {reason}")]
    Refused {
        /// Who was asked.
        peer: Member,
        /// Why.
        reason: String,
    },
    /// The block cannot be written or read: no peer will help.
    #[error(transparent)]
    Encode(#[from] PayloadError),
}

impl ReplicateError {
    /// Whether another peer, or the same one later, may keep it.
    pub fn is_retryable(&self) -> bool {
        matches!(self, ReplicateError::Full { .. } | ReplicateError::Gone { .. })
    }
}
