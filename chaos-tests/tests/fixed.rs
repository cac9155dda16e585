//! The fixed scenario, and faults one by one.

use std::{collections::BTreeSet, time::Duration};
use tidemill::cluster::sim::{Link, Mtu};
use tidemill_chaos::{Fault, Report, Scenario, Scheduled, Victim, faults};

fn run(scenario: &Scenario) -> Report {
    faults::silence_planned_panics();
    scenario.run().expect("the cluster starts")
}

#[test]
fn loss_reordering_a_cut_and_the_death_of_the_receivers_host_leave_the_totals_right() {
    let report = run(&Scenario::fixed(1));
    println!("{}", report.text());
    assert!(report.is_right(), "{}", report.text());
    assert!(report.missed().is_empty(), "{}", report.text());
    assert!(report.datagrams >= 5_000, "{} datagrams", report.datagrams);
    assert_eq!(report.lines, Some(300 * 13));
    // The kill and the cut have each cost an executor, and its receiver or tasks.
    assert!(report.happened.executors_down >= 2 && report.happened.receiver_restarts >= 1);
    assert!(report.lines_repeated > 0, "what was not safe was sent again");
    assert_eq!(report.happened.blocks_lost, 0);
}

#[test]
fn a_calm_cluster_loses_nobody_and_repeats_nothing() {
    let report = run(&Scenario::calm(3));
    assert!(report.is_right(), "{}", report.text());
    assert_eq!(
        (report.happened.executors_down, report.happened.receiver_restarts, report.lines_repeated),
        (0, 0, 0)
    );
}

/// The name of each kind of fault.
const KINDS: [&str; 18] = [
    "actor_panic",
    "broken_sockets",
    "corruption",
    "cut",
    "disorder",
    "duplicates",
    "feeder_gone",
    "kill",
    "leave",
    "loss",
    "one_way_cut",
    "panics",
    "pause",
    "rebind",
    "restart",
    "slow",
    "small_mtu",
    "tcp_reset",
];

#[test]
fn each_fault_alone_strikes_and_leaves_the_totals_right() {
    let (ms, long) = (Duration::from_millis, Duration::from_millis(2_500));
    let table = [
        Fault::Kill { victim: Victim::ReceiverHost, down: ms(700) },
        Fault::Kill { victim: Victim::Executor(2), down: long },
        Fault::Restart { victim: Victim::ReceiverHost },
        Fault::Leave { victim: Victim::ReceiverHost, lasts: long },
        Fault::Cut { a: 0, b: 1, lasts: long },
        Fault::Cut { a: 1, b: 2, lasts: long },
        Fault::OneWayCut { from: 0, to: 1, lasts: long },
        Fault::OneWayCut { from: 1, to: 0, lasts: long },
        Fault::OneWayCut { from: 1, to: 2, lasts: long },
        Fault::Loss { share: 0.3, lasts: long },
        Fault::Duplicates { share: 0.5, lasts: long },
        Fault::Disorder { delay_max: ms(50), lasts: long },
        Fault::Slow { executor: 1, factor: 100, lasts: long },
        Fault::TcpReset,
        Fault::FeederGone { lasts: ms(2_500) },
        Fault::Corruption { share: 0.05, lasts: long },
        Fault::SmallMtu { lasts: long },
        Fault::Pause { node: 1, lasts: long },
        Fault::Rebind { executor: 1 },
        Fault::BrokenSockets { executor: 2 },
        Fault::ActorPanic { victim: Victim::ReceiverHost, role: "receiver" },
        Fault::Panics { tasks: 3 },
    ];
    for fault in table {
        let faults = vec![Scheduled { at: ms(1_500), fault }];
        // Where datagrams are as short as they can be, none is too long for any path.
        let mtu = if matches!(fault, Fault::SmallMtu { .. }) { Mtu::Probe(1_452) } else { Mtu::Smallest };
        let report = run(&Scenario { faults, mtu, feed: Duration::from_secs(6), ..Scenario::calm(9) });
        assert!(report.is_right() && report.missed().is_empty(), "{}", report.text());
    }
    let names: BTreeSet<&str> = table.iter().map(Fault::name).collect();
    assert_eq!(names, BTreeSet::from(KINDS), "each kind is in the table");
}

#[test]
fn a_rebind_of_a_dead_executor_strikes_nothing_also_where_others_were_rebound_before() {
    let at = |ms, fault| Scheduled { at: Duration::from_millis(ms), fault };
    let kill = Fault::Kill { victim: Victim::Executor(2), down: Duration::from_secs(3) };
    let faults = vec![
        at(1_500, Fault::Rebind { executor: 1 }),
        at(5_500, kill),
        at(5_700, Fault::Rebind { executor: 2 }),
    ];
    let report = run(&Scenario { faults, feed: Duration::from_secs(10), ..Scenario::calm(12) });
    assert!(report.is_right(), "{}", report.text());
    let counts: Vec<u64> = report.struck.iter().map(|struck| struck.count).collect();
    assert!(counts[0] > 0 && counts[1..] == [1, 0], "{}", report.text());
}

