//! The wire messages, by topic. What crosses machines lives only here; docs/PROTOCOL.md carries a hash of these files.
//!
//! ```text
//!   driver ──ToExecutor──> executor        control: one long-lived QUIC stream per direction
//!   driver <──ToDriver──── executor
//!   any    ──BulkRequest─> executor        bulk: one QUIC stream per request, answered on the same stream; notices as well
//!   machine ──JoinRequest─> driver        joining: one message each way, on a connection of its own
//! ```
//!
//! What passes from hand to hand on either side (tasks, routes, outcomes) is shared (`Arc`), so that passing it on, or keeping it for a
//! flight recorder, copies nothing; on the wire it is as if it were not.
//!
//! Control bodies are MessagePack with field names: unknown fields are ignored, added ones need `#[serde(default)]`.
//! No message type is recursive but [`ToExecutor`], whose group of orders holds orders; a group within a group is refused when it
//! is read, and the limits of control bodies have bounded its depth before.

mod bulk;
mod compact;
mod hello;
mod join;
mod membership;
mod notice;
mod pages;
mod receive;
mod request;
mod samples;
mod status;
mod task;
mod text;

pub use bulk::{BulkReply, BulkRequest, PackedPiece, Piece};
pub use hello::Hello;
pub use join::{CertificateBytes, JOIN_BYTES_MAX, JoinRefusal, JoinReply, JoinRequest, Secret};
pub use membership::{PeerInfo, ProgramPrint, Registration};
pub use notice::{BroughtOutput, NOTICE_BYTES_MAX, Notice, Route, StageRead};
pub use receive::{BlockInfo, ReceiverExitReason, ReceiverOrder};
pub use request::{NamedValue, ProgramFacts, Reply, Request};
pub use status::StatusEntry;
pub use task::{
    Exhausted, InputPart, OutputInfo, REPORTED_BYTES_MAX, Resource, TaskFacts, TaskFailure, TaskOutcome,
    TaskSpec,
};
pub use text::{TEXT_BYTES_MAX, short_text};

use crate::id::{BatchNumber, BlockId, DataKey, Epoch, Member, NodeId, ReceiverId, StreamId, TaskId};
use crate::time::BatchTime;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use std::sync::Arc;

/// What a driver tells an executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToExecutor {
    /// The driver has registered this incarnation.
    Welcome {
        /// The driver's reign.
        epoch: Epoch,
    },
    /// Which executors live, with the addresses of their bulk endpoints. Replaces the list sent before.
    Peers {
        /// All live executors, by node; at most a few hundred a message.
        peers: Vec<PeerInfo>,
    },
    /// Start a receiver here.
    StartReceiver(ReceiverOrder),
    /// Stop a receiver here; it reports `ReceiverExited`.
    StopReceiver {
        /// Which life of which receiver.
        receiver: ReceiverId,
    },
    /// Close open blocks when the wall clock reaches `at`, stamp them with `batch`, and report the end of the batch.
    Cut {
        /// The batch that ends then.
        batch: BatchNumber,
        /// Its time.
        at: BatchTime,
    },
    /// The permitted rate of a receiver from now on.
    SetRate {
        /// Which receiver.
        receiver: ReceiverId,
        /// Records per second; 0 pauses it.
        records_per_s_max: u64,
    },
    /// The driver has entered this block as safe in its books: it may be acknowledged.
    SafeRecorded {
        /// The block.
        block: BlockId,
    },
    /// Run these tasks of one batch.
    Run {
        /// What all of them share.
        facts: TaskFacts,
        /// The tasks, in order of stage and partition.
        tasks: Vec<Arc<TaskSpec>>,
        /// Whom to tell when tasks of the batch end that run here, now or later.
        #[serde(default)]
        routes: Vec<Arc<Route>>,
    },
    /// Stop these attempts; their results are not wanted.
    Cancel {
        /// Which attempts.
        tasks: Vec<TaskId>,
    },
    /// Drop these data: nobody will ask for them again.
    Drop {
        /// Which.
        keys: Vec<DataKey>,
    },
    /// Drop every task output of batches up to and including this one.
    ReleaseOutputs {
        /// The batch.
        up_to: BatchNumber,
    },
    /// Are you there? Answered by [`ToDriver::Alive`].
    Ping {
        /// Returned in the answer.
        nonce: u64,
    },
    /// Leave: stop receivers, drop everything, end.
    Shutdown,
    /// Copy a block that is held here to another executor; answered by [`ToDriver::BlockCopied`].
    Replicate {
        /// The block.
        block: BlockId,
        /// Who shall hold it too.
        to: Member,
    },
    /// Which executors are about to leave: receivers give them no copies. Replaces the list sent before.
    PeersLeaving {
        /// Who, by node.
        members: Vec<Member>,
    },
    /// Machines whose certificates have one of these numbers were denied: they are not served here any more, and their
    /// connections are cut. Added to those that were sent before, for a denial is not taken back.
    Denied {
        /// Whom; at most some 20,000 a message.
        nodes: Vec<NodeId>,
    },
    /// Where the inputs are of attempts that were sent before: of use to those that still wait for notices, and to nobody else.
    NameInputs {
        /// The attempts, with all their inputs by name.
        tasks: Vec<Arc<TaskSpec>>,
    },
    /// Several orders in one message, to be carried out one after the other: what was decided in one turn, such as the tasks of
    /// several batches.
    Group {
        /// The orders. None of them is a group: a message with one is refused when it is read.
        #[serde(deserialize_with = "no_groups")]
        orders: Vec<ToExecutor>,
    },
}

