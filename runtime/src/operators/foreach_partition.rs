//! `foreach_partition`: acts in tasks, where the records are.

use crate::{
    data::{Chunk, Data},
    dstream::{DStream, Output},
    graph::{Push, Sink, SinkSpec, TaskEnv},
};
use futures_util::future::{BoxFuture, ready};
use std::{rc::Rc, sync::Arc};
use tidemill_actors::seam::{PublishError, Published, SinkKind, TaskContext, TaskError};
use tidemill_protocol::{id::SinkId, world::Files};

impl<T: Data> DStream<T> {
    /// Calls `f` in a task for each partition with its records in order and the task's context. **At least once**: a task
    /// that is tried again, or run twice, acts again; make it idempotent in (batch, partition), which are in the context.
    /// An error is a failed task.
    ///
    /// The runtime sees the call as one step. If it may take longer than `task_stuck_after`, call
    /// [`record_progress`](TaskContext::record_progress) now and then, and return an error once
    /// [`is_cancelled`](TaskContext::is_cancelled) says so.
    ///
    /// ```
    /// use tidemill::{StreamContext, sources::Queue, testing::LocalRunner};
    /// use std::sync::{Arc, atomic::{AtomicI32, Ordering}};
    /// let (context, queue, sum) = (StreamContext::new(), Queue::new(2), Arc::new(AtomicI32::new(0)));
    /// let total = sum.clone();
    /// context.queue_stream("numbers", &queue).foreach_partition(move |numbers, _task| {
    ///     total.fetch_add(numbers.sum(), Ordering::Relaxed);
    ///     Ok(())
    /// });
    /// queue.push(vec![1, 2, 3]);
    /// LocalRunner::new(&context).unwrap().run_batch().unwrap();
    /// assert_eq!(sum.load(Ordering::Relaxed), 6);
    /// ```
    pub fn foreach_partition(
        &self,
        f: impl Fn(std::vec::IntoIter<T>, &TaskContext) -> Result<(), String> + Send + Sync + 'static,
    ) -> Output {
        let sink = Arc::new(ForeachPartition(Arc::new(f)));
        self.register_sink(SinkSpec {
            name: String::new(),
            label: "foreach_partition",
            kind: SinkKind::InTask,
            sink,
        })
    }
}

struct ForeachPartition<F>(Arc<F>);

impl<T: Data, F> Sink<T> for ForeachPartition<F>
where
    F: Fn(std::vec::IntoIter<T>, &TaskContext) -> Result<(), String> + Send + Sync + 'static,
{
    fn open(&self, _sink: SinkId, env: &Rc<TaskEnv>) -> Box<dyn Push<T>> {
        Box::new(Act { f: self.0.clone(), rows: Vec::new(), env: env.clone() })
    }

    fn publish(&self, _published: Published, _files: &Files) -> BoxFuture<'static, Result<(), PublishError>> {
        Box::pin(ready(Ok(())))
    }
}

struct Act<T, F> {
    f: Arc<F>,
    rows: Vec<T>,
    env: Rc<TaskEnv>,
}

impl<T: Data, F> Push<T> for Act<T, F>
where
    F: Fn(std::vec::IntoIter<T>, &TaskContext) -> Result<(), String>,
{
    fn push(&mut self, chunk: &mut Chunk<T>) -> Result<(), TaskError> {
        self.env.charge(chunk.bytes())?;
        chunk.take_each(|record| {
            self.rows.push(record);
            Ok(())
        })
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        let rows = std::mem::take(&mut self.rows);
        (self.f)(rows.into_iter(), self.env.context()).map_err(TaskError::Failed)
    }
}
