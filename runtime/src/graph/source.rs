//! Where records come from: what a source implements, and how it is registered.

use super::{AnyPush, Leaf, Push, TaskEnv, reveal};
use crate::data::{CHUNK_RECORDS_MAX, Chunk, Data, Rows, Stored, with_payload};
use futures_util::future::{BoxFuture, ready};
use std::{collections::BTreeMap, rc::Rc, sync::Arc};
use tidemill_actors::{
    receiver::BlockSink,
    seam::{Held, InputData, PlannedRange, SourceError, StorageLevel, StreamInfo, StreamKind, TaskError},
};
use tidemill_protocol::{
    id::{PartitionId, Position, ReceiverId, StreamId},
    world::{Files, World},
};

/// A source that tasks read by range, and read again when a task is lost: exactly once.
pub trait PlannedSource<T>: Send + Sync + 'static {
    /// The ranges of the next batch, in order of partition: as
    /// [`SourceHost::next_ranges`](tidemill_actors::seam::SourceHost::next_ranges). It may block, for 30 s at most.
    ///
    /// # Errors
    /// [`SourceError`] if the source cannot be asked; it is asked again later. The tenth failure in a row fails the pipeline; a
    /// panic, also of [`is_exhausted`](Self::is_exhausted), and no answer within 30 s are failures too.
    fn next_ranges(
        &self,
        files: &Files,
        planned: &BTreeMap<PartitionId, u64>,
        records_max: Option<u64>,
    ) -> Result<Vec<PlannedRange>, SourceError>;

    /// Whether no later call of `next_ranges` will give a range.
    fn is_exhausted(&self, planned: &BTreeMap<PartitionId, u64>) -> bool;

    /// Whether ranges say how many records they hold, and `next_ranges` keeps to `records_max`. Only then the stream is
    /// throttled; else its batches hold what the source says, and the rate controller leaves it alone.
    fn counts_records(&self) -> bool {
        true
    }

    /// Whether `next_ranges` or `is_exhausted` may wait for something, a file for instance. They are asked where that is allowed
    /// then, which takes each batch two changes of threads. False only if both answer at once and run nobody else's code: they are
    /// asked on the driver's own thread then, and as long as one takes all else waits.
    fn may_block(&self) -> bool {
        true
    }

    /// Reads `from..to` of a partition, always the same records in the same order, and pushes them.
    ///
    /// # Errors
    /// [`TaskError`] if the range cannot be read, and those of `down`.
    fn read(
        &self,
        partition: PartitionId,
        from: u64,
        to: u64,
        down: &mut dyn Push<T>,
        env: &TaskEnv,
    ) -> Result<(), TaskError>;
}

/// A source that a receiver reads and cuts into blocks.
pub trait ReceivedSource: Send + Sync + 'static {
    /// As [`SourceHost::receive`](tidemill_actors::seam::SourceHost::receive). The blocks it pushes are
    /// [`Rows<T>`](crate::data::Rows) of the stream's `T`.
    fn receive(
        &self,
        receiver: ReceiverId,
        resume_after: Option<Position>,
        sink: BlockSink,
        world: &World,
    ) -> BoxFuture<'static, Result<(), SourceError>>;

    /// Whether the source could work at all, asked once before anything is started, and only in a process that will run it:
    /// a port that is taken, say. The error is one line with the remedy.
    fn preflight(&self, _world: &World) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(ready(Ok(())))
    }
}

/// The two ways to read.
pub enum Source<T> {
    /// By range, in tasks.
    Planned(Arc<dyn PlannedSource<T>>),
    /// By receivers, in blocks.
    Received(Arc<dyn ReceivedSource>),
}

/// An input stream to be registered.
pub struct SourceSpec<T> {
    /// The user's name for it; must be unique.
    pub name: String,
    /// What is promised about it.
    pub kind: StreamKind,
    /// How many receivers read it in parallel (0 for a planned stream).
    pub receivers: u16,
    /// When a block counts as safe.
    pub storage: StorageLevel,
    /// What reads it.
    pub source: Source<T>,
}

impl<T> SourceSpec<T> {
    /// A planned stream.
    pub fn planned(name: impl Into<String>, source: impl PlannedSource<T>) -> Self {
        SourceSpec {
            name: name.into(),
            kind: StreamKind::Planned,
            receivers: 0,
            storage: StorageLevel::default(),
            source: Source::Planned(Arc::new(source)),
        }
    }

