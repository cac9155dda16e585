//! Ten times more than the cluster can take, for 30 s.

use std::time::Duration;
use tidemill_chaos::{
    Overload,
    overload::{OverloadReport, capacity_lines_per_s},
};

const SECOND: Duration = Duration::from_secs(1);

/// The longest total delay of the batches that were published from `from` until `to`.
fn delay_max(report: &OverloadReport, from: Duration, to: Duration) -> Duration {
    let within = report.batches.iter().filter(|batch| batch.at >= from && batch.at < to);
    within.map(|batch| batch.total_delay).max().expect("batches are published all the time")
}

/// Lines per second that were published from `from` until `to`.
fn taken_per_s(report: &OverloadReport, from: Duration, to: Duration) -> f64 {
    let within = report.batches.iter().filter(|batch| batch.at >= from && batch.at < to);
    within.map(|batch| batch.records).sum::<u64>() as f64 / (to - from).as_secs_f64()
}

/// 600 ms of slots a batch; 11 tasks of 0.2 ms and 8 blocks' 13 common words leave 493.8 ms; two a line: 246.9 lines in 200 ms.
#[test]
fn the_capacity_is_what_the_costs_leave_to_lines() {
    let capacity = capacity_lines_per_s(&Overload::new(11).cost());
    assert!((capacity - 1_234.5).abs() < 1e-6, "{capacity}");
}

/// The figure is the cluster's own: a little less goes through as it comes, a little more is held back.
#[test]
fn a_cluster_takes_what_is_just_below_its_capacity_and_not_what_is_above() {
    let offered = |share: f64| {
        let overload = Overload::new(11);
        let lines_per_s = share * capacity_lines_per_s(&overload.cost()) - overload.calm_lines_per_s as f64;
        let overload = Overload { burst_lines_per_s: lines_per_s as u64, ..overload };
        let report = overload.run().expect("the cluster starts");
        assert_eq!(report.outcome, Ok(()));
        assert!(report.difference.is_none(), "{:?}", report.difference);
        let offered = overload.burst_lines_per_s * overload.burst.as_secs();
        println!("{share} of the capacity: {} lines of {offered} were taken", report.burst_lines);
        report.burst_lines as f64 / offered as f64
    };
    assert!(offered(0.8) > 0.97);
    assert!(offered(1.3) < 0.9);
}

#[test]
fn overload_at_ten_times_capacity_is_throttled_and_forgotten() {
    let overload = Overload::new(11);
    let capacity = capacity_lines_per_s(&overload.cost());
    let report = overload.run().expect("the cluster starts");
    assert_eq!(report.outcome, Ok(()));
    assert!(report.difference.is_none(), "{:?}", report.difference);
    assert!(overload.burst_lines_per_s as f64 >= 10.0 * capacity);

    // The throttle holds the burst back, and does not strangle the cluster.
    let (began, ended) = (report.burst_began, report.burst_began + overload.burst);
    let taken = taken_per_s(&report, began, ended);
    println!("{taken:.0} lines/s were taken of {capacity:.0}; {} of the burst", report.burst_lines);
    assert!(taken >= 0.75 * capacity, "{taken:.0} of {capacity:.0} lines/s; rates {:?}", report.rates);
    let offered = overload.burst_lines_per_s * overload.burst.as_secs();
    assert!(report.burst_lines < offered / 5, "{} of {offered} lines", report.burst_lines);

    let before = delay_max(&report, 3 * SECOND, began);
    let during = delay_max(&report, began, ended + SECOND);
    // Back to normal within twice the overload's length, from its beginning on.
    let after = delay_max(&report, ended + overload.burst, ended + overload.burst + 5 * SECOND);
    let bytes = report.store_bytes_max;
    println!("delays: {before:?} before, {during:?} during, {after:?} after; {bytes} bytes");
    assert!(during <= 2 * SECOND, "{during:?}");
    assert!(after <= 2 * before, "{after:?} after, {before:?} before");
    assert!(bytes <= overload.memory_bytes_max, "{bytes} bytes");
}
