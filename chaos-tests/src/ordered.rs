//! The word count as lists: for each word the numbers of its lines, which must come in the order in which they were written.
//! A plain count would not notice parts that were merged in the order in which they happened to arrive.

use crate::{
    faults::Panics,
    oracle::Counts,
    scenario::{FEEDER_PORT, LINES},
};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use tidemill::StreamContext;

/// How many lists were out of order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disorder(Arc<AtomicU64>);

impl Disorder {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn look(&self, lines: &[u32]) {
        let is_ordered = lines.windows(2).all(|pair| follows(pair[0], pair[1]));
        self.0.fetch_add(u64::from(!is_ordered), Ordering::Relaxed);
    }
}

/// Whether line `next` may come after line `before`: lines are numbered round and round, and a batch holds less than half a round.
fn follows(before: u32, next: u32) -> bool {
    let round = LINES as u32;
    (next + round - before) % round < round / 2
}

/// The pipeline: words of the numbered lines of the feeder at `host` with their lines' numbers, gathered by word, counted on the
/// driver.
pub(crate) fn word_lines(
    context: &StreamContext,
    host: &str,
    counts: Arc<Mutex<Counts>>,
    panics: Panics,
    disorder: Disorder,
) {
    let lines = context.numbered_lines(format!("{host}:{FEEDER_PORT}"));
    let pairs = lines.flat_map(move |line| {
        panics.pass();
        let line = line.to_string();
        let digits: String = line.chars().skip("line".len()).take_while(char::is_ascii_digit).collect();
        let number: u32 = digits.parse().unwrap_or(u32::MAX);
        line.split(' ').map(|word| (word.to_owned(), number)).collect::<Vec<_>>()
    });
    pairs.group_by_key().foreach_batch(move |batch, _| {
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (word, lines) in batch {
            disorder.look(&lines);
            *counts.entry(word).or_default() += lines.len() as u64;
        }
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_in_order_round_and_round() {
        let disorder = Disorder::default();
        disorder.look(&[990, 996, 0, 3, 3]);
        assert_eq!(disorder.count(), 0);
        disorder.look(&[5, 3]);
        assert_eq!(disorder.count(), 1);
    }
}
