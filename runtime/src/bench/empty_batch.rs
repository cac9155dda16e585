//! The engine's own delay: two-stage batches of nearly nothing, in one process and over three.
//!
//! ```text
//!   local   driver and an executor of two slots in this process
//!   quic    the driver in this process, two executors of one slot in processes of their own, over QUIC on loopback:
//!           each of them must have run a task of every batch that counts; a batch of which one ran all is left out, and told
//! ```

use super::report::{Counted, Delay};
use crate::{
    BatchInterval, BatchTime, ClusterEvent, Config, Params, StreamContext, demo::cluster::Cluster,
    sources::Generator,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};
use tidemill_protocol::{
    id::{BatchNumber, NodeId},
    world::World,
};

/// Batches that are not counted, at most; a tenth of those that are.
const WARM_UP_MAX: usize = 100;
/// How long a run may take beyond its batches.
const PATIENCE: Duration = Duration::from_secs(60);
/// The parameter by which the driver says that its executors are to run this pipeline, and what it says.
const PARAMETER: (&str, &str) = ("bench", "empty_batch");
/// The processes of executors.
const EXECUTORS: u16 = 2;
/// One batch of so many may be left out, for one executor ran it all: with more of them the figure is another one.
const LEFT_OUT_ONE_OF: usize = 50;

/// Declares this benchmark's pipeline if the parameters are those of its driver: the executors of a cluster are the same
/// program, which has other pipelines too. False if they are not.
pub fn declare_for_executor(context: &StreamContext) -> bool {
    let is_ours = context.params().text(PARAMETER.0, "") == PARAMETER.1;
    if is_ours {
        declare(context, |_| {});
    }
    is_ours
}

fn declare(context: &StreamContext, sink: impl Fn(BatchTime) + Send + Sync + 'static) {
    context
        .generator("three", Generator::new(1, |_, n| (n % 2, 1u64)).records_per_batch(3))
        .reduce_by_key(|a, b| a + b)
        .foreach_batch(move |_rows, time| {
            sink(time);
            Ok(())
        });
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Batches that count; a tenth of it, at most 100, go before.
    pub batches: usize,
    /// Their interval: 10 ms, unless a machine is too busy for that.
    pub interval: Duration,
}

impl Measure {
    fn warm_up(self) -> usize {
        WARM_UP_MAX.min(self.batches / 10)
    }

    fn config(self) -> Config {
        Config {
            batch_interval: BatchInterval::Every(self.interval),
            executors: 1,
            slots_per_executor: 2,
            // Three records each, however the machine is: the delay of nearly nothing is measured, not the throttle.
            rate_records_per_s_initial: 1_000_000,
            ..Config::default()
        }
    }
}

/// From the cut to the sink's call, for each batch in turn.
#[derive(Default)]
struct Seen {
    delays_ms: Vec<f64>,
    /// When all executors were there, in wall time.
    complete: Option<Duration>,
    /// The first batch that was cut after that.
    first: Option<usize>,
}

impl Seen {
    fn add(&mut self, cut: Duration, delay: Duration) {
        if self.first.is_none() && self.complete.is_some_and(|complete| cut > complete) {
            self.first = Some(self.delays_ms.len());
        }
        self.delays_ms.push(delay.as_secs_f64() * 1e3);
    }

    fn has(&self, batches: usize) -> bool {
        self.first.is_some_and(|first| self.delays_ms.len() >= first + batches)
    }
}

struct Delays {
    seen: Arc<Mutex<Seen>>,
    measure: Measure,
    full: mpsc::Receiver<()>,
}

impl Delays {
    /// Declares the pipeline, whose sink tells the delays, open loop.
    fn of(context: &StreamContext, measure: Measure, executors: u16) -> Delays {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let (tell, full) = mpsc::sync_channel(1);
        let (sink, clock) = (seen.clone(), World::real().clock);
        let wanted = measure.warm_up() + measure.batches;
        declare(context, move |time| {
            let cut = Duration::from_millis(time.as_millis());
            let mut seen = lock(&sink);
            seen.add(cut, clock.wall().saturating_sub(cut));
            if seen.has(wanted) {
                // Once is enough, and nobody waits any more if the run was given up.
                let _ = tell.try_send(());
            }
        });
        let (up, clock, mut missing) = (seen.clone(), World::real().clock, executors);
        context.on_event(move |event| {
            if matches!(event, ClusterEvent::ExecutorUp(_)) {
                missing = missing.saturating_sub(1);
                if missing == 0 {
                    lock(&up).complete.get_or_insert(clock.wall());
                }
            }
        });
        Delays { seen, measure, full }
    }

    fn wait(&self) -> Result<(), String> {
        let wanted = self.measure.warm_up() + self.measure.batches;
        let limit = PATIENCE + self.measure.interval * u32::try_from(wanted).unwrap_or(u32::MAX);
        self.full.recv_timeout(limit).map_err(|_| {
            let seen = lock(&self.seen);
            let found = seen.first.map_or(0, |first| seen.delays_ms.len() - first);
            format!("{found} of {wanted} batches came within {limit:?}")
        })
    }