/// The orders of a group.
fn no_groups<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ToExecutor>, D::Error> {
    let orders = Vec::<ToExecutor>::deserialize(from)?;
    if orders.iter().any(|order| matches!(order, ToExecutor::Group { .. })) {
        return Err(D::Error::custom("a group within a group of orders"));
    }
    Ok(orders)
}

/// What an executor tells its driver. Each message travels with the sender's [`Member`], and what a dead incarnation says
/// is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToDriver {
    /// The first message of an incarnation.
    Register(Registration),
    /// A receiver runs.
    ReceiverStarted {
        /// Which.
        receiver: ReceiverId,
    },
    /// A receiver has cut a block.
    BlockAdded(BlockInfo),
    /// A block is held by as many executors as its storage level asks for.
    BlockSafe {
        /// The block.
        block: BlockId,
        /// Who else holds it.
        replica: Option<Member>,
    },
    /// A receiver has closed batch `batch`: it will add no block to it any more.
    EndOfBatch {
        /// Which receiver.
        receiver: ReceiverId,
        /// The batch.
        batch: BatchNumber,
    },
    /// A receiver has ended; its open block is dropped.
    ReceiverExited {
        /// Which.
        receiver: ReceiverId,
        /// Why.
        reason: ReceiverExitReason,
    },
    /// Something about a source that an operator of the cluster wants to know: counted and logged, never decided upon.
    SourceReport {
        /// Which stream.
        stream: StreamId,
        /// One of a small set of names: `bad_utf8`, `line_too_long`, `cut_line`, `reconnect`, `lost_connection`,
        /// `sender_does_not_read`.
        what: String,
        /// How many since the last report.
        count: u64,
    },
    /// A task has ended well.
    TaskDone(Arc<TaskOutcome>),
    /// A task has ended badly.
    TaskFailed(TaskFailure),
    /// A task ignored its cancel flag; its slot was replaced.
    SlotLeaked {
        /// The task that holds the thread.
        task: TaskId,
    },
    /// The answer to a ping.
    Alive {
        /// As in the ping.
        nonce: u64,
    },
    /// The answer to [`ToExecutor::Replicate`].
    BlockCopied {
        /// The block.
        block: BlockId,
        /// Whom it was to be copied to.
        to: Member,
        /// Whether it is held there now.
        kept: bool,
    },
    /// The executor wants to leave: it goes on until [`ToExecutor::Shutdown`], which comes once nothing that is needed is held
    /// here alone.
    Leaving,
    /// A notice did not reach the executor that it was for, or was not kept there: tasks of the batch that wait there for notices
    /// must be given their inputs by name.
    NoticeLost {
        /// The batch.
        batch: BatchNumber,
        /// Where tasks may wait for it.
        reader: Member,
    },
}
