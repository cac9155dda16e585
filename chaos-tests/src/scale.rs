//! What a driver costs: simulated clusters of many executors, with the real cores and the real wire, under virtual time.
//!
//! ```text
//!   generator of N partitions ── N map tasks ── shuffle ── 16 reduce tasks ── the driver publishes
//! ```
//!
//! Executors have one slot each. The driver's processor time is asked of the futures that it runs, in the machine's time; what
//! all other nodes do on the same thread is not in it; actions are not traced, and invariants are not checked in release builds.
//! The simulated network stands in for the system calls that a real one costs.
//!
//! A driver has a machine of its own. Here all nodes share a processor's caches, and what 100 executors send each other, some
//! 1,600 notices a batch, evicts the driver's memory between any two of its reports. So executors shuffle from hand to hand;
//! what they and the driver tell each other is the same, message by message. [`Shuffle::Network`] shows the difference.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidemill::{
    BatchInterval, ClusterEvent, StreamContext,
    bench::statistics::median,
    cluster::sim::{SimCluster, SimError, Work},
    sources::Generator,
};

/// Reduce tasks of a batch.
pub const REDUCERS: u32 = 16;
/// Batches after the last executor has come that do not count: connections between executors are made then, and the source, which
/// was throttled while there was nobody to read it, comes to its full rate.
const WARM_UP: usize = 20;
/// Records of a map task: enough that each reducer reads something of each.
const RECORDS: u64 = 32;
/// From batch to batch. An executor that reports on a task in each of them is asked nothing between them.
pub const INTERVAL: Duration = Duration::from_millis(500);
/// How long the executors may take to come, in virtual time.
const ARRIVAL: Duration = Duration::from_secs(120);

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// The cluster does not start.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// The batches did not come, or brought something else than they should.
    #[error("{0}")]
    Batches(String),
}

/// What a driver of so many executors costs in a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// How many.
    pub executors: u16,
    /// How they came by each other's outputs.
    pub shuffle: Shuffle,
    /// Batches that were measured.
    pub batches: usize,
    /// Tasks of a batch.
    pub tasks: u32,
    /// Processor time: half of the batches took no longer. The median of all runs.
    pub cpu_ms: f64,
    /// The same of each run.
    pub cpu_ms_of_runs: Vec<f64>,
    /// Frames on control links, both directions; the mean, as all below.
    pub messages: f64,
    /// Their bytes.
    pub message_bytes: f64,
    /// Datagrams, both directions, with acknowledgements.
    pub datagrams: f64,
    /// Their bytes.
    pub datagram_bytes: f64,
}

impl Row {
    /// Processor time for each executor, in microseconds.
    pub fn cpu_us_per_executor(&self) -> f64 {
        self.cpu_ms * 1e3 / f64::from(self.executors)
    }

    /// Several runs as one, which sends what the first of them does (as all do, from one seed); none of none.
    pub fn median(rows: Vec<Row>) -> Option<Row> {
        let cpu_ms_of_runs: Vec<f64> =
            rows.iter().flat_map(|row| row.cpu_ms_of_runs.iter().copied()).collect();
        let cpu_ms = median(&cpu_ms_of_runs)?;
        rows.into_iter().next().map(|row| Row { cpu_ms, cpu_ms_of_runs, ..row })
    }

    /// What [`Row::json`] says; none if it is something else.
    pub fn from_json(text: &str) -> Option<Row> {
        let row: serde_json::Value = serde_json::from_str(text).ok()?;
        let (number, count) = (|name: &str| row.get(name)?.as_f64(), |name: &str| row.get(name)?.as_u64());
        let shuffle = [Shuffle::Hands, Shuffle::Network].into_iter().find(|s| row["shuffle"] == s.name())?;
        Some(Row {
            executors: count("executors")?.try_into().ok()?,
            shuffle,
            batches: count("batches")?.try_into().ok()?,
            tasks: count("tasks")?.try_into().ok()?,
            cpu_ms: number("driver_cpu_ms")?,
            cpu_ms_of_runs: row["driver_cpu_ms_of_runs"]
                .as_array()?
                .iter()
                .map(serde_json::Value::as_f64)
                .collect::<Option<_>>()?,
            messages: number("messages")?,
            message_bytes: number("message_bytes")?,
            datagrams: number("datagrams")?,
            datagram_bytes: number("datagram_bytes")?,
        })
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        let Row { executors, shuffle, batches, tasks, cpu_ms, cpu_ms_of_runs, .. } = self;
        let Row { messages, message_bytes, datagrams, datagram_bytes, .. } = self;
        serde_json::json!({
            "bench": "scale", "executors": executors, "shuffle": shuffle.name(), "batches": batches, "tasks": tasks,
            "driver_cpu_ms": cpu_ms, "driver_cpu_ms_of_runs": cpu_ms_of_runs, "driver_cpu_us_per_executor": self.cpu_us_per_executor(),
            "messages": messages, "message_bytes": message_bytes,
            "datagrams": datagrams, "datagram_bytes": datagram_bytes,
        })
        .to_string()
    }
}

