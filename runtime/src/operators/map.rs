//! `map`: one record in, one out.

use crate::{
    data::{Chunk, Data},
    dstream::DStream,
    graph::{Buffer, Push},
};
use std::sync::Arc;
use tidemill_actors::seam::TaskError;

impl<T: Data, S: 'static> DStream<T, S> {
    /// Applies `f` to each record, which it gets by value.
    ///
    /// ```
    /// tidemill::testing::check(vec![vec![1, 2], vec![]], |s| s.map(|n: i64| n + 1), vec![vec![2, 3], vec![]]);
    /// ```
    pub fn map<U: Data>(&self, f: impl Fn(T) -> U + Send + Sync + 'static) -> DStream<U, S> {
        self.mapped("map", f)
    }

    pub(crate) fn mapped<U: Data>(
        &self,
        label: &'static str,
        f: impl Fn(T) -> U + Send + Sync + 'static,
    ) -> DStream<U, S> {
        let f = Arc::new(f);
        self.narrow(label, move |down, env| Box::new(Map { f: f.clone(), out: Buffer::new(down, env) }))
    }
}

struct Map<U, F> {
    f: Arc<F>,
    out: Buffer<U>,
}

impl<T: Data, U: Data, F: Fn(T) -> U> Push<T> for Map<U, F> {
    fn push(&mut self, chunk: &mut Chunk<T>) -> Result<(), TaskError> {
        let f = &*self.f;
        chunk.take_each(|record| self.out.push(f(record)))?;
        self.out.flush()
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        self.out.finish()
    }
}
