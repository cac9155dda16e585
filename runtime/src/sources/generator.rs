//! Records computed from their number: the source that needs nothing.

use super::reached;
use crate::{
    data::Data,
    graph::{PlannedSource, Push, TaskEnv},
};
use std::{collections::BTreeMap, sync::Arc};
use tidemill_actors::{
    rate_controller::share::by_lag,
    seam::{PlannedRange, SourceError, TaskError},
};
use tidemill_protocol::{id::PartitionId, world::Files};

/// Computes record `offset` of each partition as `make(partition, offset)`, which must be pure: a task that is run again
/// computes them again.
///
/// ```
/// use tidemill::{StreamContext, sources::Generator, testing::LocalRunner};
/// use std::sync::{Arc, Mutex};
/// let (context, seen) = (StreamContext::new(), Arc::new(Mutex::new(Vec::new())));
/// let sink = seen.clone();
/// let generator = Generator::new(2, |partition, offset| (partition, offset)).records_per_batch(4).records_total(6);
/// context.generator("numbers", generator).foreach_batch(move |all, _| Ok(sink.lock().unwrap().push(all)));
/// let mut runner = LocalRunner::new(&context).unwrap();
/// while runner.run_batch().unwrap().is_some() {}
/// assert_eq!(*seen.lock().unwrap(), [vec![(0, 0), (0, 1), (1, 0), (1, 1)], vec![(0, 2), (1, 2)]]);
/// ```
pub struct Generator<T> {
    partitions: u32,
    per_batch: u64,
    total: u64,
    make: Arc<dyn Fn(u32, u64) -> T + Send + Sync>,
}

impl<T: Data> Generator<T> {
    /// An endless source of `partitions` partitions (at least one), 1,000 records a batch.
    pub fn new(partitions: u32, make: impl Fn(u32, u64) -> T + Send + Sync + 'static) -> Self {
        Generator { partitions: partitions.max(1), per_batch: 1000, total: u64::MAX, make: Arc::new(make) }
    }

    /// How many records a batch has at most, over all partitions; the permitted rate may lower it. Partitions share them by
    /// what each still has to give.
    #[must_use]
    pub fn records_per_batch(mut self, records: u64) -> Self {
        self.per_batch = records;
        self
    }

    /// How many records there are in all, over all partitions; then the source is exhausted.
    #[must_use]
    pub fn records_total(mut self, records: u64) -> Self {
        self.total = records;
        self
    }

    /// How many records partition `number` has in all: the first ones take the rest.
    fn length(&self, number: u32) -> u64 {
        let partitions = u64::from(self.partitions);
        self.total / partitions + u64::from(u64::from(number) < self.total % partitions)
    }
}

impl<T: Data> PlannedSource<T> for Generator<T> {
    fn next_ranges(
        &self,
        _files: &Files,
        planned: &BTreeMap<PartitionId, u64>,
        records_max: Option<u64>,
    ) -> Result<Vec<PlannedRange>, SourceError> {
        let from = |partition: &PartitionId| reached(planned, *partition);
        let lag = |number: u32| {
            let partition = PartitionId(number);
            (partition, self.length(number).saturating_sub(from(&partition)))
        };
        let turn = planned.values().fold(0, |sum: u64, offset| sum.wrapping_add(*offset));
        let records = self.per_batch.min(records_max.unwrap_or(u64::MAX));
        let shares = by_lag(records, &(0..self.partitions).map(lag).collect(), turn);
        let range = |(partition, rows)| {
            let from = from(&partition);
            PlannedRange { partition, from, to: from + rows, rows }
        };
        Ok(shares.into_iter().map(range).collect())
    }

    fn is_exhausted(&self, planned: &BTreeMap<PartitionId, u64>) -> bool {
        (0..self.partitions).all(|number| reached(planned, PartitionId(number)) >= self.length(number))
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
        env.push_all((from..to).map(|offset| (self.make)(partition.0, offset)), down)
    }
}
