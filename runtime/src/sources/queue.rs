//! A queue of datasets: each becomes one batch.

use super::datasets::Datasets;
use crate::{
    data::Data,
    graph::{PlannedSource, Push, TaskEnv},
};
use std::collections::BTreeMap;
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
pub struct Queue<T>(Datasets<T>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue(self.0.clone())
    }
}

impl<T: Data> Queue<T> {
    /// An empty queue whose datasets are cut into `partitions` contiguous parts (at least one).
    pub fn new(partitions: u32) -> Self {
        Queue(Datasets::new(partitions))
    }

    /// Appends the dataset of a batch.
    pub fn push(&self, records: Vec<T>) {
        self.0.push(records);
    }

    /// Says that nothing more will be pushed.
    pub fn close(&self) {
        self.0.close();
    }
}

impl<T: Data> PlannedSource<T> for Queue<T> {
    fn next_ranges(
        &self,
        _files: &Files,
        planned: &BTreeMap<PartitionId, u64>,
        _records_max: Option<u64>,
    ) -> Result<Vec<PlannedRange>, SourceError> {
        Ok(self.0.next_ranges(planned, |part| part.len() as u64))
    }

    fn is_exhausted(&self, planned: &BTreeMap<PartitionId, u64>) -> bool {
        self.0.is_exhausted(planned)
    }

    // A batch is exactly one dataset, however large.
    fn counts_records(&self) -> bool {
        false
    }

    fn may_block(&self) -> bool {
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
        self.0.read(partition, from, to, |part| env.push_all(part.iter().cloned(), down))
    }
}
