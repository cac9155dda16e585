//! Where results go: what a sink implements, and how it is registered.

use super::{AnyPush, Push, TaskEnv, erase};
use crate::data::{Chunk, Collector, Data, Rows};
use futures_util::future::BoxFuture;
use std::{rc::Rc, sync::Arc};
use tidemill_actors::seam::{Held, PublishError, Published, SinkKind, TaskError};
use tidemill_protocol::{
    id::{PartitionId, RunId, SinkId, TaskId},
    world::Files,
};

/// An output: prepared in tasks, published on the driver.
pub trait Sink<T>: Send + Sync + 'static {
    /// Opens the end of one task: takes the partition's records and prepares them. What the driver shall see is left in
    /// `env` under partition 0; [`gathered`] does that for a sink that wants all records there.
    fn open(&self, sink: SinkId, env: &Rc<TaskEnv>) -> Box<dyn Push<T>>;

    /// Publishes what was prepared, once the batch is decided. Called in order of batches; idempotent in (sink, batch). The
    /// future may block (files, user functions): it is not polled on the control thread.
    fn publish(&self, published: Published, files: &Files) -> BoxFuture<'static, Result<(), PublishError>>;

    /// Throws away what an attempt of a run prepared and nobody will publish; also where there is nothing. It blocks.
    fn discard(&self, _run: RunId, _sink: SinkId, _task: TaskId, _files: &Files) {}

    /// Whether the sink could work at all, asked once before anything is started: a folder that cannot be written, say.
    ///
    /// # Errors
    /// One line with the remedy.
    fn preflight(&self, _files: &Files) -> Result<(), String> {
        Ok(())
    }
}

/// An output to be registered.
pub struct SinkSpec<T> {
    /// The user's name for it, unique; empty: kind and number.
    pub name: String,
    /// What it is, for descriptions: `foreach_batch`, `print`.
    pub label: &'static str,
    /// Where it acts.
    pub kind: SinkKind,
    /// What acts.
    pub sink: Arc<dyn Sink<T>>,
}

impl<T> SinkSpec<T> {
    /// An output of this name.
    pub fn new(name: impl Into<String>, kind: SinkKind, sink: impl Sink<T>) -> Self {
        SinkSpec { name: name.into(), label: "sink", kind, sink: Arc::new(sink) }
    }
}

/// The end of a task that hands all records of its partition to the driver.
pub fn gathered<T: Data>(env: &Rc<TaskEnv>) -> Box<dyn Push<T>> {
    Box::new(Gather { env: env.clone(), rows: Collector::default() })
}

struct Gather<T> {
    env: Rc<TaskEnv>,
    rows: Collector<T>,
}

impl<T: Data> Push<T> for Gather<T> {
    fn push(&mut self, chunk: &mut Chunk<T>) -> Result<(), TaskError> {
        self.env.charge(chunk.bytes())?;
        self.rows.push_chunk(chunk)
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        let rows = std::mem::take(&mut self.rows);
        if !rows.is_empty() {
            self.env.output(PartitionId(0), Held::new(vec![Arc::new(rows.finish())]));
        }
        Ok(())
    }
}

/// All records that tasks [`gathered`], in order of partition: what `publish` works with.
///
/// # Errors
/// [`PublishError`] if what was prepared is of another type than `T`.
pub fn all_rows<T: Data>(published: &Published) -> Result<Vec<T>, PublishError> {
    let rows = published.partitions.iter().map(|(_, held)| held.rows() as usize).sum();
    let mut all = Vec::with_capacity(rows);
    for (_, held) in &published.partitions {
        super::each_held(held, |rows: &Rows<T>| {
            rows.copy_to(&mut all);
            Ok(())
        })
        .map_err(|e| PublishError(e.to_string()))?;
    }
    Ok(all)
}

/// A sink without its type, for stages and hosts.
pub(crate) trait AnySink: Send + Sync {
    fn open(&self, sink: SinkId, env: &Rc<TaskEnv>) -> AnyPush;
    fn publish(&self, published: Published, files: &Files) -> BoxFuture<'static, Result<(), PublishError>>;
    fn discard(&self, run: RunId, sink: SinkId, task: TaskId, files: &Files);
    fn preflight(&self, files: &Files) -> Result<(), String>;
}

pub(crate) struct TypedSink<T>(pub(crate) Arc<dyn Sink<T>>);

impl<T: Data> AnySink for TypedSink<T> {
    fn open(&self, sink: SinkId, env: &Rc<TaskEnv>) -> AnyPush {
        erase(self.0.open(sink, env))
    }

    fn publish(&self, published: Published, files: &Files) -> BoxFuture<'static, Result<(), PublishError>> {
        self.0.publish(published, files)
    }

    fn discard(&self, run: RunId, sink: SinkId, task: TaskId, files: &Files) {
        self.0.discard(run, sink, task, files);
    }

    fn preflight(&self, files: &Files) -> Result<(), String> {
        self.0.preflight(files)
    }
}
