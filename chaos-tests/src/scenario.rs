//! The scenario: a word count of numbered lines, from a feeder that keeps what is not safe, while faults strike.

use crate::{
    faults::{self, FEED_OF_RANDOM, Panics, Scheduled},
    oracle::{self, Counts, Difference},
    ordered::{self, Disorder},
    player::Player,
    report::{Happened, Report},
    watched::Watched,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tidemill::{
    ClusterEvent, DStream, StreamContext, Text,
    cluster::sim::{CostModel, Link, Mtu, Planted, SimBuilder, SimCluster, SimError},
    demo::feeder::{FeedPlan, Feeder},
};
use tidemill_protocol::world::World;
use tokio::sync::oneshot;

/// Where the feeder listens: the first host beside the cluster.
pub const FEEDER_PORT: u16 = 9_000;
/// The number of the feeder's machine.
pub(crate) const FEEDER_HOST: u8 = 1;
/// How many different lines there are: each has a word of its own, so that a line lost and another one counted twice do not
/// make up for each other.
pub(crate) const LINES: usize = 997;
/// An idle timeout that is longer than membership's patience.
const IDLE_LONG: Duration = Duration::from_secs(6);
/// How long the end may take once the last line is written, in virtual time.
pub(crate) const DRAIN: Duration = Duration::from_secs(120);

/// What is run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// All chance comes from here.
    pub seed: u64,
    /// Lines per second that the feeder writes.
    pub rate_lines_per_s: u64,
    /// For how long.
    pub feed: Duration,
    /// What links do when no fault strikes.
    pub link: Link,
    /// What goes wrong.
    pub faults: Vec<Scheduled>,
    /// Whether a fault that takes an executor waits until the cluster has recovered from the one before.
    pub is_patient: bool,
    /// How large datagrams become.
    pub mtu: Mtu,
    /// After how much silence a connection is lost; none: as everywhere.
    pub idle_timeout: Option<Duration>,
    /// What tasks cost in virtual time.
    pub cost: CostModel,
    /// Whether the words' lines are gathered in order, and the order is looked at, instead of only counted.
    pub is_ordered: bool,
    /// A defect on order.
    pub planted: Option<Planted>,
    /// Whether quinn draws its lots from the operating system, which makes runs differ.
    pub is_unseeded: bool,
    /// Entries of the trace to keep.
    pub trace_lines: usize,
}

impl Scenario {
    /// A sound cluster, without faults.
    pub fn calm(seed: u64) -> Self {
        Scenario {
            seed,
            rate_lines_per_s: 300,
            feed: Duration::from_secs(8),
            link: Link::default(),
            faults: Vec::new(),
            is_patient: false,
            mtu: Mtu::Smallest,
            idle_timeout: None,
            cost: CostModel { seed, ..CostModel::default() },
            is_ordered: false,
            planted: None,
            is_unseeded: false,
            trace_lines: 0,
        }
    }

    /// The fixed scenario: loss, reordering, a two-way cut, and the death of the executor that hosts the receiver.
    pub fn fixed(seed: u64) -> Self {
        Scenario { feed: Duration::from_secs(13), faults: faults::fixed(), ..Scenario::calm(seed) }
    }

    /// Faults drawn from the seed.
    pub fn random(seed: u64) -> Self {
        let has_large_mtu = seed.is_multiple_of(3);
        Scenario {
            feed: FEED_OF_RANDOM,
            rate_lines_per_s: 200,
            faults: faults::random(seed, FEED_OF_RANDOM, has_large_mtu),
            is_patient: true,
            mtu: if has_large_mtu { Mtu::Probe(1_452) } else { Mtu::Smallest },
            // Where connections live long, membership has to find the silent ones.
            idle_timeout: (seed % 4 == 1).then_some(IDLE_LONG),
            is_ordered: seed.is_multiple_of(2),
            ..Scenario::calm(seed)
        }
    }

