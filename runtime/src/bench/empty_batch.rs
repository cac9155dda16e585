//! The engine's own delay: two-stage batches of nearly nothing, in one process and over three.
//!
//! ```text
//!   local   driver and an executor of two slots in this process
//!   quic    the driver in this process, two executors of one slot in processes of their own, over QUIC on loopback:
//!           each of them runs a task of every batch; a batch in which one had nothing to do counts all the same, and is told
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
    id::{BatchNumber, Member, NodeId, TaskId},
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
/// In one batch of so many an executor may have no task: with more of them the figure is another one.
const WITHOUT_TASK_ONE_OF: usize = 50;

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

/// Which executors have run tasks of each batch, or began one that a copy elsewhere overtook: the first task of a fresh process
/// takes long enough for that.
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
    let works = |seen: Arc<Mutex<Workers>>| {
        move |task: TaskId, on: Member| {
            lock(&seen).entry(task.key.batch).or_default().insert(on.node);
        }
    };
    context.progress().listen_to_tasks(works(workers.clone()));
    let overtaken = works(workers.clone());
    context.on_event(move |event| {
        if let ClusterEvent::TaskCopied { task, slow } = event {
            overtaken(*task, *slow);
        }
    });
    let cluster = Cluster::of_processes(&context, &World::real())?;
    let in_time = delays.wait();
    let outcome = cluster.running().progress().outcome();
    cluster.stop_now();
    if let Some(Err(error)) = outcome {
        return Err(error.to_string());
    }
    in_time?;
    over_all_batches(&lock(&workers), delays.first(), &delays.counted())
}

/// Sums up the delays of all batches, and counts those in which an executor had no task; `delays_ms` begins with the batch that is `first`.
fn over_all_batches(workers: &Workers, first: usize, delays_ms: &[f64]) -> Result<Counted, String> {
    let (sets, counted) = (|| workers.values().skip(first).take(delays_ms.len()), delays_ms.len());
    let found = sets().count();
    if found < counted {
        return Err(format!("tasks of {found} batches were reported, of {counted}"));
    }
    let without_task = sets().filter(|nodes| nodes.len() < usize::from(EXECUTORS)).count();
    if without_task * WITHOUT_TASK_ONE_OF > counted {
        return Err(format!(
            "in {without_task} of {counted} batches an executor had nothing to do: the machine is too busy to measure this"
        ));
    }
    let delay = Delay::of(delays_ms).ok_or("no batch came")?;
    Ok(Counted { delay, without_task: without_task as u64 })
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
    fn a_batch_that_one_executor_ran_alone_is_told_and_its_delay_counts() {
        // Batch 0 does not count; batches 2 and 3 took 9 ms and ran on one: they are the slowest 2 of 100.
        let alone = |batch| batch == 2 || batch == 3;
        let sets = (0..=100).map(|batch| if alone(batch) || batch == 0 { one() } else { both() });
        let delays: Vec<f64> = (1..=100).map(|batch| if alone(batch) { 9.0 } else { 1.0 }).collect();
        let delay = Delay { p50_ms: 1.0, p99_ms: 9.0 };
        assert_eq!(over_all_batches(&workers(sets), 1, &delays), Ok(Counted { delay, without_task: 2 }));
    }

    #[test]
    fn more_than_one_of_fifty_such_batches_fail_the_run_as_do_missing_ones() {
        let sets = (0..100).map(|batch| if batch < 3 { one() } else { both() });
        let error = over_all_batches(&workers(sets), 0, &[1.0; 100]).unwrap_err();
        assert!(error.starts_with("in 3 of 100 batches an executor had nothing to do"), "{error}");
        let error = over_all_batches(&workers([both(), both()]), 1, &[1.0; 2]).unwrap_err();
        assert_eq!(error, "tasks of 1 batches were reported, of 2");
    }
}
