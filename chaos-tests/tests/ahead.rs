//! What is sent ahead: all tasks of a batch go out at once, executors tell each other when inputs are there, and the driver is
//! asked nothing between stages; also when executors cannot reach each other. Totals are exact.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tidemill::{
    BatchInterval, ClusterEvent, StreamContext,
    cluster::sim::{NodeId, SimCluster},
    sources::Generator,
};

const INTERVAL: Duration = Duration::from_millis(200);
const EXECUTORS: u16 = 3;
const BATCHES: u64 = 20;
const RECORDS: u64 = 300;
/// Batches that are looked at: those before may find only some of the executors.
const COUNTED: std::ops::Range<u64> = 5..BATCHES;

/// What a run did: its actions in order, and what the sink was given.
struct Ran {
    actions: Vec<String>,
    sums: BTreeMap<u64, u64>,
}

impl Ran {
    /// The places of the actions of this kind that name this batch.
    fn places(&self, action: &str, batch: u64) -> Vec<usize> {
        let batch = format!("batch: BatchNumber({batch})");
        let named = |line: &String| line.contains(action) && line.contains(&batch);
        (0..self.actions.len()).filter(|place| named(&self.actions[*place])).collect()
    }

    fn count(&self, of: impl Fn(&str) -> bool) -> usize {
        self.actions.iter().filter(|line| of(line)).count()
    }

    #[track_caller]
    fn assert_exact(&self) {
        // Each partition of the source counts for itself.
        let (partitions, numbers) = (u64::from(EXECUTORS), BATCHES * RECORDS / u64::from(EXECUTORS));
        let mut expected = BTreeMap::new();
        (0..numbers).for_each(|n| *expected.entry(n % 30).or_default() += n * partitions);
        assert_eq!(self.sums, expected);
    }
}

/// Sums numbers by key over three maps and three reducers; each record weighs `bytes` on its way.
fn run(seed: u64, bytes: usize, strike: impl AsyncFnOnce(&mut SimCluster)) -> Ran {
    run_every(INTERVAL, seed, bytes, strike)
}

/// The same with another interval.
fn run_every(interval: Duration, seed: u64, bytes: usize, strike: impl AsyncFnOnce(&mut SimCluster)) -> Ran {
    let sums: Arc<Mutex<BTreeMap<u64, u64>>> = Arc::default();
    let summed = sums.clone();
    let pipeline = move |context: &StreamContext| {
        let source = Generator::new(u32::from(EXECUTORS), |_, n| n)
            .records_per_batch(RECORDS)
            .records_total(BATCHES * RECORDS);
        let summed = summed.clone();
        context
            .generator("numbers", source)
            .map(move |n: u64| (n % 30, (n, vec![7u8; bytes])))
            .reduce_by_key_into(u32::from(EXECUTORS), |a, b| (a.0 + b.0, a.1))
            .foreach_batch(move |rows: Vec<(u64, (u64, Vec<u8>))>, _| {
                let mut summed = summed.lock().expect("no closure panics");
                rows.iter().for_each(|(key, (sum, _))| *summed.entry(*key).or_default() += sum);
                Ok(())
            });
        Ok(())
    };
    let builder = SimCluster::builder(seed).trace_lines(400_000).configure(|config| {
        config.batch_interval = BatchInterval::Every(interval);
        config.executors = EXECUTORS;
        // Copies read by name, and are not what this is about.
        config.speculation = false;
    });
    let lines = builder
        .run(pipeline, async |cluster| {
            strike(cluster).await;
            let outcome = cluster.wait_until_ended(Duration::from_secs(120)).await;
            assert_eq!(outcome, Some(Ok(())));
            cluster.trace().lines()
        })
        .expect("the cluster starts");
    let is_action = |line: &String| line.contains(" scheduler ") || line.contains(" executor ");
    let sums = std::mem::take(&mut *sums.lock().expect("no closure panics"));
    Ran { actions: lines.into_iter().filter(is_action).collect(), sums }
}

const READS: &str = "stage: StageId(1)";

#[test]
fn reducers_begin_without_a_word_from_the_driver_between_the_stages() {
    let ran = run(1, 8, async |_| {});
    ran.assert_exact();
    for batch in COUNTED {
        let launches = ran.places(" scheduler Launch ", batch);
        assert_eq!(launches.len(), usize::from(EXECUTORS), "batch {batch}: one message for each executor");
        let readers: usize =
            launches.iter().map(|place| ran.actions[*place].matches("TaskSpec").count()).sum();
        assert_eq!(readers, 2 * usize::from(EXECUTORS), "batch {batch}: all tasks of both stages");
        let told = ran.places(" executor TellDriver(TaskDone", batch);
        let begun = ran.places(" executor Start ", batch);
        let readers = begun.iter().filter(|place| ran.actions[**place].contains(READS)).count();
        assert_eq!(readers, usize::from(EXECUTORS), "batch {batch}: each reader has begun once");
        assert!(launches.iter().all(|launch| *launch < told[0]), "batch {batch}: it was sent before any end");
        // From its launch to its decision the scheduler does nothing but count.
        let decided = ran.places(" scheduler Decided ", batch)[0];
        let last = *launches.last().expect("there are some");
        let word = |line: &&String| line.contains(" scheduler ") && !line.contains(" scheduler Count(");
        let words: Vec<&String> = ran.actions[last + 1..decided].iter().filter(word).collect();
        assert!(words.iter().all(|line| !line.contains(&format!("BatchNumber({batch})"))), "{words:?}");
    }
    assert_eq!(ran.count(|line| line.contains(" scheduler Name ")), 0);
}

