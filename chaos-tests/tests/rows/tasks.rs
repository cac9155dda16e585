//! Rows 28, 30 and 35: tasks that end twice, that never give the same twice, and that are too large.

use crate::{
    executors::counted,
    numbers::{Seen, all, numbers, remainders, slow_tasks},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidemill::{
    BatchInterval, ClusterEvent, StreamContext,
    cluster::sim::{CostModel, NodeId, SimCluster},
    sources::Generator,
};

const SECOND: Duration = Duration::from_secs(1);
/// A multiple of 6, and 30 batches.
const NUMBERS: u64 = 9_000;

fn is_down(event: &ClusterEvent) -> bool {
    matches!(event, ClusterEvent::ExecutorDown(_))
}

#[test]
fn row_28_of_two_copies_of_a_task_that_both_end_one_counts() {
    const INTERVAL: Duration = Duration::from_millis(200);
    const BATCHES: u64 = 150;
    const TASKS: u32 = 6;
    const PER_TASK: u64 = 10;
    const ALL: u64 = BATCHES * TASKS as u64 * PER_TASK;
    let (calls, seen) = (Arc::new(AtomicU64::new(0)), Seen::default());
    let (called, into, watched) = (calls.clone(), seen.clone(), seen.clone());
    let pipeline = move |context: &StreamContext| {
        let per_batch = u64::from(TASKS) * PER_TASK;
        let source = Generator::new(TASKS, |_, n| n).records_per_batch(per_batch).records_total(ALL);
        let called = called.clone();
        let ones = context.generator("numbers", source).map(move |_| {
            called.fetch_add(1, Ordering::Relaxed);
            (0, 1)
        });
        into.fold(&ones);
        Ok(())
    };
    let cost = CostModel { seed: 28, base: Duration::from_millis(20), ..CostModel::default() };
    let builder = SimCluster::builder(28).cost(cost).configure(|config| {
        config.batch_interval = BatchInterval::Every(INTERVAL);
        config.executors = 4;
        config.slots_per_executor = 2;
        config.partitions = Some(TASKS);
    });
    let outcome = builder.run(pipeline, async |cluster| {
        watched.listen(cluster);
        // Somewhere among these the late original and its copy end so close together that no cancel comes between.
        for factor in (20..30).map(|tenths| f64::from(tenths) / 10.0) {
            cluster.slow(NodeId(2), factor);
            cluster.sleep(INTERVAL * 12).await;
        }
        let outcome = cluster.wait_until_ended(120 * SECOND).await;
        (outcome, cluster.slowed(NodeId(2)))
    });
    let (outcome, slowed) = outcome.expect("the cluster starts");
    assert_eq!(outcome, Some(Ok(())));
    assert!(slowed > 0 && seen.count(|event| matches!(event, ClusterEvent::TaskCopied { .. })) > 0);
    assert_eq!(seen.count(is_down) + seen.lost_tasks() as usize, 0, "nothing but copies runs twice");
    // User code runs at a simulated task's end: one that was cancelled before has called nothing.
    let ended_twice = (calls.load(Ordering::Relaxed) - ALL) / PER_TASK;
    println!("{ended_twice} tasks ended twice");
    assert!(ended_twice > 0, "no two copies have ended");
    assert_eq!(seen.totals(), BTreeMap::from([(0, ALL)]));
}

#[test]
fn row_30_when_the_output_of_a_map_that_draws_lots_is_lost_all_its_readers_see_the_same_new_one() {
    let mut drawn_again = 0;
    for ms in [2_050, 2_070, 2_090, 2_110, 2_130] {
        let (lots, counts) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(BTreeMap::<u64, u64>::new())));
        let (draws, into) = (lots.clone(), counts.clone());
        let pipeline = move |context: &StreamContext| {
            let (draws, into) = (draws.clone(), into.clone());
            // The lot decides where a number goes: readers of two runs would miss some numbers and have others twice.
            let draw =
                move |number| (draws.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9) % 97, number);
            let drawn = numbers(context, NUMBERS).map(draw).nondeterministic();
            drawn.group_by_key().foreach_batch(move |batch, _| {
                let mut counts = into.lock().expect("no closure panics");
                for number in batch.into_iter().flat_map(|(_, numbers)| numbers) {
                    *counts.entry(number).or_default() += 1;
                }
                Ok(())
            });
            Ok(())
        };
        let outcome = slow_tasks(30).run(pipeline, async |cluster| {
            cluster.sleep(Duration::from_millis(ms)).await;
            assert!(cluster.kill(NodeId(2)), "it was alive");
            cluster.sleep(SECOND).await;
            cluster.revive(NodeId(2));
            cluster.wait_until_ended(120 * SECOND).await
        });
        assert_eq!(outcome.expect("the cluster starts"), Some(Ok(())));
        let expected: BTreeMap<u64, u64> = all(NUMBERS).into_iter().map(|number| (number, 1)).collect();
        assert_eq!(*counts.lock().expect("no closure panics"), expected, "killed at {ms} ms");
        drawn_again += lots.load(Ordering::Relaxed) - NUMBERS;
    }
    println!("{drawn_again} lots were drawn again");
    assert!(drawn_again > 0, "no map ran a second time");
}

