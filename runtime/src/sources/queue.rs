//! A queue of datasets: each becomes one batch.

use super::{next_dataset, share};
use crate::{
    data::Data,
    graph::{Admitted, PlannedSource, Push, TaskEnv},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use tidemill_actors::seam::{PlannedRange, SourceError, TaskError};
use tidemill_protocol::{id::PartitionId, world::Files};

/// Datasets in memory, one for each batch. A handle: clones share the queue. It keeps what was pushed, so that a task can
/// read it again, and lives in this process only: it is for tests. It is not throttled: a batch is exactly one dataset.
///
/// ```
/// use tidemill::{StreamContext, sources::Queue};
/// let queue = Queue::new(2);
/// let numbers = StreamContext::new().queue_stream("numbers", &queue);
/// queue.push(vec![1, 2, 3]);
/// queue.close();
/// # let _ = numbers.count();
/// ```
pub struct Queue<T> {
    partitions: u32,
    state: Arc<Mutex<State<T>>>,
}

struct State<T> {
    datasets: Vec<Arc<Vec<T>>>,
    closed: bool,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue { partitions: self.partitions, state: self.state.clone() }
    }
}

impl<T: Data> Queue<T> {
    /// An empty queue whose datasets are cut into `partitions` contiguous parts (at least one).
    pub fn new(partitions: u32) -> Self {
        let state = State { datasets: Vec::new(), closed: false };
        Queue { partitions: partitions.max(1), state: Arc::new(Mutex::new(state)) }
    }

    /// Appends the dataset of a batch.
    pub fn push(&self, records: Vec<T>) {
        self.lock().datasets.push(Arc::new(records));
    }

    /// Says that nothing more will be pushed.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T: Data> PlannedSource<T> for Queue<T> {
    fn next_ranges(
        &self,
        _files: &Files,
        planned: &BTreeMap<PartitionId, u64>,
        _records_max: Option<u64>,
    ) -> Result<Vec<PlannedRange>, SourceError> {
        let state = self.lock();
        let rows = |dataset: usize, number| {
            share(state.datasets[dataset].len(), number, self.partitions).len() as u64
        };
        Ok(next_dataset(planned, self.partitions, state.datasets.len(), rows))
    }

    fn is_exhausted(&self, planned: &BTreeMap<PartitionId, u64>) -> bool {
        let state = self.lock();
        let next = planned.get(&PartitionId(0)).copied().unwrap_or(0);
        state.closed && next >= state.datasets.len() as u64
    }

    // A batch is exactly one dataset, however large.
    fn counts_records(&self) -> bool {
        false
    }

    fn read(
        &self,
        partition: PartitionId,
        from: u64,
        to: u64,
        down: &mut dyn Push<T>,
        env: &TaskEnv,
    ) -> Result<(), TaskError> {
        for number in from..to {
            let dataset = self.lock().datasets.get(number as usize).cloned();
            let dataset =
                dataset.ok_or_else(|| TaskError::Failed(format!("the queue has no dataset {number}")))?;
            let records = &dataset[share(dataset.len(), partition.0, self.partitions)];
            Admitted { env, down }.push_all(records.iter().cloned())?;
        }
        Ok(())
    }
}