    /// The first batch that counts, in the order of all.
    fn first(&self) -> usize {
        lock(&self.seen).first.unwrap_or(0) + self.measure.warm_up()
    }

    /// Those of the batches that count, in turn.
    fn counted(&self) -> Vec<f64> {
        let first = self.first();
        lock(&self.seen).delays_ms[first..][..self.measure.batches].to_vec()
    }
}

/// Batches in this process.
///
/// # Errors
/// If the pipeline does not start, or fails.
pub fn local(measure: Measure) -> Result<Delay, String> {
    let context = StreamContext::with_config(measure.config());
    let delays = Delays::of(&context, measure, 1);
    let running = context.start().map_err(|error| error.to_string())?;
    let in_time = delays.wait();
    running.stop_now().map_err(|error| error.to_string())?;
    in_time?;
    Delay::of(&delays.counted()).ok_or_else(|| "no batch came".into())
}

/// Which executors have run tasks of each batch.
type Workers = BTreeMap<BatchNumber, BTreeSet<NodeId>>;

/// As [`local`], over three processes: a driver in this one, and two executors.
///
/// # Errors
/// If a process or the pipeline does not start, or fails, or one executor ran more than a few batches alone.
pub fn quic(measure: Measure) -> Result<Counted, String> {
    let config = Config { executors: EXECUTORS, slots_per_executor: 1, ..measure.config() };
    let (name, value) = PARAMETER;
    let params = Params::parse([format!("{name}={value}")]).map_err(|error| error.to_string())?;
    let context = StreamContext::with_params(config, params);
    // Asked for, as every executor asks: what nobody asks for is refused.
    context.params().text(name, "");
    let delays = Delays::of(&context, measure, EXECUTORS);
    let workers: Arc<Mutex<Workers>> = Arc::default();
    let seen = workers.clone();
    context.progress().listen_to_tasks(move |task, on| {
        lock(&seen).entry(task.key.batch).or_default().insert(on.node);
    });
    let cluster = Cluster::of_processes(&context, &World::real())?;
    let in_time = delays.wait();
    let outcome = cluster.running().progress().outcome();
    cluster.stop_now();
    if let Some(Err(error)) = outcome {
        return Err(error.to_string());
    }
    in_time?;
    of_all_executors(&lock(&workers), delays.first(), &delays.counted())
}

/// Sums up the delays of those batches of which all executors have run tasks; `delays_ms` begins with the batch that is `first`.
fn of_all_executors(workers: &Workers, first: usize, delays_ms: &[f64]) -> Result<Counted, String> {
    let counting = || workers.values().skip(first).zip(delays_ms);
    let (found, counted) = (counting().count(), delays_ms.len());
    if found < counted {
        return Err(format!("tasks of {found} batches were reported, of {counted}"));
    }
    let all = |nodes: &BTreeSet<NodeId>| nodes.len() >= usize::from(EXECUTORS);
    let kept: Vec<f64> = counting().filter(|(nodes, _)| all(nodes)).map(|(_, delay)| *delay).collect();
    let left_out = counted - kept.len();
    if left_out * LEFT_OUT_ONE_OF > counted {
        return Err(format!(
            "in {left_out} of {counted} batches an executor had nothing to do: the machine is too busy to measure this"
        ));
    }
    let delay = Delay::of(&kept).ok_or("no batch came")?;
    Ok(Counted { delay, left_out: left_out as u64 })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one insertion.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(sets: impl IntoIterator<Item = BTreeSet<NodeId>>) -> Workers {
        (0..).map(BatchNumber).zip(sets).collect()
    }

    fn both() -> BTreeSet<NodeId> {
        BTreeSet::from([NodeId(1), NodeId(2)])
    }

    fn one() -> BTreeSet<NodeId> {
        BTreeSet::from([NodeId(1)])
    }

    #[test]
    fn a_batch_that_one_executor_ran_alone_is_left_out_and_told() {
        // Batch 0 does not count; batch 2 took 9 ms and ran on one.
        let sets = (0..=100).map(|batch| if batch == 2 || batch == 0 { one() } else { both() });
        let delays: Vec<f64> = (1..=100).map(|batch| if batch == 2 { 9.0 } else { 1.0 }).collect();
        let delay = Delay { p50_ms: 1.0, p99_ms: 1.0 };
        assert_eq!(of_all_executors(&workers(sets), 1, &delays), Ok(Counted { delay, left_out: 1 }));
    }

    #[test]
    fn more_than_one_of_fifty_such_batches_fail_the_run_as_do_missing_ones() {
        let sets = (0..100).map(|batch| if batch < 3 { one() } else { both() });
        let error = of_all_executors(&workers(sets), 0, &[1.0; 100]).unwrap_err();
        assert!(error.starts_with("in 3 of 100 batches an executor had nothing to do"), "{error}");
        let error = of_all_executors(&workers([both(), both()]), 1, &[1.0; 2]).unwrap_err();
        assert_eq!(error, "tasks of 1 batches were reported, of 2");
    }
}
