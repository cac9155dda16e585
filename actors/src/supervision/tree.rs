//! A snapshot of a tree of supervisors, for people: the web page, a log, a test.

use super::{exit::Exit, strategy::Strategy};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a child is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildState {
    /// It waits to be started (again).
    Waiting,
    /// It runs.
    Running,
    /// It has been asked to stop, or is being aborted.
    Stopping,
    /// It has finished, or its supervisor has ended.
    Down,
}

/// One supervisor or actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeEntry {
    /// The ids from the root down, separated by `/`.
    pub path: String,
    /// The strategy of a supervisor; `None` for an actor.
    pub strategy: Option<Strategy>,
    /// How often it was started again.
    pub restarts: u64,
    /// Messages that wait for it; 0 for a supervisor.
    pub mailbox_depth: usize,
    /// How its last life ended.
    pub last_exit: Option<Exit>,
    /// What it is doing.
    pub state: ChildState,
}

/// A tree, parents before their children, children in start order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Its entries.
    pub entries: Vec<TreeEntry>,
}

impl Tree {
    /// The entry at `path`.
    pub fn get(&self, path: &str) -> Option<&TreeEntry> {
        self.entries.iter().find(|entry| entry.path == path)
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            let depth = entry.path.matches('/').count();
            let id = entry.path.rsplit('/').next().unwrap_or_default();
            write!(
                f,
                "{:indent$}{id}: {:?}, {} restarts",
                "",
                entry.state,
                entry.restarts,
                indent = depth * 2
            )?;
            match entry.strategy {
                Some(strategy) => write!(f, ", {strategy:?}")?,
                None => write!(f, ", {} waiting", entry.mailbox_depth)?,
            }
            match &entry.last_exit {
                Some(exit) => writeln!(f, ", last exit {exit}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}