#[test]
fn row_35_a_partition_beyond_the_memory_is_refused_by_name_and_the_next_pipeline_works() {
    let seen = Seen::default();
    let watched = seen.clone();
    let pipeline = |context: &StreamContext| {
        let large = numbers(context, NUMBERS).map(|number| format!("{number:04000}"));
        large.repartition(1).foreach_batch(|_, _| Ok(()));
        Ok(())
    };
    let outcome =
        slow_tasks(35).configure(|config| config.memory_bytes_max = 1 << 20).run(pipeline, async |cluster| {
            watched.listen(cluster);
            let outcome = cluster.wait_until_ended(60 * SECOND).await;
            (outcome, cluster.living().len())
        });
    let (outcome, living) = outcome.expect("the cluster starts");
    let told = outcome.expect("it ends").expect_err("no executor has the memory").to_string();
    println!("{told}");
    for part in [
        "no executor has enough for",
        "resources exhausted",
        "bytes of memory for the inputs of a task, of which there can be 524288",
        "raise memory_bytes_max",
    ] {
        assert!(told.contains(part), "{part:?} is missing in: {told}");
    }
    let refused = |node| {
        seen.count(|event| matches!(event, ClusterEvent::TaskFailed { on, .. } if on.node == NodeId(node)))
    };
    assert!((1..=3).all(|node| refused(node) > 0), "each executor was asked");
    assert_eq!((seen.count(is_down), living), (0, 3), "and none has died of it");

    let small = slow_tasks(35).configure(|config| config.memory_bytes_max = 1 << 20);
    assert_eq!(counted(small, async |_, _| {}).totals(), remainders(NUMBERS));
}

#[test]
fn a_panic_with_more_words_than_a_frame_holds_fails_its_pipeline_and_no_executor() {
    let seen = Seen::default();
    let watched = seen.clone();
    let pipeline = |context: &StreamContext| {
        let bad = all(NUMBERS)[4_000];
        let fatal = move |number: u64| {
            assert!(number != bad, "bad line {}", "x".repeat(200_000));
            number
        };
        numbers(context, NUMBERS).map(fatal).foreach_batch(|_, _| Ok(()));
        Ok(())
    };
    let outcome = slow_tasks(25).run(pipeline, async |cluster| {
        watched.listen(cluster);
        cluster.wait_until_ended(60 * SECOND).await
    });
    let told =
        outcome.expect("the cluster starts").expect("it ends").expect_err("the task fails").to_string();
    assert!(told.contains("failed 4 times") && told.contains("bad line xxxx"), "{}", &told[..200]);
    assert!(told.contains("bytes more)") && told.len() < 10_000, "{} bytes", told.len());
    assert_eq!(seen.count(is_down), 0, "no executor is to blame");
}