    /// Runs it on this thread.
    ///
    /// # Errors
    /// [`SimError`] if the cluster does not start.
    pub fn run(&self) -> Result<Report, SimError> {
        let counts: Arc<Mutex<Counts>> = Arc::default();
        let happened: Arc<Mutex<Happened>> = Arc::default();
        let panics = Panics::default();
        let disorder = Disorder::default();
        let pipeline = {
            let (counts, panics, disorder) = (counts.clone(), panics.clone(), disorder.clone());
            let is_ordered = self.is_ordered;
            move |context: &StreamContext| {
                if is_ordered {
                    ordered::word_lines(
                        context,
                        "10.1.0.1",
                        counts.clone(),
                        panics.clone(),
                        disorder.clone(),
                    );
                } else {
                    word_count(context, "10.1.0.1", counts.clone(), panics.clone());
                }
                Ok(())
            }
        };
        self.builder().run(pipeline, async |cluster| {
            listen(cluster, happened.clone());
            let mut feed = feed(&cluster.host(1), self.rate_lines_per_s, self.feed).await;
            let watched = watch(cluster, happened.clone());
            let player = Player::new(&self.faults, self.link.clone(), panics, watched, self.is_patient);
            let struck = player.play(cluster).await;
            let outcome = cluster.wait_until_ended(self.feed + DRAIN).await;
            feed.hear().await;
            let report = self.report(cluster, feed, struck, outcome_text(outcome), (&counts, &happened));
            Report { out_of_order: disorder.count(), ..report }
        })
    }

    fn builder(&self) -> SimBuilder {
        let builder = SimCluster::builder(self.seed)
            .link(self.link.clone())
            .trace_lines(self.trace_lines)
            .cost(self.cost)
            .mtu(self.mtu)
            .planted(self.planted);
        let builder = if self.is_unseeded { builder.unseeded_quic() } else { builder };
        self.idle_timeout.into_iter().fold(builder, SimBuilder::idle_timeout)
    }

    fn report(
        &self,
        cluster: &SimCluster,
        feed: Feed,
        struck: Vec<faults::Struck>,
        outcome: Result<(), String>,
        (counts, happened): (&Mutex<Counts>, &Mutex<Happened>),
    ) -> Report {
        let (lines_repeated, written) = (feed.gauge.repeated(), feed.gauge.written());
        let lines = feed.ended();
        let counted = lock(counts).clone();
        let difference = Difference::between(&oracle::count_words(&numbered_texts(), written), &counted);
        Report {
            seed: self.seed,
            trace_hash: cluster.trace().hash(),
            datagrams: cluster.trace().datagrams(),
            outcome: both(lines.as_ref().map(|_| ()).map_err(Clone::clone), outcome),
            lines: lines.ok(),
            lines_repeated,
            counted,
            out_of_order: 0,
            difference,
            struck,
            happened: lock(happened).clone(),
            took: Duration::from_nanos(cluster.host(1).clock.now().0),
            trace: cluster.trace().lines(),
        }
    }
}

/// How a feed and its pipeline ended: a feeder that gave up is the cause of a pipeline that does not end.
fn both(feed: Result<(), String>, pipeline: Result<(), String>) -> Result<(), String> {
    match (feed, pipeline) {
        (Ok(()), pipeline) => pipeline,
        (feed, Ok(())) => feed,
        (Err(feed), Err(pipeline)) => Err(format!("{feed}; {pipeline}")),
    }
}

pub(crate) fn outcome_text(outcome: Option<Result<(), tidemill::PipelineError>>) -> Result<(), String> {
    match outcome {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err(format!("it has not ended {} s after the last line", DRAIN.as_secs())),
    }
}

/// The pipeline: numbered lines of the feeder at `host`, split into words, counted in each batch, folded on the driver.
pub fn word_count(context: &StreamContext, host: &str, counts: Arc<Mutex<Counts>>, panics: Panics) {
    let lines = context.numbered_lines(format!("{host}:{FEEDER_PORT}"));
    count_into(&words(&lines, panics), counts);
}

/// The words of lines, and a place for planned panics.
pub fn words(lines: &DStream<Text>, panics: Panics) -> DStream<Text> {
    lines.flat_map_text(move |line, out| {
        panics.pass();
        line.split(' ').for_each(|word| out.push(word));
    })
}

/// Counts words in each batch, and folds the batches on the driver.
pub fn count_into(words: &DStream<Text>, counts: Arc<Mutex<Counts>>) {
    words.count_by_value().foreach_batch(move |batch, _| {
        let mut counts = lock(&counts);
        for (word, count) in batch {
            *counts.entry(word.to_string()).or_default() += count;
        }
        Ok(())
    });
}

