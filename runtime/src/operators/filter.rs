//! `filter`: keeps some records.

use crate::{
    data::{Chunk, Data},
    dstream::DStream,
    graph::Push,
};
use std::sync::Arc;
use tidemill_actors::seam::TaskError;

impl<T: Data, S: 'static> DStream<T, S> {
    /// Keeps the records that `f` says true of. It gets a reference; a [`Text`](crate::data::Text) derefs to `str`.
    ///
    /// ```
    /// tidemill::testing::check(vec![vec![1, 2, 3]], |s| s.filter(|n: &i32| n % 2 == 1), vec![vec![1, 3]]);
    /// ```
    pub fn filter(&self, f: impl Fn(&T) -> bool + Send + Sync + 'static) -> DStream<T, S> {
        let f = Arc::new(f);
        self.narrow("filter", move |down, _| Box::new(Filter { f: f.clone(), down }))
    }
}

struct Filter<T, F> {
    f: Arc<F>,
    down: Box<dyn Push<T>>,
}

impl<T: Data, F: Fn(&T) -> bool> Push<T> for Filter<T, F> {
    fn push(&mut self, chunk: &mut Chunk<T>) -> Result<(), TaskError> {
        let f = &*self.f;
        chunk.retain(f);
        if chunk.is_empty() { Ok(()) } else { self.down.push(chunk) }
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        self.down.finish()
    }
}
