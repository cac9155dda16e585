//! `inspect`: looks at records as they pass.

use crate::{
    data::{Chunk, Data},
    dstream::DStream,
    graph::Push,
};
use std::sync::Arc;
use tidemill_actors::seam::TaskError;

impl<T: Data, S: 'static> DStream<T, S> {
    /// Calls `f` with each record and passes it on. A task that is run again calls it again.
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    /// let sum = Arc::new(AtomicU64::new(0));
    /// let seen = sum.clone();
    /// let look = move |n: &u64| { seen.fetch_add(*n, Ordering::Relaxed); };
    /// tidemill::testing::check(vec![vec![1, 2]], move |s| s.inspect(look), vec![vec![1, 2]]);
    /// assert_eq!(sum.load(Ordering::Relaxed) % 3, 0);
    /// ```
    pub fn inspect(&self, f: impl Fn(&T) + Send + Sync + 'static) -> DStream<T, S> {
        let f = Arc::new(f);
        self.narrow("inspect", move |down, _| Box::new(Inspect { f: f.clone(), down }))
    }
}

struct Inspect<T, F> {
    f: Arc<F>,
    down: Box<dyn Push<T>>,
}

impl<T: Data, F: Fn(&T)> Push<T> for Inspect<T, F> {
    fn push(&mut self, chunk: &mut Chunk<T>) -> Result<(), TaskError> {
        chunk.show_each(&*self.f);
        self.down.push(chunk)
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        self.down.finish()
    }
}
