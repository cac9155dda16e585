//! Rows 53 to 55: what a network does to datagrams, addresses and sockets.

use std::time::Duration;
use tidemill::cluster::sim::Mtu;
use tidemill_chaos::{Fault, Report, Scenario, Scheduled};

const SECOND: Duration = Duration::from_secs(1);

fn run(scenario: &Scenario) -> Report {
    let report = scenario.run().expect("the cluster starts");
    assert!(report.is_right() && report.missed().is_empty(), "{}", report.text());
    report
}

fn at(ms: u64, fault: Fault) -> Scheduled {
    Scheduled { at: Duration::from_millis(ms), fault }
}

#[test]
fn row_53_loss_of_30_percent_duplicates_of_50_disorder_and_corruption_together_leave_the_totals_right() {
    let lasts = 6 * SECOND;
    let faults = vec![
        at(1_000, Fault::Loss { share: 0.3, lasts }),
        at(1_000, Fault::Duplicates { share: 0.5, lasts }),
        at(1_000, Fault::Disorder { delay_max: Duration::from_millis(40), lasts }),
        at(1_000, Fault::Corruption { share: 0.05, lasts }),
    ];
    for seed in 53..57 {
        run(&Scenario { faults: faults.clone(), idle_timeout: Some(6 * SECOND), ..Scenario::calm(seed) });
    }
}

#[test]
fn row_54_connections_survive_a_path_that_carries_less_than_it_did() {
    let faults = vec![at(2_000, Fault::SmallMtu { lasts: 4 * SECOND })];
    for seed in 0..4 {
        let report =
            run(&Scenario { faults: faults.clone(), mtu: Mtu::Probe(1_452), ..Scenario::calm(seed) });
        assert_eq!(report.happened.executors_down, 0, "{}", report.text());
    }
}

#[test]
fn row_54_a_nat_that_forgets_costs_a_new_connection_and_no_line_counts_twice() {
    for executor in 1..=3 {
        let report =
            run(&Scenario { faults: vec![at(2_000, Fault::Rebind { executor })], ..Scenario::calm(54) });
        assert_eq!(report.happened.executors_down, 1, "{}", report.text());
    }
}

#[test]
fn row_55_sockets_that_fail_for_good_are_replaced_and_every_line_counts_once() {
    for executor in 1..=3 {
        let faults = vec![at(2_000, Fault::BrokenSockets { executor })];
        let report = run(&Scenario { faults, ..Scenario::calm(55) });
        assert!(report.happened.executors_down >= 1, "{}", report.text());
    }
}
