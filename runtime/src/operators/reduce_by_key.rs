//! `reduce_by_key`: the values of each key into one.

use super::combine::Combine;
use crate::{data::Data, dstream::DStream};
use std::{hash::Hash, sync::Arc};

impl<K: Data + Eq + Hash, V: Data, S: 'static> DStream<(K, V), S> {
    /// Combines the values of each key by `f`, which must be associative, first where they are and then in the key's
    /// partition. Keys come in order of first appearance within their partition; values are combined in order.
    ///
    /// The value so far is cloned into `f`: a value that is expensive to clone is better combined in place, by
    /// [`combine_by_key`](Self::combine_by_key).
    ///
    /// ```
    /// tidemill::testing::check(
    ///     vec![vec![('a', 1), ('b', 5), ('a', 2)]],
    ///     |s| s.reduce_by_key_into(1, |x, y| x + y),
    ///     vec![vec![('a', 3), ('b', 5)]],
    /// );
    /// ```
    pub fn reduce_by_key(&self, f: impl Fn(V, V) -> V + Send + Sync + 'static) -> DStream<(K, V), S> {
        self.keyed("reduce_by_key", None, Arc::new(Reduce(f)))
    }

    /// As [`reduce_by_key`](Self::reduce_by_key), into this many partitions (1 to 1,024).
    pub fn reduce_by_key_into(
        &self,
        partitions: u32,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
    ) -> DStream<(K, V), S> {
        self.keyed("reduce_by_key", Some(partitions), Arc::new(Reduce(f)))
    }
}

struct Reduce<F>(F);

impl<V: Data, F: Fn(V, V) -> V + Send + Sync + 'static> Combine<V, V> for Reduce<F> {
    fn create(&self, value: V) -> V {
        value
    }

    fn add(&self, so_far: &mut V, value: V) {
        *so_far = (self.0)(so_far.clone(), value);
    }

    fn merge(&self, so_far: &mut V, other: &V) {
        *so_far = (self.0)(so_far.clone(), other.clone());
    }
}
