//! Tasks that could run: those that wait for room only, and those that something keeps back.

use std::collections::BTreeSet;
use tidemill_protocol::{
    id::{BatchNumber, PartitionId, StageId, TaskKey},
    time::Time,
};

/// The ready tasks, oldest batch first. Each is in exactly one of the three sets.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// Wait for room.
    ready: BTreeSet<TaskKey>,
    /// Read a block that nobody holds: wait for news of it.
    starved: BTreeSet<TaskKey>,
    /// Could not have an input a moment ago: wait until then.
    paused: BTreeSet<(Time, TaskKey)>,
}

impl Queue {
    /// A task has become ready.
    pub fn enter(&mut self, key: TaskKey) {
        self.ready.insert(key);
    }

    /// A task has become ready, just now or before, but is not tried before `until`.
    pub fn pause(&mut self, key: TaskKey, until: Time) {
        self.leave(key);
        self.paused.insert((until, key));
    }

    /// A task reads a block that nobody holds.
    pub fn starve(&mut self, key: TaskKey) {
        self.ready.remove(&key);
        self.starved.insert(key);
    }

    /// A task is not ready any more.
    pub fn leave(&mut self, key: TaskKey) {
        if !self.ready.remove(&key) && !self.starved.remove(&key) {
            self.paused.retain(|(_, paused)| *paused != key);
        }
    }

    /// A batch is gone, with all its tasks.
    pub fn leave_batch(&mut self, batch: BatchNumber) {
        let tasks = whole(batch);
        let ready: Vec<TaskKey> = self.ready.range(tasks.clone()).copied().collect();
        let starved: Vec<TaskKey> = self.starved.range(tasks).copied().collect();
        ready.iter().for_each(|key| _ = self.ready.remove(key));
        starved.iter().for_each(|key| _ = self.starved.remove(key));
        self.paused.retain(|(_, key)| key.batch != batch);
    }

    /// There is news of blocks of `batch`: those that starve are tried again.
    pub fn feed(&mut self, batch: BatchNumber) {
        let fed: Vec<TaskKey> = self.starved.range(whole(batch)).copied().collect();
        for key in fed {
            self.starved.remove(&key);
            self.ready.insert(key);
        }
    }

    /// Lets go those whose pause is over.
    pub fn resume(&mut self, now: Time) {
        while let Some((until, key)) = self.paused.first().copied().filter(|(until, _)| *until <= now) {
            self.paused.remove(&(until, key));
            self.ready.insert(key);
        }
    }

    /// The first that waits for room after `last` (from the beginning if none).
    pub fn next_after(&self, last: Option<TaskKey>) -> Option<TaskKey> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = last.map_or(Unbounded, Excluded);
        self.ready.range((from, Unbounded)).next().copied()
    }

    /// When the first pause is over.
    pub fn next_deadline(&self) -> Option<Time> {
        self.paused.first().map(|(until, _)| *until)
    }

    /// Panics unless exactly the tasks of `ready` are here, each once.
    pub fn assert_holds(&self, ready: &BTreeSet<TaskKey>) {
        let paused = self.paused.iter().map(|(_, key)| key);
        let mut here = BTreeSet::new();
        for key in self.ready.iter().chain(&self.starved).chain(paused) {
            assert!(here.insert(*key), "{key} is in the queue twice");
        }
        assert_eq!(&here, ready, "the ready tasks are those in the queue");
    }
}

fn whole(batch: BatchNumber) -> std::ops::RangeInclusive<TaskKey> {
    let first = TaskKey { batch, stage: StageId(0), partition: PartitionId(0) };
    let last = TaskKey { batch, stage: StageId(u16::MAX), partition: PartitionId(u32::MAX) };
    first..=last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_waits_for_room_or_a_block_waits_in_one_place_when_it_is_paused() {
        let key = TaskKey { batch: BatchNumber(1), stage: StageId(0), partition: PartitionId(2) };
        let only = BTreeSet::from([key]);
        let mut queue = Queue::default();
        queue.enter(key);
        queue.pause(key, Time(5));
        queue.assert_holds(&only);
        assert_eq!((queue.next_after(None), queue.next_deadline()), (None, Some(Time(5))));
        queue.pause(key, Time(7));
        queue.assert_holds(&only);
        queue.resume(Time(6));
        assert_eq!(queue.next_after(None), None, "the later pause counts");
        queue.resume(Time(7));
        assert_eq!(queue.next_after(None), Some(key));
        queue.starve(key);
        queue.pause(key, Time(9));
        queue.assert_holds(&only);
    }
}
