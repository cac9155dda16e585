//! A pipeline over computed numbers: whatever dies, tasks read their ranges again, so that totals are exact also when all
//! executors die.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidemill::{
    ClusterEvent, DStream, StreamContext,
    cluster::sim::{CostModel, SimBuilder, SimCluster},
    sources::Generator,
};

/// Partitions of the source.
const PARTITIONS: u32 = 6;
/// Numbers in a batch.
const PER_BATCH: u64 = 300;

/// How often each remainder was counted.
pub type Totals = BTreeMap<u64, u64>;

/// What was counted and what was reported.
#[derive(Clone, Default)]
pub struct Seen {
    totals: Arc<Mutex<Totals>>,
    events: Arc<Mutex<Vec<ClusterEvent>>>,
}

impl Seen {
    pub fn totals(&self) -> Totals {
        lock(&self.totals).clone()
    }

    pub fn count(&self, which: impl Fn(&ClusterEvent) -> bool) -> usize {
        lock(&self.events).iter().filter(|event| which(event)).count()
    }

    /// The times of the batches that were published, in milliseconds.
    pub fn batches(&self) -> Vec<u64> {
        let time = |event: &ClusterEvent| match event {
            ClusterEvent::BatchCompleted(info) => Some(info.time.as_millis()),
            _ => None,
        };
        lock(&self.events).iter().filter_map(time).collect()
    }

    pub fn lost_tasks(&self) -> u64 {
        let count = |event: &ClusterEvent| match event {
            ClusterEvent::TasksLost { count, .. } => *count,
            _ => 0,
        };
        lock(&self.events).iter().map(count).sum()
    }

    pub fn listen(&self, cluster: &SimCluster) {
        let events = self.events.clone();
        cluster.progress().listen(move |event| lock(&events).push(event.clone()));
    }

    /// Counts pairs of a remainder and how often it came.
    pub fn fold(&self, pairs: &DStream<(u64, u64)>) {
        let totals = self.totals.clone();
        pairs.reduce_by_key(|a, b| a + b).foreach_batch(move |batch, _| {
            let mut totals = lock(&totals);
            for (key, count) in batch {
                *totals.entry(key).or_default() += count;
            }
            Ok(())
        });
    }
}

/// A cluster whose tasks take about 40 ms, so that a fault finds some of them running.
pub fn slow_tasks(seed: u64) -> SimBuilder {
    let cost = CostModel { seed, base: Duration::from_millis(40), ..CostModel::default() };
    SimCluster::builder(seed).cost(cost)
}

/// `total` numbers (a multiple of 6).
pub fn numbers(context: &StreamContext, total: u64) -> DStream<u64> {
    let source = Generator::new(PARTITIONS, number).records_per_batch(PER_BATCH).records_total(total);
    context.generator("numbers", source)
}

fn number(partition: u32, offset: u64) -> u64 {
    u64::from(partition) * 1_000_003 + offset * 7
}

/// All of them, from a plain loop.
pub fn all(total: u64) -> Vec<u64> {
    let each = total / u64::from(PARTITIONS);
    (0..PARTITIONS).flat_map(|partition| (0..each).map(move |offset| number(partition, offset))).collect()
}

/// How often each remainder of ten comes, from a plain loop.
pub fn remainders(total: u64) -> Totals {
    let mut totals = Totals::new();
    for number in all(total) {
        *totals.entry(number % 10).or_default() += 1;
    }
    totals
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
