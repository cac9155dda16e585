//! Rows 26 to 37: executors that die, stand still, come late, are slow, or panic.

use crate::numbers::{Seen, Totals, all, numbers, remainders, slow_tasks};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidemill::{
    ClusterEvent,
    cluster::sim::{CostModel, NodeId, SimCluster},
};
use tidemill_chaos::{Fault, Report, Scenario, Scheduled, Victim, faults};

const SECOND: Duration = Duration::from_secs(1);
/// A multiple of 6, and 30 batches.
const NUMBERS: u64 = 9_000;

fn run(scenario: &Scenario) -> Report {
    faults::silence_planned_panics();
    scenario.run().expect("the cluster starts")
}

fn at(ms: u64, fault: Fault) -> Scheduled {
    Scheduled { at: Duration::from_millis(ms), fault }
}

/// A scenario whose tasks take long enough to be found running.
fn slow(seed: u64, base_ms: u64, faults: Vec<Scheduled>) -> Scenario {
    let cost = CostModel { seed, base: Duration::from_millis(base_ms), ..CostModel::default() };
    Scenario { faults, cost, ..Scenario::calm(seed) }
}

#[track_caller]
fn is_right_and_struck(report: &Report) {
    assert!(report.is_right() && report.missed().is_empty(), "{}", report.text());
}

#[test]
fn row_26_a_kill_in_mid_task_runs_what_was_lost_again_and_every_line_counts_once() {
    for victim in [Victim::ReceiverHost, Victim::Executor(2), Victim::Executor(3)] {
        let kill = Fault::Kill { victim, down: SECOND };
        let report = run(&slow(26, 50, vec![at(2_070, kill)]));
        is_right_and_struck(&report);
        assert!(report.happened.tasks_lost > 0, "no task was running: {}", report.text());
        assert_eq!(report.happened.executors_down, 1);
    }
}

#[test]
fn row_27_an_executor_that_is_paused_beyond_detection_and_goes_on_changes_nothing() {
    let mut repeated = 0;
    for node in 1..=3 {
        for idle_timeout in [None, Some(6 * SECOND)] {
            let pause = Fault::Pause { node, lasts: 5 * SECOND };
            let scenario =
                Scenario { idle_timeout, feed: 10 * SECOND, ..slow(27, 20, vec![at(2_000, pause)]) };
            let report = run(&scenario);
            is_right_and_struck(&report);
            assert!(report.happened.executors_down >= 1, "it was not noticed: {}", report.text());
            repeated += report.lines_repeated;
        }
    }
    assert!(repeated > 0, "one of them hosted the receiver");
}

/// All numbers in the files of the batches that were published, sorted.
fn written(cluster: &SimCluster, seen: &Seen) -> Vec<u64> {
    let (files, mut written) = (cluster.world().files(), Vec::new());
    for time in seen.batches() {
        let folder = format!("/out/numbers-{time}");
        for (path, length) in files.list(folder.as_ref()).unwrap_or_default() {
            let text = files.read_range(&path, 0, length).expect("it was listed");
            let text = String::from_utf8(text).expect("numbers");
            written.extend(text.lines().map(|line| line.parse::<u64>().expect("a number")));
        }
    }
    written.sort_unstable();
    written
}

#[test]
fn row_27_what_a_paused_executor_writes_when_it_goes_on_is_in_no_result() {
    for node in 1..=3 {
        let seen = Seen::default();
        let pipeline = |context: &tidemill::StreamContext| {
            numbers(context, NUMBERS).save_as_text_files("/out/numbers", "");
            Ok(())
        };
        let watched = seen.clone();
        let outcome = slow_tasks(27).run(pipeline, async |cluster| {
            watched.listen(cluster);
            cluster.sleep(Duration::from_millis(2_070)).await;
            cluster.pause(NodeId(node), 5 * SECOND);
            let outcome = cluster.wait_until_ended(120 * SECOND).await;
            // It may go on later than the job.
            cluster.sleep(6 * SECOND).await;
            (outcome, written(cluster, &watched), cluster.net().counts().frozen)
        });
        let (outcome, written, frozen) = outcome.expect("the cluster starts");
        assert_eq!(outcome, Some(Ok(())));
        assert_eq!(written, all(NUMBERS), "each once, with node {node} paused");
        assert!(frozen > 0, "it had nothing to say");
        assert!(
            seen.count(|event| matches!(event, ClusterEvent::ExecutorDown(_))) >= 1,
            "it was not noticed"
        );
        assert!(seen.lost_tasks() > 0, "nothing of it ran again");
    }
}

