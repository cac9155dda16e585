//! The one actor that drives every core.
//!
//! ```text
//!   tell(event) ──> control lane ──> core.on_event(now, event, &mut actions)     once per event
//!                        ^                  │            └──> flight recorder: the last 256 events and their actions
//!                        │                  v
//!                        │           perform(action, me), in order; end_turn() when no event waits any more
//!                        └── alarm <── core.next_deadline()
//! ```
//!
//! A core that panics takes its shell down as any actor's panic does: the supervisor starts a fresh core, and what led to
//! the panic is in the flight recorder and, shortened, in the log.

mod address;
mod alarm;
mod flight;
mod watchdog;

pub use address::{EVENTS_CAPACITY, ShellAddress, ShellInbox};
pub use flight::{FLIGHT_RECORDS, FlightRecord, replay};
pub use watchdog::CONTROL_HELD_MAX;

use crate::{
    core::{Core, Perform, TURN_MAX},
    supervision::{Actor, ActorError, ChildSpec, Context, Exit, Handler, Message, Start},
};
use alarm::Alarm;
use std::{rc::Rc, sync::Arc};
use tidemill_protocol::{time::Time, world::meter};

/// Sees each action before it is performed: the core's name, and the action as `Debug` writes it. For traces of a
/// simulation; without one, nothing is formatted.
pub type Observer = Arc<dyn Fn(&'static str, &str) + Send + Sync>;

/// Wakes that may leave a core's overdue deadline as it was; one more is a defect of the core, and a panic.
const FRUITLESS_WAKES_MAX: u32 = 1_000;

/// What reaches a shell.
pub(crate) enum ShellMessage<C: Core> {
    Event(C::Event),
    Wake,
    End(Exit),
}

impl<C: Core> Message for ShellMessage<C> {
    type Reply = ();
}

/// A core, what performs its actions, and its timer. Made and supervised through [`Shell::child_spec`].
pub struct Shell<C: Core> {
    core: C,
    perform: Box<dyn Perform<C>>,
    me: ShellAddress<C>,
    observer: Option<Observer>,
    alarm: Rc<Alarm>,
    actions: Vec<C::Action>,
    now: Time,
    fruitless_wakes: u32,
    /// Messages of the present turn.
    turn: u32,
}

impl<C: Core> Shell<C> {
    /// A permanent child that reads `inbox`. Each life gets a fresh core and a fresh performer, which are made on the
    /// supervisor's thread and need not be `Send`.
    pub fn child_spec<P: Perform<C>>(
        id: impl Into<String>,
        inbox: ShellInbox<C>,
        mut core: impl FnMut(&Start) -> C + Send + 'static,
        mut perform: impl FnMut(&Start) -> P + Send + 'static,
    ) -> ChildSpec {
        let ShellInbox { mailbox, address: me, observer } = inbox;
        let make = move |start: &Start| {
            me.flight().begin_life();
            Shell {
                core: core(start),
                perform: Box::new(perform(start)),
                me: me.clone(),
                observer: observer.clone(),
                alarm: Rc::new(Alarm::default()),
                actions: Vec::new(),
                now: Time::ZERO,
                fruitless_wakes: 0,
                turn: 0,
            }
        };
        ChildSpec::with_mailbox(id, mailbox, make).role(C::NAME)
    }

    fn on_event(&mut self, event: C::Event) {
        self.me.flight().event(self.now, event.clone());
        self.core.on_event(self.now, event, &mut self.actions);
        self.me.flight().actions(&self.actions);
        // In a simulation without debug assertions, where it is observed: not where its cost is measured.
        if cfg!(debug_assertions) || (cfg!(feature = "sim") && self.observer.is_some()) {
            meter::exempt(|| self.core.assert_invariants());
        }
        for action in self.actions.drain(..) {
            if let Some(observer) = &self.observer {
                meter::exempt(|| observer(C::NAME, &format!("{action:?}")));
            }
            self.perform.perform(action, &self.me);
        }
    }

    /// Wakes the core if its deadline has come; it may have moved since the alarm went off.
    fn on_wake(&mut self) {
        self.alarm.answered();
        let Some(due) = self.core.next_deadline().filter(|due| *due <= self.now) else {
            return;
        };
        self.on_event(C::wake());
        let fruitless = self.core.next_deadline() == Some(due);
        self.fruitless_wakes = if fruitless { self.fruitless_wakes + 1 } else { 0 };
        let name = C::NAME;
        assert!(
            self.fruitless_wakes <= FRUITLESS_WAKES_MAX,
            "{name} was woken in vain: its deadline {due} stays"
        );
    }
}

impl<C: Core> Actor for Shell<C> {
    fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), ActorError> {
        let (alarm, me) = (self.alarm.clone(), self.me.clone());
        let clock = ctx.world().clock.clone();
        ctx.spawn_local(async move { alarm.ring(clock, || me.wake()).await });
        self.alarm.set(self.core.next_deadline());
        Ok(())
    }

    fn stopped(&mut self, exit: &Exit) {
        if let Exit::Panicked(panic) = exit {
            let flight = self.me.flight().excerpt();
            tracing::error!(
                core = C::NAME,
                panic,
                "a core or its performer panicked; its last events were\n{flight}"
            );
        }
    }
}

impl<C: Core> Handler<ShellMessage<C>> for Shell<C> {
    fn handle(&mut self, message: ShellMessage<C>, ctx: &mut Context<Self>) {
        let began = ctx.now();
        self.now = self.now.max(began);
        match message {
            ShellMessage::Event(event) => {
                ctx.world().faults.at(C::NAME);
                self.on_event(event);
            }
            ShellMessage::Wake => self.on_wake(),
            ShellMessage::End(Exit::Failed(error)) => ctx.fail(ActorError::new(error)),
            ShellMessage::End(_) => ctx.stop(),
        }
        self.turn += 1;
        if self.turn >= TURN_MAX || self.me.depth() == 0 {
            self.turn = 0;
            self.perform.end_turn();
        }
        self.alarm.set(self.core.next_deadline());
        if let Some(held) = watchdog::held(began, ctx.now()) {
            // The last record is what this message led to, if it led to anything.
            let event = self.me.flight().current.back().map(|record| record.event.clone());
            watchdog::report::<C>(held, event.as_ref());
        }
    }
}
