//! `combine_by_key`: the values of each key into something of another type.

use super::combine::Combine;
use crate::{data::Data, dstream::DStream};
use std::{hash::Hash, sync::Arc};

impl<K: Data + Eq + Hash, V: Data, S: 'static> DStream<(K, V), S> {
    /// Combines the values of each key in place: `create` makes a combiner of the first value, `add` takes another value
    /// in, `merge` takes in a combiner that another partition made. Done in order, on both sides of the shuffle.
    ///
    /// ```
    /// // Sum and number, for a mean.
    /// let op = |s: tidemill::DStream<(char, f64)>| {
    ///     s.combine_by_key(|v| (v, 1u64), |c, v| { c.0 += v; c.1 += 1 }, |c, d| { c.0 += d.0; c.1 += d.1 })
    ///         .map_values(|(sum, n)| sum / n as f64)
    /// };
    /// tidemill::testing::check(vec![vec![('a', 1.0), ('a', 2.0)]], op, vec![vec![('a', 1.5)]]);
    /// ```
    pub fn combine_by_key<C: Data>(
        &self,
        create: impl Fn(V) -> C + Send + Sync + 'static,
        add: impl Fn(&mut C, V) + Send + Sync + 'static,
        merge: impl Fn(&mut C, C) + Send + Sync + 'static,
    ) -> DStream<(K, C), S> {
        self.keyed("combine_by_key", None, Arc::new(Custom { create, add, merge }))
    }

    /// As [`combine_by_key`](Self::combine_by_key), into this many partitions (1 to 1,024).
    pub fn combine_by_key_into<C: Data>(
        &self,
        partitions: u32,
        create: impl Fn(V) -> C + Send + Sync + 'static,
        add: impl Fn(&mut C, V) + Send + Sync + 'static,
        merge: impl Fn(&mut C, C) + Send + Sync + 'static,
    ) -> DStream<(K, C), S> {
        self.keyed("combine_by_key", Some(partitions), Arc::new(Custom { create, add, merge }))
    }
}

struct Custom<A, B, D> {
    create: A,
    add: B,
    merge: D,
}

impl<V, C: Data, A, B, D> Combine<V, C> for Custom<A, B, D>
where
    A: Fn(V) -> C + Send + Sync + 'static,
    B: Fn(&mut C, V) + Send + Sync + 'static,
    D: Fn(&mut C, C) + Send + Sync + 'static,
{
    fn create(&self, value: V) -> C {
        (self.create)(value)
    }

    fn add(&self, so_far: &mut C, value: V) {
        (self.add)(so_far, value);
    }

    fn merge(&self, so_far: &mut C, other: &C) {
        (self.merge)(so_far, other.clone());
    }
}
