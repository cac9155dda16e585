//! A queue of blocks of lines: each list of blocks becomes one batch.

use super::{datasets::Datasets, push_block};
use crate::{
    data::Text,
    graph::{PlannedSource, Push, TaskEnv},
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tidemill_actors::seam::{PlannedRange, SourceError, TaskError};
use tidemill_protocol::{id::PartitionId, world::Files};

/// Blocks of bytes in memory, a list for each batch; each block holds whole lines. A handle: clones share the queue. Tasks
/// validate and split the blocks; what is not UTF-8 is replaced by U+FFFD and its lines are counted. It is not throttled: a
/// batch is exactly one list.
///
/// ```
/// use tidemill::{sources::TextQueue, StreamContext, testing::LocalRunner};
/// use std::sync::{Arc, Mutex};
/// let (context, queue, seen) = (StreamContext::new(), TextQueue::new(2), Arc::new(Mutex::new(Vec::new())));
/// let sink = seen.clone();
/// context.text_blocks("lines", &queue).foreach_batch(move |lines, _| Ok(sink.lock().unwrap().extend(lines)));
/// queue.push(vec!["one\ntwo\n".into(), b"\xff\n".to_vec().into()]);
/// LocalRunner::new(&context).unwrap().run_batch().unwrap();
/// assert_eq!(*seen.lock().unwrap(), ["one", "two", "\u{fffd}"]);
/// assert_eq!(queue.bad_lines(), 1);
/// ```
#[derive(Clone)]
pub struct TextQueue {
    lists: Datasets<Bytes>,
    bad_lines: Arc<AtomicU64>,
}

impl TextQueue {
    /// An empty queue; a task reads one of `partitions` (at least one) contiguous parts of each list.
    pub fn new(partitions: u32) -> Self {
        TextQueue { lists: Datasets::new(partitions), bad_lines: Arc::default() }
    }

    /// Appends the blocks of a batch.
    pub fn push(&self, blocks: Vec<Bytes>) {
        self.lists.push(blocks);
    }

    /// Says that nothing more will be pushed.
    pub fn close(&self) {
        self.lists.close();
    }

    /// How many lines were not UTF-8, each counted as often as a task has read it.
    pub fn bad_lines(&self) -> u64 {
        self.bad_lines.load(Ordering::Relaxed)
    }
}

impl PlannedSource<Text> for TextQueue {
    fn next_ranges(
        &self,
        _files: &Files,
        planned: &BTreeMap<PartitionId, u64>,
        _records_max: Option<u64>,
    ) -> Result<Vec<PlannedRange>, SourceError> {
        // Lines are not counted before a task has read them.
        Ok(self.lists.next_ranges(planned, |_| 0))
    }

    fn is_exhausted(&self, planned: &BTreeMap<PartitionId, u64>) -> bool {
        self.lists.is_exhausted(planned)
    }

    // A batch is exactly one list of blocks, and nobody has counted their lines.
    fn counts_records(&self) -> bool {
        false
    }

    fn may_block(&self) -> bool {
        false
    }

    fn read(
        &self,
        partition: PartitionId,
        from: u64,
        to: u64,
        down: &mut dyn Push<Text>,
        env: &TaskEnv,
    ) -> Result<(), TaskError> {
        self.lists.read(partition, from, to, |blocks| {
            for block in blocks {
                let bad = push_block(block, down, env)?;
                self.bad_lines.fetch_add(bad, Ordering::Relaxed);
            }
            Ok(())
        })
    }
}
