//! How long the loss of an executor costs, by the number of executors: simulated clusters under virtual time, whose tasks cost what
//! a seeded model says. Not a measurement of a machine.
//!
//! ```text
//!   batch 1   48 map tasks, 400 ms each ──> 2 reduce tasks
//!                                      │
//!             all outputs are made ────┘ kill      detected              complete
//!                                        ├─ detection ─┼── recomputation ───┤
//! ```
//!
//! The work of a batch is the same however many executors there are (one slot each). The executor dies at the moment when the last
//! map task has ended and no reduce task has read its output yet: of its share nothing is left, and nothing else is to be done but to
//! make that share again, on all that remain, and to reduce. So the recomputation is that of lost work alone. It falls for two
//! reasons: of `n` executors each holds an `n`-th of the work, and `n - 1` make it again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidemill::{
    BatchInterval, ClusterEvent, StreamContext,
    bench::statistics::median,
    cluster::sim::{CostModel, NodeId, SimCluster, SimError},
    sources::Generator,
};
use tidemill_protocol::{time::Time, world::Clock};

/// Map tasks of a batch.
pub const TASKS: u32 = 48;
/// Reduce tasks of a batch. Few, so that what one executor makes for another is far more than travels with a message.
pub const REDUCERS: u32 = 2;
/// What a task costs in virtual time, 10 % more or less.
pub const COST: Duration = Duration::from_millis(400);
/// Records of a map task.
const RECORDS: u64 = 100;
/// Bytes of a record.
const RECORD_BYTES: usize = 400;
/// Batches: one in which everybody gets to know everybody, and the one whose work is lost.
const BATCHES: u64 = 2;
/// Longer than two executors take for a batch, and one for what is lost.
const INTERVAL: Duration = Duration::from_secs(40);
/// The executor that dies.
const VICTIM: NodeId = NodeId(1);
/// How often it is looked whether the time to kill has come.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The cluster does not start.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// The run was not what it has to be.
    #[error("{executors} executors, seed {seed}: {what}")]
    Run {
        /// Of them.
        executors: u16,
        /// The run's.
        seed: u64,
        /// What was wrong.
        what: String,
    },
}

/// One loss, in virtual time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// The same batch's work without a loss: from the cut to the end of the batch before.
    pub healthy: Duration,
    /// From the kill to the driver's declaring the executor dead.
    pub detection: Duration,
    /// From then to the end of the batch.
    pub recomputation: Duration,
    /// Map tasks that ran a second time.
    pub tasks: u64,
}

/// The medians over some seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Executors before the loss.
    pub executors: u16,
    /// Runs.
    pub seeds: u64,
    /// Of [`Loss::healthy`], in seconds, as all below.
    pub healthy_s: f64,
    /// Of [`Loss::detection`].
    pub detection_s: f64,
    /// Of [`Loss::recomputation`].
    pub recomputation_s: f64,
    /// Of both together: from the kill to the end of the batch.
    pub recovery_s: f64,
    /// Of [`Loss::tasks`].
    pub tasks: f64,
}

impl Row {
    /// One JSON object.
    pub fn json(&self) -> String {
        let Row { executors, seeds, healthy_s, detection_s, recomputation_s, recovery_s, tasks } = self;
        serde_json::json!({
            "bench": "recovery_by_executors", "simulated": true, "time": "virtual, by a cost model",
            "executors": executors, "seeds": seeds, "tasks_of_batch": TASKS, "task_cost_s": COST.as_secs_f64(),
            "tasks_lost": tasks, "healthy_s": healthy_s, "detection_s": detection_s,
            "recomputation_s": recomputation_s, "recovery_s": recovery_s,
        })
        .to_string()
    }
}

/// The medians of the seeds from 1 to `seeds`.
///
/// # Errors
/// [`RecoveryError`].
pub fn measure(executors: u16, seeds: u64) -> Result<Row, RecoveryError> {
    let losses: Vec<Loss> = (1..=seeds).map(|seed| lose(executors, seed)).collect::<Result<_, _>>()?;
    let of = |what: fn(&Loss) -> Duration| {
        median(&losses.iter().map(|loss| what(loss).as_secs_f64()).collect::<Vec<_>>()).unwrap_or(0.0)
    };
    Ok(Row {
        executors,
        seeds,
        healthy_s: of(|loss| loss.healthy),
        detection_s: of(|loss| loss.detection),
        recomputation_s: of(|loss| loss.recomputation),
        recovery_s: of(|loss| loss.detection + loss.recomputation),
        tasks: median(&losses.iter().map(|loss| loss.tasks as f64).collect::<Vec<_>>()).unwrap_or(0.0),
    })
}

