//! `tidemill demo`: a feeder, three executors, a kill at half time, and a verdict.
//!
//! ```text
//!   feeder ──numbered lines──> receiver (on an executor) ──> batches ──> totals ──┐
//!     │ lines written                        ^ killed at half time                ├─> verdict
//!     └────────────────────────> plain loop ──────────────────────────────────────┘
//! ```

use super::{
    aftermath::{self, Kill},
    bundled,
    cluster::Cluster,
    feeder::{FeedGauge, FeedPlan, Feeder},
    oracle::{self, OriginTotal},
    pipeline::{self, Totals},
    table::{BatchRow, Mode, Table},
    verdict::{self, Losses, Summary},
};
use crate::{
    BatchInterval, ClusterEvent, Config, Params, StreamContext,
    app::{EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, Interrupt, complain},
};
use clap::Args;
use std::{
    io::{IsTerminal, Stdout},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};
use tidemill_actors::rate_controller::BatchInfo;
use tidemill_protocol::{
    time::Time,
    world::{Clock, World},
};

const BATCH_INTERVAL: Duration = Duration::from_millis(500);
/// How long the end may take after the last line was fed.
const DRAIN: Duration = Duration::from_secs(60);
/// The longest feed: a year.
pub(super) const SECONDS_MAX: u64 = 365 * 86_400;
/// Events that may wait for the table.
const EVENTS_MAX: usize = 4_096;

/// Options of `tidemill demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Lines per second that the feeder sends
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: u64,
    /// Seconds for which it sends
    #[arg(long = "for", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    pub seconds: u64,
    /// One JSON object for each batch, and the verdict last
    #[arg(long)]
    pub json: bool,
    /// Run the executors in this process, not in processes of their own
    #[arg(long)]
    pub in_process: bool,
    /// Address of the Prometheus endpoint, on loopback
    #[arg(long)]
    pub metrics: Option<SocketAddr>,
}

/// Runs the demo and gives its exit code: 0 only if the totals are those of the plain loop although the kill took something.
pub fn run(args: &DemoArgs, interrupt: &Interrupt) -> u8 {
    if let Err(error) = crate::app::install_metrics(args.metrics) {
        return complain("tidemill demo", &error, EXIT_USAGE);
    }
    match Demo::start(args).and_then(|demo| demo.play(args, interrupt)) {
        Ok(code) => code,
        Err(error) => complain("tidemill demo", &error, EXIT_FAILED),
    }
}

struct Demo {
    cluster: Cluster,
    totals: Arc<Mutex<Totals>>,
    gauge: Arc<FeedGauge>,
    fed: mpsc::Receiver<Result<u64, String>>,
    events: mpsc::Receiver<(Time, ClusterEvent)>,
    clock: Clock,
    lines: Vec<&'static str>,
}

/// What the demo has seen so far.
#[derive(Default)]
struct Seen {
    delays_ms: Vec<f64>,
    losses: Losses,
    killed: Option<Kill>,
    permitted: Option<f64>,
    outcome: Option<Result<(), String>>,
}

impl Demo {
    fn start(args: &DemoArgs) -> Result<Demo, String> {
        let world = World::real();
        let lines = bundled::flights();
        let plan = FeedPlan {
            lines: lines.clone(),
            rate_lines_per_s: args.rate,
            duration: Duration::from_secs(args.seconds),
        };
        let (address, gauge, fed) = feed_beside(&world, plan)?;
        let totals = Arc::new(Mutex::new(Totals::default()));
        let config = Config {
            batch_interval: BatchInterval::Every(BATCH_INTERVAL),
            executors: 3,
            slots_per_executor: 1,
            rate_records_per_s_initial: args.rate.saturating_mul(2).max(10_000),
            ..Config::default()
        };
        let params = Params::parse([format!("from={address}")]).map_err(|error| error.to_string())?;
        let context = StreamContext::with_params(config, params);
        let folded = totals.clone();
        let from = context.params().text("from", "");
        pipeline::build(&context, &from, move |rows| lock(&folded).fold(rows))
            .map_err(|error| error.to_string())?;
        let (tell, events) = mpsc::sync_channel(EVENTS_MAX);
        let clock = world.clock.clone();
        let now = clock.clone();
        context.on_event(move |event| {
            // A table that cannot keep up loses rows, never the pipeline's time; the outcome is asked for separately.
            let _ = tell.try_send((now.now(), event.clone()));
        });
        let cluster = match args.in_process {
            true => Cluster::in_process(&context)?,
            false => Cluster::of_processes(&context, &world)?,
        };
        Ok(Demo { cluster, totals, gauge, fed, events, clock, lines })
    }

