//! One rate for all inputs, dealt out: to each according to what it lately used, with something for those that used
//! nothing, so that nobody starves and equal hunger ends in equal shares. And what a planned stream may read in a batch,
//! dealt out to its partitions by how far each is behind.

use super::messages::InputKey;
use std::collections::BTreeMap;
use tidemill_protocol::id::PartitionId;

/// This part of the rate is dealt out equally. It bounds what idle inputs waste, and sets how soon shares even out.
const EQUAL_PART: f64 = 0.1;
/// How much the latest batch counts in an input's share.
const NEWEST: f64 = 0.3;

/// What each input lately used.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    used: BTreeMap<InputKey, f64>,
}

impl Shares {
    /// Shares of `inputs`, equal at first.
    pub fn new(inputs: impl IntoIterator<Item = InputKey>) -> Self {
        Shares { used: inputs.into_iter().map(|input| (input, 0.0)).collect() }
    }

    /// An input takes part no more.
    pub fn remove(&mut self, input: InputKey) {
        self.used.remove(&input);
    }

    /// A batch held `records` of these inputs, and none of the others.
    pub fn add_batch(&mut self, records: &BTreeMap<InputKey, u64>) {
        for (input, used) in &mut self.used {
            let latest = records.get(input).copied().unwrap_or(0) as f64;
            *used += NEWEST * (latest - *used);
        }
    }

    /// Deals `total` out to the inputs in `to`; each gets `floor` at least. The sum is `total`, if that is enough for
    /// the floors.
    pub fn deal(&self, total: f64, floor: f64, to: &[InputKey]) -> Vec<(InputKey, f64)> {
        let count = to.len() as f64;
        let used = |input: &InputKey| self.used.get(input).copied().unwrap_or(0.0);
        let sum: f64 = to.iter().map(used).sum();
        let spare = (total - floor * count).max(0.0);
        let share = |input: &InputKey| {
            let lag = if sum > 0.0 { used(input) / sum } else { 1.0 / count };
            (1.0 - EQUAL_PART) * lag + EQUAL_PART / count
        };
        to.iter().map(|input| (*input, floor + spare * share(input))).collect()
    }
}

/// One in so many of a stream's records is dealt out to all partitions that are behind, equally.
const EQUAL_ONE_IN: u64 = 10;

/// Deals the `limit` records that a batch may hold out to a stream's partitions by their lag: what each holds beyond what
/// is planned, in records. A partition gets no more than its lag; together they get the limit, or all there is if that is
/// less. A tenth is dealt out equally, the rest in proportion. Where the limit is less than one record for each that is
/// behind, they take turns: `turn` is the sum of all records planned so far, so that the next batch goes on where this one
/// ends.
pub fn by_lag(limit: u64, lags: &BTreeMap<PartitionId, u64>, turn: u64) -> BTreeMap<PartitionId, u64> {
    let behind: Vec<(PartitionId, u64)> =
        lags.iter().filter(|(_, lag)| **lag > 0).map(|(p, lag)| (*p, *lag)).collect();
    if behind.iter().map(|(_, lag)| u128::from(*lag)).sum::<u128>() <= u128::from(limit) {
        return behind.into_iter().collect();
    }
    let count = behind.len() as u64;
    if limit < count {
        let in_turn = |number: u64| (behind[((turn % count + number) % count) as usize].0, 1);
        return (0..limit).map(in_turn).collect();
    }
    let equal = (limit / EQUAL_ONE_IN / count).max(1);
    let mut shares: Vec<u64> = behind.iter().map(|(_, lag)| equal.min(*lag)).collect();
    let rest = limit - shares.iter().sum::<u64>();
    let wanting: Vec<u128> = behind.iter().zip(&shares).map(|((_, lag), s)| u128::from(lag - s)).collect();
    // Together they want more than the rest, or all would have got what there is.
    let wanted: u128 = wanting.iter().sum();
    let exact: Vec<u128> = wanting.iter().map(|wants| u128::from(rest) * wants).collect();
    for (share, exact) in shares.iter_mut().zip(&exact) {
        // No more than the rest, which is a u64.
        *share += (exact / wanted) as u64;
    }
    // What rounding has left goes to those whom it cost most.
    let mut by_fraction: Vec<usize> = (0..exact.len()).collect();
    by_fraction.sort_by_key(|index| (std::cmp::Reverse(exact[*index] % wanted), *index));
    let left = limit - shares.iter().sum::<u64>();
    by_fraction.into_iter().take(left as usize).for_each(|index| shares[index] += 1);
    behind.into_iter().map(|(partition, _)| partition).zip(shares).collect()
}
