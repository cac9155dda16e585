//! `map_partitions`: a whole partition in, any records out.

use crate::{
    data::{Chunk, Data},
    dstream::DStream,
    graph::{Buffer, Push, TaskEnv},
};
use std::{marker::PhantomData, rc::Rc, sync::Arc};
use tidemill_actors::seam::TaskError;

impl<T: Data, S: 'static> DStream<T, S> {
    /// Calls `f` once a partition with all its records in order; what it gives goes on. The partition is gathered in memory
    /// before the call. `f` is called for empty partitions too. The runtime sees progress where records come out, 1,024 at a time:
    /// for work that takes long, return an iterator that does it record by record.
    ///
    /// ```
    /// let sum = |all: std::vec::IntoIter<u32>| [all.sum::<u32>()];
    /// tidemill::testing::check(vec![vec![1, 2, 3]], move |s| s.map_partitions(sum), vec![vec![6]]);
    /// ```
    pub fn map_partitions<U, I>(
        &self,
        f: impl Fn(std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
    ) -> DStream<U, S>
    where
        U: Data,
        I: IntoIterator<Item = U> + 'static,
    {
        let f = Arc::new(f);
        self.narrow("map_partitions", move |down, env| {
            let rows = Vec::new();
            Box::new(MapPartitions {
                f: f.clone(),
                rows,
                env: env.clone(),
                out: Buffer::new(down, env),
                gives: PhantomData::<fn() -> I>,
            })
        })
    }
}

struct MapPartitions<T, U, F, I> {
    f: Arc<F>,
    rows: Vec<T>,
    env: Rc<TaskEnv>,
    out: Buffer<U>,
    gives: PhantomData<fn() -> I>,
}

impl<T: Data, U: Data, I, F> Push<T> for MapPartitions<T, U, F, I>
where
    I: IntoIterator<Item = U>,
    F: Fn(std::vec::IntoIter<T>) -> I,
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
        (self.f)(rows.into_iter()).into_iter().try_for_each(|record| self.out.push(record))?;
        self.out.finish()
    }
}