    fn play(self, args: &DemoArgs, interrupt: &Interrupt) -> Result<u8, String> {
        let mode = Mode::of(
            args.json,
            std::io::stdout().is_terminal(),
            std::env::var_os("NO_COLOR").is_some(),
            None,
        );
        let mut table = Table::new(std::io::stdout(), mode);
        let mut seen = Seen::default();
        let seconds = Duration::from_secs(args.seconds);
        // Half time of the feed, which begins when somebody reads it.
        let mut half = None;
        let last = self.clock.now() + seconds + DRAIN;
        while seen.outcome.is_none() && !interrupt.struck() {
            match self.events.recv_timeout(Duration::from_millis(20)) {
                Ok((at, event)) => self.show(&mut table, &mut seen, at, &event)?,
                // There may have been no room for the end; what came before it has been shown.
                Err(_) => seen.outcome = self.outcome(),
            }
            if half.is_none() && !self.cluster.running().progress().receivers().is_empty() {
                half = Some(moment_of_the_kill(&self.clock, seconds / 2));
            }
            if seen.killed.is_none() && half.is_some_and(|half| self.clock.now() >= half) {
                seen.killed = self.kill(&mut table)?;
            }
            if self.clock.now() > last {
                return Err(format!(
                    "the pipeline has not ended {} s after the last line: {} of {} lines are safe",
                    DRAIN.as_secs(),
                    self.gauge.safe(),
                    self.gauge.written()
                ));
            }
        }
        table.finish().map_err(|error| error.to_string())?;
        match seen.outcome.take() {
            Some(Ok(())) => self.judge(args, &seen),
            Some(Err(error)) => Err(error),
            None => self.interrupted(args, &seen),
        }
    }

    fn outcome(&self) -> Option<Result<(), String>> {
        let outcome = self.cluster.running().progress().outcome()?;
        Some(outcome.map_err(|error| error.to_string()))
    }

