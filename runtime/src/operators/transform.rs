//! `transform`: a recipe that depends on the batch.

use crate::{
    data::Data,
    dataset::Dataset,
    dstream::DStream,
    graph::{Graph, GraphError, Rebuild},
};
use std::{marker::PhantomData, sync::Arc};
use tidemill_protocol::time::BatchTime;

impl<T: Data> DStream<T> {
    /// Builds the recipe of each batch with `f`, which gets the batch's dataset and time. It is called on every node that
    /// has a task of the batch, once more when the pipeline is built (with time 0), and must be pure: what it builds may
    /// depend on the time and on constants alone.
    ///
    /// ```
    /// use tidemill::DStream;
    /// let odd_seconds_only = |s: DStream<i32>| s.transform(|dataset, time| {
    ///     let keep = time.as_millis() / 1000 % 2 == 1;
    ///     dataset.filter(move |_| keep)
    /// });
    /// // Test batches are one second apart and begin at 1,000 ms.
    /// tidemill::testing::check(vec![vec![1], vec![2], vec![3]], odd_seconds_only, vec![vec![1], vec![], vec![3]]);
    /// ```
    pub fn transform<U: Data>(
        &self,
        f: impl Fn(Dataset<T>, BatchTime) -> Dataset<U> + Send + Sync + 'static,
    ) -> DStream<U> {
        let node = self.rebuild(Arc::new(Transform { f, types: PhantomData::<fn(T) -> U> }));
        DStream::at(self.graph().clone(), node)
    }
}

struct Transform<T, U, F> {
    f: F,
    types: PhantomData<fn(T) -> U>,
}

impl<T: Data, U: Data, F: Fn(Dataset<T>, BatchTime) -> Dataset<U> + Send + Sync> Rebuild
    for Transform<T, U, F>
{
    fn rebuild(&self, graph: &Graph, parent: usize, time: BatchTime) -> usize {
        let built = (self.f)(Dataset::at(graph.clone(), parent), time);
        if built.graph().is_same(graph) {
            return built.node();
        }
        graph.refuse(GraphError::ForeignStream { what: "transform".to_owned() });
        parent
    }
}
