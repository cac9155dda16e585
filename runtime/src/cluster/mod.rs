//! How nodes are put together: the driver's roles, executors, and what carries messages and data between them.
//!
//! ```text
//!   start      from a StreamContext to a running cluster in this process
//!   running    the user's handle on it
//!   progress   what the outside sees: events, the last batches, the outcome
//!   driver     four roles and the wires between them;   ledger: batches between plan and publication
//!   figures    the metrics that are known by name from the start
//!              routes: from membership to the other roles
//!              (role_configs: what the configuration means to them)
//!   executor   an agent, task slots, receivers: one incarnation after another
//!   plumbing   what differs between one process (local) and QUIC (quic)
//!   quic       control links, bulk streams;  over_quic: a driver and an executor on them;  lane: on which thread
//!   process    a driver, agents and executors, each a process;  settings: what of the configuration travels
//!   status     what a driver tells of its cluster;   users: the user's own actors
//!   sim        (feature `sim`) a whole cluster in one thread, over simulated QUIC
//! ```

mod drain;
mod driver;
mod executor;
mod figures;
mod inbox;
pub(crate) mod lane;
mod ledger;
mod local;
mod over_quic;
mod plumbing;
mod ports;
mod prepared;
pub mod process;
mod progress;
pub(crate) mod quic;
mod role_configs;
mod routes;
mod running;
mod settings;
#[cfg(feature = "sim")]
pub mod sim;
mod standing;
mod start;
mod status;
mod unconnected;
mod users;

pub use progress::{BATCHES_REMEMBERED_MAX, ClusterEvent, MemoryUse, PipelineError, Progress};
pub use running::{Running, Stopper};
pub use start::StartError;
pub use tidemill_actors::{
    batch_generator::GeneratorNote,
    rate_controller::{BatchInfo, InputKey},
};
pub use tidemill_protocol::id::{BatchNumber, Member, NodeId, ReceiverId, StreamId, TaskId};
