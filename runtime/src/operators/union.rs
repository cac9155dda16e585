//! `union`: two streams as one.

use crate::{data::Data, dstream::DStream, graph::NodeKind};

impl<T: Data, S: 'static> DStream<T, S> {
    /// The records of both, those of `self` first. Nothing is moved: the partitions of both become the partitions of the
    /// result.
    ///
    /// ```
    /// let op = |s: tidemill::DStream<i32>| s.union(&s.map(|n| -n));
    /// tidemill::testing::check(vec![vec![1, 2]], op, vec![vec![1, 2, -1, -2]]);
    /// ```
    pub fn union(&self, other: &DStream<T, S>) -> DStream<T, S> {
        let akin = self.is_akin(other, "union");
        let parents = if akin { vec![self.node(), other.node()] } else { vec![self.node()] };
        self.add(NodeKind::Union, "union", parents, None)
    }
}
