//! How a shell is reached, also before it runs: performers hold each other's addresses, so the addresses come first.

use super::{FlightRecord, Observer, Shell, ShellMessage, flight::Flight};
use crate::{
    core::Core,
    supervision::{Address, Exit, Mailbox, SendError},
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Events that may wait for a shell. Its events come from actors and wires that have limits of their own, so a full lane is
/// a defect of ours, and not load.
pub const EVENTS_CAPACITY: usize = 65_536;

/// Tells events to a shell, from any thread; good over restarts.
pub struct ShellAddress<C: Core>(Arc<Inner<C>>);

struct Inner<C: Core> {
    address: Address<ShellMessage<C>>,
    flight: Mutex<Flight<C>>,
    when_refused: Mutex<Option<WhenRefused>>,
}

/// Called once, with a text that names the role.
type WhenRefused = Box<dyn FnOnce(String) + Send>;

impl<C: Core> Clone for ShellAddress<C> {
    fn clone(&self) -> Self {
        ShellAddress(self.0.clone())
    }
}

impl<C: Core> fmt::Debug for ShellAddress<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShellAddress({})", C::NAME)
    }
}

impl<C: Core> ShellAddress<C> {
    /// An address and the inbox that it fills, to be given to [`Shell::child_spec`]. What is told before the shell runs
    /// waits for it.
    pub fn new_pair() -> (ShellAddress<C>, ShellInbox<C>) {
        // The data lane is not used: events never wait.
        let mailbox = Mailbox::with_capacity(EVENTS_CAPACITY, 1);
        let flight = Mutex::new(Flight::new());
        let inner = Inner { address: mailbox.address(), flight, when_refused: Mutex::new(None) };
        let address = ShellAddress(Arc::new(inner));
        (address.clone(), ShellInbox { mailbox, address, observer: None })
    }

    /// Calls `hook` when an event is refused because [`EVENTS_CAPACITY`] wait already, once for all refusals, on the thread of
    /// whoever told the event: it must not wait. Its text names the role. For a core whose books are wrong after a lost event;
    /// without a hook, refusals are logged and counted only. An earlier hook is replaced.
    pub fn when_refused(&self, hook: impl FnOnce(String) + Send + 'static) {
        *self.0.when_refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
    }

    /// Queues `event`: never waits, never blocks. False if it was not queued: the shell is gone for good (what is told to
    /// it is of no use any more), or its lane is full, which is logged, counted (`tidemill_mailbox_refused_total`) and told to
    /// the hook of [`when_refused`](Self::when_refused).
    pub fn tell(&self, event: C::Event) -> bool {
        self.send(ShellMessage::Event(event))
    }

    /// Ends this life of the shell with [`Exit::Failed`], once it has handled what was told before.
    pub fn fail(&self, error: impl fmt::Display) -> bool {
        self.send(ShellMessage::End(Exit::Failed(error.to_string())))
    }

    /// Ends this life of the shell with [`Exit::Normal`], once it has handled what was told before.
    pub fn stop(&self) -> bool {
        self.send(ShellMessage::End(Exit::Normal))
    }

    pub(super) fn wake(&self) -> bool {
        self.send(ShellMessage::Wake)
    }

    fn send(&self, message: ShellMessage<C>) -> bool {
        match self.0.address.tell_control(message) {
            Ok(()) => true,
            Err(SendError::Gone(_)) => false,
            Err(SendError::Full(message)) => {
                metrics::counter!("tidemill_mailbox_refused_total", "role" => C::NAME).increment(1);
                if let ShellMessage::Event(event) = message {
                    tracing::error!(
                        core = C::NAME,
                        ?event,
                        "an event was refused: {EVENTS_CAPACITY} wait already"
                    );
                    self.refused();
                }
                false
            }
        }
    }

    fn refused(&self) {
        let hook = self.0.when_refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(hook) = hook {
            let role = C::NAME;
            hook(format!("an event was refused by the {role}, for which {EVENTS_CAPACITY} wait already"));
        }
    }

    /// Whether the shell runs, or may run (again).
    pub fn alive(&self) -> bool {
        self.0.address.is_open()
    }

    /// Events that wait.
    pub fn depth(&self) -> usize {
        self.0.address.depth()
    }

    /// The last events of the shell's present life with their actions, oldest first; from its first event on, if there
    /// were at most [`FLIGHT_RECORDS`](super::FLIGHT_RECORDS).
    pub fn flight_recorder(&self) -> Vec<FlightRecord<C>> {
        self.flight().current.iter().cloned().collect()
    }

    /// The same of the life before the present one; empty if there was none (or it had no event).
    pub fn last_flight(&self) -> Vec<FlightRecord<C>> {
        self.flight().last.iter().cloned().collect()
    }

    pub(super) fn flight(&self) -> MutexGuard<'_, Flight<C>> {
        self.0.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reading end of a [`ShellAddress`]. Dropped without a shell, it makes the address dead.
pub struct ShellInbox<C: Core> {
    pub(super) mailbox: Mailbox<Shell<C>>,
    pub(super) address: ShellAddress<C>,
    pub(super) observer: Option<Observer>,
}

impl<C: Core> ShellInbox<C> {
    /// Lets `observer` see each action before it is performed.
    pub fn observed_by(mut self, observer: Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Takes out the events that wait: to test a performer without a shell.
    pub fn take_events(&self) -> Vec<C::Event> {
        let letters = self.mailbox.take_messages::<ShellMessage<C>>();
        let event = |message| match message {
            ShellMessage::Event(event) => Some(event),
            ShellMessage::Wake | ShellMessage::End(_) => None,
        };
        letters.into_iter().filter_map(event).collect()
    }
}
