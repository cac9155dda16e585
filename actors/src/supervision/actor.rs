//! What a user writes: messages, an actor, and a handler for each message.
//!
//! ```
//! use tidemill_actors::supervision::{Actor, Context, Handler, Message};
//!
//! struct Add(u64);
//! impl Message for Add {
//!     type Reply = u64;
//! }
//!
//! #[derive(Default)]
//! struct Sum(u64);
//! impl Actor for Sum {}
//! impl Handler<Add> for Sum {
//!     fn handle(&mut self, Add(n): Add, _ctx: &mut Context<Self>) -> u64 {
//!         self.0 += n;
//!         self.0
//!     }
//! }
//! ```

use super::{
    context::Context,
    exit::{ActorError, Exit},
};

/// What can be sent to an actor.
pub trait Message: Send + 'static {
    /// The answer; `()` if there is none.
    type Reply: Send + 'static;
}

/// Something with state of its own that handles one message at a time. It lives on one thread and need not be `Send`; a
/// restart makes a new value and drops the old one.
pub trait Actor: Sized + 'static {
    /// Called first, before any message.
    ///
    /// # Errors
    /// An error ends this life with [`Exit::Failed`]; [`stopped`](Actor::stopped) is not called then.
    fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), ActorError> {
        let _ = ctx;
        Ok(())
    }

    /// Called last, with how this life ended. Not called if the actor was aborted ([`Exit::Killed`], or stuck), nor if
    /// `started` failed. After a panic the state may be half updated; a second panic, in here, is caught and logged.
    fn stopped(&mut self, exit: &Exit) {
        let _ = exit;
    }
}

/// How an actor handles messages of type `M`.
pub trait Handler<M: Message>: Actor {
    /// Handles one message and answers it. It must not block: it holds the thread of all actors. To wait for something
    /// before the next message, use [`Context::wait`]; beside the next messages, [`Context::spawn_local`]; to answer
    /// later, put a [`Responder`](super::Responder) into the message.
    fn handle(&mut self, message: M, ctx: &mut Context<Self>) -> M::Reply;
}
