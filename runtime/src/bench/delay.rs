//! The engine's own delay under a steady load.

use super::{report::SteadyRun, stopwatch::Stopwatch};
use crate::{BatchInterval, ClusterEvent, Config, StreamContext};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// One run: a load of `rate` lines of about 100 bytes a second from TCP, batches of 10 ms, for `seconds`: does the delay grow?
///
/// # Errors
/// If the pipeline does not start, fails, or the sender cannot keep the rate.
pub fn steady(rate: u64, seconds: u64) -> Result<SteadyRun, String> {
    let (address, sender) =
        super::sender::lines(rate, Duration::from_secs(seconds)).map_err(|e| e.to_string())?;
    let context = StreamContext::with_config(Config {
        batch_interval: BatchInterval::Every(Duration::from_millis(10)),
        block_interval: Duration::from_millis(10),
        executors: 2,
        slots_per_executor: 1,
        rate_records_per_s_initial: rate * 2,
        ..Config::default()
    });
    let batches = Arc::new(Mutex::new(Vec::new()));
    let (rows, watch) = (batches.clone(), Stopwatch::start());
    context.on_event(move |event| {
        if let ClusterEvent::BatchCompleted(info) = event {
            let at = watch.elapsed().as_secs_f64();
            let delay_ms = info.total_delay.as_secs_f64() * 1e3;
            rows.lock().unwrap_or_else(PoisonError::into_inner).push((at, delay_ms, info.records));
        }
    });
    context.tcp_lines(address.to_string()).count().foreach_batch(|_, _| Ok(()));
    let running = context.start().map_err(|error| error.to_string())?;
    let sent = sender.join().map_err(|_| "the sender panicked".to_owned())?.map_err(|e| e.to_string())?;
    running.stop_gracefully().map_err(|error| error.to_string())?;
    let batches = batches.lock().unwrap_or_else(PoisonError::into_inner);
    let records: u64 = batches.iter().map(|batch| batch.2).sum();
    if records != sent {
        return Err(format!("{sent} lines were sent, {records} were counted"));
    }
    // The first second is the connection's and the slow start's.
    let timed: Vec<(f64, f64)> = batches.iter().filter(|b| b.0 >= 1.0).map(|b| (b.0, b.1)).collect();
    SteadyRun::of(records, &timed).ok_or_else(|| "too few batches".into())
}
