//! `join`: pairs of two streams with equal keys, within a batch.

use super::{combine::merged, group_by_key::Group};
use crate::{data::Data, dstream::DStream, graph::Buffer};
use std::{hash::Hash, sync::Arc};

impl<K: Data + Eq + Hash, V: Data, S: 'static> DStream<(K, V), S> {
    /// For each key that both have in the batch, every pair of a value of `self` and a value of `other`: keys in the order
    /// of `self`, and for each value of `self` the values of `other` in order.
    ///
    /// ```
    /// let op = |s: tidemill::DStream<(char, i32)>| s.join_into(1, &s.filter(|p| p.1 > 1).map_values(|v| v * 10));
    /// tidemill::testing::check(
    ///     vec![vec![('a', 1), ('b', 1), ('a', 2)]],
    ///     op,
    ///     vec![vec![('a', (1, 20)), ('a', (2, 20))]],
    /// );
    /// ```
    pub fn join<W: Data>(&self, other: &DStream<(K, W), S>) -> DStream<(K, (V, W)), S> {
        self.joined(other, None)
    }

    /// As [`join`](Self::join), into this many partitions (1 to 1,024).
    pub fn join_into<W: Data>(&self, partitions: u32, other: &DStream<(K, W), S>) -> DStream<(K, (V, W)), S> {
        self.joined(other, Some(partitions))
    }

    fn joined<W: Data>(
        &self,
        other: &DStream<(K, W), S>,
        partitions: Option<u32>,
    ) -> DStream<(K, (V, W)), S> {
        let left = self.combined::<Vec<V>, _>("join", partitions, Arc::new(Group));
        // A stream of another graph cannot be joined; the mistake is remembered, and building fails with it.
        let right = match self.is_akin(other, "join") {
            true => other.combined::<Vec<W>, _>("join", partitions, Arc::new(Group)),
            false => left,
        };
        self.merge("join", vec![left, right], |mut inputs, down, env| {
            let right_parts = inputs.pop().unwrap_or_default();
            let left_parts = inputs.pop().unwrap_or_default();
            let left = merged::<K, V, Vec<V>, _>(left_parts.into_iter(), &Group, env)?;
            let mut right = merged::<K, W, Vec<W>, _>(right_parts.into_iter(), &Group, env)?;
            let mut out = Buffer::new(down, env);
            let (seed, mut scratch) = (env.hash_seed(), Vec::new());
            left.into_each(|key, values| {
                let hash = crate::data::key_hash(&key, seed, &mut scratch)?;
                let Some(others) = right.get_mut(hash, &key) else {
                    return Ok(());
                };
                for value in values {
                    for other in others.iter() {
                        out.push((key.clone(), (value.clone(), other.clone())))?;
                    }
                }
                Ok(())
            })?;
            out.finish()
        })
    }
}