/// The driver's account after each batch, and what the sink was given.
#[derive(Default)]
struct Seen {
    accounts: Vec<Work>,
    records: Vec<u64>,
}

/// How simulated executors come by each other's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shuffle {
    /// From hand to hand.
    Hands,
    /// Over QUIC, on the simulated network.
    Network,
}

impl Shuffle {
    /// In words, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Shuffle::Hands => "by hand",
            Shuffle::Network => "network",
        }
    }
}

/// Measures `batches` batches with so many executors.
///
/// # Errors
/// [`ScaleError`].
pub fn measure(executors: u16, batches: usize, shuffle: Shuffle) -> Result<Row, ScaleError> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let sink = seen.clone();
    let pipeline = move |context: &StreamContext| {
        let sink = sink.clone();
        let partitions = u32::from(executors);
        let generator = Generator::new(partitions, |_, offset| (offset % RECORDS, 1u64));
        context
            .generator("numbers", generator.records_per_batch(RECORDS * u64::from(partitions)))
            .reduce_by_key_into(REDUCERS, |a, b| a + b)
            .foreach_batch(move |rows, _| {
                lock(&sink).records.push(rows.into_iter().map(|(_, count)| count).sum());
                Ok(())
            });
        Ok(())
    };
    let builder = SimCluster::builder(1).unobserved();
    let builder = match shuffle {
        Shuffle::Hands => builder.data_by_hand(),
        Shuffle::Network => builder,
    };
    let builder = builder.configure(|config| {
        config.executors = executors;
        config.batch_interval = BatchInterval::Every(INTERVAL);
        config.rate_records_per_s_initial = u64::from(u32::MAX);
    });
    let wanted = WARM_UP + batches + 1;
    let played = seen.clone();
    let outcome = builder
        .run(pipeline, async |cluster: &mut SimCluster| play(cluster, &played, executors, wanted).await)?;
    outcome.map_err(ScaleError::Batches)?;
    let seen = lock(&seen);
    let per_batch = RECORDS * u64::from(executors);
    let counted = seen.records.len().saturating_sub(batches)..;
    if let Some(other) = seen.records[counted].iter().find(|records| **records != per_batch) {
        return Err(ScaleError::Batches(format!("a batch of {per_batch} records came as {other}")));
    }
    row(executors, shuffle, &seen.accounts[WARM_UP..wanted])
        .ok_or_else(|| ScaleError::Batches("no batch".into()))
}

/// Runs until so many batches have come since all executors were there.
async fn play(
    cluster: &SimCluster,
    seen: &Arc<Mutex<Seen>>,
    executors: u16,
    wanted: usize,
) -> Result<(), String> {
    let (meter, sink, up) = (cluster.driver_meter(), seen.clone(), Arc::new(Mutex::new(0u16)));
    cluster.progress().listen(move |event| match event {
        ClusterEvent::ExecutorUp(_) => *lock(&up) += 1,
        ClusterEvent::ExecutorDown(_) => *lock(&up) -= 1,
        ClusterEvent::BatchCompleted(_) if *lock(&up) == executors => lock(&sink).accounts.push(meter.work()),
        _ => {}
    });
    let limit = ARRIVAL + INTERVAL * u32::try_from(wanted).unwrap_or(u32::MAX);
    let waited = Rc::new(Cell::new(Duration::ZERO));
    while lock(seen).accounts.len() < wanted {
        if let Some(outcome) = cluster.progress().outcome() {
            return Err(format!("the pipeline has ended: {outcome:?}"));
        }
        if waited.get() > limit {
            let found = lock(seen).accounts.len();
            return Err(format!("{found} of {wanted} batches came within {limit:?}"));
        }
        cluster.sleep(INTERVAL).await;
        waited.set(waited.get() + INTERVAL);
    }
    Ok(())
}

