//! Ten times more than the cluster can take, for 30 s.

use std::time::Duration;
use tidemill_chaos::{Overload, overload::CAPACITY_LINES_PER_S};

#[test]
fn overload_at_ten_times_capacity_is_throttled_and_forgotten() {
    let overload = Overload::new(11);
    let report = overload.run().expect("the cluster starts");
    assert_eq!(report.outcome, Ok(()));
    assert!(report.difference.is_none(), "{:?}", report.difference);

    // Ten times what the slots could take was offered, even if they did nothing but read lines. They also merge words and fold
    // counts, so they take less than that; a throttle that strangled the cluster would leave it far below.
    let capacity = CAPACITY_LINES_PER_S * overload.burst.as_secs();
    assert!(overload.burst_lines_per_s >= 10 * CAPACITY_LINES_PER_S);
    println!("{} lines of the burst were taken, {capacity} could have been", report.burst_lines);
    assert!(report.burst_lines >= capacity / 4, "{} of {capacity} lines", report.burst_lines);

    let delays = |from: Duration, to: Duration| {
        let within = report.batches.iter().filter(|batch| batch.at >= from && batch.at < to);
        within.map(|batch| batch.total_delay).max().expect("batches are published all the time")
    };
    let (began, second) = (report.burst_began, Duration::from_secs(1));
    let ended = began + overload.burst;
    let before = delays(3 * second, began);
    let during = delays(began, ended + second);
    let after = delays(ended + overload.burst, ended + overload.burst + 5 * second);
    println!(
        "delays: {before:?} before, {during:?} during, {after:?} after; {} bytes",
        report.store_bytes_max
    );
    assert!(during <= 3 * second, "{during:?}");
    assert!(after <= 2 * before, "{after:?} after, {before:?} before");
    assert!(report.store_bytes_max <= overload.memory_bytes_max, "{} bytes", report.store_bytes_max);
}
