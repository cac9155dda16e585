//! `foreach_batch`: the result of each batch, as a value, on the driver.

use crate::{
    data::Data,
    dstream::{DStream, Output},
    graph::{Push, Sink, SinkSpec, TaskEnv, all_rows, gathered},
};
use futures_util::future::BoxFuture;
use std::{rc::Rc, sync::Arc};
use tidemill_actors::seam::{PublishError, Published, SinkKind};
use tidemill_protocol::{id::SinkId, time::BatchTime, world::Files};

impl<T: Data> DStream<T> {
    /// Calls `f` on the driver, once for each decided batch and in order of batches, with all records of the batch (in
    /// order of partition) and its time. An error stops the pipeline with its text.
    ///
    /// ```
    /// use tidemill::{StreamContext, sources::Queue, testing::LocalRunner};
    /// use std::sync::{Arc, Mutex};
    /// let (context, queue, results) = (StreamContext::new(), Queue::new(1), Arc::new(Mutex::new(Vec::new())));
    /// let sink = results.clone();
    /// context.queue_stream("numbers", &queue).foreach_batch(move |numbers: Vec<i32>, time| {
    ///     sink.lock().unwrap().push((time.as_millis(), numbers));
    ///     Ok(())
    /// });
    /// queue.push(vec![1, 2]);
    /// LocalRunner::new(&context).unwrap().run_batch().unwrap();
    /// assert_eq!(*results.lock().unwrap(), [(1000, vec![1, 2])]);
    /// ```
    pub fn foreach_batch(
        &self,
        f: impl Fn(Vec<T>, BatchTime) -> Result<(), String> + Send + Sync + 'static,
    ) -> Output {
        self.driver_sink("foreach_batch", f)
    }

    pub(super) fn driver_sink(
        &self,
        label: &'static str,
        f: impl Fn(Vec<T>, BatchTime) -> Result<(), String> + Send + Sync + 'static,
    ) -> Output {
        let sink = Arc::new(ForeachBatch(Arc::new(f)));
        self.register_sink(SinkSpec { name: String::new(), label, kind: SinkKind::Driver, sink })
    }
}

struct ForeachBatch<F>(Arc<F>);

impl<T: Data, F: Fn(Vec<T>, BatchTime) -> Result<(), String> + Send + Sync + 'static> Sink<T>
    for ForeachBatch<F>
{
    fn open(&self, _sink: SinkId, env: &Rc<TaskEnv>) -> Box<dyn Push<T>> {
        gathered(env)
    }

    fn publish(&self, published: Published, _files: &Files) -> BoxFuture<'static, Result<(), PublishError>> {
        let f = self.0.clone();
        Box::pin(async move {
            let rows = all_rows(&published)?;
            f(rows, published.time).map_err(PublishError)
        })
    }
}