    pub(crate) fn info(&self) -> StreamInfo {
        StreamInfo {
            id: StreamId(0),
            name: self.name.clone(),
            kind: self.kind,
            receivers: self.receivers,
            storage: self.storage,
        }
    }
}

/// A source without its type, for the hosts.
pub(crate) trait AnySource: Send + Sync {
    fn next_ranges(
        &self,
        files: &Files,
        planned: &BTreeMap<PartitionId, u64>,
        records_max: Option<u64>,
    ) -> Result<Vec<PlannedRange>, SourceError>;
    fn is_exhausted(&self, planned: &BTreeMap<PartitionId, u64>) -> bool;
    fn counts_records(&self) -> bool;
    fn may_block(&self) -> bool;
    fn received(&self) -> Option<Arc<dyn ReceivedSource>>;
}

pub(crate) struct TypedSource<T>(pub(crate) Source<T>);

impl<T: Data> AnySource for TypedSource<T> {
    fn next_ranges(
        &self,
        files: &Files,
        planned: &BTreeMap<PartitionId, u64>,
        records_max: Option<u64>,
    ) -> Result<Vec<PlannedRange>, SourceError> {
        match &self.0 {
            Source::Planned(source) => source.next_ranges(files, planned, records_max),
            Source::Received(_) => Err(SourceError("a received stream has no ranges".into())),
        }
    }

    fn is_exhausted(&self, planned: &BTreeMap<PartitionId, u64>) -> bool {
        match &self.0 {
            Source::Planned(source) => source.is_exhausted(planned),
            Source::Received(_) => false,
        }
    }

    fn counts_records(&self) -> bool {
        match &self.0 {
            Source::Planned(source) => source.counts_records(),
            Source::Received(_) => true,
        }
    }

    fn may_block(&self) -> bool {
        match &self.0 {
            Source::Planned(source) => source.may_block(),
            Source::Received(_) => false,
        }
    }

    fn received(&self) -> Option<Arc<dyn ReceivedSource>> {
        match &self.0 {
            Source::Planned(_) => None,
            Source::Received(source) => Some(source.clone()),
        }
    }
}

impl<T: Data> Leaf for TypedSource<T> {
    fn feed(&self, inputs: Vec<Vec<InputData>>, down: AnyPush, env: &Rc<TaskEnv>) -> Result<(), TaskError> {
        let mut down = reveal::<T>(down);
        for part in inputs.into_iter().flatten() {
            match (part, &self.0) {
                (InputData::Held(held), _) => each_held(&held, |rows: &Rows<T>| {
                    rows.each_chunk(|chunk| {
                        env.admit(chunk.len())?;
                        down.push(chunk)
                    })
                })?,
                (InputData::Range { partition, from, to, .. }, Source::Planned(source)) => {
                    source.read(partition, from, to, down.as_mut(), env)?;
                }
                (InputData::Range { stream, .. }, Source::Received(_)) => {
                    return Err(TaskError::Failed(format!("{stream} is received and has no ranges")));
                }
            }
        }
        down.finish()
    }
}

/// Shows each piece of held data as the payload it must be.
pub(crate) fn each_held<P: Stored>(
    held: &Held,
    mut f: impl FnMut(&P) -> Result<(), TaskError>,
) -> Result<(), TaskError> {
    held.pieces
        .iter()
        .try_for_each(|piece| with_payload::<P, _>(piece.as_ref(), &mut f).map_err(TaskError::Failed)?)
}

impl TaskEnv {
    /// Pushes all of `records` into `down`, in chunks; how a planned source reads that has them one by one.
    ///
    /// # Errors
    /// [`TaskError::Cancelled`], and those of `down`.
    pub fn push_all<T: Data>(
        &self,
        records: impl IntoIterator<Item = T>,
        down: &mut dyn Push<T>,
    ) -> Result<(), TaskError> {
        let mut records = records.into_iter();
        let mut rows = Vec::with_capacity(CHUNK_RECORDS_MAX);
        loop {
            rows.extend(records.by_ref().take(CHUNK_RECORDS_MAX));
            if rows.is_empty() {
                return Ok(());
            }
            self.admit(rows.len())?;
            let mut chunk = Chunk::Rows(rows);
            down.push(&mut chunk)?;
            rows = match chunk {
                Chunk::Rows(rows) => rows,
                _ => Vec::new(),
            };
            rows.clear();
        }
    }
}
