//! Tiny memory: cold data go to disk, a disk that is full or damages what it holds costs time, never a record.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tidemill::{
    Config, StreamContext,
    cluster::sim::{CostModel, NodeId, SimCluster, SimWorld},
};
use tidemill_chaos::{
    faults::Panics,
    oracle::{self, Counts, Difference},
    scenario::{self, FEEDER_PORT, count_into, numbered_texts, words},
};

const FED: Duration = Duration::from_secs(10);
const LINES_PER_S: u64 = 400;

/// What came of a run.
struct Outcome {
    outcome: Result<(), String>,
    difference: Difference,
    /// Over all executors: bytes that ever went to disk, and the worst of (most bytes held) / (limit).
    spilled: u64,
    high_water: (u64, u64),
}

/// Counts words while `strike` does something to the disk, about once a tenth of a second.
fn run(seed: u64, configure: impl FnOnce(&mut Config), strike: impl Fn(&SimWorld, u64)) -> Outcome {
    let counts: Arc<Mutex<Counts>> = Arc::default();
    let folded = counts.clone();
    let pipeline = move |context: &StreamContext| {
        let lines = context.numbered_lines(format!("10.1.0.1:{FEEDER_PORT}"));
        count_into(&words(&lines, Panics::default()), folded.clone());
        Ok(())
    };
    let cost = CostModel { seed, per_row: Duration::from_millis(1), ..CostModel::default() };
    let builder = SimCluster::builder(seed).cost(cost).configure(|config| {
        config.memory_bytes_max = 1 << 20;
        // A store of a megabyte whose mark is at ten kilobytes: it moves nearly everything.
        config.spill_from_percent = 1;
        config.spill_bytes_max = 1 << 30;
        config.rate_records_per_s_initial = LINES_PER_S;
        configure(config);
    });
    let ran = builder.run(pipeline, async |cluster| {
        let feed = scenario::feed(&cluster.host(1), LINES_PER_S, FED).await;
        let (mut spilled, mut high_water) = (0, (0, 1));
        let mut ended = None;
        for tick in 0..1_200 {
            strike(cluster.world(), tick);
            ended = cluster.wait_until_ended(Duration::from_millis(100)).await;
            for node in cluster.living() {
                let Some((_, most)) = cluster.store_bytes(node) else { continue };
                high_water = high_water.max((most, cluster.memory_limit(node).unwrap_or(0)));
            }
            let ever = |node: NodeId| cluster.spilled_bytes(node).map_or(0, |(_, ever)| ever);
            spilled = spilled.max(cluster.living().into_iter().map(ever).sum());
            if ended.is_some() {
                break;
            }
        }
        let fed = feed.ended();
        let expected = oracle::count_words(&numbered_texts(), fed.clone().unwrap_or(0));
        let counted = counts.lock().expect("no panic holds it").clone();
        Outcome {
            outcome: match ended {
                Some(Ok(())) => fed.map(|_| ()),
                Some(Err(error)) => Err(error.to_string()),
                None => Err("it has not ended within 120 s".to_owned()),
            },
            difference: Difference::between(&expected, &counted),
            spilled,
            high_water,
        }
    });
    ran.expect("the cluster starts")
}

fn assert_exact(outcome: &Outcome) {
    assert_eq!(outcome.outcome, Ok(()));
    assert!(outcome.difference.is_none(), "{:?}", outcome.difference);
    let (most, limit) = outcome.high_water;
    assert!(most > 0 && most <= limit, "{most} bytes of at most {limit}");
}

#[test]
fn a_cluster_that_spills_counts_exactly() {
    let outcome = run(21, |_| {}, |_, _| {});
    assert_exact(&outcome);
    println!("{} bytes went to disk, at most {:?} were held", outcome.spilled, outcome.high_water);
    assert!(outcome.spilled > 100_000, "{}", outcome.spilled);
}

#[test]
fn a_disk_that_is_full_for_a_while_costs_no_record() {
    let refused = Mutex::new(0);
    let outcome = run(
        22,
        |_| {},
        |world, tick| {
            let disk = world.disk();
            match tick {
                20 => disk.set_space(Some(0)),
                60 => disk.set_space(None),
                _ => {}
            }
            *refused.lock().expect("one thread") = disk.refused();
        },
    );
    assert_exact(&outcome);
    assert!(*refused.lock().expect("one thread") > 0, "the fault struck");
    assert!(outcome.spilled > 0);
}

#[test]
fn damaged_spill_files_are_made_good_from_replicas_and_lineage() {
    let damaged = Mutex::new(0);
    let outcome = run(
        23,
        |config| config.task_attempts_max = 20,
        |world, tick| {
            // One file of the many, so that the block's other copy, which may be on disk as well, is left.
            if tick % 10 == 5 && tick < 100 {
                let disk = world.disk();
                if let Some((path, _)) = disk.scratch_files().into_iter().next() {
                    *damaged.lock().expect("one thread") += disk.damage(&path, 30, 1);
                }
            }
        },
    );
    assert_exact(&outcome);
    assert!(*damaged.lock().expect("one thread") > 0, "the fault struck");
}
