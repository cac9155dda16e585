//! What of a supervisor can be reached from any thread, and outlives its restarts: the commands to it, who watches its
//! children, and the board on which it shows them.

use super::{
    child::ChildSpec,
    exit::Exit,
    mailbox::Depth,
    strategy::Strategy,
    tree::{ChildState, Tree, TreeEntry},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Commands that may wait for a supervisor; more are refused.
pub const COMMANDS_MAX: usize = 1_024;
/// Exits that a watcher may leave unread; a watcher further behind is dropped.
pub const WATCH_CAPACITY: usize = 256;

/// Why a child was not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartChildError {
    /// There is a child of this id. Terminate it first, or choose another id.
    #[error("there is already a child {0}")]
    Duplicate(String),
    /// The supervisor is ending or has ended.
    #[error("the supervisor is gone")]
    Gone,
    /// Too many commands wait for the supervisor. Retryable.
    #[error("{COMMANDS_MAX} commands wait for the supervisor")]
    Busy,
}

/// Why a child was not terminated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TerminateChildError {
    /// There is no such child.
    #[error("there is no child {0}")]
    Unknown(String),
    /// The supervisor is ending or has ended, and its children with it.
    #[error("the supervisor is gone")]
    Gone,
    /// Too many commands wait for the supervisor. Retryable.
    #[error("{COMMANDS_MAX} commands wait for the supervisor")]
    Busy,
}

pub(crate) type Told<E> = Option<oneshot::Sender<Result<(), E>>>;

/// What a supervisor can be told.
pub(crate) enum Command {
    Start(ChildSpec, Told<StartChildError>),
    Terminate(String, Told<TerminateChildError>),
    Shutdown,
}

/// Why a command was not queued.
pub(crate) enum CommandError {
    Busy,
    Gone,
}

/// A child as it stands on the board.
pub(crate) struct Row {
    pub id: Arc<str>,
    pub restarts: u64,
    pub last_exit: Option<Exit>,
    pub state: ChildState,
    pub depth: Option<Arc<dyn Depth>>,
    pub nested: Option<Arc<Office>>,
}

/// See the module.
pub(crate) struct Office {
    pub id: Arc<str>,
    pub strategy: Strategy,
    pub commanded: Notify,
    pub ended: watch::Sender<Option<Exit>>,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    closed: bool,
    /// How the last life ended; none while one runs.
    last_exit: Option<Exit>,
    commands: VecDeque<Command>,
    watchers: BTreeMap<String, Vec<mpsc::Sender<Exit>>>,
    rows: Vec<Row>,
}

impl Office {
    pub(crate) fn new(id: String, strategy: Strategy) -> Arc<Self> {
        Arc::new(Office {
            id: id.into(),
            strategy,
            commanded: Notify::new(),
            ended: watch::Sender::new(None),
            inside: Mutex::default(),
        })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn command(&self, command: Command) -> Result<(), CommandError> {
        let mut inside = self.inside();
        if inside.closed {
            return Err(CommandError::Gone);
        }
        // The end of everything needs no room: it is queued at most once.
        match command {
            Command::Shutdown if inside.commands.iter().any(|queued| matches!(queued, Command::Shutdown)) => {
            }
            Command::Shutdown => inside.commands.push_back(command),
            _ if inside.commands.len() >= COMMANDS_MAX => return Err(CommandError::Busy),
            _ => inside.commands.push_back(command),
        }
        drop(inside);
        self.commanded.notify_one();
        Ok(())
    }

    pub(crate) fn take_commands(&self) -> VecDeque<Command> {
        std::mem::take(&mut self.inside().commands)
    }

    /// A new life begins: an order to end was meant for the one before. Also after a rest.
    pub(crate) fn begin(&self) {
        let mut inside = self.inside();
        inside.commands.retain(|command| !matches!(command, Command::Shutdown));
        (inside.closed, inside.last_exit) = (false, None);
        drop(inside);
        self.ended.send_if_modified(|ended| ended.take().is_some());
    }

    /// A life has ended.
    pub(crate) fn left(&self, exit: &Exit) {
        self.inside().last_exit = Some(exit.clone());
    }

    /// No life will follow, unless the parent starts this supervisor again: whoever waits is told so now.
    pub(crate) fn rest(&self) {
        let exit = self.inside().last_exit.clone();
        // One that was aborted had no time to say how it ended.
        self.close(&exit.unwrap_or(Exit::Killed));
    }

    /// No life will follow.
    pub(crate) fn close(&self, exit: &Exit) {
        let mut inside = self.inside();
        inside.closed = true;
        let unread = std::mem::take(&mut inside.commands);
        inside.watchers.clear();
        let rows = std::mem::take(&mut inside.rows);
        drop(inside);
        drop((unread, rows));
        self.ended.send_if_modified(|ended| ended.is_none() && ended.replace(exit.clone()).is_none());
    }

    pub(crate) fn watch(&self, child: &str) -> mpsc::Receiver<Exit> {
        let (teller, told) = mpsc::channel(WATCH_CAPACITY);
        let mut inside = self.inside();
        if !inside.closed {
            inside.watchers.entry(child.to_string()).or_default().push(teller);
        }
        told
    }

    pub(crate) fn tell_watchers(&self, child: &str, exit: &Exit) {
        let mut inside = self.inside();
        let Some(tellers) = inside.watchers.get_mut(child) else {
            return;
        };
        tellers.retain(|teller| teller.try_send(exit.clone()).is_ok());
        if tellers.is_empty() {
            inside.watchers.remove(child);
        }
    }

    pub(crate) fn show(&self, rows: Vec<Row>) {
        let old = std::mem::replace(&mut self.inside().rows, rows);
        drop(old);
    }

    /// What stands on the board, and on those of nested supervisors.
    pub(crate) fn tree(&self) -> Tree {
        let state = if self.ended.borrow().is_some() { ChildState::Down } else { ChildState::Running };
        let root = TreeEntry {
            path: self.id.to_string(),
            strategy: Some(self.strategy),
            restarts: 0,
            mailbox_depth: 0,
            last_exit: self.ended.borrow().clone(),
            state,
        };
        let mut tree = Tree { entries: vec![root] };
        self.list(&self.id, &mut tree);
        tree
    }

    fn list(&self, path: &str, tree: &mut Tree) {
        // Copied first, so that no lock of a mailbox or of a nested office is taken under this one.
        let rows: Vec<_> = self.inside().rows.iter().map(Row::copy).collect();
        for row in rows {
            let path = format!("{path}/{}", row.id);
            tree.entries.push(TreeEntry {
                path: path.clone(),
                strategy: row.nested.as_ref().map(|office| office.strategy),
                restarts: row.restarts,
                mailbox_depth: row.depth.as_ref().map_or(0, |mailbox| mailbox.depth()),
                last_exit: row.last_exit,
                state: row.state,
            });
            if let Some(office) = row.nested {
                office.list(&path, tree);
            }
        }
    }
}

impl Row {
    fn copy(&self) -> Row {
        Row {
            id: self.id.clone(),
            last_exit: self.last_exit.clone(),
            depth: self.depth.clone(),
            nested: self.nested.clone(),
            ..*self
        }
    }
}
