//! Executors that leave in good order, holders that die one after the other, processes with one number, doubtful links: always
//! with a load, and with exact totals.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidemill::{
    BatchInterval, ClusterEvent, StreamContext,
    cluster::sim::{NodeId, SimBuilder, SimCluster},
};
use tidemill_chaos::{
    faults::Panics,
    oracle::{self, Counts, Difference},
    report::Happened,
    scenario::{feed, listen, numbered_texts, word_count},
};

const RATE_LINES_PER_S: u64 = 300;

/// What came of a run.
struct Outcome {
    outcome: Option<Result<(), tidemill::PipelineError>>,
    difference: Difference,
    happened: Happened,
    events: Vec<ClusterEvent>,
}

impl Outcome {
    #[track_caller]
    fn assert_exact(&self) {
        assert!(matches!(self.outcome, Some(Ok(()))), "{:?} {:?}", self.outcome, self.happened);
        assert!(self.difference.is_none(), "{:?} {:?}", self.difference, self.happened);
        assert!(self.happened.batches >= 3, "{:?}", self.happened);
    }

    fn count(&self, is_it: impl Fn(&ClusterEvent) -> bool) -> usize {
        self.events.iter().filter(|event| is_it(event)).count()
    }
}

/// Counts the words of a feeder that writes for `lasts`, while `strike` does what it does.
fn run(
    builder: SimBuilder,
    lasts: Duration,
    strike: impl AsyncFnOnce(&mut SimCluster, &Mutex<Happened>),
) -> Outcome {
    let counts: Arc<Mutex<Counts>> = Arc::default();
    let happened: Arc<Mutex<Happened>> = Arc::default();
    let events: Arc<Mutex<Vec<ClusterEvent>>> = Arc::default();
    let counted = counts.clone();
    let pipeline = move |context: &StreamContext| {
        word_count(context, "10.1.0.1", counted.clone(), Panics::default());
        Ok(())
    };
    let ran = builder.run(pipeline, async |cluster| {
        listen(cluster, happened.clone());
        let seen = events.clone();
        cluster.progress().listen(move |event| lock(&seen).push(event.clone()));
        let feed = feed(&cluster.host(1), RATE_LINES_PER_S, lasts).await;
        strike(cluster, &happened).await;
        let outcome = cluster.wait_until_ended(lasts + Duration::from_secs(120)).await;
        (outcome, feed.gauge.written())
    });
    let (outcome, written) = ran.expect("the cluster starts");
    let difference = Difference::between(&oracle::count_words(&numbered_texts(), written), &lock(&counts));
    let (happened, events) = (lock(&happened).clone(), lock(&events).clone());
    Outcome { outcome, difference, happened, events }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Four executors, and batches so long that blocks wait for their batch while executors die.
fn long_batches(seed: u64) -> SimBuilder {
    SimCluster::builder(seed).configure(|config| {
        config.executors = 4;
        config.batch_interval = BatchInterval::Every(Duration::from_secs(10));
    })
}

/// Kills whoever receives, waits until what it held is held twice again, then kills one of those who held the other copies.
#[test]
fn safe_blocks_survive_their_holders_one_after_the_other() {
    for seed in [1, 2, 3] {
        let end = run(long_batches(seed), Duration::from_secs(33), async |cluster, happened| {
            cluster.sleep(Duration::from_millis(14_000)).await;
            let first = cluster.receiver_host().expect("a receiver runs");
            assert!(cluster.kill(first));
            // Noticed within 2 s; the copies of some 80 blocks follow at once.
            let mut before = u64::MAX;
            for _ in 0..100 {
                cluster.sleep(Duration::from_millis(100)).await;
                let copied = lock(happened).blocks_copied;
                if copied > 0 && copied == before {
                    break;
                }
                before = copied;
            }
            let second = cluster.living().into_iter().find(|node| Some(*node) != cluster.receiver_host());
            assert!(cluster.kill(second.expect("others live")));
            cluster.sleep(Duration::from_secs(4)).await;
            assert!(cluster.revive(first));
        });
        assert!(end.happened.blocks_copied >= 20, "seed {seed}: {:?}", end.happened);
        assert_eq!(end.happened.blocks_lost, 0, "seed {seed}: {:?}", end.happened);
        assert!(end.happened.executors_down >= 2, "seed {seed}: {:?}", end.happened);
        end.assert_exact();
    }
}

/// Whoever receives leaves, and one that only computes; both come back later as new processes.
#[test]
fn a_leave_costs_no_task_and_no_block_while_a_load_runs() {
    let limit = Duration::from_secs(60);
    for seed in [1, 2, 3] {
        let mut leavers = BTreeSet::new();
        let end = run(SimCluster::builder(seed), Duration::from_secs(12), async |cluster, _| {
            for wait in [2_000, 1_500] {
                cluster.sleep(Duration::from_millis(wait)).await;
                let host = cluster.receiver_host().expect("a receiver runs");
                assert!(cluster.leave(host, limit).await, "{host} leaves");
                leavers.insert(host);
                cluster.sleep(Duration::from_millis(700)).await;
                assert_ne!(cluster.receiver_host(), Some(host), "the receiver has moved");
                assert!(cluster.revive(host));
            }
            cluster.sleep(Duration::from_millis(500)).await;
            let idle = cluster.living().into_iter().find(|node| Some(*node) != cluster.receiver_host());
            assert!(cluster.leave(idle.expect("three live"), limit).await);
        });
        let happened = &end.happened;
        assert_eq!(end.count(|e| matches!(e, ClusterEvent::ExecutorLeaving(_))), 3, "seed {seed}");
        assert_eq!(happened.executors_down, 3, "seed {seed}: {happened:?}");
        assert_eq!(
            (happened.tasks_lost, happened.blocks_lost, happened.blocks_struck),
            (0, 0, 0),
            "seed {seed}"
        );
        assert_eq!(end.count(|e| matches!(e, ClusterEvent::TaskFailed { .. })), 0, "seed {seed}");
        assert!(happened.receiver_restarts >= 2 && !leavers.is_empty(), "seed {seed}: {happened:?}");
        end.assert_exact();
    }
}

/// The driver does not hear one that computes for less than it takes to declare it dead: suspected, trusted again, not lost.
#[test]
fn a_short_silence_is_suspected_and_not_declared_dead() {
    let end = run(SimCluster::builder(5), Duration::from_secs(10), async |cluster, _| {
        cluster.sleep(Duration::from_secs(3)).await;
        let host = cluster.receiver_host().expect("a receiver runs");
        let other = cluster.living().into_iter().find(|node| *node != host).expect("three live");
        cluster.cut(other, NodeId::DRIVER);
        cluster.sleep(Duration::from_millis(1_200)).await;
        cluster.heal(other, NodeId::DRIVER);
    });
    assert_eq!(end.count(|e| matches!(e, ClusterEvent::ExecutorSuspected(_))), 1, "{:?}", end.happened);
    assert_eq!(end.count(|e| matches!(e, ClusterEvent::ExecutorTrusted(_))), 1, "{:?}", end.happened);
    assert_eq!(end.happened.executors_down, 0);
    end.assert_exact();
}

/// All executors are told to leave at once, in the middle of a load: what was received and acknowledged is computed before they
/// go, and those who come later go on after it.
#[test]
fn when_all_leave_at_once_what_was_acknowledged_is_computed_first() {
    let limit = Duration::from_secs(30);
    for seed in [1, 2, 3] {
        let end = run(SimCluster::builder(seed), Duration::from_secs(8), async |cluster, _| {
            cluster.sleep(Duration::from_millis(2_130)).await;
            let all = cluster.living();
            assert!(cluster.leave_together(&all, limit).await, "seed {seed}: they do not leave");
            for node in all {
                assert!(cluster.revive(node));
            }
        });
        let happened = &end.happened;
        assert_eq!(happened.executors_down, 3, "seed {seed}: {happened:?}");
        assert_eq!((happened.tasks_lost, happened.blocks_lost), (0, 0), "seed {seed}");
        end.assert_exact();
    }
}

/// With batches of 30 s what a leaver holds is needed much longer than with short ones: it is waited for as long as that takes.
#[test]
fn with_batches_of_30_s_a_leave_is_given_the_time_that_it_needs() {
    for seed in [1, 2] {
        let builder = SimCluster::builder(seed).configure(|config| {
            config.batch_interval = BatchInterval::Every(Duration::from_secs(30));
            config.block_interval = Duration::from_millis(200);
        });
        let took = Arc::new(Mutex::new(Vec::new()));
        let told = took.clone();
        let end = run(builder, Duration::from_secs(100), async move |cluster, _| {
            cluster.sleep(Duration::from_secs(33)).await;
            let all = cluster.living();
            let (clock, limit) = (cluster.host(1).clock, cluster.leave_limit());
            let begun = clock.now();
            assert_eq!(limit, Duration::from_secs(65));
            assert!(cluster.leave_together(&all, limit).await, "seed {seed}: they do not leave");
            lock(&told).push(clock.now().since(begun));
            for node in all {
                assert!(cluster.revive(node));
            }
        });
        let took = lock(&took).clone();
        assert!(
            took.iter().all(|took| *took > Duration::from_secs(15)),
            "seed {seed}: 10 s suffice: {took:?}"
        );
        assert_eq!((end.happened.tasks_lost, end.happened.blocks_lost), (0, 0), "seed {seed}");
        end.assert_exact();
    }
}
