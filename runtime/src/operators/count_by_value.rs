//! `count_by_value`: how often each record occurs.

use super::combine::{Combine, Key, Shards};
use crate::{
    data::{Chunk, Data, Keyed},
    dstream::DStream,
    graph::Push,
};
use std::{
    hash::Hash,
    sync::{Arc, atomic::AtomicUsize},
};
use tidemill_actors::seam::TaskError;

impl<T: Data + Eq + Hash, S: 'static> DStream<T, S> {
    /// Each different record with its number of occurrences in the batch, in order of first appearance within its
    /// partition. Texts are looked up where they stand, and copied once.
    ///
    /// ```
    /// tidemill::testing::check(
    ///     vec![vec!['a', 'b', 'a'], vec![]],
    ///     |s| s.count_by_value_into(1),
    ///     vec![vec![('a', 2u64), ('b', 1)], vec![]],
    /// );
    /// ```
    pub fn count_by_value(&self) -> DStream<(T, u64), S> {
        self.counted(None)
    }

    /// As [`count_by_value`](Self::count_by_value), into this many partitions (1 to 1,024).
    pub fn count_by_value_into(&self, partitions: u32) -> DStream<(T, u64), S> {
        self.counted(Some(partitions))
    }

    fn counted(&self, partitions: Option<u32>) -> DStream<(T, u64), S> {
        let room = Arc::new(AtomicUsize::new(0));
        let exchange = self.exchange::<Keyed<T, u64>, _>("count_by_value", partitions, move |env| {
            Box::new(CountShards(Shards::new(env, &room)))
        });
        self.read_keyed("count_by_value", exchange, Arc::new(Count))
    }
}

/// Counts; a value is one occurrence.
struct Count;

impl Combine<(), u64> for Count {
    fn create(&self, (): ()) -> u64 {
        1
    }

    fn add(&self, so_far: &mut u64, (): ()) {
        *so_far += 1;
    }

    fn merge(&self, so_far: &mut u64, other: &u64) {
        *so_far += other;
    }
}

struct CountShards<T>(Shards<T, u64>);

impl<T: Key> Push<T> for CountShards<T> {
    fn push(&mut self, chunk: &mut Chunk<T>) -> Result<(), TaskError> {
        let records = chunk.len();
        let owned = match chunk {
            Chunk::Text(texts) => {
                self.0.add_texts(texts, (), &Count)?;
                0
            }
            other => {
                let owned = other.bytes().saturating_sub((records * size_of::<T>()) as u64);
                other.take_each(|record| self.0.add(record, (), &Count))?;
                owned
            }
        };
        self.0.charge(records, owned, false)
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        self.0.finish();
        Ok(())
    }
}
