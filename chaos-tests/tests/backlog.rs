//! A planned source with a huge backlog: it is read at the permitted rate, over many batches, each record once, while an
//! executor dies.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tidemill::{
    BatchInterval, ClusterEvent, StreamContext,
    cluster::sim::{CostModel, NodeId, SimCluster},
    sources::Generator,
};

const RECORDS: u64 = 300_000;
const PARTITIONS: u32 = 3;
const VALUES: u64 = 100;
const INTERVAL: Duration = Duration::from_millis(200);
const RATE_INITIAL: u64 = 2_000;
/// So three slots do 30,000 records a second at most.
const COST_OF_A_RECORD: Duration = Duration::from_micros(100);

fn value(partition: u32, offset: u64) -> u64 {
    (offset * 31 + u64::from(partition) * 7) % VALUES
}

/// What the driver said, each with its time.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// (cut at, records, total delay)
    batches: Vec<(Duration, u64, Duration)>,
    rates: Vec<(Duration, u64)>,
    executors_down: u64,
}

impl Seen {
    fn hear(&mut self, at: Duration, event: &ClusterEvent) {
        match event {
            ClusterEvent::BatchCompleted(info) => {
                self.batches.push((at - info.total_delay, info.records, info.total_delay));
            }
            ClusterEvent::RateSet { records_per_s_max, .. } => self.rates.push((at, *records_per_s_max)),
            ClusterEvent::ExecutorDown(_) => self.executors_down += 1,
            _ => {}
        }
    }

    fn longest_delay(&self) -> Duration {
        self.batches.iter().map(|batch| batch.2).max().expect("there are batches")
    }

    fn last_cut(&self) -> Duration {
        self.batches.iter().map(|batch| batch.0).max().expect("there are batches")
    }

    /// The rate that was permitted at a cut; cuts are known to a few milliseconds.
    fn permitted(&self, cut: Duration) -> u64 {
        let slack = Duration::from_millis(5);
        let before = self.rates.iter().rev().find(|(at, _)| *at + slack <= cut).map(|(_, rate)| *rate);
        let near = self.rates.iter().filter(|(at, _)| *at + slack > cut && *at <= cut + slack);
        near.map(|(_, rate)| *rate).chain(before).max().unwrap_or(RATE_INITIAL)
    }
}

type Counts = BTreeMap<u64, u64>;

/// Runs the backlog down; kills an executor after `kill_after`.
fn run(seed: u64, interval: BatchInterval, kill_after: Option<Duration>) -> (Seen, Counts) {
    let (seen, counts): (Arc<Mutex<Seen>>, Arc<Mutex<Counts>>) = Default::default();
    let folded = counts.clone();
    let pipeline = move |context: &StreamContext| {
        let counts = folded.clone();
        let backlog = Generator::new(PARTITIONS, value).records_per_batch(u64::MAX).records_total(RECORDS);
        context.generator("backlog", backlog).count_by_value().foreach_batch(move |batch, _| {
            let mut counts = counts.lock().unwrap();
            batch.into_iter().for_each(|(value, count)| *counts.entry(value).or_default() += count);
            Ok(())
        });
        Ok(())
    };
    let cost = CostModel { seed, per_row: COST_OF_A_RECORD, ..CostModel::default() };
    let builder = SimCluster::builder(seed).cost(cost).configure(|config| {
        config.batch_interval = interval;
        config.rate_records_per_s_initial = RATE_INITIAL;
    });
    let heard = seen.clone();
    let play = async |cluster: &mut SimCluster| {
        let clock = cluster.host(1).clock;
        cluster.progress().listen(move |event| {
            heard.lock().unwrap().hear(Duration::from_nanos(clock.now().0), event);
        });
        if let Some(after) = kill_after {
            cluster.sleep(after).await;
            assert!(cluster.kill(NodeId(2)));
        }
        cluster.wait_until_ended(Duration::from_secs(120)).await
    };
    assert_eq!(builder.run(pipeline, play).expect("the cluster starts"), Some(Ok(())));
    let (seen, counts) = (seen.lock().unwrap().clone(), counts.lock().unwrap().clone());
    (seen, counts)
}

/// What a batch costs where all slots are busy: its records once, and the counts of all values from each partition.
fn work(records: u64) -> Duration {
    let rows = records + VALUES * u64::from(PARTITIONS);
    COST_OF_A_RECORD * u32::try_from(rows).expect("a batch is small") / PARTITIONS
}

/// Plain counts of all records.
fn expected() -> Counts {
    let mut counts = Counts::new();
    for partition in 0..PARTITIONS {
        for offset in 0..RECORDS / u64::from(PARTITIONS) {
            *counts.entry(value(partition, offset)).or_default() += 1;
        }
    }
    counts
}

/// Every batch kept to its rate, and together they held everything once.
fn check_batches(seen: &Seen, counts: &Counts) {
    for (cut, records, _) in &seen.batches {
        let permitted = seen.permitted(*cut);
        let limit = (permitted as f64 * INTERVAL.as_secs_f64()).ceil() as u64;
        assert!(*records <= limit, "{records} records in the batch of {cut:?}; {limit} at {permitted}/s");
    }
    assert_eq!(seen.batches.iter().map(|batch| batch.1).sum::<u64>(), RECORDS);
    assert_eq!(*counts, expected());
}

#[test]
fn a_huge_backlog_of_a_planned_source_is_read_at_the_permitted_rate_with_bounded_delay() {
    for seed in 1..=6 {
        let (seen, counts) = run(seed, BatchInterval::Every(INTERVAL), None);
        check_batches(&seen, &counts);
        // Slow start: the first batch holds an interval's worth of the initial rate, however much there is.
        assert_eq!(seen.batches[0].1, RATE_INITIAL * INTERVAL.as_millis() as u64 / 1_000);
        let (longest, last) = (seen.longest_delay(), seen.last_cut());
        println!(
            "{seed}: {} batches, the last cut at {last:?}; longest delay {longest:?}",
            seen.batches.len()
        );
        // Four batches may be in flight, and one may wait for them.
        assert!(longest <= 5 * INTERVAL, "{longest:?}");
        let largest = seen.batches.iter().map(|batch| batch.1).max().expect("there are batches");
        assert!(work(largest) <= INTERVAL * 3 / 2, "{largest} records in a batch");
        // Bounded, and not strangled: at least half of 30,000 a second.
        assert!(last <= Duration::from_secs(RECORDS / 15_000), "{last:?}");
    }
}

#[test]
fn a_backlog_is_counted_once_though_an_executor_dies() {
    let (seen, counts) = run(5, BatchInterval::Every(INTERVAL), Some(Duration::from_secs(5)));
    assert!(seen.executors_down >= 1, "the fault struck");
    check_batches(&seen, &counts);
    // That it is dead is found out within two seconds; what it held up is worked off after that.
    let longest = seen.longest_delay();
    println!("{} batches, longest delay {longest:?}", seen.batches.len());
    assert!(longest <= Duration::from_secs(5), "{longest:?}");
}

#[test]
fn available_now_drains_what_there_is_in_one_batch() {
    let (seen, counts) = run(5, BatchInterval::AvailableNow, None);
    assert_eq!(counts, expected());
    assert_eq!(seen.batches.iter().map(|batch| batch.1).collect::<Vec<_>>(), [RECORDS]);
    assert_eq!(seen.rates, []);
}