/// The differences of accounts that follow each other.
fn row(executors: u16, shuffle: Shuffle, accounts: &[Work]) -> Option<Row> {
    let (first, last) = (accounts.first()?, accounts.last()?);
    let busy: Vec<f64> =
        accounts.windows(2).map(|pair| (pair[1].busy - pair[0].busy).as_secs_f64() * 1e3).collect();
    let count = busy.len() as f64;
    let cpu_ms = median(&busy)?;
    let mean = |of: fn(&Work) -> u64| (of(last) - of(first)) as f64 / count;
    Some(Row {
        executors,
        shuffle,
        batches: busy.len(),
        tasks: u32::from(executors) + REDUCERS,
        cpu_ms,
        cpu_ms_of_runs: vec![cpu_ms],
        messages: mean(|work| work.frames_sent + work.frames_received),
        message_bytes: mean(|work| work.frame_bytes_sent + work.frame_bytes_received),
        datagrams: mean(|work| work.datagrams_sent + work.datagrams_received),
        datagram_bytes: mean(|work| work.datagram_bytes_sent + work.datagram_bytes_received),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_difference_of_accounts_by_batch() {
        let account = |ms, frames| Work {
            busy: Duration::from_millis(ms),
            frames_sent: frames,
            frame_bytes_received: 10 * frames,
            ..Work::default()
        };
        let accounts = [account(5, 100), account(7, 110), account(27, 130), account(30, 130)];
        let row = row(10, Shuffle::Network, &accounts).unwrap();
        let start = "{\"batches\":3,\"bench\":\"scale\",\"datagram_bytes\":0.0,";
        assert!(row.json().starts_with(start), "{}", row.json());
        assert!(row.json().contains("\"shuffle\":\"network\""), "{}", row.json());
        assert_eq!((row.batches, row.tasks, row.cpu_ms), (3, 26, 3.0));
        assert_eq!((row.messages, row.message_bytes, row.datagrams), (10.0, 100.0, 0.0));
        assert_eq!(row.cpu_us_per_executor(), 300.0);
        assert_eq!(Row::from_json(&row.json()).as_ref(), Some(&row));
        assert_eq!(Row::from_json("{\"executors\":10}"), None);
        let of = |cpu_ms| Row { cpu_ms, cpu_ms_of_runs: vec![cpu_ms], ..row.clone() };
        let all = Row { cpu_ms: 5.0, cpu_ms_of_runs: vec![9.0, 5.0, 2.0], ..row.clone() };
        assert_eq!(Row::median(vec![of(9.0), of(5.0), of(2.0)]), Some(all));
        assert_eq!(Row::median(vec![]), None);
        assert_eq!(super::row(10, Shuffle::Hands, &[]), None);
    }

    #[test]
    fn a_batch_costs_its_driver_a_run_and_a_report_for_each_task() {
        let row = measure(3, 4, Shuffle::Hands).unwrap();
        assert_eq!((row.executors, row.batches, row.tasks), (3, 4, 19));
        // Each task is at least reported on; orders and pings go with them.
        assert!(row.messages >= 19.0, "{row:?}");
        assert!(row.message_bytes > row.messages && row.datagram_bytes > row.message_bytes, "{row:?}");
        assert!(row.cpu_ms > 0.0, "{row:?}");
    }

    #[test]
    fn what_executors_and_driver_tell_each_other_does_not_depend_on_how_executors_shuffle() {
        // How many reports share a message depends on when they come.
        let [hands, network] =
            [Shuffle::Hands, Shuffle::Network].map(|shuffle| measure(10, 20, shuffle).unwrap());
        assert!((hands.messages / network.messages - 1.0).abs() <= 0.1, "{hands:?} and {network:?}");
        assert!(
            (hands.message_bytes / network.message_bytes - 1.0).abs() <= 0.1,
            "{hands:?} and {network:?}"
        );
    }
}
