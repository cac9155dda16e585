//! How a tree of supervisors is described, started and spoken to.

use super::{
    backoff::Backoff,
    child::{ChildSpec, Start, Starter},
    exit::Exit,
    host::Seat,
    intensity::Intensity,
    office::{Command, CommandError, Office, StartChildError, TerminateChildError},
    strategy::Strategy,
    supervise::SupervisorStarter,
    tree::Tree,
};
use std::sync::Arc;
use tidemill_protocol::world::{World, meter};
use tokio::sync::{mpsc, oneshot};

/// How a supervisor decides.
pub(crate) struct Rule {
    pub strategy: Strategy,
    pub intensity: Intensity,
    pub backoff: Backoff,
}

/// A supervisor and its first children, in start order.
pub struct SupervisorSpec {
    pub(crate) rule: Rule,
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) office: Arc<Office>,
}

impl SupervisorSpec {
    /// A supervisor without children, with the default [`Intensity`] and [`Backoff`].
    pub fn new(id: impl Into<String>, strategy: Strategy) -> Self {
        SupervisorSpec {
            rule: Rule { strategy, intensity: Intensity::default(), backoff: Backoff::default() },
            children: Vec::new(),
            office: Office::new(id.into(), strategy),
        }
    }

    /// Sets how many restarts it grants before it ends itself and its own supervisor decides.
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.rule.intensity = intensity;
        self
    }

    /// Sets how long it waits before restarts.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.rule.backoff = backoff;
        self
    }

    /// Adds a child, to be started after those added before. Two of one id end the supervisor with [`Exit::Failed`].
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// A handle to the supervisor, which may be used before it is started.
    pub fn handle(&self) -> SupervisorHandle {
        SupervisorHandle { office: self.office.clone() }
    }
}

/// Starts trees.
pub struct Supervisor;

impl Supervisor {
    /// Starts `spec` as the root of a tree, on the current thread.
    ///
    /// # Panics
    /// If the thread runs no actix System (or tokio `LocalSet`).
    pub fn start(spec: SupervisorSpec, world: &World) -> SupervisorHandle {
        let handle = spec.handle();
        let office = spec.office.clone();
        let mut starter = SupervisorStarter::new(spec);
        let seat =
            Seat { world: world.clone(), path: office.id.clone(), role: "supervisor", up: Box::new(|| {}) };
        let life = starter.start(&Start::default(), seat);
        actix_rt::spawn(meter::inherit(async move {
            let exit = life.run.await;
            if !exit.is_orderly() {
                tracing::error!(supervisor = &*office.id, %exit, "the root of a tree has ended");
            }
            office.close(&exit);
            drop(starter);
        }));
        handle
    }
}

/// Speaks to a supervisor, from any thread; good over its restarts.
#[derive(Clone)]
pub struct SupervisorHandle {
    office: Arc<Office>,
}

impl SupervisorHandle {
    /// Adds a child after those that are there, and starts it. It is forgotten when the supervisor itself restarts.
    ///
    /// # Errors
    /// Any [`StartChildError`]. That the child then fails is none: it is restarted like any other.
    pub async fn start_child(&self, child: ChildSpec) -> Result<(), StartChildError> {
        let (tell, told) = oneshot::channel();
        self.office.command(Command::Start(child, Some(tell))).map_err(not_started)?;
        told.await.unwrap_or(Err(StartChildError::Gone))
    }

    /// Like [`start_child`](Self::start_child), without waiting: for code that must not. A duplicate id is not reported.
    ///
    /// # Errors
    /// [`StartChildError::Gone`] or [`StartChildError::Busy`].
    pub fn request_start(&self, child: ChildSpec) -> Result<(), StartChildError> {
        self.office.command(Command::Start(child, None)).map_err(not_started)
    }

    /// Stops a child as its spec says, removes it, and returns when it is gone. One of the supervisor's first children
    /// comes back when the supervisor itself restarts.
    ///
    /// # Errors
    /// Any [`TerminateChildError`].
    pub async fn terminate_child(&self, id: &str) -> Result<(), TerminateChildError> {
        let (tell, told) = oneshot::channel();
        self.office.command(Command::Terminate(id.to_string(), Some(tell))).map_err(not_terminated)?;
        told.await.unwrap_or(Err(TerminateChildError::Gone))
    }

    /// Like [`terminate_child`](Self::terminate_child), without waiting. An unknown id is not reported.
    ///
    /// # Errors
    /// [`TerminateChildError::Gone`] or [`TerminateChildError::Busy`].
    pub fn request_terminate(&self, id: &str) -> Result<(), TerminateChildError> {
        self.office.command(Command::Terminate(id.to_string(), None)).map_err(not_terminated)
    }

    /// Asks the supervisor to stop its children, last started first, and to end with [`Exit::Shutdown`]. A nested one that
    /// is permanent is then restarted; to be rid of it, terminate it at its parent.
    pub fn shutdown(&self) {
        // Gone is as good as shut down.
        let _ = self.office.command(Command::Shutdown);
    }

    /// Waits until the supervisor has ended for good, and says how. A nested one may still be started again with its siblings,
    /// as its parent's strategy says.
    pub async fn ended(&self) -> Exit {
        let mut ended = self.office.ended.subscribe();
        let exit = ended.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        exit.unwrap_or(Exit::Killed)
    }

    /// The exits of the direct child `id`, from now on, over all its lives, whether or not it exists yet. The receiver
    /// closes when the supervisor has ended for good, or when it is left unread for 256 exits.
    pub fn watch(&self, id: &str) -> mpsc::Receiver<Exit> {
        self.office.watch(id)
    }

    /// The tree below (and with) this supervisor.
    pub fn tree(&self) -> Tree {
        self.office.tree()
    }
}

fn not_started(error: CommandError) -> StartChildError {
    match error {
        CommandError::Busy => StartChildError::Busy,
        CommandError::Gone => StartChildError::Gone,
    }
}

fn not_terminated(error: CommandError) -> TerminateChildError {
    match error {
        CommandError::Busy => TerminateChildError::Busy,
        CommandError::Gone => TerminateChildError::Gone,
    }
}