/// The lines that feeders send, again and again.
pub fn numbered_texts() -> Vec<&'static str> {
    static TEXTS: OnceLock<Vec<String>> = OnceLock::new();
    let text = |number: usize| format!("line{number} the tide comes in and the wheel{} turns", number % 7);
    TEXTS.get_or_init(|| (0..LINES).map(text).collect()).iter().map(String::as_str).collect()
}

/// A feed that goes on.
pub struct Feed {
    /// Its figures.
    pub gauge: Arc<tidemill::demo::feeder::FeedGauge>,
    end: oneshot::Receiver<Result<u64, String>>,
    ended: Option<Result<u64, String>>,
}

/// How long what the pipeline has told the feeder last may be under way when the pipeline has ended.
const LAST_WORD: Duration = Duration::from_secs(1);

impl Feed {
    /// Lets the feeder hear what it was told before the pipeline ended: it may be under way on a slow link.
    pub async fn hear(&mut self) {
        if let Ok(ended) = tokio::time::timeout(LAST_WORD, &mut self.end).await {
            self.ended = ended.ok();
        }
    }

    /// How many different lines were written.
    ///
    /// # Errors
    /// Why the feed has not ended, or ended badly.
    pub fn ended(mut self) -> Result<u64, String> {
        let ended = self.ended.take().or_else(|| self.end.try_recv().ok());
        ended.unwrap_or_else(|| Err("the feeder has not ended: lines are not safe".to_owned()))
    }
}

/// Starts a feeder on a host.
///
/// # Panics
/// If the host's port is taken.
pub async fn feed(host: &World, rate_lines_per_s: u64, duration: Duration) -> Feed {
    let listener =
        host.tcp.listen(format!("0.0.0.0:{FEEDER_PORT}")).await.expect("a host of its own has its ports");
    let feeder = Feeder::new(listener, host.clock.clone());
    let (tell, end) = oneshot::channel();
    let gauge = feeder.gauge();
    let plan = FeedPlan { lines: numbered_texts(), rate_lines_per_s, duration };
    host.spawner.spawn(async move {
        // Nobody waits for a scenario that is over.
        let _ = tell.send(feeder.run(plan).await.map_err(|error| error.to_string()));
    });
    Feed { gauge, end, ended: None }
}

/// Watches the executors for the player, and counts what a leave has cost.
fn watch(cluster: &SimCluster, happened: Arc<Mutex<Happened>>) -> Arc<Mutex<Watched>> {
    let watched: Arc<Mutex<Watched>> = Arc::default();
    let (seen, clock) = (watched.clone(), cluster.host(1).clock);
    cluster.progress().listen(move |event| {
        let mut seen = lock(&seen);
        seen.note(event, clock.wall());
        lock(&happened).tasks_needless += seen.needless(event);
    });
    watched
}

/// Counts what the driver reports.
pub fn listen(cluster: &SimCluster, happened: Arc<Mutex<Happened>>) {
    cluster.progress().listen(move |event| {
        let mut happened = lock(&happened);
        match event {
            ClusterEvent::BatchCompleted(info) => {
                happened.batches += 1;
                happened.total_delay_max = happened.total_delay_max.max(info.total_delay);
            }
            ClusterEvent::ExecutorDown(_) => happened.executors_down += 1,
            ClusterEvent::ExecutorLeft(_) => happened.executors_left += 1,
            ClusterEvent::TasksLost { count, .. } => happened.tasks_lost += count,
            ClusterEvent::Note(note) => happened.note(note),
            _ => {}
        }
    });
}

impl Happened {
    fn note(&mut self, note: &tidemill::cluster::GeneratorNote) {
        use tidemill::cluster::GeneratorNote;
        match note {
            GeneratorNote::ReceiverRestarts { .. } => self.receiver_restarts += 1,
            GeneratorNote::BlocksStruck { blocks, .. } => self.blocks_struck += *blocks as u64,
            GeneratorNote::WordRefused { by } => panic!("{by} speaks for another"),
            GeneratorNote::BlocksLost { blocks, .. } => self.blocks_lost += *blocks as u64,
            GeneratorNote::BlockCopied { .. } => self.blocks_copied += 1,
            GeneratorNote::ReceiverStarted { .. } | GeneratorNote::HolderLost { .. } => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one insertion: a panic elsewhere leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