#[test]
fn row_29_a_map_output_that_cannot_be_fetched_is_made_again() {
    let cut = |b| at(2_000, Fault::Cut { a: 1, b, lasts: 3 * SECOND });
    let scenario = Scenario { trace_lines: 5_000_000, ..slow(29, 20, vec![cut(2), cut(3)]) };
    let report = run(&scenario);
    is_right_and_struck(&report);
    assert_eq!(report.happened.executors_down, 0, "the driver reaches everybody: {}", report.text());
    let missing = report.trace.iter().filter(|line| line.contains("InputsMissing")).count();
    assert!(missing > 0, "nobody missed an output");
}

#[test]
fn row_29_a_batch_whose_outputs_cannot_be_fetched_is_published_while_the_cut_lasts() {
    let calls = Arc::new(AtomicU64::new(0));
    let seen = Seen::default();
    let (into, counter) = (seen.clone(), calls.clone());
    let pipeline = move |context: &tidemill::StreamContext| {
        let calls = counter.clone();
        into.fold(&numbers(context, NUMBERS).map(move |number| {
            calls.fetch_add(1, Ordering::Relaxed);
            (number % 10, 1)
        }));
        Ok(())
    };
    let watched = seen.clone();
    let outcome =
        slow_tasks(29).configure(|config| config.speculation = false).run(pipeline, async |cluster| {
            watched.listen(cluster);
            cluster.sleep(2 * SECOND).await;
            let others = [2, 3].map(NodeId);
            others.into_iter().for_each(|other| cluster.cut_both(NodeId(1), other));
            let cut = cluster.host(1).clock.wall().as_millis() as u64;
            // Who cannot be reached is asked again for a while before its output is given up.
            let published = || watched.batches().into_iter().any(|time| time > cut);
            for _ in 0..60 {
                if !published() {
                    cluster.sleep(SECOND).await;
                }
            }
            let published = published();
            others.into_iter().for_each(|other| cluster.heal_both(NodeId(1), other));
            cluster.wait_until_ended(120 * SECOND).await.map(|outcome| (outcome, published))
        });
    let (outcome, published) = outcome.expect("the cluster starts").expect("the job ends");
    assert_eq!(outcome, Ok(()));
    assert_eq!(seen.totals(), remainders(NUMBERS));
    assert!(published, "no batch that was cut after the network was is published while that lasts");
    assert!(calls.load(Ordering::Relaxed) > NUMBERS, "no record was mapped again");
    assert_eq!(seen.count(|event| matches!(event, ClusterEvent::ExecutorDown(_))), 0);
}

/// Runs the count of remainders under `strike`; gives what was seen.
pub fn counted(
    builder: tidemill::cluster::sim::SimBuilder,
    strike: impl AsyncFnOnce(&mut SimCluster, &Seen),
) -> Seen {
    faults::silence_planned_panics();
    let seen = Seen::default();
    let (into, watched) = (seen.clone(), seen.clone());
    let pipeline = move |context: &tidemill::StreamContext| {
        into.fold(&numbers(context, NUMBERS).map(|number| (number % 10, 1)));
        Ok(())
    };
    let outcome = builder.run(pipeline, async |cluster| {
        watched.listen(cluster);
        strike(cluster, &watched).await;
        cluster.wait_until_ended(120 * SECOND).await
    });
    assert_eq!(outcome.expect("the cluster starts"), Some(Ok(())));
    seen
}

