//! The memory of cancelled attempts whose `Run` has not come: control may overtake, so "cancel" may come before "run".

use std::collections::{BTreeSet, VecDeque};
use tidemill_protocol::id::TaskId;

/// The last `max` attempts that were cancelled before they came. A `Run` that comes later than that runs for nothing, and
/// its result is refused by the driver: a loss of time, not of truth.
#[derive(Debug)]
pub(super) struct Cancelled {
    max: usize,
    known: BTreeSet<TaskId>,
    oldest_first: VecDeque<TaskId>,
}

impl Cancelled {
    pub fn new(max: usize) -> Self {
        Cancelled { max, known: BTreeSet::new(), oldest_first: VecDeque::new() }
    }

    /// Remembers an attempt.
    pub fn note(&mut self, task: TaskId) {
        if !self.known.insert(task) {
            return;
        }
        self.oldest_first.push_back(task);
        while self.oldest_first.len() > self.max
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Whether an attempt was cancelled before. It stays known: a `Run` may be repeated.
    pub fn knows(&self, task: TaskId) -> bool {
        self.known.contains(&task)
    }

    /// Forgets all: another driver counts its attempts itself.
    pub fn clear(&mut self) {
        self.known.clear();
        self.oldest_first.clear();
    }

    /// Panics if set and queue disagree.
    pub fn assert_invariants(&self) {
        assert_eq!(self.known.len(), self.oldest_first.len(), "set and queue of cancelled attempts differ");
        assert!(self.known.len() <= self.max, "more cancelled attempts are remembered than allowed");
    }
}
