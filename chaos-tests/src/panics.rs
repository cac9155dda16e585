//! Panics on order: in the user's function, and in an actor before it takes its next event.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tidemill::cluster::sim::SimWorld;

/// What the panic of a planned fault begins with.
const PLANNED_PANIC: &str = "planned by the scenario";

/// Panics in the user's function, on demand: shared by all nodes of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Panics {
    due: Arc<AtomicU64>,
    thrown: Arc<AtomicU64>,
}

impl Panics {
    /// Lets the next `tasks` calls panic.
    pub fn arm(&self, tasks: u64) {
        self.due.fetch_add(tasks, Ordering::Relaxed);
    }

    /// How many have panicked.
    pub fn thrown(&self) -> u64 {
        self.thrown.load(Ordering::Relaxed)
    }

    /// A point in the user's function.
    ///
    /// # Panics
    /// If one is due.
    pub fn pass(&self) {
        let due = self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| due.checked_sub(1));
        if due.is_ok() {
            self.thrown.fetch_add(1, Ordering::Relaxed);
            panic!("{PLANNED_PANIC}");
        }
    }
}

/// Panics of actors: the role named passes a point before each event that it takes.
#[derive(Clone, Debug, Default)]
pub struct ActorPanics {
    due: Arc<Mutex<BTreeMap<(IpAddr, &'static str), ()>>>,
    thrown: Arc<AtomicU64>,
}

impl ActorPanics {
    /// Takes the fault points of `world`.
    pub fn install(&self, world: &SimWorld) {
        let me = self.clone();
        world.set_fault_hook(move |_, node, point| {
            let is_due =
                me.due.lock().unwrap_or_else(PoisonError::into_inner).remove(&(node, point)).is_some();
            if is_due {
                me.thrown.fetch_add(1, Ordering::Relaxed);
                panic!("{PLANNED_PANIC}");
            }
        });
    }

    /// Lets the actor of this role panic on the node, at its next event.
    pub fn arm(&self, node: IpAddr, role: &'static str) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).insert((node, role), ());
    }

    /// Nobody panics any more.
    pub fn disarm(&self) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How many have panicked.
    pub fn thrown(&self) -> u64 {
        self.thrown.load(Ordering::Relaxed)
    }
}

/// Keeps the process's panic hook from printing planned panics. For binaries and tests: it is global.
pub fn silence_planned_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some(PLANNED_PANIC) {
            before(info);
        }
    }));
}