#[test]
fn row_31_when_all_executors_are_lost_at_once_the_job_waits_and_goes_on_when_one_returns() {
    let nodes = [1, 2, 3].map(NodeId);
    let seen = counted(slow_tasks(31), async |cluster, seen| {
        cluster.sleep(2 * SECOND).await;
        let killed = nodes.into_iter().filter(|node| cluster.kill(*node)).count();
        assert_eq!(killed, 3);
        cluster.sleep(4 * SECOND).await;
        let totals: Totals = seen.totals();
        assert!(totals.values().sum::<u64>() > 0, "it had begun");
        cluster.sleep(4 * SECOND).await;
        assert_eq!(seen.totals(), totals, "nobody was there to count");
        assert!(cluster.progress().outcome().is_none(), "the job waits");
        assert!(cluster.revive(nodes[1]));
        cluster.sleep(2 * SECOND).await;
        assert_ne!(seen.totals(), totals, "one executor is enough");
        assert!(cluster.revive(nodes[0]) && cluster.revive(nodes[2]));
    });
    assert_eq!(seen.totals(), remainders(NUMBERS));
    assert_eq!(seen.count(|event| matches!(event, ClusterEvent::ExecutorDown(_))), 3);
}

#[test]
fn row_32_an_executor_that_joins_in_mid_batch_takes_part_and_costs_nothing() {
    let late = NodeId(3);
    let seen = counted(slow_tasks(32).absent(late), async |cluster, seen| {
        cluster.sleep(Duration::from_millis(2_030)).await;
        assert_eq!(seen.count(|event| matches!(event, ClusterEvent::ExecutorUp(_))), 2);
        assert!(cluster.revive(late), "it was not there");
        cluster.sleep(2 * SECOND).await;
        let (_, high_water) = cluster.store_bytes(late).expect("it is there now");
        assert!(high_water > 0, "it was given no task");
    });
    assert_eq!(seen.totals(), remainders(NUMBERS));
    assert_eq!(seen.lost_tasks(), 0);
}

#[test]
fn row_33_a_node_ten_times_slower_and_links_that_lose_30_percent_leave_the_totals_right() {
    let lasts = 5 * SECOND;
    let slow_node = at(1_500, Fault::Slow { executor: 1, factor: 10, lasts });
    let lossy = at(1_500, Fault::Loss { share: 0.3, lasts });
    let scenario = Scenario { idle_timeout: Some(6 * SECOND), ..slow(33, 10, vec![slow_node, lossy]) };
    is_right_and_struck(&run(&scenario));
}

#[test]
fn row_34_a_full_disk_fails_the_task_with_its_cause_and_another_node_writes_the_file() {
    let seen = Seen::default();
    let pipeline = |context: &tidemill::StreamContext| {
        numbers(context, NUMBERS).save_as_text_files("/out/numbers", "");
        Ok(())
    };
    let watched = seen.clone();
    let outcome = slow_tasks(34).run(pipeline, async |cluster| {
        watched.listen(cluster);
        let full = cluster.ip(NodeId(1));
        cluster.sleep(SECOND).await;
        let disk = cluster.world().disk().of(full);
        disk.set_space(Some(0));
        cluster.sleep(2 * SECOND).await;
        disk.set_space(None);
        let outcome = cluster.wait_until_ended(120 * SECOND).await;
        assert!(disk.refused() > 0, "nobody wanted to write there");
        (outcome, written(cluster, &watched))
    });
    let (outcome, written) = outcome.expect("the cluster starts");
    assert_eq!(outcome, Some(Ok(())));
    assert_eq!(written, all(NUMBERS));
    let told = |event: &ClusterEvent| match event {
        ClusterEvent::TaskFailed { on, message, .. } => {
            on.node == NodeId(1) && message.contains("no space left")
        }
        _ => false,
    };
    assert!(seen.count(told) > 0, "the cause was told");
}

#[test]
fn row_36_an_actor_that_panics_is_started_again_and_costs_what_it_held_and_no_more() {
    let receivers = Victim::ReceiverHost;
    for (victim, role) in [
        (receivers, "receiver"),
        (receivers, "executor"),
        (Victim::Executor(2), "executor"),
        (Victim::Executor(0), "rate_controller"),
    ] {
        let report = run(&slow(36, 10, vec![at(2_000, Fault::ActorPanic { victim, role })]));
        is_right_and_struck(&report);
        let down = report.happened.executors_down;
        assert!(down <= 1 && (victim != Victim::Executor(0) || down == 0), "{role}: {}", report.text());
    }
}
