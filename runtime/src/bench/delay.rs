//! The engine's own delay: batches of nearly nothing, and a steady load.

use super::{
    report::{Delay, Steady},
    stopwatch::Stopwatch,
};
use crate::{BatchInterval, ClusterEvent, Config, StreamContext, sources::Generator};
use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

/// Batches that are not counted, and that are.
const WARM_UP: u64 = 100;
const COUNTED: u64 = 1_000;

/// From the cut to the sink's call: 1,000 two-stage batches of 3 records at 10 ms, open loop, after 100 of warm-up.
///
/// # Errors
/// If the pipeline does not start, or fails.
pub fn empty_batch() -> Result<Delay, String> {
    let context = StreamContext::with_config(Config {
        batch_interval: BatchInterval::Every(Duration::from_millis(10)),
        executors: 1,
        slots_per_executor: 2,
        // Three records each, however the machine is: the delay of nearly nothing is measured, not the throttle.
        rate_records_per_s_initial: 1_000_000,
        ..Config::default()
    });
    let delays = Arc::new(Mutex::new(Vec::new()));
    let (done, wait) = mpsc::sync_channel(1);
    let sink = delays.clone();
    context
        .generator("three", Generator::new(1, |_, n| (n % 2, 1u64)).records_per_batch(3))
        .reduce_by_key(|a, b| a + b)
        .foreach_batch(move |_rows, time| {
            let late = wall().saturating_sub(Duration::from_millis(time.as_millis()));
            let mut delays = sink.lock().unwrap_or_else(PoisonError::into_inner);
            delays.push(late.as_secs_f64() * 1e3);
            if delays.len() as u64 == WARM_UP + COUNTED {
                // Nobody waits any more if the run was given up.
                let _ = done.try_send(());
            }
            Ok(())
        });
    let running = context.start().map_err(|error| error.to_string())?;
    let limit = Duration::from_secs(60);
    let in_time = wait.recv_timeout(limit);
    running.stop_now().map_err(|error| error.to_string())?;
    in_time.map_err(|_| format!("{} batches took longer than {limit:?}", WARM_UP + COUNTED))?;
    let delays = delays.lock().unwrap_or_else(PoisonError::into_inner);
    Delay::of(&delays[WARM_UP as usize..][..COUNTED as usize]).ok_or_else(|| "no batch came".into())
}

/// A load of `rate` lines of about 100 bytes a second from TCP, batches of 10 ms, for `seconds`: does the delay grow?
///
/// # Errors
/// If the pipeline does not start, fails, or the sender cannot keep the rate.
pub fn steady(rate: u64, seconds: u64) -> Result<Steady, String> {
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
    Steady::of(rate as f64, records, &timed).ok_or_else(|| "too few batches".into())
}

fn wall() -> Duration {
    #[allow(clippy::disallowed_methods, reason = "a benchmark's own clock: batch times are wall times")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
