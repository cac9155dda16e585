//! What the counts have to be: a plain loop over the lines that the feeder wrote. It shares no code with the pipeline.

use std::collections::BTreeMap;

/// How often each word was seen.
pub type Counts = BTreeMap<String, u64>;

/// The words of the lines numbered `0..count`, where line n is `lines[n % len]`.
///
/// # Panics
/// If lines were written but none are given.
pub fn count_words(lines: &[&str], count: u64) -> Counts {
    let mut counts = Counts::new();
    if count == 0 {
        return counts;
    }
    let (rounds, rest) = (count / lines.len() as u64, count % lines.len() as u64);
    for (place, line) in lines.iter().enumerate() {
        let times = rounds + u64::from((place as u64) < rest);
        for word in line.split(' ').filter(|_| times > 0) {
            *counts.entry(word.to_owned()).or_default() += times;
        }
    }
    counts
}

/// What counts lack and have too much of, in words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Words that were written but not counted.
    pub lost: u64,
    /// Words that were counted more often than they were written.
    pub repeated: u64,
}

impl Difference {
    /// Compares `counted` with what was expected, word by word.
    pub fn between(expected: &Counts, counted: &Counts) -> Self {
        let mut difference = Difference::default();
        let words: std::collections::BTreeSet<&String> = expected.keys().chain(counted.keys()).collect();
        for word in words {
            let of = |counts: &Counts| counts.get(word).copied().unwrap_or(0);
            difference.lost += of(expected).saturating_sub(of(counted));
            difference.repeated += of(counted).saturating_sub(of(expected));
        }
        difference
    }

    /// Whether both are the same.
    pub fn is_none(&self) -> bool {
        *self == Difference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(words: &[(&str, u64)]) -> Counts {
        words.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
    }

    #[test]
    fn words_are_counted_round_and_round() {
        let lines = ["a b", "b c"];
        assert_eq!(count_words(&lines, 0), counts(&[]));
        assert_eq!(count_words(&lines, 1), counts(&[("a", 1), ("b", 1)]));
        assert_eq!(count_words(&lines, 5), counts(&[("a", 3), ("b", 5), ("c", 2)]));
    }

    #[test]
    fn one_word_for_another_is_lost_and_repeated() {
        let difference =
            Difference::between(&counts(&[("a", 3), ("b", 1)]), &counts(&[("a", 2), ("b", 1), ("c", 2)]));
        assert_eq!(difference, Difference { lost: 1, repeated: 2 });
        assert!(Difference::between(&counts(&[("a", 3)]), &counts(&[("a", 3)])).is_none());
    }
}
