//! `flat_map`: one record in, any number out.

use crate::{
    data::{Chunk, Data},
    dstream::DStream,
    graph::{Buffer, Push},
};
use std::{marker::PhantomData, sync::Arc};
use tidemill_actors::seam::TaskError;

impl<T: Data, S: 'static> DStream<T, S> {
    /// Applies `f` to each record, which it gets by value, and goes on with all records that it gives.
    ///
    /// ```
    /// let twice = |n: u8| [n, n];
    /// tidemill::testing::check(vec![vec![1, 2]], move |s| s.flat_map(twice), vec![vec![1, 1, 2, 2]]);
    /// ```
    pub fn flat_map<U, I>(&self, f: impl Fn(T) -> I + Send + Sync + 'static) -> DStream<U, S>
    where
        U: Data,
        I: IntoIterator<Item = U> + 'static,
    {
        let f = Arc::new(f);
        self.narrow("flat_map", move |down, env| {
            Box::new(FlatMap { f: f.clone(), out: Buffer::new(down, env), gives: PhantomData::<fn() -> I> })
        })
    }
}

struct FlatMap<U, F, I> {
    f: Arc<F>,
    out: Buffer<U>,
    gives: PhantomData<fn() -> I>,
}

impl<T: Data, U: Data, I: IntoIterator<Item = U>, F: Fn(T) -> I> Push<T> for FlatMap<U, F, I> {
    fn push(&mut self, chunk: &mut Chunk<T>) -> Result<(), TaskError> {
        let f = &*self.f;
        chunk.take_each(|record| f(record).into_iter().try_for_each(|item| self.out.push(item)))
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        self.out.finish()
    }
}
