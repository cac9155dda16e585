//! Supervised actors of the user's own, beside the pipeline: they live in the process's supervision tree, and tasks ask
//! them, with a deadline.
//!
//! ```
//! use std::time::Duration;
//! use tidemill::{
//!     StreamContext,
//!     actor::{Actor, ChildSpec, Context, Handler, Mailbox, Message},
//! };
//!
//! /// How many miles are so many kilometres?
//! struct InMiles(f64);
//! impl Message for InMiles {
//!     type Reply = f64;
//! }
//!
//! struct Converter;
//! impl Actor for Converter {}
//! impl Handler<InMiles> for Converter {
//!     fn handle(&mut self, InMiles(km): InMiles, _ctx: &mut Context<Self>) -> f64 {
//!         km / 1.609344
//!     }
//! }
//!
//! let context = StreamContext::new();
//! let mailbox = Mailbox::new();
//! let converter = mailbox.address::<InMiles>();
//! context.supervise(ChildSpec::with_mailbox("converter", mailbox, |_| Converter));
//! // In a task: `ctx.ask(&converter, InMiles(42.195), Duration::from_secs(1))` where a context is at hand
//! // (`foreach_partition`), else `converter.ask_blocking(…)`.
//! # let _ = (converter, Duration::from_secs(1));
//! ```
//!
//! Users' actors share one thread, apart from the engine's: a handler that computes for long or blocks holds up the others
//! of the user, and nothing else. Long work belongs into [`Context::spawn_local`] if it waits, and into tokio's
//! `spawn_blocking` if it blocks; [`Context::wait`] holds back further messages until it is done.
//!
//! [`Address::ask_blocking`] holds the task's slot while it waits; [`Address::ask`] is for asynchronous code. In simulation
//! all is one thread, so a task cannot wait for an actor there.

pub use tidemill_actors::supervision::{
    Actor, ActorError, Address, Answer, AskError, Backoff, ChildSpec, ChildState, Context, Exit, Handler,
    Intensity, Mailbox, Message, Progress, Responder, Restart, SendError, Shutdown, Start, StartChildError,
    Strategy, SupervisorHandle, SupervisorSpec, TerminateChildError, Tree, TreeEntry, responder,
};
pub use tidemill_protocol::{time::Time, world::World};
