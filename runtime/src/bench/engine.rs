//! The engine under the benchmarks: the same bytes as the baseline's, through the public API, in blocks of 1 MB, UTF-8
//! checked, the result collected for each batch.

use super::stopwatch::Stopwatch;
use crate::{BatchInterval, ClusterEvent, Config, StreamContext, data::Text, sources::TextQueue};
use bytes::Bytes;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
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

/// How often the batches are run through in one measurement, ours and the baseline's.
pub const ROUNDS: u64 = 3;
/// How long a measurement may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Records (lines) per second over [`ROUNDS`] times `batches`, which hold `lines` lines together, and the sum of the results'
/// lengths. The pipeline runs already when the clock starts: what is measured is the work, not the start of threads.
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
    let (tell, warm) = mpsc::sync_channel(1);
    context.on_event(move |event| {
        if matches!(event, ClusterEvent::BatchCompleted(_)) {
            // Only the first is waited for.
            let _ = tell.try_send(());
        }
    });
    let running = context.start().map_err(|error| error.to_string())?;
    batches.iter().take(1).for_each(|blocks| queue.push(blocks.clone()));
    warm.recv_timeout(LIMIT).map_err(|_| format!("the first batch took longer than {LIMIT:?}"))?;
    let before = answers.load(Ordering::Relaxed);
    let watch = Stopwatch::start();
    for _ in 0..ROUNDS {
        batches.iter().for_each(|blocks| queue.push(blocks.clone()));
    }
    queue.close();
    let ended = running.await_termination_for(LIMIT);
    let per_s = watch.per_s(lines * ROUNDS);
    ended
        .ok_or_else(|| format!("the batches took longer than {LIMIT:?}"))?
        .map_err(|error| error.to_string())?;
    Ok((per_s, answers.load(Ordering::Relaxed) - before))
}

fn declare(job: Job, context: &StreamContext, queue: &TextQueue, answers: &Arc<AtomicU64>) {
    let lines = context.text_blocks("lines", queue);
    let answers = answers.clone();
    let collected = move |found: usize| {
        answers.fetch_add(found as u64, Ordering::Relaxed);
        Ok(())
    };
    let words = |line: &str, out: &mut crate::TextOut| {
        line.split_ascii_whitespace().for_each(|word| out.push(word));
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
