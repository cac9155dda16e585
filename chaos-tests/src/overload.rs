//! Overload: beside a calm feeder, another one begins to write ten times as much as the cluster can take, and later ends.
//!
//! ```text
//!   lines/s   calm ────────────────────────────────────────────────
//!             burst           ████████████████
//!                     10 s    │     30 s     │  back to normal within another 30 s
//! ```

use crate::{
    faults::Panics,
    oracle::{self, Counts, Difference},
    scenario::{self, FEEDER_PORT, count_into, numbered_texts, words},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidemill::{
    BatchInterval, ClusterEvent, StreamContext,
    cluster::{
        InputKey,
        sim::{CostModel, SimCluster, SimError},
    },
};

/// What is run.
#[derive(Clone, Debug)]
pub struct Overload {
    /// All chance comes from here.
    pub seed: u64,
    /// What the calm feeder writes, in lines per second.
    pub calm_lines_per_s: u64,
    /// What the burst's feeder wants to write.
    pub burst_lines_per_s: u64,
    /// How long the calm feeder writes alone before.
    pub before: Duration,
    /// How long the burst lasts.
    pub burst: Duration,
    /// How long the calm feeder writes alone after.
    pub after: Duration,
    /// What an executor may hold.
    pub memory_bytes_max: u64,
}

/// A batch, as the driver reported it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch {
    /// When it was published, in virtual time.
    pub at: Duration,
    /// Its records.
    pub records: u64,
    /// From its cut until it was published.
    pub total_delay: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct OverloadReport {
    /// All batches, in order.
    pub batches: Vec<Batch>,
    /// The rates that were permitted, all inputs together in records per second, each with its time.
    pub rates: Vec<(Duration, u64)>,
    /// When the burst's feeder was connected, and so began.
    pub burst_began: Duration,
    /// Lines that the burst's feeder could write.
    pub burst_lines: u64,
    /// Lines that the calm feeder wrote.
    pub calm_lines: u64,
    /// The most that any executor held in blocks and outputs.
    pub store_bytes_max: u64,
    /// How the pipeline ended.
    pub outcome: Result<(), String>,
    /// Against the plain counts of both feeders' lines.
    pub difference: Difference,
}

const EXECUTORS: u64 = 3;
const RECEIVERS: u64 = 2;
const INTERVAL: Duration = Duration::from_millis(200);
const BLOCK_INTERVAL: Duration = Duration::from_millis(50);
const COST_OF_A_ROW: Duration = Duration::from_millis(1);
/// Different words that the lines of one block have in common: six that are in each, and seven wheels.
const COMMON_WORDS: u64 = 13;

/// What the scenario's executors, of one slot each, can do in lines per second, if no slot is ever idle. A batch has a task
/// for each block and one for each of three partitions of words. A line is a row of the task that reads its block, and its
/// first word, which no other line of the block has, a row of the task that merges words; so are the block's common words.
pub fn capacity_lines_per_s(cost: &CostModel) -> f64 {
    let blocks = (RECEIVERS * (INTERVAL.as_millis() / BLOCK_INTERVAL.as_millis()) as u64) as f64;
    let tasks = blocks + EXECUTORS as f64;
    let row_s = cost.per_row.as_secs_f64();
    let fixed_s = tasks * cost.base.as_secs_f64() + blocks * COMMON_WORDS as f64 * row_s;
    let slots_s = EXECUTORS as f64 * INTERVAL.as_secs_f64();
    (slots_s - fixed_s) / (2.0 * row_s) / INTERVAL.as_secs_f64()
}

impl Overload {
    /// Batches of 200 ms, a millisecond a row and slot, and a burst of ten times what that allows.
    pub fn new(seed: u64) -> Self {
        let calm = Overload {
            seed,
            calm_lines_per_s: 200,
            burst_lines_per_s: 0,
            before: Duration::from_secs(10),
            burst: Duration::from_secs(30),
            after: Duration::from_secs(40),
            memory_bytes_max: 2 << 20,
        };
        let burst_lines_per_s = (10.0 * capacity_lines_per_s(&calm.cost())).ceil() as u64;
        Overload { burst_lines_per_s, ..calm }
    }

    /// What tasks cost.
    pub fn cost(&self) -> CostModel {
        CostModel { seed: self.seed, per_row: COST_OF_A_ROW, ..CostModel::default() }
    }

    /// Runs it on this thread.
    ///
    /// # Errors
    /// [`SimError`] if the cluster does not start.
    pub fn run(&self) -> Result<OverloadReport, SimError> {
        let counts: Arc<Mutex<Counts>> = Arc::default();
        let folded = counts.clone();
        let pipeline = move |context: &StreamContext| {
            let calm = context.numbered_lines(format!("10.1.0.1:{FEEDER_PORT}"));
            let burst = context.numbered_lines(format!("10.1.0.2:{FEEDER_PORT}"));
            count_into(&words(&calm.union(&burst), Panics::default()), folded.clone());
            Ok(())
        };
        let builder = SimCluster::builder(self.seed).cost(self.cost()).configure(|config| {
            config.executors = EXECUTORS as u16;
            config.slots_per_executor = 1;
            config.batch_interval = BatchInterval::Every(INTERVAL);
            config.block_interval = BLOCK_INTERVAL;
            config.memory_bytes_max = self.memory_bytes_max;
            config.rate_records_per_s_initial = 500;
        });
        builder.run(pipeline, async |cluster| self.play(cluster, &counts).await)
    }

    async fn play(&self, cluster: &mut SimCluster, counts: &Mutex<Counts>) -> OverloadReport {
        let (history, clock) = (History::default(), cluster.host(1).clock);
        let seen: Arc<Mutex<History>> = Arc::new(Mutex::new(history));
        let (heard, now) = (seen.clone(), clock.clone());
        cluster.progress().listen(move |event| {
            let at = Duration::from_nanos(now.now().0);
            heard.lock().unwrap_or_else(PoisonError::into_inner).hear(at, event);
        });
        let all = self.before + self.burst + self.after;
        let calm = scenario::feed(&cluster.host(1), self.calm_lines_per_s, all).await;
        cluster.sleep(self.before).await;
        let burst = scenario::feed(&cluster.host(2), self.burst_lines_per_s, self.burst).await;
        while burst.gauge.connections() == 0 {
            cluster.sleep(Duration::from_millis(10)).await;
        }
        let burst_began = Duration::from_nanos(clock.now().0);
        let outcome = scenario::outcome_text(cluster.wait_until_ended(all + scenario::DRAIN).await);
        let high_waters = cluster.living().into_iter().filter_map(|node| cluster.store_bytes(node));
        let store_bytes_max = high_waters.map(|(_, high_water)| high_water).max().unwrap_or(0);
        let (calm, burst) = (calm.ended(), burst.ended());
        let written = |feed: &Result<u64, String>| feed.clone().unwrap_or(0);
        let mut expected = oracle::count_words(&numbered_texts(), written(&calm));
        for (word, count) in oracle::count_words(&numbered_texts(), written(&burst)) {
            *expected.entry(word).or_default() += count;
        }
        let counted = counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let History { batches, rates, .. } = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        OverloadReport {
            batches,
            rates,
            burst_began,
            burst_lines: written(&burst),
            calm_lines: written(&calm),
            store_bytes_max,
            outcome: outcome.and(calm.map(|_| ())).and(burst.map(|_| ())),
            difference: Difference::between(&expected, &counted),
        }
    }
}

/// What the driver reported.
#[derive(Clone, Debug, Default)]
struct History {
    batches: Vec<Batch>,
    rates: Vec<(Duration, u64)>,
    of_inputs: BTreeMap<InputKey, u64>,
}

impl History {
    fn hear(&mut self, at: Duration, event: &ClusterEvent) {
        match event {
            ClusterEvent::BatchCompleted(info) => {
                self.batches.push(Batch { at, records: info.records, total_delay: info.total_delay });
            }
            ClusterEvent::RateSet { input, records_per_s_max } => {
                self.of_inputs.insert(*input, *records_per_s_max);
                self.rates.push((at, self.of_inputs.values().sum()));
            }
            _ => {}
        }
    }
}
