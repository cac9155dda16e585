//! The token bucket in figures.

use super::at;
use crate::receiver::token_bucket::{Lane, TokenBucket, UNLIMITED};
use std::time::Duration;
use tidemill_protocol::time::Time;

#[test]
fn a_lane_lets_its_rate_pass_and_no_more() {
    // 1,000 per second, 50 ms of burst: 50 at once, then one each millisecond.
    let mut lane = Lane::new(1_000, Duration::from_millis(50), at(0));
    for _ in 0..50 {
        assert_eq!(lane.ready_at(at(0)), Some(at(0)));
        lane.take(at(0), 1);
    }
    // One billionth of a token is needed: the next nanosecond brings a thousand of them.
    assert_eq!(lane.ready_at(at(0)), Some(Time(1)));
    lane.take(at(0), 10);
    assert_eq!(lane.ready_at(at(5)), Some(Time(10_000_001)));
    assert_eq!(lane.ready_at(at(11)), Some(at(11)));
}

#[test]
fn a_large_piece_passes_at_once_and_is_paid_for_afterwards() {
    let mut lane = Lane::new(1_000, Duration::from_millis(50), at(0));
    lane.take(at(0), 5_050);
    assert_eq!(lane.ready_at(at(0)), Some(Time(5_000_000_001)));
}

#[test]
fn over_time_the_rate_holds_whatever_the_pieces() {
    let mut lane = Lane::new(300, Duration::from_millis(10), at(0));
    let (mut now, mut passed) = (at(0), 0u64);
    for piece in (1..=40).cycle().take(1_000) {
        now = lane.ready_at(now).expect("the rate is not 0").max(now);
        lane.take(now, piece);
        passed += piece;
    }
    let rate = (passed - 40) as f64 / now.since(at(0)).as_secs_f64();
    assert!((299.0..=301.0).contains(&rate), "{rate}");
}

#[test]
fn a_lane_of_rate_zero_never_opens_until_it_is_set() {
    let mut lane = Lane::new(0, Duration::from_millis(50), at(0));
    lane.take(at(0), 1);
    assert_eq!(lane.ready_at(at(1_000_000)), None);
    lane.set_rate(at(1_000_000), 2);
    assert_eq!(lane.ready_at(at(1_000_001)), Some(at(1_000_001)));
}

#[test]
fn a_lane_without_limit_is_always_open() {
    let mut lane = Lane::new(UNLIMITED, Duration::from_millis(50), at(0));
    lane.take(at(0), u64::MAX);
    assert_eq!(lane.ready_at(at(0)), Some(at(0)));
    lane.set_rate(at(0), 10);
    lane.take(at(0), 1);
    assert!(lane.ready_at(at(0)) > Some(at(0)));
}

#[test]
fn both_limits_must_hold() {
    let burst = Duration::from_millis(100);
    let mut bucket =
        TokenBucket { records: Lane::new(10, burst, at(0)), bytes: Lane::new(1_000, burst, at(0)) };
    bucket.take(at(0), 1, 1_100);
    // Records: one token gone, none owed. Bytes: 1,000 owed, a second's worth.
    assert_eq!(bucket.ready_at(at(0)), Some(Time(1_000_000_001)));
    bucket.records.set_rate(at(0), 0);
    assert_eq!(bucket.ready_at(at(0)), None);
}
