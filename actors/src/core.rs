//! The one shape of a decision: an event comes in, actions go out. A core reads no clock, opens no socket, draws no lots
//! but from a seed it was given, and iterates ordered maps only; so the same events give the same actions, always.
//!
//! ```text
//!        event ──> on_event(now, event, &mut out) ──> actions, in order
//!        timer ──> on_event(now, C::wake(), …)         (armed from next_deadline)
//! ```

use std::fmt::Debug;
use tidemill_protocol::time::Time;

/// A deterministic state machine, driven by [`Shell`](crate::shell::Shell).
pub trait Core: 'static {
    /// What can happen: a closed enum.
    type Event: Clone + Debug + Send + 'static;
    /// What can be asked for: a closed enum. Asynchronous work is an action with an id; its end comes back as an event.
    type Action: Clone + Debug + Send + 'static;

    /// The role's name in logs and traces.
    const NAME: &'static str;

    /// Takes one event at `now` and appends the actions it leads to. `now` never goes back.
    fn on_event(&mut self, now: Time, event: Self::Event, out: &mut Vec<Self::Action>);

    /// The event that the shell delivers when [`next_deadline`](Self::next_deadline) has come.
    fn wake() -> Self::Event;

    /// When the core wants to be woken, if at all. A deadline in the past means at once.
    fn next_deadline(&self) -> Option<Time>;

    /// Panics if the state contradicts itself; called after each event in debug builds and in each simulated step.
    fn assert_invariants(&self) {}
}

/// Events that make a turn at most: what is gathered for all of them waits no longer.
pub const TURN_MAX: u32 = 64;

/// Carries out what a core asks for.
pub trait Perform<C: Core>: 'static {
    /// Carries out one action. It must not wait; long work is started, and its end sent to `me` as an event.
    fn perform(&mut self, action: C::Action, me: &crate::shell::ShellAddress<C>);

    /// A turn is over: what was gathered in it goes out. Called when no event waits any more, and after [`TURN_MAX`] events at the
    /// latest.
    fn end_turn(&mut self) {}
}
