//! The receiver role: reads one source on an executor, cuts what it reads into blocks, has them copied, and acknowledges
//! what is safe. Started by the executor that got [`ReceiverOrder`](tidemill_protocol::message::ReceiverOrder); tells the
//! batch generator.
//!
//! ```text
//!   user runtime                │ control thread
//!                               │
//!   source ──permit, append──> gate ──Appended──> ReceiverCore ──CloseBlock──┐
//!     ^                         ^  (token bucket,      │  ^                  │ takes the open block out of the gate,
//!     │                         │   open block)        │  └────Closed────────┘ puts it into the block store
//!     └──safe()─── Acknowledge ─┴──────────────────────┤
//!                                                      ├── Replicate ──> another executor ── Replicated ─┐
//!                                                      └── TellDriver: BlockAdded, BlockSafe, EndOfBatch <┘
//! ```
//!
//! A block's life, as the receiver sees it:
//!
//! | from | event | to |
//! |---|---|---|
//! | (open) | closed, one copy is enough | told |
//! | (open) | closed, a peer is there | sending |
//! | (open) | closed, no peer | waiting |
//! | sending | `Replicated` | told (`BlockSafe` goes to the driver) |
//! | sending | `ReplicaFailed`, the peer has gone | sending (another peer) or waiting |
//! | sending | `Uncopyable`: what is in it does not survive the wire | sending: the receiver ends, and the pipeline fails |
//! | waiting | a peer comes, or the time to try again | sending |
//! | told | `SafeRecorded` | recorded: counts for the position that is acknowledged |
//! | told, recorded | the copy's executor has gone | sending (it is copied again) |
//! | any | `Released` | (forgotten) |

mod actor;
mod copied;
mod core;
mod gate;
mod messages;
mod replication;
#[cfg(test)]
mod tests;
pub mod token_bucket;

pub use actor::ReceiverPerformer;
pub use copied::{NotCopied, Replicator};
pub use core::ReceiverCore;
pub use gate::BlockContent;
pub use messages::{
    BlockHold, BlockSink, ReceiverAction, ReceiverConfig, ReceiverEvent, ReceiverPorts, SinkClosed,
    SourceEnd, TellDriver,
};
