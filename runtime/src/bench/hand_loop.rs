//! The limit to measure against: what somebody would write by hand for this job alone. Two threads, no framework, the same bytes
//! and the same work as the pipeline.
//!
//! A batch is cut in two at a line's border, each half goes to a thread of its own, and lines are split within the timing. Counting
//! takes one table a thread, merged for each batch.

use super::stopwatch::Stopwatch;
use ahash::RandomState;
use memchr::{memchr_iter, memmem::Finder};
use std::{collections::HashMap, mem, thread};

/// What `grep` looks for.
pub const NEEDLE: &[u8] = b"zzq";

/// How often each word stands in a batch.
pub type Counts<'a> = HashMap<&'a [u8], u64, RandomState>;

/// A job of the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Lines that hold [`NEEDLE`].
    Grep,
    /// Occurrences of each word; words are separated by spaces and newlines.
    WordCount,
}

impl Job {
    /// Does the job for one batch: the number of lines found, or of different words.
    pub fn run(self, batch: &[u8]) -> usize {
        match self {
            Job::Grep => grep(batch),
            Job::WordCount => word_count(batch).len(),
        }
    }
}

/// Records (lines) per second that the baseline does over `batches`, which hold `lines` lines together, and the sum of its answers.
pub fn measure(job: Job, batches: &[&[u8]], lines: u64) -> (f64, usize) {
    let watch = Stopwatch::start();
    let answers = batches.iter().map(|batch| job.run(batch)).sum();
    (watch.per_s(lines), answers)
}

/// Cuts a file into batches of `lines` whole lines; the last one holds the rest.
///
/// # Panics
/// If `lines` is 0.
pub fn batches(file: &[u8], lines: usize) -> Vec<&[u8]> {
    assert!(lines > 0, "a batch has at least one line");
    let mut rest = file;
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let end = memchr_iter(b'\n', rest).nth(lines - 1).map_or(rest.len(), |newline| newline + 1);
        let (batch, after) = rest.split_at(end);
        batches.push(batch);
        rest = after;
    }
    batches
}

/// The number of lines that hold [`NEEDLE`].
pub fn grep(batch: &[u8]) -> usize {
    let (left, right) = halves(batch);
    thread::scope(|scope| {
        let other = scope.spawn(|| grep_half(right));
        let this = scope.spawn(|| grep_half(left));
        join(this) + join(other)
    })
}

fn grep_half(half: &[u8]) -> usize {
    let finder = Finder::new(NEEDLE);
    let mut start = 0;
    memchr_iter(b'\n', half)
        .filter(|&newline| {
            let from = mem::replace(&mut start, newline + 1);
            finder.find(&half[from..newline]).is_some()
        })
        .count()
}

/// The occurrences of each word.
pub fn word_count(batch: &[u8]) -> Counts<'_> {
    let (left, right) = halves(batch);
    thread::scope(|scope| {
        let other = scope.spawn(|| count_half(right));
        let this = scope.spawn(|| count_half(left));
        let mut total = join(this);
        for (word, count) in join(other) {
            *total.entry(word).or_default() += count;
        }
        total
    })
}

fn count_half(half: &[u8]) -> Counts<'_> {
    let mut counts = Counts::default();
    for word in half.split(|&byte| matches!(byte, b'\n' | b' ')) {
        if !word.is_empty() {
            *counts.entry(word).or_default() += 1;
        }
    }
    counts
}

/// Two halves of about the same size; the first ends with a newline.
fn halves(batch: &[u8]) -> (&[u8], &[u8]) {
    let middle = batch.len() / 2;
    let end = memchr::memchr(b'\n', &batch[middle..]).map_or(batch.len(), |newline| middle + newline + 1);
    batch.split_at(end)
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().expect("the baseline's threads only count and do not panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"one two\nzzq two  three\n\nazzqb\nzz q\n";

    #[test]
    fn batches_hold_whole_lines_and_the_last_one_the_rest() {
        let cut = |lines| batches(b"a\nb\nc\nd\ne", lines);
        assert_eq!(cut(2), [b"a\nb\n".as_slice(), b"c\nd\n", b"e"]);
        assert_eq!(cut(5), [b"a\nb\nc\nd\ne".as_slice()]);
        assert!(batches(b"", 3).is_empty());
    }

    #[test]
    fn grep_finds_the_lines_by_hand() {
        assert_eq!(grep(TEXT), 2);
        assert_eq!(grep(b"zzq zzq\n"), 1, "a line counts once");
        assert_eq!((grep(b""), grep(b"\n")), (0, 0));
    }

    #[test]
    fn word_count_counts_the_words_by_hand() {
        let mut counts: Vec<(&[u8], u64)> = word_count(TEXT).into_iter().collect();
        counts.sort();
        let expected: [(&[u8], u64); 7] =
            [(b"azzqb", 1), (b"one", 1), (b"q", 1), (b"three", 1), (b"two", 2), (b"zz", 1), (b"zzq", 1)];
        assert_eq!(counts, expected);
        assert!(word_count(b"").is_empty());
    }

    #[test]
    fn halves_meet_at_a_lines_border_and_lose_nothing() {
        for text in [TEXT, b"", b"\n", b"no newline", b"a\nb"] {
            let (left, right) = halves(text);
            assert_eq!([left, right].concat(), text);
            assert!(right.is_empty() || left.ends_with(b"\n"));
        }
    }

    #[test]
    fn a_measurement_gives_the_answers_too() {
        let (rate, answers) = measure(Job::Grep, &batches(TEXT, 2), 5);
        assert!(rate > 0.0);
        assert_eq!(answers, 2);
        assert_eq!(measure(Job::WordCount, &batches(TEXT, 100), 5).1, 7);
    }
}
