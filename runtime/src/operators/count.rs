//! `count`: how many records.

use super::fold::Fold;
use crate::{
    data::{Chunk, Data},
    dstream::DStream,
    graph::Buffer,
};

impl<T: Data, S: 'static> DStream<T, S> {
    /// One record a batch: the number of records, 0 for an empty batch.
    ///
    /// ```
    /// tidemill::testing::check(vec![vec!['a', 'b'], vec![]], |s| s.count(), vec![vec![2u64], vec![0]]);
    /// ```
    pub fn count(&self) -> DStream<u64, S> {
        let parts = self.narrow("count", |down, env| {
            let step = |n: &mut u64, chunk: &mut Chunk<T>| {
                *n += chunk.len() as u64;
                Ok(())
            };
            Box::new(Fold { state: 0u64, step, end: Some, out: Buffer::new(down, env) })
        });
        parts.dealt("count", Some(1)).narrow("sum", |down, env| {
            let step = |n: &mut u64, chunk: &mut Chunk<u64>| {
                chunk.show_each(|part| *n += part);
                Ok(())
            };
            Box::new(Fold { state: 0u64, step, end: Some, out: Buffer::new(down, env) })
        })
    }
}
