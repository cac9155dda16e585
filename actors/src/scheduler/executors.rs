//! Who is there, and how much room each has: slots, and a short queue behind them that hides the round trip.

use std::collections::BTreeMap;
use tidemill_protocol::id::Member;

/// One live executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Executor {
    /// How many tasks it runs at once.
    pub slots: u32,
    /// How many attempts it has been given and has not answered.
    pub tasks: u32,
    /// How many it may have been given: slots and queue.
    pub tasks_max: u32,
}

impl Executor {
    /// Whether a task would run at once.
    pub fn has_free_slot(&self) -> bool {
        self.tasks < self.slots
    }

    /// Whether it may be given a task.
    pub fn has_room(&self) -> bool {
        self.tasks < self.tasks_max
    }

    /// Attempts per slot, in thousandths: the load that placement compares.
    pub fn load(&self) -> u32 {
        self.tasks.saturating_mul(1_000) / self.slots.max(1)
    }
}

/// All live executors, and the sum of their room, so that a full cluster costs nothing to look at.
#[derive(Clone, Debug, Default)]
pub(super) struct Executors {
    live: BTreeMap<Member, Executor>,
    /// Those that leave: they are given nothing more. True once it was told that nothing of theirs is needed.
    leaving: BTreeMap<Member, bool>,
    /// Of those that stay.
    room: u64,
}

impl Executors {
    /// Enters an executor; false if it is there already.
    pub fn enter(&mut self, member: Member, slots: u16, queue_per_slot: u16) -> bool {
        if self.is_live(member) {
            return false;
        }
        let slots = u32::from(slots.max(1));
        let tasks_max = slots + slots * u32::from(queue_per_slot);
        self.live.insert(member, Executor { slots, tasks: 0, tasks_max });
        self.room += u64::from(tasks_max);
        true
    }

    /// Strikes an executor; false if it is not there.
    pub fn strike(&mut self, member: Member) -> bool {
        let Some(executor) = self.live.remove(&member) else {
            return false;
        };
        if self.leaving.remove(&member).is_none() {
            self.room -= u64::from(executor.tasks_max - executor.tasks);
        }
        true
    }

    /// Nothing more is given to this executor, because it leaves.
    pub fn leave(&mut self, member: Member) {
        if let Some(executor) = self.live.get(&member)
            && !self.leaving.contains_key(&member)
        {
            self.leaving.insert(member, false);
            self.room -= u64::from(executor.tasks_max - executor.tasks);
        }
    }

    /// Those that leave and are still needed, by id.
    pub fn draining(&self) -> Vec<Member> {
        self.leaving.iter().filter(|(_, drained)| !**drained).map(|(member, _)| *member).collect()
    }

    /// This leaving executor is not needed any more.
    pub fn set_drained(&mut self, member: Member) {
        if let Some(drained) = self.leaving.get_mut(&member) {
            *drained = true;
        }
    }

    /// Takes room for one attempt.
    pub fn take(&mut self, member: Member) {
        let executor = self.live.get_mut(&member).expect("placement chooses among live executors");
        assert!(executor.has_room(), "{member} was given more than it has room for");
        executor.tasks += 1;
        self.room -= 1;
    }

    /// Gives back the room of one attempt; nothing happens if the executor is gone.
    pub fn give_back(&mut self, member: Member) {
        if let Some(executor) = self.live.get_mut(&member) {
            executor.tasks -= 1;
            self.room += u64::from(!self.leaving.contains_key(&member));
        }
    }

    /// Whether this life of the node counts.
    pub fn is_live(&self, member: Member) -> bool {
        self.live.contains_key(&member)
    }

    /// Whether any executor may be given a task.
    pub fn has_room(&self) -> bool {
        self.room > 0
    }

    /// All that stay, by id.
    pub fn staying(&self) -> impl Iterator<Item = (Member, Executor)> + Clone {
        let staying = self.live.iter().filter(|(member, _)| !self.leaving.contains_key(member));
        staying.map(|(member, executor)| (*member, *executor))
    }

    /// The names of all of them, by id.
    pub fn members(&self) -> Vec<Member> {
        self.live.keys().copied().collect()
    }

    /// Panics if the books contradict themselves or `running`, the attempts that the jobs count on each executor.
    pub fn assert_invariants(&self, running: &BTreeMap<Member, u32>) {
        for (member, executor) in &self.live {
            assert!(executor.tasks <= executor.tasks_max, "{member} holds more than its room");
            let counted = running.get(member).copied().unwrap_or(0);
            assert_eq!(executor.tasks, counted, "{member}: attempts in the books and in the jobs");
        }
        assert!(running.keys().all(|m| self.is_live(*m)), "a task runs on a dead executor");
        let room: u64 = self.staying().map(|(_, e)| u64::from(e.tasks_max - e.tasks)).sum();
        assert_eq!(self.room, room, "the sum of the room");
        assert!(self.leaving.keys().all(|m| self.is_live(*m)), "whoever leaves is still there");
    }
}