/// What a run has seen.
#[derive(Default)]
struct Seen {
    /// Records of the second batch that map tasks have read, by partition.
    read: BTreeMap<u32, u64>,
    /// Bytes that the sink was given.
    bytes: u64,
    healthy: Option<Duration>,
    detected: Option<Time>,
    completed: Option<Time>,
    tasks_lost: u64,
}

impl Seen {
    fn is_mapped(&self) -> bool {
        self.read.len() == TASKS as usize && self.read.values().all(|records| *records >= RECORDS)
    }
}

/// Runs one cluster and kills one of its executors.
///
/// # Errors
/// [`RecoveryError`]; also if nothing was lost, or the result is not that of a plain count.
pub fn lose(executors: u16, seed: u64) -> Result<Loss, RecoveryError> {
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let cost = CostModel { seed, base: COST, per_row: Duration::ZERO, jitter: 0.1, ..CostModel::default() };
    let builder = SimCluster::builder(seed).cost(cost).configure(|config| {
        config.executors = executors;
        config.batch_interval = BatchInterval::Every(INTERVAL);
        config.rate_records_per_s_initial = u64::from(u32::MAX);
    });
    let wrong = |what: String| RecoveryError::Run { executors, seed, what };
    let killed = builder.run(pipeline(seen.clone()), async |cluster: &mut SimCluster| {
        listen(cluster, seen.clone());
        play(cluster, &seen).await
    })?;
    let killed = killed.map_err(wrong)?;
    let seen = lock(&seen);
    let expected = BATCHES * u64::from(TASKS) * RECORDS * RECORD_BYTES as u64;
    if seen.bytes != expected {
        return Err(wrong(format!("{expected} bytes came as {}", seen.bytes)));
    }
    let tasks = seen.read.values().sum::<u64>() / RECORDS - u64::from(TASKS);
    let (Some(healthy), Some(detected), Some(completed), 1..) =
        (seen.healthy, seen.detected, seen.completed, tasks.min(seen.tasks_lost))
    else {
        return Err(wrong(format!("the loss cost nothing: {tasks} tasks ran again")));
    };
    Ok(Loss { healthy, detection: detected.since(killed), recomputation: completed.since(detected), tasks })
}

/// Texts of one length, spread over the reducers, whose bytes are counted there.
fn pipeline(seen: Arc<Mutex<Seen>>) -> impl Fn(&StreamContext) -> Result<(), tidemill::GraphError> {
    move |context: &StreamContext| {
        let (reads, sums) = (seen.clone(), seen.clone());
        let per_batch = u64::from(TASKS) * RECORDS;
        let source = Generator::new(TASKS, |partition, offset| (partition, offset))
            .records_per_batch(per_batch)
            .records_total(BATCHES * per_batch);
        let texts = context.generator("numbers", source).map(move |(partition, offset)| {
            if offset >= RECORDS {
                *lock(&reads).read.entry(partition).or_default() += 1;
            }
            format!("{partition:03} {offset:0width$}", width = RECORD_BYTES - 4)
        });
        texts.repartition(REDUCERS).map(|text| text.len() as u64).foreach_batch(move |lengths, _| {
            lock(&sums).bytes += lengths.into_iter().sum::<u64>();
            Ok(())
        });
        Ok(())
    }
}

fn listen(cluster: &SimCluster, seen: Arc<Mutex<Seen>>) {
    let clock: Clock = cluster.host(1).clock;
    cluster.progress().listen(move |event| {
        let mut seen = lock(&seen);
        match event {
            ClusterEvent::ExecutorDown(member) if member.node == VICTIM => seen.detected = Some(clock.now()),
            ClusterEvent::TasksLost { count, .. } => seen.tasks_lost += count,
            ClusterEvent::BatchCompleted(info) if info.records > 0 => match seen.healthy {
                None => seen.healthy = Some(info.total_delay),
                Some(_) => seen.completed = Some(clock.now()),
            },
            _ => {}
        }
    });
}

/// Kills when all map tasks of the second batch have ended; gives when that was.
async fn play(cluster: &mut SimCluster, seen: &Mutex<Seen>) -> Result<Time, String> {
    let clock = cluster.host(1).clock;
    while !lock(seen).is_mapped() {
        if let Some(outcome) = cluster.progress().outcome() {
            return Err(format!("the pipeline has ended before the kill: {outcome:?}"));
        }
        cluster.sleep(LOOK_EVERY).await;
    }
    let killed = clock.now();
    if !cluster.kill(VICTIM) {
        return Err("nobody was there to be killed".to_owned());
    }
    match cluster.wait_until_ended(4 * INTERVAL).await {
        Some(Ok(())) => Ok(killed),
        other => Err(format!("the pipeline has not ended well: {other:?}")),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one assignment or addition: a panic elsewhere leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
