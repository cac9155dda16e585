//! Sources: where records come from. Three kinds, by what happens when the one who reads them dies.
//!
//! | kind | here | when the reader dies | promise |
//! |---|---|---|---|
//! | planned | files, generator, queues, static rows | tasks read the range again | exactly once |
//! | acknowledged | numbered lines, users' receivers with positions | the sender repeats what was not acknowledged | exactly once while *safe* holds |
//! | unacknowledged | plain TCP lines, users' receivers without positions | what stood between sender and a safe block is gone | at most once there; losses are counted |
//!
//! Received sources implement [`Receiver`]: ours do, and users' own do by the same trait. Planned sources:
//!
//! | source | a batch is | for |
//! |---|---|---|
//! | [`Queue`] | one pushed dataset | tests |
//! | [`TextQueue`] | one pushed list of blocks of lines | tests, benchmarks |
//! | [`Generator`] | a number of computed records | demonstrations, load |
//! | [`TextFiles`] | the files that are new in a folder | files |
//!
//! A user's own planned source implements [`PlannedSource`]:
//!
//! ```
//! use std::{collections::BTreeMap, sync::{Arc, Mutex}};
//! use tidemill::{StreamContext, sources::*, testing::LocalRunner};
//!
//! /// The first hundred squares, at most ten a batch.
//! struct Squares;
//!
//! impl PlannedSource<u64> for Squares {
//!     fn next_ranges(
//!         &self,
//!         _files: &Files,
//!         planned: &BTreeMap<PartitionId, u64>,
//!         records_max: Option<u64>,
//!     ) -> Result<Vec<PlannedRange>, SourceError> {
//!         let partition = PartitionId(0);
//!         let from = planned.get(&partition).copied().unwrap_or(0);
//!         let to = (from + records_max.unwrap_or(10).min(10)).min(100);
//!         Ok(if from < to { vec![PlannedRange { partition, from, to, rows: to - from }] } else { vec![] })
//!     }
//!
//!     fn is_exhausted(&self, planned: &BTreeMap<PartitionId, u64>) -> bool {
//!         planned.get(&PartitionId(0)) == Some(&100)
//!     }
//!
//!     fn read(
//!         &self,
//!         _partition: PartitionId,
//!         from: u64,
//!         to: u64,
//!         down: &mut dyn Push<u64>,
//!         env: &TaskEnv,
//!     ) -> Result<(), TaskError> {
//!         env.push_all((from..to).map(|n| n * n), down)
//!     }
//! }
//!
//! let (context, seen) = (StreamContext::new(), Arc::new(Mutex::new(Vec::new())));
//! let sink = seen.clone();
//! let squares = context.register_source(SourceSpec::planned("squares", Squares));
//! squares.foreach_batch(move |squares, _| Ok(sink.lock().unwrap().push(squares)));
//! let mut runner = LocalRunner::new(&context).unwrap();
//! while runner.run_batch().unwrap().is_some() {}
//! let seen = seen.lock().unwrap();
//! assert_eq!((seen.len(), seen[1][0], seen[9][9]), (10, 100, 9801));
//! ```
//!
//! Receivers and the [`Generator`] are throttled: they read at the rate that the rate controller permits, unless the
//! interval is `AvailableNow`. The other planned sources are not, because their batches cannot be cut by records.

mod datasets;
mod generator;
mod queue;
mod static_rows;
mod text_files;
mod text_queue;

mod backoff;
mod lines;
mod numbered;
mod outlet;
mod received;
#[cfg(all(test, feature = "sim"))]
mod rig;
mod tcp_client;
mod tcp_listener;

pub use crate::graph::{PlannedSource, Push, SourceSpec, TaskEnv};
pub use generator::Generator;
pub use lines::LINE_BYTES_LIMIT;
pub use outlet::{Outlet, OutletClosed};
pub use queue::Queue;
pub use received::{LINE_BYTES_MAX, Receiver, ReceiverStart, SourceError, StorageLevel, StreamOptions};
pub use static_rows::StaticRows;
pub use text_files::TextFiles;
pub use text_queue::TextQueue;
pub use tidemill_actors::seam::{PlannedRange, StreamKind, TaskContext, TaskError};
pub use tidemill_protocol::{
    id::{PartitionId, Position, ReceiverId},
    world::Files,
};

use crate::data::{CHUNK_RECORDS_MAX, Chunk, Text, TextBuffer, TextChunk, each_line};
use bytes::Bytes;
use memchr::memchr;
use std::{collections::BTreeMap, sync::Arc};

/// The part of `len` things that partition `number` of `partitions` gets: contiguous, and as even as can be.
fn share(len: usize, number: u32, partitions: u32) -> std::ops::Range<usize> {
    let at = |n: u32| (len as u64 * u64::from(n) / u64::from(partitions)) as usize;
    at(number)..at(number + 1)
}

/// How far a partition was planned.
fn reached(planned: &BTreeMap<PartitionId, u64>, partition: PartitionId) -> u64 {
    planned.get(&partition).copied().unwrap_or(0)
}

/// How many bytes are validated and split at once: they are then still in the second-level cache when operators read them,
/// and come from memory only once.
const PIECE_BYTES: usize = 256 << 10;

/// Validates `block`, which holds whole lines, and pushes its lines; how many had something that is not UTF-8.
fn push_block(block: &Bytes, down: &mut dyn Push<Text>, env: &TaskEnv) -> Result<u64, TaskError> {
    let (mut from, mut bad) = (0, 0);
    while from < block.len() {
        let rest = &block[from..];
        let cut = rest.get(PIECE_BYTES..).and_then(|after| memchr(b'\n', after));
        let length = cut.map_or(rest.len(), |at| PIECE_BYTES + at + 1);
        let piece = TextBuffer::from_bytes_lossy(block.slice(from..from + length));
        let (buffer, lines) = piece.map_err(|e| TaskError::Failed(e.to_string()))?;
        bad += lines;
        push_lines(Arc::new(buffer), down, env)?;
        from += length;
    }
    Ok(bad)
}

/// Pushes the lines of `buffer` as ranges.
fn push_lines(buffer: Arc<TextBuffer>, down: &mut dyn Push<Text>, env: &TaskEnv) -> Result<(), TaskError> {
    let mut chunk = Chunk::Text(TextChunk::new(buffer.clone(), None));
    let mut ranges = Vec::with_capacity(CHUNK_RECORDS_MAX);
    let mut flush = |ranges: &mut Vec<(u32, u32)>| {
        env.admit(ranges.len())?;
        if !matches!(chunk, Chunk::Text(_)) {
            chunk = Chunk::Text(TextChunk::new(buffer.clone(), None));
        }
        if let Chunk::Text(texts) = &mut chunk {
            texts.reset(&buffer, None);
            std::mem::swap(&mut texts.ranges, ranges);
        }
        down.push(&mut chunk)?;
        if let Chunk::Text(texts) = &mut chunk {
            std::mem::swap(&mut texts.ranges, ranges);
        }
        ranges.clear();
        Ok(())
    };
    each_line(buffer.as_str(), |range| {
        ranges.push(range);
        if ranges.len() == CHUNK_RECORDS_MAX { flush(&mut ranges) } else { Ok::<(), TaskError>(()) }
    })?;
    if ranges.is_empty() { Ok(()) } else { flush(&mut ranges) }
}
