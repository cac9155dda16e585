//! `reduce`: all records of a batch into one.

use super::fold::Fold;
use crate::{
    data::{Chunk, Data},
    dstream::DStream,
    graph::Buffer,
};
use std::sync::Arc;

impl<T: Data, S: 'static> DStream<T, S> {
    /// One record a batch: all records combined by `f`, which must be associative; none for an empty batch. Records are
    /// combined in order, so that sums of floats repeat.
    ///
    /// ```
    /// tidemill::testing::check(vec![vec![1, 2, 3], vec![]], |s| s.reduce(|a, b| a + b), vec![vec![6], vec![]]);
    /// ```
    pub fn reduce(&self, f: impl Fn(T, T) -> T + Send + Sync + 'static) -> DStream<T, S> {
        let f = Arc::new(f);
        self.reduced(f.clone()).dealt("reduce", Some(1)).reduced(f)
    }

    fn reduced(&self, f: Arc<impl Fn(T, T) -> T + Send + Sync + 'static>) -> DStream<T, S> {
        self.narrow("reduce", move |down, env| {
            let f = f.clone();
            let step = move |total: &mut Option<T>, chunk: &mut Chunk<T>| {
                chunk.take_each(|record| {
                    *total = Some(match total.take() {
                        Some(so_far) => f(so_far, record),
                        None => record,
                    });
                    Ok(())
                })
            };
            Box::new(Fold { state: None, step, end: |total| total, out: Buffer::new(down, env) })
        })
    }
}
