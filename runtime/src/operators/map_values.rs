//! `map_values`: changes the values of pairs, not the keys.

use crate::{data::Data, dstream::DStream};

impl<K: Data, V: Data, S: 'static> DStream<(K, V), S> {
    /// Applies `f` to each value.
    ///
    /// ```
    /// tidemill::testing::check(vec![vec![('a', 1)]], |s| s.map_values(|v: i32| v + 1), vec![vec![('a', 2)]]);
    /// ```
    pub fn map_values<W: Data>(&self, f: impl Fn(V) -> W + Send + Sync + 'static) -> DStream<(K, W), S> {
        self.mapped("map_values", move |(key, value)| (key, f(value)))
    }
}
