//! The slot threads of an executor, and the flags of what runs on them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tidemill_protocol::{
    id::{Member, TaskId},
    world::{Job, Slot, Spawner},
};

use crate::executor::SlotIndex;

/// What executor and task tell each other while it runs.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Set when the result is no longer wanted.
    pub cancelled: Arc<AtomicBool>,
    /// Grows while the task gets on.
    pub progress: Arc<AtomicU64>,
}

/// The slots of one executor. Dropping it lets running jobs finish unobserved.
pub struct Slots {
    me: Member,
    spawner: Spawner,
    places: Vec<Place>,
}

struct Place {
    slot: Slot,
    // How often the thread was replaced: part of its name, so that a leaked thread is recognised in a stack dump.
    replaced: u32,
    // What was last started here. Asking after a task that has ended meanwhile is harmless.
    last: Option<(TaskId, Flags)>,
}

impl Slots {
    /// Starts `count` threads.
    pub fn new(me: Member, spawner: Spawner, count: u16) -> Self {
        let place =
            |index| Place { slot: thread(&spawner, me, SlotIndex(index), 0), replaced: 0, last: None };
        let places = (0..count).map(place).collect();
        Slots { me, spawner, places }
    }

    /// Runs `job` for `task` on a slot; `cost` is its virtual time. An index that does not exist is not started: the core
    /// was made with another number of slots, which its invariants forbid.
    pub fn start(&mut self, slot: SlotIndex, task: TaskId, flags: Flags, job: Job, cost: Duration) {
        let Some(place) = self.places.get_mut(usize::from(slot.0)) else {
            return;
        };
        place.last = Some((task, flags));
        place.slot.run(job, cost);
    }

    /// Tells a running task that its result is not wanted.
    pub fn set_cancel(&self, task: TaskId) {
        for (_, flags) in self.running().filter(|(id, _)| *id == task) {
            flags.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// The progress counters of what was last started on each slot.
    pub fn progress(&self) -> Vec<(TaskId, u64)> {
        self.running().map(|(task, flags)| (*task, flags.progress.load(Ordering::Relaxed))).collect()
    }

    /// Puts a new thread in the place of one that does not come back. The old one ends when its task does, if ever.
    pub fn replace(&mut self, slot: SlotIndex) {
        let Some(place) = self.places.get_mut(usize::from(slot.0)) else {
            return;
        };
        place.replaced += 1;
        place.slot = thread(&self.spawner, self.me, slot, place.replaced);
        place.last = None;
    }

    fn running(&self) -> impl Iterator<Item = &(TaskId, Flags)> {
        self.places.iter().filter_map(|place| place.last.as_ref())
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        for (_, flags) in self.running() {
            flags.cancelled.store(true, Ordering::Relaxed);
        }
    }
}

fn thread(spawner: &Spawner, me: Member, slot: SlotIndex, replaced: u32) -> Slot {
    match replaced {
        0 => spawner.slot(format!("{me}-slot-{}", slot.0)),
        _ => spawner.slot(format!("{me}-slot-{}-r{replaced}", slot.0)),
    }
}
