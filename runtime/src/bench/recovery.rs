//! From `kill -9` of an executor to the next batch: the demo's pipeline and feeder, a driver in this process and four
//! executors in processes of their own.
//!
//! ```text
//!   all four are there, a batch has been published since ── a moment within the interval ── kill
//!        ^                                                                                   │ the time that counts
//!        └────────────────────────────── a batch that was cut after it is published <────────┘
//! ```
//!
//! In turn the executor that hosts the receiver is killed, and another. Moments go round the interval, so that no phase of it
//! is preferred. At the end the totals must be those of a plain loop over all lines.

use super::{machine, stopwatch::Stopwatch};
use crate::{
    BatchInterval, ClusterEvent, Config, Params, Running, StreamContext,
    demo::{
        bundled,
        cluster::Cluster,
        feed_beside,
        feeder::FeedPlan,
        oracle::{self, OriginTotal},
        pipeline::{self, Totals},
        verdict,
    },
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidemill_protocol::{
    id::Member,
    world::{Clock, World},
};

const INTERVAL: Duration = Duration::from_millis(500);
const EXECUTORS: u16 = 4;
/// From one kill to the next, at least: an executor is back and the cluster at rest.
const PERIOD: Duration = Duration::from_secs(4);
/// How long the cluster may take to be complete, before the first kill.
const START: Duration = Duration::from_secs(10);
/// What must have happened within this time never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// By how much the moment of a kill moves through the interval: no part of it, so that a hundred kills are spread over it.
const STRIDE: Duration = Duration::from_millis(137);

/// What the kills did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// From each kill to the next batch.
    pub next_batch_ms: Vec<f64>,
    /// Tasks that had to run again.
    pub tasks_lost: u64,
    /// Blocks that went with an executor.
    pub blocks_lost: u64,
    /// What driver, feeder and executors took of the machine's processor time.
    pub load_percent: f64,
}

/// What the driver has told so far.
#[derive(Default)]
struct Told {
    /// The batches that were published: their cut in wall time, and when they were published.
    batches: Vec<(Duration, Duration)>,
    down: BTreeSet<Member>,
    tasks_lost: u64,
    blocks_lost: u64,
    is_over: bool,
}

impl Told {
    /// When the first batch that was cut after this was published.
    fn next_batch(&self, cut: Duration) -> Option<Duration> {
        self.batches.iter().find(|(time, _)| *time > cut).map(|(_, published)| *published)
    }
}

type Watched = Arc<(Mutex<Told>, Condvar)>;

/// A cluster under kills.
struct Range {
    cluster: Cluster,
    told: Watched,
    watch: Stopwatch,
    clock: Clock,
}

/// Kills `kills` times under `rate` lines a second.
///
/// # Errors
/// In words: a process does not start, a kill struck nothing, no batch came after one, or the totals differ.
pub fn measure(kills: u32, rate: u64) -> Result<Found, String> {
    let (world, lines) = (World::real(), bundled::flights());
    let duration = START + PERIOD * kills + PERIOD;
    let plan = FeedPlan { lines: lines.clone(), rate_lines_per_s: rate, duration };
    let (address, _gauge, fed) = feed_beside(&world, plan)?;
    let params = Params::parse([format!("from={address}")]).map_err(|error| error.to_string())?;
    let context = StreamContext::with_params(config(rate), params);
    let totals: Arc<Mutex<Totals>> = Arc::default();
    let (folded, from) = (totals.clone(), context.params().text("from", ""));
    pipeline::build(&context, &from, move |rows| lock(&folded).fold(rows))
        .map_err(|error| error.to_string())?;
    let (watch, used) = (Stopwatch::start(), machine::processor_time());
    let told = listen(&context, watch);
    let cluster = Cluster::of_processes(&context, &world)?;
    let range = Range { cluster, told, watch, clock: world.clock };
    let mut found = Found::default();
    for number in 0..kills {
        let took = range.strike(number)?;
        found.next_batch_ms.push(took.as_secs_f64() * 1e3);
    }
    let written =
        fed.recv_timeout(duration + PATIENCE).map_err(|_| "the feeder did not end".to_owned())??;
    let running = range.cluster.running();
    match running.await_termination_for(PATIENCE) {
        Some(Ok(())) => {}
        Some(Err(error)) => return Err(error.to_string()),
        None => {
            return Err(format!("the pipeline has not ended {} s after its last line", PATIENCE.as_secs()));
        }
    }
    judge(&lock(&totals), &oracle::totals(&lines, written))?;
    let elapsed = watch.elapsed();
    let told = range.told.clone();
    // The executors have been waited for, and so are counted, when it is gone.
    drop(range);
    let used = machine::processor_time().zip(used).map(|(now, before)| now.saturating_sub(before));
    found.load_percent = used.map_or(0.0, |used| 100.0 * used.as_secs_f64() / machine::capacity(elapsed));
    let told = lock(&told.0);
    (found.tasks_lost, found.blocks_lost) = (told.tasks_lost, told.blocks_lost);
    Ok(found)
}

