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
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidemill::{
    ClusterEvent, StreamContext,
    cluster::sim::{CostModel, SimCluster, SimError},
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

/// The most that the scenario's three slots could take, if they only read: each line costs one of them a millisecond.
pub const CAPACITY_LINES_PER_S: u64 = 3_000;

impl Overload {
    /// Batches of 200 ms, a millisecond a line and slot, and a burst far above that.
    pub fn new(seed: u64) -> Self {
        Overload {
            seed,
            calm_lines_per_s: 200,
            burst_lines_per_s: 10 * CAPACITY_LINES_PER_S,
            before: Duration::from_secs(10),
            burst: Duration::from_secs(30),
            after: Duration::from_secs(40),
            memory_bytes_max: 2 << 20,
        }
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
        let cost = CostModel { seed: self.seed, per_row: Duration::from_millis(1), ..CostModel::default() };
        let builder = SimCluster::builder(self.seed).cost(cost).configure(|config| {
            config.memory_bytes_max = self.memory_bytes_max;
            config.rate_records_per_s_initial = 500;
        });
        builder.run(pipeline, async |cluster| self.play(cluster, &counts).await)
    }

    async fn play(&self, cluster: &mut SimCluster, counts: &Mutex<Counts>) -> OverloadReport {
        let batches: Arc<Mutex<Vec<Batch>>> = Arc::default();
        let (seen, clock) = (batches.clone(), cluster.host(1).clock);
        let now = clock.clone();
        cluster.progress().listen(move |event| {
            if let ClusterEvent::BatchCompleted(info) = event {
                let at = Duration::from_nanos(now.now().0);
                let batch = Batch { at, records: info.records, total_delay: info.total_delay };
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
            }
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
        let batches = batches.lock().unwrap_or_else(PoisonError::into_inner).clone();
        OverloadReport {
            batches,
            burst_began,
            burst_lines: written(&burst),
            calm_lines: written(&calm),
            store_bytes_max,
            outcome: outcome.and(calm.map(|_| ())).and(burst.map(|_| ())),
            difference: Difference::between(&expected, &counted),
        }
    }
}
