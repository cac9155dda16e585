//! A custom output: implement [`Sink`], and give it to a DStream with
//! [`register_sink`](crate::DStream::register_sink).
//!
//! Tasks prepare, the driver publishes: batches in order, each once it is decided. After a failure a batch may be published
//! again, so publishing must be idempotent in (sink, batch): store the batch number with what you store.
//!
//! ```
//! use std::{collections::BTreeMap, rc::Rc, sync::{Arc, Mutex}};
//! use tidemill::{StreamContext, sinks::*, sources::Queue, testing::LocalRunner};
//!
//! /// Keeps one sum for each batch.
//! #[derive(Clone, Default)]
//! struct Sums(Arc<Mutex<BTreeMap<BatchNumber, u64>>>);
//!
//! impl Sink<u64> for Sums {
//!     fn open(&self, _sink: SinkId, env: &Rc<TaskEnv>) -> Box<dyn Push<u64>> {
//!         gathered(env) // the driver gets all records
//!     }
//!
//!     fn publish(&self, published: Published, _files: &Files) -> BoxFuture<'static, Result<(), PublishError>> {
//!         let sums = self.0.clone();
//!         Box::pin(async move {
//!             let sum = all_rows::<u64>(&published)?.iter().sum();
//!             sums.lock().unwrap().insert(published.batch, sum); // again: the same
//!             Ok(())
//!         })
//!     }
//! }
//!
//! let (context, numbers, sums) = (StreamContext::new(), Queue::new(1), Sums::default());
//! context.queue_stream("numbers", &numbers).register_sink(SinkSpec::new("sums", SinkKind::Driver, sums.clone()));
//! numbers.push(vec![1, 2, 3]);
//! LocalRunner::new(&context).unwrap().run_batch().unwrap();
//! assert_eq!(sums.0.lock().unwrap().values().copied().collect::<Vec<_>>(), [6]);
//! ```

pub use crate::{
    data::Chunk,
    graph::{Push, Sink, SinkSpec, TaskEnv, all_rows, gathered},
};
pub use futures_util::future::BoxFuture;
pub use tidemill_actors::seam::{Held, PublishError, Published, SinkKind, TaskContext, TaskError};
pub use tidemill_protocol::{
    id::{BatchNumber, PartitionId, RunId, SinkId, TaskId},
    world::Files,
};
