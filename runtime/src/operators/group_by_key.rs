//! `group_by_key`: the values of each key as a list.

use super::combine::Combine;
use crate::{data::Data, dstream::DStream};
use std::{hash::Hash, sync::Arc};

impl<K: Data + Eq + Hash, V: Data, S: 'static> DStream<(K, V), S> {
    /// All values of each key, in order. Where they are only to be summed up, [`reduce_by_key`](Self::reduce_by_key) moves
    /// less data.
    ///
    /// ```
    /// tidemill::testing::check(
    ///     vec![vec![('a', 1), ('b', 5), ('a', 2)]],
    ///     |s| s.group_by_key_into(1),
    ///     vec![vec![('a', vec![1, 2]), ('b', vec![5])]],
    /// );
    /// ```
    pub fn group_by_key(&self) -> DStream<(K, Vec<V>), S> {
        self.keyed("group_by_key", None, Arc::new(Group))
    }

    /// As [`group_by_key`](Self::group_by_key), into this many partitions (1 to 1,024).
    pub fn group_by_key_into(&self, partitions: u32) -> DStream<(K, Vec<V>), S> {
        self.keyed("group_by_key", Some(partitions), Arc::new(Group))
    }
}

/// Gathers values in order.
pub(super) struct Group;

impl<V: Data> Combine<V, Vec<V>> for Group {
    const KEEPS_ALL: bool = true;

    fn create(&self, value: V) -> Vec<V> {
        vec![value]
    }

    fn add(&self, so_far: &mut Vec<V>, value: V) {
        so_far.push(value);
    }

    fn merge(&self, so_far: &mut Vec<V>, other: &Vec<V>) {
        so_far.extend_from_slice(other);
    }
}