fn config(rate: u64) -> Config {
    Config {
        batch_interval: BatchInterval::Every(INTERVAL),
        executors: EXECUTORS,
        slots_per_executor: 1,
        rate_records_per_s_initial: rate.saturating_mul(2).max(10_000),
        ..Config::default()
    }
}

fn listen(context: &StreamContext, watch: Stopwatch) -> Watched {
    let told = Watched::default();
    let sink = told.clone();
    context.on_event(move |event| {
        let mut told = lock(&sink.0);
        match event {
            ClusterEvent::BatchCompleted(info) => {
                told.batches.push((Duration::from_millis(info.time.as_millis()), watch.elapsed()));
            }
            ClusterEvent::ExecutorDown(member) => drop(told.down.insert(*member)),
            ClusterEvent::TasksLost { count, .. } => told.tasks_lost += count,
            ClusterEvent::DataLost { blocks, .. } => told.blocks_lost += blocks,
            ClusterEvent::Ended | ClusterEvent::Failed(_) => told.is_over = true,
            _ => {}
        }
        sink.1.notify_all();
    });
    told
}

impl Range {
    fn running(&self) -> &Running {
        self.cluster.running()
    }

    /// The time from a kill to the next batch.
    fn strike(&self, number: u32) -> Result<Duration, String> {
        let count = lock(&self.told.0).batches.len();
        self.wait("the cluster is not complete", |told| told.batches.len() > count && self.is_complete())?;
        let due = START + PERIOD * number;
        let phase = (STRIDE * number).as_millis() as u64 % INTERVAL.as_millis() as u64;
        self.pass((due + Duration::from_millis(phase)).saturating_sub(self.watch.elapsed()))?;
        let victim = self.victim(number).ok_or("no receiver runs")?;
        let pid = self.cluster.pid(victim.node).filter(|pid| machine::is_running(*pid));
        if pid.is_none() {
            return Err(format!("kill {number}: {victim} has no process that could be killed"));
        }
        let (cut, at) = (self.clock.wall(), self.watch.elapsed());
        if !self.cluster.kill(victim.node) {
            return Err(format!("kill {number}: nobody takes the order to kill {victim}"));
        }
        self.wait("no batch came after a kill", |told| told.next_batch(cut).is_some())?;
        let published = lock(&self.told.0).next_batch(cut).unwrap_or_default();
        self.wait("a killed executor is not missed", |told| told.down.contains(&victim))?;
        Ok(published.saturating_sub(at))
    }

    fn is_complete(&self) -> bool {
        let progress = self.running().progress();
        progress.executors().len() == usize::from(EXECUTORS) && !progress.receivers().is_empty()
    }

    /// In turn the executor that hosts the receiver, and one of the others.
    fn victim(&self, number: u32) -> Option<Member> {
        let progress = self.running().progress();
        let (_, host) = progress.receivers().first().copied()?;
        if number.is_multiple_of(2) {
            return Some(host);
        }
        let all = progress.executors().into_iter().map(|executor| executor.member);
        let others: Vec<Member> = all.filter(|member| *member != host).collect();
        others.get((number / 2) as usize % others.len().max(1)).copied()
    }

    /// Waits for what was told.
    fn wait(&self, failure: &str, holds: impl Fn(&Told) -> bool) -> Result<(), String> {
        let last = self.watch.elapsed() + PATIENCE;
        let mut told = lock(&self.told.0);
        while !holds(&told) {
            if told.is_over || self.watch.elapsed() > last {
                let why = match self.running().progress().outcome() {
                    Some(Err(error)) => error.to_string(),
                    Some(Ok(())) => "the load ended first: this machine is too slow for it".to_owned(),
                    None => format!("within {} s", PATIENCE.as_secs()),
                };
                return Err(format!("{failure}: {why}"));
            }
            let step = Duration::from_millis(20);
            told = self.told.1.wait_timeout(told, step).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Lets time pass while the pipeline runs.
    fn pass(&self, time: Duration) -> Result<(), String> {
        match self.running().await_termination_for(time) {
            None => Ok(()),
            Some(Ok(())) => Err("the load ended before the last kill".into()),
            Some(Err(error)) => Err(error.to_string()),
        }
    }
}

fn judge(totals: &Totals, expected: &verdict::Totals) -> Result<(), String> {
    let total = |tally: pipeline::Tally| OriginTotal { flights: tally.flights, delay_min: tally.delay_min };
    let counted = totals.origins().map(|(origin, tally)| (origin.to_owned(), total(tally))).collect();
    match verdict::first_difference(&counted, expected) {
        None => Ok(()),
        Some(difference) => Err(format!("the totals differ: {difference}")),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
