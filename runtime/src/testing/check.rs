//! The test of an operation: input batches, the operation, expected batches.

use super::LocalRunner;
use crate::{StreamContext, data::Data, dstream::DStream, sources::Queue};
use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};

/// Runs `operation` over `batches` and compares all results with `expected`, batch by batch. Each input batch is one
/// partition.
///
/// ```
/// tidemill::testing::check(vec![vec![1, 2], vec![3]], |s| s.map(|n| n * 2), vec![vec![2, 4], vec![6]]);
/// ```
///
/// # Panics
/// If a result differs, or the pipeline fails.
#[track_caller]
pub fn check<T: Data, U: Data + PartialEq + Debug>(
    batches: Vec<Vec<T>>,
    operation: impl FnOnce(DStream<T>) -> DStream<U>,
    expected: Vec<Vec<U>>,
) {
    assert_eq!(run(batches, 1, operation), expected);
}

/// Runs `operation` over `batches`, each cut into `partitions`, and gives the results of each batch.
///
/// ```
/// let counts = tidemill::testing::run(vec![vec!['a', 'b']], 2, |s| s.count());
/// assert_eq!(counts, [[2]]);
/// ```
///
/// # Panics
/// If the pipeline fails.
#[track_caller]
pub fn run<T: Data, U: Data>(
    batches: Vec<Vec<T>>,
    partitions: u32,
    operation: impl FnOnce(DStream<T>) -> DStream<U>,
) -> Vec<Vec<U>> {
    let (context, queue) = (StreamContext::new(), Queue::new(partitions));
    let results = Arc::new(Mutex::new(Vec::new()));
    let sink = results.clone();
    operation(context.queue_stream("input", &queue)).foreach_batch(move |rows, _| {
        sink.lock().map_err(|e| e.to_string())?.push(rows);
        Ok(())
    });
    batches.into_iter().for_each(|batch| queue.push(batch));
    queue.close();
    let mut runner = LocalRunner::new(&context).unwrap_or_else(|e| panic!("{e}"));
    while runner.run_batch().unwrap_or_else(|e| panic!("{e}")).is_some() {}
    let mut results = results.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    std::mem::take(&mut *results)
}
