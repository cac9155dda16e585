//! What the two queues share: lists in memory, one for each batch, which are kept so that a task can read them again.

use super::{reached, share};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tidemill_actors::seam::{PlannedRange, TaskError};
use tidemill_protocol::id::PartitionId;

/// Lists of `T`, each cut into contiguous parts for the partitions. A handle: clones share the lists.
pub(super) struct Datasets<T> {
    partitions: u32,
    state: Arc<Mutex<State<T>>>,
}

struct State<T> {
    lists: Vec<Arc<[T]>>,
    closed: bool,
}

impl<T> Clone for Datasets<T> {
    fn clone(&self) -> Self {
        Datasets { partitions: self.partitions, state: self.state.clone() }
    }
}

impl<T> Datasets<T> {
    /// No lists yet; at least one partition.
    pub(super) fn new(partitions: u32) -> Self {
        let state = State { lists: Vec::new(), closed: false };
        Datasets { partitions: partitions.max(1), state: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn push(&self, list: Vec<T>) {
        self.lock().lists.push(list.into());
    }

    /// Nothing more will be pushed.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    /// The next list after those that were planned, one range for each partition. `rows` says how many records a part has.
    pub(super) fn next_ranges(
        &self,
        planned: &BTreeMap<PartitionId, u64>,
        rows: impl Fn(&[T]) -> u64,
    ) -> Vec<PlannedRange> {
        let (state, next) = (self.lock(), reached(planned, PartitionId(0)));
        let Some(list) = state.lists.get(next as usize) else { return Vec::new() };
        let range = |number| PlannedRange {
            partition: PartitionId(number),
            from: next,
            to: next + 1,
            rows: rows(&list[share(list.len(), number, self.partitions)]),
        };
        (0..self.partitions).map(range).collect()
    }

    /// Whether all that was pushed is planned, and no more will be.
    pub(super) fn is_exhausted(&self, planned: &BTreeMap<PartitionId, u64>) -> bool {
        let state = self.lock();
        state.closed && reached(planned, PartitionId(0)) >= state.lists.len() as u64
    }

    /// Gives `take` the partition's part of each list in `from..to`.
    pub(super) fn read(
        &self,
        partition: PartitionId,
        from: u64,
        to: u64,
        mut take: impl FnMut(&[T]) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        for number in from..to {
            // The lock is not held while the task computes.
            let list = self.lock().lists.get(number as usize).cloned();
            let list = list.ok_or_else(|| TaskError::Failed(format!("the queue has no dataset {number}")))?;
            take(&list[share(list.len(), partition.0, self.partitions)])?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
