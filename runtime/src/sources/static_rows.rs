//! Static data beside the streams: the same rows in every batch, loaded by a task once for each process and kept.

use crate::{
    context::StreamContext,
    data::Data,
    dstream::DStream,
    graph::{PlannedSource, Push, SourceSpec, TaskEnv},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};
use tidemill_actors::seam::{PlannedRange, SourceError, StreamKind, TaskError};
use tidemill_protocol::{id::PartitionId, world::Files};

/// Rows that every batch sees.
pub struct StaticRows<T> {
    load: Box<dyn Fn() -> Vec<T> + Send + Sync>,
    rows: OnceLock<Arc<Vec<T>>>,
}

impl<T: Data> StaticRows<T> {
    /// The rows that `load` gives. It must give the same on every node.
    pub fn new(load: impl Fn() -> Vec<T> + Send + Sync + 'static) -> Self {
        StaticRows { load: Box::new(load), rows: OnceLock::new() }
    }
}

impl<T: Data> PlannedSource<T> for StaticRows<T> {
    fn next_ranges(
        &self,
        _files: &Files,
        _planned: &BTreeMap<PartitionId, u64>,
        _records_max: Option<u64>,
    ) -> Result<Vec<PlannedRange>, SourceError> {
        // Plans name static data by themselves: there is never anything new.
        Ok(Vec::new())
    }

    fn is_exhausted(&self, _planned: &BTreeMap<PartitionId, u64>) -> bool {
        true
    }

    // Every batch sees all rows.
    fn counts_records(&self) -> bool {
        false
    }

    fn may_block(&self) -> bool {
        false
    }

    fn read(
        &self,
        _partition: PartitionId,
        _from: u64,
        _to: u64,
        down: &mut dyn Push<T>,
        env: &TaskEnv,
    ) -> Result<(), TaskError> {
        let rows = self.rows.get_or_init(|| Arc::new((self.load)()));
        env.push_all(rows.iter().cloned(), down)
    }
}

impl StreamContext {
    /// Static data, such as a table to join with: every batch sees the same rows, which `load` gives in a task, once for
    /// each process.
    ///
    /// ```
    /// use tidemill::{StreamContext, sources::Queue, testing::LocalRunner};
    /// use std::sync::{Arc, Mutex};
    /// let (context, orders) = (StreamContext::new(), Queue::new(1));
    /// let prices = context.static_dataset("prices", || vec![("tea".to_string(), 3)]);
    /// let seen = Arc::new(Mutex::new(Vec::new()));
    /// let sink = seen.clone();
    /// context.queue_stream("orders", &orders).join(&prices).foreach_batch(move |rows, _| {
    ///     sink.lock().unwrap().extend(rows);
    ///     Ok(())
    /// });
    /// orders.push(vec![("tea".to_string(), 2)]);
    /// orders.push(vec![("tea".to_string(), 5)]);
    /// let mut runner = LocalRunner::new(&context).unwrap();
    /// runner.run_batch().unwrap();
    /// runner.run_batch().unwrap();
    /// let tea = |n| ("tea".to_string(), (n, 3));
    /// assert_eq!(*seen.lock().unwrap(), [tea(2), tea(5)]);
    /// ```
    pub fn static_dataset<T: Data>(
        &self,
        name: &str,
        load: impl Fn() -> Vec<T> + Send + Sync + 'static,
    ) -> DStream<T> {
        let spec =
            SourceSpec { kind: StreamKind::Static, ..SourceSpec::planned(name, StaticRows::new(load)) };
        self.register_source(spec)
    }
}