#[test]
fn a_leave_alone_repeats_nothing() {
    for victim in [Victim::ReceiverHost, Victim::Executor(2), Victim::Executor(3)] {
        let leave = Fault::Leave { victim, lasts: Duration::from_secs(3) };
        let faults = vec![Scheduled { at: Duration::from_millis(1_530), fault: leave }];
        let report = run(&Scenario { faults, ..Scenario::calm(11) });
        assert!(report.is_right() && report.missed().is_empty(), "{}", report.text());
        let happened = &report.happened;
        assert_eq!((happened.executors_left, happened.executors_down), (1, 1), "{}", report.text());
        let repeated =
            (happened.tasks_lost, happened.blocks_struck, happened.blocks_lost, report.lines_repeated);
        assert_eq!(repeated, (0, 0, 0, 0), "{}", report.text());
    }
}

/// At any moment lines are on their way to the receiver: it reads them to their end before it goes.
#[test]
fn a_leave_of_the_receivers_host_repeats_nothing_while_lines_stream_in() {
    for seed in 1..=8 {
        let leave = Fault::Leave { victim: Victim::ReceiverHost, lasts: Duration::from_secs(3) };
        let faults = vec![Scheduled { at: Duration::from_millis(1_500 + 7 * seed), fault: leave }];
        let report = run(&Scenario { faults, rate_lines_per_s: 5_000, ..Scenario::calm(seed) });
        assert!(report.is_right() && report.missed().is_empty(), "{}", report.text());
        assert_eq!(report.happened.receiver_restarts, 1, "{}", report.text());
        assert_eq!((report.lines_repeated, report.happened.blocks_struck), (0, 0), "{}", report.text());
    }
}

#[test]
fn a_feeder_that_is_gone_for_10_s_is_found_again_and_every_line_counts_once() {
    let gone = Fault::FeederGone { lasts: Duration::from_secs(10) };
    let faults = vec![Scheduled { at: Duration::from_millis(1_500), fault: gone }];
    let report = run(&Scenario { faults, feed: Duration::from_secs(14), ..Scenario::calm(10) });
    assert!(report.is_right() && report.missed().is_empty(), "{}", report.text());
    assert_eq!(report.happened.executors_down, 0, "only the feeder was gone");
}

#[test]
fn the_fourth_panic_of_a_task_stops_the_pipeline_with_its_text() {
    let faults = vec![Scheduled { at: Duration::from_millis(1_000), fault: Fault::Panics { tasks: 1_000 } }];
    let report = run(&Scenario { faults, ..Scenario::calm(4) });
    let error = report.outcome.expect_err("no attempt succeeds");
    assert!(error.contains("planned by the scenario"), "{error}");
    assert_eq!(report.difference.repeated, 0);
}

/// Seed 1004 of the first swarm: the driver does not hear the receiver's host and starts a successor elsewhere, but the host
/// still hears the driver, lives on for a while, and asks the feeder for lines that the successor has told to be safe.
#[test]
fn a_receiver_that_does_not_know_that_it_is_dead_does_not_end_the_feed() {
    let at = Duration::from_millis;
    let faults =
        vec![Scheduled { at: at(1_780), fault: Fault::OneWayCut { from: 1, to: 0, lasts: at(3_313) } }];
    let report = run(&Scenario { faults, ..Scenario::calm(1_004) });
    assert!(report.is_right() && report.missed().is_empty(), "{}", report.text());
}

/// Two executors are cut from the driver for longer than their links live: what was safe on both of them and of no decided
/// batch is beyond what two copies can promise. It may be lost, but never in silence.
#[test]
fn a_loss_beyond_the_promise_is_reported() {
    let cut = |at, b| Scheduled {
        at: Duration::from_millis(at),
        fault: Fault::Cut { a: 0, b, lasts: Duration::from_secs(4) },
    };
    let mut lost = 0;
    for seed in 0..12 {
        for (first, second) in [(1, 2), (2, 3), (1, 3)] {
            let faults = vec![cut(2_000 + 17 * seed, first), cut(2_010 + 17 * seed, second)];
            // Slow links keep batches undecided for longer.
            let link = Link { delay_max: Duration::from_millis(20), ..Link::default() };
            let report =
                run(&Scenario { faults, link, feed: Duration::from_secs(6), ..Scenario::calm(seed) });
            let goes_on = report.happened.blocks_lost > 0 && report.outcome.is_ok();
            let stops =
                report.outcome.as_ref().is_err_and(|why| why.contains("nobody alive holds it any more"));
            let is_told = goes_on || stops;
            assert!(report.is_right() || is_told, "lost in silence: {}", report.text());
            assert_eq!(report.difference.repeated, 0, "{}", report.text());
            lost += u64::from(is_told);
        }
    }
    assert!(lost > 0, "no seed went beyond the promise: this test shows nothing");
}
