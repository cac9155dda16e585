//! `repartition`: the same records in another number of partitions.

use crate::{data::Data, dstream::DStream};

impl<T: Data, S: 'static> DStream<T, S> {
    /// Deals the records out, in turn, to `partitions` partitions (1 to 1,024). The order of the whole changes.
    ///
    /// ```
    /// tidemill::testing::check(vec![vec![1, 2, 3, 4]], |s| s.repartition(2), vec![vec![1, 3, 2, 4]]);
    /// ```
    pub fn repartition(&self, partitions: u32) -> DStream<T, S> {
        self.dealt("repartition", Some(partitions))
    }
}
