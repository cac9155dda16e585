//! Trees of supervised actors, in OTP's words, on actix.
//!
//! ```text
//!   pure                          strategy   who goes down, who comes back
//!                                 intensity  how many restarts are too many
//!                                 backoff    how long to wait before one
//!                                 stuck      when a child no longer moves
//!                                 children   all of these, as one state machine; its words are in orders
//!   what users write              actor      Message, Actor, Handler
//!   what users hold               address    Address<M>: try_send, send, tell_control, ask
//!                                 context    Context<A>: an actor's view of one of its lives
//!                                 child      ChildSpec: how to make, restart and end a child
//!                                 supervisor SupervisorSpec, SupervisorHandle
//!                                 exit, tree how a life ended; who is there
//!   underneath                    mailbox    two bounded lanes, outliving the actor
//!                                 host       one life of an actor: the only file that knows actix's Actor
//!                                 supervise  the loop of a supervisor;   apart: on a thread of its own
//!                                 office     what of a supervisor is reachable from any thread
//!                                 panic      catching a panic with its place
//! ```
//!
//! A life of a supervisor:
//!
//! ```text
//!   start a, b, c ── b panics ── [one_for_all: stop c, stop a] ── wait (backoff) ── start a, b, c ── ...
//!                                   N + 1 restarts within the period: stop c, stop a, end; the parent decides
//! ```
//!
//! A restart makes a fresh actor from the child's factory. Its mailbox, and with it every address, lives on: messages that
//! wait are read by the successor. The one message that was being handled is lost, its asker gets
//! [`AskError::Lost`], and it is never handled again.

mod actor;
mod address;
mod apart;
mod backoff;
mod child;
mod children;
mod context;
mod exit;
mod host;
mod intensity;
mod mailbox;
mod office;
mod orders;
pub mod panic;
mod strategy;
mod stuck;
mod supervise;
mod supervisor;
#[cfg(test)]
mod tests;
mod tree;

pub use actor::{Actor, Handler, Message};
pub use address::{Address, Answer, AskError, Responder, SendError, responder};
pub use backoff::Backoff;
pub use child::{ChildSpec, SHUTDOWN_PATIENCE, Shutdown, Start};
pub use context::{Context, Progress};
pub use exit::{ActorError, Exit};
pub use host::DRAIN_BUDGET;
pub use intensity::{Intensity, RestartWindow};
pub use mailbox::{CONTROL_CAPACITY, DATA_CAPACITY, Mailbox};
pub use office::{COMMANDS_MAX, StartChildError, TerminateChildError, WATCH_CAPACITY};
pub use strategy::{Consequence, Restart, Strategy, consequence};
pub use supervisor::{Supervisor, SupervisorHandle, SupervisorSpec};
pub use tree::{ChildState, Tree, TreeEntry};

/// Panics cannot be caught in this build, so a panic in one actor or task would end the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("built with panic = \"abort\": remove that line from the Cargo profile, supervision needs unwinding")]
pub struct NotUnwinding;

/// Refuses a build in which panics abort; to be called before anything is started.
///
/// # Errors
/// [`NotUnwinding`], with the remedy.
pub fn assert_unwinding() -> Result<(), NotUnwinding> {
    if cfg!(panic = "abort") { Err(NotUnwinding) } else { Ok(()) }
}
