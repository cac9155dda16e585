//! The engine under the benchmarks: the same bytes as the baseline's, through the public API, in blocks of 1 MB, UTF-8
//! checked, the result collected for each batch.

use super::stopwatch::Stopwatch;
use crate::{BatchInterval, Config, StreamContext, data::Text, sources::TextQueue};
use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Bytes of a block, cut at a line's border.
pub const BLOCK_BYTES: usize = 1_000_000;

/// A job of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Lines that hold the needle.
    Grep,
    /// Occurrences of each word, by `count_by_value`.
    WordCount,
    /// Occurrences of each word, by `(word, 1)` and `reduce_by_key`.
    WordCountPairs,
}

impl Job {
    /// The benchmark's name.
    pub fn name(self) -> &'static str {
        match self {
            Job::Grep => "grep",
            Job::WordCount => "word_count",
            Job::WordCountPairs => "word_count_pairs",
        }
    }
}

/// Batches of `lines` lines of the files, each as blocks of [`BLOCK_BYTES`]; nothing is copied.
pub fn blocks(files: &[Bytes], lines: usize) -> Vec<Vec<Bytes>> {
    let mut batches = Vec::new();
    for file in files {
        for batch in super::hand_loop::batches(file, lines) {
            batches.push(cut(&file.slice_ref(batch)));
        }
    }
    batches
}

/// Blocks of at most [`BLOCK_BYTES`], unless a line is longer.
fn cut(batch: &Bytes) -> Vec<Bytes> {
    let (mut blocks, mut rest) = (Vec::new(), batch.clone());
    while rest.len() > BLOCK_BYTES {
        let end = memchr::memrchr(b'\n', &rest[..BLOCK_BYTES]).map_or(rest.len(), |newline| newline + 1);
        blocks.push(rest.split_to(end));
    }
    if !rest.is_empty() {
        blocks.push(rest);
    }
    blocks
}

/// Records (lines) per second over `batches`, which hold `lines` lines together, and the sum of the results' lengths.
///
/// # Errors
/// If the pipeline does not start, or fails.
pub fn measure(job: Job, batches: &[Vec<Bytes>], lines: u64) -> Result<(f64, u64), String> {
    let queue = TextQueue::new(2);
    let context = StreamContext::with_config(Config {
        batch_interval: BatchInterval::AvailableNow,
        executors: 1,
        slots_per_executor: 2,
        memory_bytes_max: 2 << 30,
        ..Config::default()
    });
    let answers = Arc::new(AtomicU64::new(0));
    declare(job, &context, &queue, &answers);
    batches.iter().for_each(|blocks| queue.push(blocks.clone()));
    queue.close();
    let watch = Stopwatch::start();
    let running = context.start().map_err(|error| error.to_string())?;
    running.await_termination().map_err(|error| error.to_string())?;
    Ok((watch.per_s(lines), answers.load(Ordering::Relaxed)))
}

fn declare(job: Job, context: &StreamContext, queue: &TextQueue, answers: &Arc<AtomicU64>) {
    let lines = context.text_blocks("lines", queue);
    let answers = answers.clone();
    let collected = move |found: usize| {
        answers.fetch_add(found as u64, Ordering::Relaxed);
        Ok(())
    };
    let words = |line: &str, out: &mut crate::TextOut| {
        line.split(' ').filter(|word| !word.is_empty()).for_each(|word| out.push(word));
    };
    match job {
        Job::Grep => {
            let needle = memchr::memmem::Finder::new(super::hand_loop::NEEDLE).into_owned();
            lines
                .filter(move |line: &Text| needle.find(line.as_bytes()).is_some())
                .foreach_batch(move |found, _| collected(found.len()));
        }
        Job::WordCount => {
            lines
                .flat_map_text(words)
                .count_by_value()
                .foreach_batch(move |counts, _| collected(counts.len()));
        }
        Job::WordCountPairs => {
            lines
                .flat_map_text(words)
                .map(|word| (word, 1u64))
                .reduce_by_key(|a, b| a + b)
                .foreach_batch(move |counts, _| collected(counts.len()));
        }
    }
}
