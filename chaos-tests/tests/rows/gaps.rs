//! Row 29, for longer than a moment: executors that do not reach each other, while the driver reaches all of them (a cable, a
//! route, a firewall's rule). What one has made the other cannot read, and nobody is dead.
//!
//! A fetch across such a gap fails after 2 s, when QUIC gives the connection up, and what it asked for is made again; so without more
//! each batch took 8 to 100 s, until one failed for good. Now one end of the gap gets no tasks for 10 s, then 20, 40 ...: a few batches
//! are late when the gap is found, and one when the time is over and it is still there.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tidemill::{
    BatchInterval, ClusterEvent, StreamContext,
    bench::statistics::median,
    cluster::sim::{CostModel, NodeId, SimCluster},
    sources::Generator,
};

const INTERVAL: Duration = Duration::from_millis(1000);
const BATCHES: u64 = 70;
/// The links are cut while this batch is about to be cut, and batches count ten later.
const CUT_FROM: u64 = 20;
const COUNTED_FROM: u64 = CUT_FROM + 10;
const TASKS: u32 = 6;
const RECORDS: u64 = 60;

#[derive(Default)]
struct Seen {
    /// Of batches before the cut, and of those that count after it: from a batch's cut to its end, in seconds.
    before: Vec<f64>,
    after: Vec<f64>,
    failed: u64,
    downs: u64,
    excluded: BTreeSet<u16>,
}

/// Three executors, of whose links these are cut, each one way.
fn run(seed: u64, cuts: &'static [(u16, u16)]) -> (u64, Seen) {
    let total = Arc::new(Mutex::new(0));
    let summed = total.clone();
    let pipeline = move |context: &StreamContext| {
        let source =
            Generator::new(TASKS, |_, n| n).records_per_batch(RECORDS).records_total(BATCHES * RECORDS);
        let summed = summed.clone();
        context.generator("numbers", source).map(|n| n % 50).count_by_value().foreach_batch(
            move |counts: Vec<(u64, u64)>, _| {
                *summed.lock().expect("no closure panics") += counts.iter().map(|(_, n)| n).sum::<u64>();
                Ok(())
            },
        );
        Ok(())
    };
    let cost = CostModel { seed, base: Duration::from_millis(200), ..CostModel::default() };
    let builder = SimCluster::builder(seed).cost(cost).configure(|config| {
        config.batch_interval = BatchInterval::Every(INTERVAL);
        config.executors = 3;
        config.slots_per_executor = 2;
        config.partitions = Some(TASKS);
    });
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let told = seen.clone();
    let ran = builder.run(pipeline, async |cluster| {
        cluster.progress().listen(move |event| {
            let mut seen = told.lock().expect("no listener panics");
            match event {
                ClusterEvent::BatchCompleted(info) if info.records > 0 => match info.batch.0 {
                    ..CUT_FROM => seen.before.push(info.total_delay.as_secs_f64()),
                    COUNTED_FROM.. => seen.after.push(info.total_delay.as_secs_f64()),
                    _ => {}
                },
                ClusterEvent::TaskFailed { .. } => seen.failed += 1,
                ClusterEvent::ExecutorDown(_) => seen.downs += 1,
                ClusterEvent::ExecutorExcluded { member, .. } => _ = seen.excluded.insert(member.node.0),
                _ => {}
            }
        });
        cluster.sleep(INTERVAL * CUT_FROM as u32 - INTERVAL / 2).await;
        cuts.iter().for_each(|(from, to)| cluster.cut(NodeId(*from), NodeId(*to)));
        let outcome = cluster.wait_until_ended(INTERVAL * 4 * BATCHES as u32).await;
        assert_eq!(outcome, Some(Ok(())), "seed {seed}, {cuts:?}");
    });
    ran.expect("the cluster starts");
    let records = *total.lock().expect("no closure panics");
    (records, std::mem::take(&mut *seen.lock().expect("no listener panics")))
}

#[test]
fn row_29_of_executors_that_do_not_reach_each_other_those_go_without_tasks_out_of_whose_reach_most_are() {
    let table: [(&[(u16, u16)], u16); 4] = [
        (&[(1, 2), (2, 1), (1, 3), (3, 1)], 1),
        (&[(1, 2), (1, 3)], 1),
        (&[(1, 3), (2, 3)], 3),
        // Either of the two would do.
        (&[(1, 2), (2, 1)], 2),
    ];
    for (cuts, expected) in table {
        for seed in 1..=3 {
            let (records, seen) = run(seed, cuts);
            let what = format!("seed {seed}, {cuts:?}");
            assert_eq!((records, seen.downs), (BATCHES * RECORDS, 0), "{what}");
            assert!(seen.failed > 0, "{what}: no task has failed");
            assert_eq!(seen.excluded, [expected].into(), "{what}");
            let (healthy, usual) = (median(&seen.before).unwrap(), median(&seen.after).unwrap());
            let slowest = seen.after.iter().copied().fold(0.0, f64::max);
            println!(
                "{what}: {} tasks failed; {healthy} s, then {usual} s, at most {slowest} s",
                seen.failed
            );
            // Two of three executors do the work: half as long again, and a little for the probations.
            assert!(usual <= 2.0 * healthy && slowest <= 5.0, "{what}: {usual} s, {slowest} s");
        }
    }
}
