//! `tidemill bench`: runs benchmarks, ours and the baseline in turn, and tells medians.

use super::{
    delay, empty_batch, engine, hand_loop, input, machine, recovery,
    report::{self, Comparison, Counted, Delay, DemoRss, EmptyBatch, Recovery, Report, Run, Shuffle},
    shuffle,
    statistics::median,
};
use crate::app::{EXIT_DONE, EXIT_FAILED, complain};
use bytes::Bytes;
use clap::{Args, ValueEnum};

/// Records per second of `steady`.
const STEADY_RATE: u64 = 500_000;

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
    /// Runs of ours and of the baseline, in turn; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Lines of input
    #[arg(long, default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    lines: u64,
    /// Seconds of `steady`
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
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
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
    /// The demo's peak memory
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
            Name::Steady => Ok(vec![Report::Steady(delay::steady(STEADY_RATE, self.seconds)?)]),
            Name::DemoRss => Ok(vec![Report::DemoRss(DemoRss::of(demo_peak_bytes()?))]),
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
        let mut runs = Vec::new();
        for _ in 0..self.runs {
            runs.push((empty_batch::local(measure)?, empty_batch::quic(measure)?));
        }
        let left_out = runs.iter().map(|(_, quic)| quic.left_out).sum();
        let (local, quic): (Vec<Delay>, Vec<Delay>) =
            runs.into_iter().map(|(local, quic)| (local, quic.delay)).unzip();
        let middle =
            |runs: &[Delay], pick: fn(&Delay) -> f64| median(&runs.iter().map(pick).collect::<Vec<_>>());
        let of = |runs: &[Delay]| {
            let (p50_ms, p99_ms) = (middle(runs, |run| run.p50_ms)?, middle(runs, |run| run.p99_ms)?);
            Some(Delay { p50_ms, p99_ms })
        };
        let report = of(&local)
            .zip(of(&quic))
            .map(|(local, delay)| EmptyBatch::of(local, Counted { delay, left_out }));
        Ok(vec![Report::EmptyBatch(report.ok_or("no run")?)])
    }
}

/// The most memory that a demo of 20 s holds, in bytes: a run of this very program.
fn demo_peak_bytes() -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut demo = std::process::Command::new(program)
        .args(["demo", "--json"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut peak = 0;
    let status = format!("/proc/{}/status", demo.id());
    loop {
        if let Some(exit) = demo.try_wait().map_err(|error| error.to_string())? {
            return if exit.success() { Ok(peak) } else { Err(format!("the demo failed: {exit}")) };
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()).and_then(|n| n.parse().ok());
        peak = peak.max(kilobytes.unwrap_or(0u64) * 1024);
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
}
