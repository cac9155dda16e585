//! `tidemill bench`: runs benchmarks, ours and the baseline in turn, and tells medians.

use super::{
    delay, empty_batch, engine, hand_loop, input, machine, memory, recovery,
    report::{self, Comparison, DemoRss, EmptyBatch, EmptyBatchRun, Recovery, Report, Run, Shuffle, Steady},
    shuffle,
};
use crate::app::{EXIT_DONE, EXIT_FAILED, complain};
use bytes::Bytes;
use clap::{Args, ValueEnum};

/// Records per second of `steady`.
const STEADY_RATE: u64 = 500_000;

/// Runs of `demo_rss`, at most: each is a demo of 20 s.
const DEMO_RUNS_MAX: u32 = 5;

/// What `--markdown` writes.
const PAGE: &str = "docs/BENCHMARKS.md";

/// Options of `tidemill bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// What to measure
    #[arg(value_enum)]
    name: Name,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Write the page docs/BENCHMARKS.md, from the root of the repository
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Runs of ours and of the baseline, in turn; the median counts. `recovery` is one run, and `demo_rss` at most 5
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Lines of input
    #[arg(long, default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    lines: u64,
    /// Seconds of each run of `steady`
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(2..))]
    seconds: u64,
    /// Millions of bytes of each run of `shuffle`
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    megabytes: u64,
    /// Batches of each run of `empty_batch`
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    batches: u32,
    /// Interval of the batches of `empty_batch`
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(5..=1_000))]
    interval_ms: u64,
    /// Executors that `recovery` kills, one every 4 s
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    kills: u32,
    /// Lines per second under which `recovery` kills
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Name {
    /// Lines that hold a word
    Grep,
    /// Occurrences of each word, by count_by_value
    WordCount,
    /// Occurrences of each word, by (word, 1) and reduce_by_key
    WordCountPairs,
    /// From the cut to the sink's call, for batches of three records
    EmptyBatch,
    /// 500,000 records a second from TCP at 10 ms
    Steady,
    /// The most memory that the demo's processes hold together
    DemoRss,
    /// Outputs fetched from another process, beside a bare stream of quinn
    Shuffle,
    /// The other process of `shuffle`
    #[value(hide = true)]
    ShuffleServer,
    /// From kill -9 of an executor to the next batch
    Recovery,
    /// All of them
    All,
}

impl BenchArgs {
    /// Runs and gives the exit code.
    pub fn run(&self) -> u8 {
        if self.name == Name::ShuffleServer {
            return match shuffle::serve_outputs() {
                Ok(()) => EXIT_DONE,
                Err(error) => complain("tidemill bench", &error, EXIT_FAILED),
            };
        }
        let names = match self.name {
            Name::All => {
                vec![
                    Name::Grep,
                    Name::WordCount,
                    Name::WordCountPairs,
                    Name::EmptyBatch,
                    Name::Steady,
                    Name::DemoRss,
                    Name::Shuffle,
                    Name::Recovery,
                ]
            }
            one => vec![one],
        };
        // What one of them refuses to measure does not cost the others their minutes.
        let (mut reports, mut exit) = (Vec::new(), EXIT_DONE);
        for name in names {
            match self.measure(name) {
                Ok(new) => reports.extend(new),
                Err(error) => exit = complain("tidemill bench", &error, EXIT_FAILED),
            }
        }
        if self.json {
            reports.iter().for_each(|report| println!("{}", report.json()));
            return exit;
        }
        let page = report::markdown(&machine::describe(), &reports);
        if !self.markdown || exit != EXIT_DONE {
            // The same tables: they read well in a terminal. A page that lacks one is not written.
            print!("{page}");
            return exit;
        }
        match std::fs::write(PAGE, page) {
            Ok(()) => EXIT_DONE,
            Err(error) => {
                let remedy = "run it in the root of the repository, or leave out --markdown";
                complain("tidemill bench", &format!("cannot write {PAGE}: {error}; {remedy}"), EXIT_FAILED)
            }
        }
    }

