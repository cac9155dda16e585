//! Partitions share what their stream may read by how far each is behind.

use crate::rate_controller::share::by_lag;
use std::collections::BTreeMap;
use tidemill_protocol::{id::PartitionId, world::SeededRng};

fn by_number(records: &[u64]) -> BTreeMap<PartitionId, u64> {
    (0..).map(PartitionId).zip(records.iter().copied()).collect()
}

fn shares(limit: u64, lags: &[u64], turn: u64) -> Vec<u64> {
    let shares = by_lag(limit, &by_number(lags), turn);
    (0..lags.len() as u32).map(|number| shares.get(&PartitionId(number)).copied().unwrap_or(0)).collect()
}

#[test]
fn partitions_share_by_lag_as_the_table_says() {
    // limit, lags, turn -> shares
    type Row<'a> = (u64, &'a [u64], u64, &'a [u64]);
    let table: [Row<'_>; 13] = [
        (0, &[5, 5], 0, &[0, 0]),
        (10, &[], 0, &[]),
        (10, &[0, 0], 0, &[0, 0]),
        // There is less than may be read.
        (100, &[10, 0, 20], 0, &[10, 0, 20]),
        // Equal lags, equal shares; the first ones take the rest.
        (90, &[500, 500, 500], 0, &[30, 30, 30]),
        (11, &[500, 500, 500], 0, &[4, 4, 3]),
        // 5 each, and 90 as 895 to 95: 81.36 and 8.64.
        (100, &[900, 100], 0, &[86, 14]),
        // 3 each, and 90 by 100,000 − 3 to 0 to 7: the second has only 3, the third is far less behind.
        (99, &[100_000, 3, 10], 0, &[93, 3, 3]),
        // One each, and one more for the one that is furthest behind.
        (4, &[7, 1_000_000, 7], 0, &[1, 2, 1]),
        // Fewer records than partitions: in turn, beginning where the last batch ended.
        (2, &[9, 9, 9, 9, 9], 0, &[1, 1, 0, 0, 0]),
        (2, &[9, 9, 9, 9, 9], 2, &[0, 0, 1, 1, 0]),
        (2, &[9, 9, 9, 9, 9], 4, &[1, 0, 0, 0, 1]),
        // Sums beyond 64 bits: a tenth equally, the rest as 1 to 1.
        (1_000, &[u64::MAX, u64::MAX], u64::MAX, &[500, 500]),
    ];
    for (limit, lags, turn, expected) in table {
        assert_eq!(shares(limit, lags, turn), expected, "limit {limit}, lags {lags:?}, turn {turn}");
    }
}

#[test]
fn shares_sum_to_the_limit_and_starve_nobody_whatever_the_lags() {
    let mut rng = SeededRng::new(15);
    for _ in 0..5_000 {
        let count = rng.range(1, 40) as usize;
        let lags: Vec<u64> = (0..count)
            .map(|_| {
                let magnitude = rng.range(0, 64) as u32;
                rng.next_u64() >> magnitude
            })
            .collect();
        let limit = rng.next_u64() >> rng.range(0, 64);
        let shares = shares(limit, &lags, rng.next_u64());
        let sum = |records: &[u64]| records.iter().map(|n| u128::from(*n)).sum::<u128>();
        assert_eq!(sum(&shares), sum(&lags).min(u128::from(limit)), "{limit} for {lags:?}");
        let behind = lags.iter().filter(|lag| **lag > 0).count() as u64;
        for (share, lag) in shares.iter().zip(&lags) {
            assert!(share <= lag, "{share} of {lag}: limit {limit}, lags {lags:?}");
            if limit >= behind && *lag > 0 {
                let least = (limit / 10 / behind).max(1).min(*lag);
                assert!(*share >= least, "{share} of {lag}: limit {limit}, lags {lags:?}");
            }
            for (other, other_lag) in shares.iter().zip(&lags) {
                assert!(
                    limit < behind || lag < other_lag || share + 1 >= *other,
                    "{lag} has {share}, {other_lag} has {other}: limit {limit}"
                );
            }
        }
    }
}

#[test]
fn a_limit_of_one_record_serves_every_partition_in_turn() {
    let mut lags = vec![1_000_000, 5, 5, 800];
    let mut read = vec![0; lags.len()];
    for batch in 0..12 {
        let shares = shares(1, &lags, read.iter().sum());
        for (number, share) in shares.into_iter().enumerate() {
            lags[number] -= share;
            read[number] += share;
        }
        assert_eq!(read.iter().sum::<u64>(), batch + 1);
    }
    assert_eq!(read, [3, 3, 3, 3]);
}

#[test]
fn a_partition_far_behind_catches_up_and_then_all_share_alike() {
    // 100 records come to each partition in a batch, and 1,000 may be read.
    let mut lags = vec![10_000, 0, 0, 0];
    for _ in 0..40 {
        lags.iter_mut().for_each(|lag| *lag += 100);
        let shares = shares(1_000, &lags, 0);
        lags.iter_mut().zip(shares).for_each(|(lag, share)| *lag -= share);
    }
    assert_eq!(lags, [0, 0, 0, 0]);
}
