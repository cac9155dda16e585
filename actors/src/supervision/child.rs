//! What a supervisor is told about a child: how to make it, when to make it again, and how to end it.

use super::{
    actor::Actor,
    apart::ApartStarter,
    exit::Exit,
    host::{self, Incarnation, Lever, Seat},
    mailbox::{Depth, Mailbox},
    office::Office,
    orders::{Patience, Rules},
    panic,
    strategy::Restart,
    supervise,
    supervisor::SupervisorSpec,
};
use std::{
    fmt,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long an actor may take to stop, unless its spec says otherwise.
pub const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// Why and how often a child is being started; given to its factory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// How often it was started before, within one life of its supervisor.
    pub count: u64,
    /// How its last life ended; `None` at the first start.
    pub reason: Option<Exit>,
}

/// How long a supervisor waits for a child it has asked to stop; then the child is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// This long (the default: [`SHUTDOWN_PATIENCE`]).
    After(Duration),
    /// Not at all: it is not even asked.
    Brutal,
    /// For ever. The default of nested supervisors; for an actor it means that a hanging one hangs its supervisor.
    Infinity,
}

/// Makes the lives of a child.
pub(crate) trait Starter: Send {
    fn start(&mut self, start: &Start, seat: Seat) -> Incarnation;
    /// Nobody will read the mailbox, unless the child is started again.
    fn rest(&mut self);
}

/// A child of a supervisor.
pub struct ChildSpec {
    pub(crate) id: Arc<str>,
    pub(crate) role: &'static str,
    pub(crate) restart: Restart,
    pub(crate) shutdown: Shutdown,
    pub(crate) stuck_after: Option<Duration>,
    pub(crate) starter: Arc<Mutex<dyn Starter>>,
    /// Its mailbox; `None` for a supervisor. Beside the starter, which is locked while a user's factory runs.
    pub(crate) depth: Option<Arc<dyn Depth>>,
    pub(crate) nested: Option<Arc<Office>>,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChildSpec({}, {:?})", self.id, self.restart)
    }
}

impl ChildSpec {
    /// A permanent child with a mailbox of its own. `make` gives a **fresh** actor for each life; it must be `Send` (a spec
    /// may be handed over from another thread), the actor need not be. The actor hands out its addresses itself
    /// ([`Context::address`](super::Context::address)); to have them before it runs, use
    /// [`with_mailbox`](ChildSpec::with_mailbox).
    pub fn new<A: Actor>(id: impl Into<String>, mut make: impl FnMut() -> A + Send + 'static) -> Self {
        ChildSpec::with_mailbox(id, Mailbox::new(), move |_: &Start| make())
    }

    /// A permanent child that reads `mailbox`; its factory is told why it is called.
    pub fn with_mailbox<A: Actor>(
        id: impl Into<String>,
        mailbox: Mailbox<A>,
        make: impl FnMut(&Start) -> A + Send + 'static,
    ) -> Self {
        let depth = mailbox.queue().clone();
        let starter = Arc::new(Mutex::new(ActorStarter { mailbox, make }));
        let shutdown = Shutdown::After(SHUTDOWN_PATIENCE);
        ChildSpec { depth: Some(depth), ..ChildSpec::of(&id.into(), "actor", shutdown, starter) }
    }

    /// A supervisor as a child: permanent, with [`Shutdown::Infinity`]. Its id is the supervisor's.
    pub fn supervisor(spec: SupervisorSpec) -> Self {
        let office = spec.office.clone();
        let starter = Arc::new(Mutex::new(supervise::SupervisorStarter::new(spec)));
        let of = ChildSpec::of(&office.id, "supervisor", Shutdown::Infinity, starter);
        ChildSpec { nested: Some(office), ..of }
    }

    /// As [`supervisor`](ChildSpec::supervisor), on a thread of its own, with a clock of its own: not in virtual time.
    pub fn supervisor_apart(spec: SupervisorSpec) -> Self {
        let office = spec.office.clone();
        let starter = supervise::SupervisorStarter::new(spec);
        let starter = Arc::new(Mutex::new(ApartStarter::new(starter, office.clone())));
        let of = ChildSpec::of(&office.id, "supervisor", Shutdown::Infinity, starter);
        ChildSpec { nested: Some(office), ..of }
    }

    fn of(id: &str, role: &'static str, shutdown: Shutdown, starter: Arc<Mutex<dyn Starter>>) -> Self {
        let (restart, stuck_after) = (Restart::Permanent, None);
        ChildSpec { id: id.into(), role, restart, shutdown, stuck_after, starter, depth: None, nested: None }
    }

    /// Sets whether the child is started again.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Sets how long the child may take to stop.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Has the child aborted, with [`Exit::Failed`], when it makes no progress for `limit` (at least 4 ms) while messages
    /// wait for it. It is found at most a quarter of the limit late.
    pub fn stuck_after(mut self, limit: Duration) -> Self {
        self.stuck_after = Some(limit.max(Duration::from_millis(4)));
        self
    }

    /// Sets the value of the `role` label of metrics. Bounded by its type: no id can become a label.
    pub fn role(mut self, role: &'static str) -> Self {
        self.role = role;
        self
    }

    /// The child's id, unique within its supervisor.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Another handle to the same child.
    pub(crate) fn share(&self) -> Self {
        ChildSpec {
            id: self.id.clone(),
            starter: self.starter.clone(),
            depth: self.depth.clone(),
            nested: self.nested.clone(),
            ..*self
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        let shutdown = match self.shutdown {
            Shutdown::After(time) => Patience::For(time),
            Shutdown::Brutal => Patience::Brutal,
            Shutdown::Infinity => Patience::Infinity,
        };
        Rules { id: self.id.to_string(), restart: self.restart, shutdown, stuck_after: self.stuck_after }
    }

    pub(crate) fn start(&self, start: &Start, seat: Seat) -> Incarnation {
        self.starter.lock().unwrap_or_else(PoisonError::into_inner).start(start, seat)
    }

    pub(crate) fn depth(&self) -> usize {
        self.depth.as_ref().map_or(0, |mailbox| mailbox.depth())
    }

    pub(crate) fn rest(&self) {
        self.starter.lock().unwrap_or_else(PoisonError::into_inner).rest();
    }
}

struct ActorStarter<A: Actor, F> {
    mailbox: Mailbox<A>,
    make: F,
}

/// The lever of a child whose factory panicked: there is nothing to move.
struct Stillborn;

impl Lever for Stillborn {
    fn stop(&self) {}

    fn progress(&self) -> u64 {
        0
    }
}

impl<A: Actor, F: FnMut(&Start) -> A + Send> Starter for ActorStarter<A, F> {
    fn start(&mut self, start: &Start, seat: Seat) -> Incarnation {
        self.mailbox.queue().open();
        match panic::catch(|| (self.make)(start)) {
            Ok(actor) => host::incarnation(actor, self.mailbox.queue(), seat),
            Err(text) => {
                let exit = Exit::Panicked(text.to_string());
                Incarnation { run: Box::pin(std::future::ready(exit)), lever: Rc::new(Stillborn) }
            }
        }
    }

    fn rest(&mut self) {
        self.mailbox.queue().close();
    }
}
