//! One rate for all inputs, dealt out: to each according to what it lately used, with something for those that used
//! nothing, so that nobody starves and equal hunger ends in equal shares.

use super::messages::InputKey;
use std::collections::BTreeMap;

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