    fn show(
        &self,
        table: &mut Table<Stdout>,
        seen: &mut Seen,
        at: Time,
        event: &ClusterEvent,
    ) -> Result<(), String> {
        match event {
            ClusterEvent::BatchCompleted(info) => {
                seen.delays_ms.push(info.total_delay.as_secs_f64() * 1e3);
                let top = lock(&self.totals).top();
                return table.batch(row(info, seen.permitted), top).map_err(|error| error.to_string());
            }
            ClusterEvent::RateSet { input, records_per_s_max } if input.stream == flights_stream() => {
                seen.permitted = (*records_per_s_max != u64::MAX).then_some(*records_per_s_max as f64);
                return Ok(());
            }
            ClusterEvent::Ended => drop(seen.outcome.get_or_insert(Ok(()))),
            ClusterEvent::Failed(error) => drop(seen.outcome.get_or_insert(Err(error.clone()))),
            other => {
                if let Some(note) = aftermath::take(&mut seen.losses, seen.killed, at, other) {
                    table.note(&note).map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// Kills the executor that hosts the receiver, while it holds something.
    fn kill(&self, table: &mut Table<Stdout>) -> Result<Option<Kill>, String> {
        let Some((_, host)) = self.cluster.running().progress().receivers().first().copied() else {
            return Ok(None);
        };
        let now = self.clock.now();
        if !self.cluster.kill(host.node) {
            return Ok(None);
        }
        let text = format!("half time: {}, which reads the lines, is killed", host.node);
        table.note(&text).map_err(|error| error.to_string())?;
        Ok(Some(Kill { member: host, at: now }))
    }

    fn judge(self, args: &DemoArgs, seen: &Seen) -> Result<u8, String> {
        let written = self.fed.recv_timeout(DRAIN).map_err(|_| "the feeder did not end".to_owned())??;
        let expected = oracle::totals(&self.lines, written);
        let counted = self.counted();
        let verdict = verdict::judge(&counted, &expected, &seen.losses);
        let summary = Summary::new(verdict, lock(&self.totals).flights(), &seen.losses, &seen.delays_ms);
        if args.json {
            println!("{}", summary.json());
        } else {
            println!("{}", summary.text());
            if let Some(difference) = verdict::first_difference(&counted, &expected) {
                println!("{difference}");
            }
            next_commands();
        }
        Ok(summary.exit_code())
    }

    fn interrupted(self, args: &DemoArgs, seen: &Seen) -> Result<u8, String> {
        let (flights, batches) = (lock(&self.totals).flights(), seen.delays_ms.len());
        if args.json {
            let summary = Summary::new(verdict::Verdict::NotProven, flights, &seen.losses, &seen.delays_ms);
            println!("{}", summary.json());
        } else {
            println!("interrupted; totals so far: {flights} flights in {batches} batches");
            next_commands();
        }
        self.cluster.stop_now();
        Ok(EXIT_INTERRUPTED)
    }

    fn counted(&self) -> verdict::Totals {
        let totals = lock(&self.totals);
        let total =
            |tally: pipeline::Tally| OriginTotal { flights: tally.flights, delay_min: tally.delay_min };
        totals.origins().map(|(origin, tally)| (origin.to_owned(), total(tally))).collect()
    }
}

/// The stream of flights: declared after the airports.
fn flights_stream() -> tidemill_protocol::id::StreamId {
    tidemill_protocol::id::StreamId(1)
}

fn row(info: &BatchInfo, permitted_records_per_s: Option<f64>) -> BatchRow {
    let flights = info.inputs.iter().filter(|load| load.input.stream == flights_stream());
    BatchRow {
        batch: info.batch.0,
        records: flights.map(|load| load.records).sum(),
        scheduling_delay: info.scheduling_delay,
        processing_time: info.processing_time,
        total_delay: info.total_delay,
        permitted_records_per_s,
    }
}

/// After `half`, three quarters into a batch: then the receiver's executor holds blocks that no batch has released yet, so
/// that the kill takes something along.
fn moment_of_the_kill(clock: &Clock, half: Duration) -> Time {
    let now = clock.now();
    let interval_ms = BATCH_INTERVAL.as_millis() as u64;
    let into_batch_ms = (clock.wall() + half).as_millis() as u64 % interval_ms;
    now + half + Duration::from_millis((interval_ms + interval_ms * 3 / 4 - into_batch_ms) % interval_ms)
}

fn next_commands() {
    println!("next: tidemill demo --rate 100000    the same under five times the load");
    println!("      tidemill bench word_count      how fast it is, against a hand-written loop");
}

/// What a feed gives: where it listens, its figures, and at its end the number of lines.
type Feed = (SocketAddr, Arc<FeedGauge>, mpsc::Receiver<Result<u64, String>>);

/// Feeds from a thread of its own, as another process would.
pub(crate) fn feed_beside(world: &World, plan: FeedPlan) -> Result<Feed, String> {
    let (tell_address, address) = mpsc::sync_channel(1);
    let (tell_end, end) = mpsc::sync_channel(1);
    let world = world.clone();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async move {
            let listener = match world.tcp.listen("127.0.0.1:0").await {
                Ok(listener) => listener,
                Err(error) => {
                    let _ = tell_address.send(Err(format!("the feeder cannot listen: {error}")));
                    return;
                }
            };
            let feeder = Feeder::new(listener, world.clock.clone());
            // Nobody waits for a demo that has ended.
            let _ = tell_address.send(Ok((feeder.address(), feeder.gauge())));
            let _ = tell_end.send(feeder.run(plan).await.map_err(|error| error.to_string()));
        });
    };
    thread::Builder::new().name("feeder".into()).spawn(work).map_err(|error| error.to_string())?;
    let (address, gauge) = address.recv().map_err(|_| "the feeder did not start".to_owned())??;
    Ok((address, gauge, end))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