#[test]
fn a_small_shuffle_travels_inside_the_notices_and_a_large_one_is_fetched() {
    let (small, large) = (run(1, 8, async |_| {}), run(1, 20_000, async |_| {}));
    for batch in COUNTED {
        let others = usize::from(EXECUTORS * (EXECUTORS - 1));
        for ran in [&small, &large] {
            assert_eq!(ran.places(" executor Notify ", batch).len(), others, "each tells each other");
        }
        let brings = |ran: &Ran| {
            let notices = ran.places(" executor Notify ", batch);
            notices.iter().filter(|place| !ran.actions[**place].contains("bring: []")).count()
        };
        assert_eq!(brings(&small), others, "batch {batch}");
        assert_eq!(
            small.places(" executor Fetch ", batch).len(),
            0,
            "batch {batch}: nothing is left to fetch"
        );
        assert_eq!(large.places(" executor Fetch ", batch).len(), usize::from(EXECUTORS), "batch {batch}");
    }
    small.assert_exact();
    large.assert_exact();
}

#[test]
fn a_notice_that_does_not_arrive_is_told_to_the_driver_and_every_record_counts_once() {
    for seed in 1..=3 {
        let ran = run(seed, 8, async |cluster| {
            cluster.sleep(INTERVAL * 6).await;
            let (one, other) = (cluster.ip(NodeId(1)), cluster.ip(NodeId(2)));
            cluster.net().cut_both(one, other);
            cluster.sleep(Duration::from_secs(5)).await;
            assert!(cluster.net().swallowed(one, other) > 0, "the cut has struck nothing");
            cluster.net().heal_both(one, other);
        });
        let lost = ran.count(|line| line.contains(" executor TellDriver(NoticeLost"));
        assert!(lost > 0, "seed {seed}: the cut has struck no notice");
        ran.assert_exact();
    }
}

#[test]
fn whoever_dies_with_outputs_that_others_wait_for_every_record_counts_once() {
    let mut again = 0;
    for seed in 1..=6 {
        let ran = run(seed, 8, async |cluster| {
            cluster.sleep(INTERVAL * 6 + Duration::from_millis(2 * seed)).await;
            assert!(cluster.kill(NodeId(2)));
            cluster.sleep(Duration::from_secs(1)).await;
            assert!(cluster.revive(NodeId(2)));
        });
        again += ran.count(|line| line.contains(" scheduler TasksLost "));
        ran.assert_exact();
    }
    assert!(again > 0, "no kill has cost anything");
}

/// One of three executors stands still for a while: batches queue up behind the four in flight, and are handed over together when it
/// goes on. The executor that is sent such a group dies with it: all of its batches run elsewhere, and every total is exact.
#[test]
fn an_executor_that_dies_in_the_middle_of_a_group_of_batches_loses_nothing() {
    let mut groups = 0;
    for seed in 1..=5 {
        let lost: Arc<Mutex<BTreeMap<u64, u64>>> = Arc::default();
        let seen = lost.clone();
        let ran = run_every(Duration::from_millis(100), seed, 8, async |cluster: &mut SimCluster| {
            let (slow, victim) = (NodeId(2), NodeId(1));
            cluster.progress().listen(move |event| {
                if let ClusterEvent::TasksLost { batch, count, .. } = event {
                    *seen.lock().expect("no closure panics").entry(batch.0).or_default() += count;
                }
            });
            let meter = cluster.driver_meter();
            cluster.sleep(Duration::from_millis(600)).await;
            let before = meter.work().groups_sent;
            cluster.pause(slow, Duration::from_millis(900));
            for _ in 0..5_000 {
                if meter.work().groups_sent > before {
                    break;
                }
                cluster.sleep(Duration::from_micros(200)).await;
            }
            groups += meter.work().groups_sent - before;
            assert!(meter.work().groups_sent > before, "seed {seed}: no group was sent");
            assert!(cluster.kill(victim), "seed {seed}");
            cluster.sleep(Duration::from_millis(500)).await;
            assert!(cluster.revive(victim), "seed {seed}");
        });
        let lost = lost.lock().expect("no closure panics");
        assert!(lost.len() >= 2, "seed {seed}: tasks of several batches were lost with it: {lost:?}");
        ran.assert_exact();
    }
    assert!(groups >= 5, "{groups} groups");
}