    fn measure(&self, name: Name) -> Result<Vec<Report>, String> {
        match name {
            Name::Grep => self.compare(engine::Job::Grep, hand_loop::Job::Grep),
            Name::WordCount => self.compare(engine::Job::WordCount, hand_loop::Job::WordCount),
            Name::WordCountPairs => self.compare(engine::Job::WordCountPairs, hand_loop::Job::WordCount),
            Name::EmptyBatch => self.empty_batch(),
            Name::Steady => {
                let runs = (0..self.runs).map(|_| delay::steady(STEADY_RATE, self.seconds));
                let runs = runs.collect::<Result<_, _>>()?;
                let steady = Steady::of(STEADY_RATE as f64, self.seconds, runs);
                Ok(vec![Report::Steady(steady.ok_or("no run")?)])
            }
            Name::DemoRss => {
                let runs = (0..self.runs.min(DEMO_RUNS_MAX)).map(|_| memory::of_a_demo());
                let runs = runs.collect::<Result<Vec<_>, _>>()?;
                Ok(vec![Report::DemoRss(DemoRss::of(&runs).ok_or("no run")?)])
            }
            Name::Shuffle => {
                let runs = shuffle::measure(self.runs, self.megabytes)?;
                Ok(vec![Report::Shuffle(Shuffle::of(runs).ok_or("no run")?)])
            }
            Name::Recovery => {
                let found = recovery::measure(self.kills, self.rate)?;
                Ok(vec![Report::Recovery(Recovery::of(&found).ok_or("no kill")?)])
            }
            Name::All | Name::ShuffleServer => Ok(Vec::new()),
        }
    }

    fn compare(&self, ours: engine::Job, theirs: hand_loop::Job) -> Result<Vec<Report>, String> {
        let mut generator = input::Generator::new(input::SEED);
        let mut left = usize::try_from(self.lines).unwrap_or(usize::MAX);
        let mut files = Vec::new();
        while left > 0 {
            let lines = left.min(input::LINES_OF_A_FILE);
            files.push(Bytes::from(generator.file(lines)));
            left -= lines;
        }
        [500_000, 10_000].into_iter().map(|lines| self.compare_in(ours, theirs, &files, lines)).collect()
    }

    fn compare_in(
        &self,
        ours: engine::Job,
        theirs: hand_loop::Job,
        files: &[Bytes],
        batch_lines: usize,
    ) -> Result<Report, String> {
        let batches = engine::blocks(files, batch_lines);
        let slices: Vec<&[u8]> =
            files.iter().flat_map(|file| hand_loop::batches(file, batch_lines)).collect();
        let mut runs = Vec::new();
        for _ in 0..self.runs {
            let (records_per_s, found) = engine::measure(ours, &batches, self.lines)?;
            let rounds: Vec<&[u8]> = (0..engine::ROUNDS).flat_map(|_| slices.iter().copied()).collect();
            let lines = self.lines * engine::ROUNDS;
            let (hand_loop_records_per_s, expected) = hand_loop::measure(theirs, &rounds, lines);
            if found != expected as u64 {
                return Err(format!("{}: we found {found}, the hand-written loop {expected}", ours.name()));
            }
            runs.push(Run { records_per_s, hand_loop_records_per_s });
        }
        let comparison = Comparison::of(ours.name(), batch_lines as u64, runs);
        comparison.map(Report::Comparison).ok_or_else(|| "no run".into())
    }

    /// One process and three, in turn; the median of the runs' percentiles.
    fn empty_batch(&self) -> Result<Vec<Report>, String> {
        let interval = std::time::Duration::from_millis(self.interval_ms);
        let measure = empty_batch::Measure { batches: self.batches as usize, interval };
        let run = || -> Result<EmptyBatchRun, String> {
            Ok(EmptyBatchRun { local: empty_batch::local(measure)?, quic: empty_batch::quic(measure)? })
        };
        let runs = (0..self.runs).map(|_| run()).collect::<Result<_, _>>()?;
        Ok(vec![Report::EmptyBatch(EmptyBatch::of(runs).ok_or("no run")?)])
    }
}
