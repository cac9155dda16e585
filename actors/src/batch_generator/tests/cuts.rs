//! Time to batches.

use crate::batch_generator::cuts::Cuts;
use std::time::Duration;
use tidemill_protocol::{
    id::BatchNumber,
    time::{BatchTime, Time},
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(ms: u64) -> Time {
    Time(ms * 1_000_000)
}

fn cuts(interval_ms: u64, wall_ms: u64) -> Cuts {
    let mut cuts = Cuts::new(ms(interval_ms), ms(50));
    cuts.set_wall(at(0), ms(wall_ms));
    cuts
}

/// All that is announced at `now`, as (batch, time).
fn announce(cuts: &mut Cuts, now: u64) -> Vec<(u64, u64)> {
    let announced = std::iter::from_fn(|| cuts.announce(at(now))).map(|(b, t)| (b.0, t.0)).collect();
    cuts.assert_invariants();
    announced
}

fn reached(cuts: &mut Cuts, now: u64) -> Vec<u64> {
    std::iter::from_fn(|| cuts.reached(at(now))).map(|(_, t)| t.0).collect()
}

#[test]
fn times_are_multiples_of_the_interval_and_are_announced_one_interval_ahead() {
    let mut cuts = cuts(1_000, 5_300);
    assert_eq!(announce(&mut cuts, 0), vec![(0, 6_000)]);
    assert_eq!(cuts.next_deadline(at(0), true), Some(at(700)), "reached, and the next is to be announced");
    assert_eq!(announce(&mut cuts, 699), vec![]);
    assert_eq!(announce(&mut cuts, 700), vec![(1, 7_000)]);
    assert_eq!(reached(&mut cuts, 700), vec![6_000]);
    assert_eq!(cuts.next_deadline(at(700), true), Some(at(1_700)));
    assert_eq!(reached(&mut cuts, 1_699), Vec::<u64>::new());
}

#[test]
fn the_first_cut_leaves_time_to_be_announced() {
    assert_eq!(announce(&mut cuts(1_000, 5_950), 0), vec![(0, 6_000)]);
    // At 5,951 the cut at 6,000 is less than 50 ms ahead. The next one is announced an interval before.
    let mut late = cuts(1_000, 5_951);
    assert_eq!(announce(&mut late, 0), vec![]);
    assert_eq!(late.next_deadline(at(0), true), Some(at(49)));
    assert_eq!(announce(&mut late, 49), vec![(0, 7_000)]);
}

#[test]
fn short_intervals_are_announced_many_ahead() {
    let mut cuts = cuts(5, 1_000);
    // Up to twice the lead of 50 ms.
    assert_eq!(announce(&mut cuts, 0), (0..=10).map(|n| (n, 1_050 + 5 * n)).collect::<Vec<_>>());
    assert_eq!(cuts.next_deadline(at(0), true), Some(at(5)));
    assert_eq!(announce(&mut cuts, 45), (11..=19).map(|n| (n, 1_050 + 5 * n)).collect::<Vec<_>>());
    assert_eq!(cuts.open(), BatchNumber(0));
}

#[test]
fn a_clock_that_jumps_back_is_waited_out() {
    let mut cuts = cuts(1_000, 5_000);
    announce(&mut cuts, 0);
    announce(&mut cuts, 1_000);
    assert_eq!(reached(&mut cuts, 1_000), vec![6_000]);
    // At monotonic 1,500 the wall clock says 3,500 instead of 6,500.
    cuts.set_wall(at(1_500), ms(3_500));
    assert_eq!(reached(&mut cuts, 2_000), Vec::<u64>::new());
    assert_eq!(cuts.next_deadline(at(2_000), true), Some(at(5_000)), "7,000 on the wall, one time only");
    assert_eq!(announce(&mut cuts, 5_000), vec![(2, 8_000)]);
    assert_eq!(reached(&mut cuts, 5_000), vec![7_000]);
}

#[test]
fn a_clock_that_jumps_forward_leaves_a_hole_and_no_gap_in_numbers() {
    let mut cuts = cuts(1_000, 5_000);
    announce(&mut cuts, 0);
    announce(&mut cuts, 1_000);
    assert_eq!(reached(&mut cuts, 1_000), vec![6_000]);
    // An hour: the announced cut is reached at once, and no batches are made for the hour.
    cuts.set_wall(at(1_500), ms(3_606_500));
    assert_eq!(reached(&mut cuts, 1_500), vec![7_000]);
    assert_eq!(announce(&mut cuts, 1_500), vec![(2, 3_607_000)]);
    assert_eq!(reached(&mut cuts, 2_000), vec![3_607_000]);
}

#[test]
fn a_halt_leaves_a_hole_too() {
    let mut cuts = cuts(100, 1_000);
    announce(&mut cuts, 0);
    assert_eq!(reached(&mut cuts, 60_020), vec![1_100]);
    assert_eq!(announce(&mut cuts, 60_020), vec![(1, 61_100)]);
}

#[test]
fn the_last_cut_comes_before_its_time_and_nothing_after_it() {
    let mut cuts = cuts(5, 1_000);
    announce(&mut cuts, 45);
    assert_eq!(cuts.reach_last(at(46)), Some((BatchNumber(0), BatchTime(1_095))));
    assert_eq!(cuts.next_deadline(at(46), false), None);
    let mut fresh = Cuts::new(ms(60_000), ms(50));
    fresh.set_wall(at(0), ms(1_000));
    assert_eq!(fresh.reach_last(at(0)), Some((BatchNumber(0), BatchTime(60_000))), "announced or not");
}
