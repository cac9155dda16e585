//! `tidemill-chaos`: simulated clusters under faults, from the command line.

use clap::{Args, Parser, Subcommand};
use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use tidemill_chaos::{Report, Scenario, faults};

/// Puts faults into a simulated cluster and proves that nothing was lost or counted twice.
#[derive(Debug, Parser)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    tidemill-chaos sim --seed 7           the fixed scenario: loss, reordering, a cut, a kill\n  \
    tidemill-chaos sim --seed 7 --random  faults drawn from the seed\n  \
    tidemill-chaos swarm --seeds 0..100   many seeds with faults of their own"
)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one scenario; exit 1 if totals differ or a scheduled fault did not strike
    Sim(SimArgs),
    /// Run many seeds, each with random faults; exit 1 if anything was lost or counted twice
    Swarm(SwarmArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  tidemill-chaos sim --seed 7 --json")]
struct SimArgs {
    /// What all chance comes from
    #[arg(long)]
    seed: u64,
    /// Faults drawn from the seed, instead of the fixed ones; one that misses is no failure then
    #[arg(long)]
    random: bool,
    /// Let quinn draw its own lots: runs of one seed then differ
    #[arg(long)]
    unseeded: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Print this many entries of the trace first, to find where two runs part
    #[arg(long, default_value_t = 0)]
    trace: usize,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  tidemill-chaos swarm --seeds 0..100 --jobs 2")]
struct SwarmArgs {
    /// The first seed and the one after the last, as in 0..100
    #[arg(long, value_parser = seeds)]
    seeds: Seeds,
    /// How many run at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
}

#[derive(Clone, Debug)]
struct Seeds(std::ops::Range<u64>);

fn seeds(text: &str) -> Result<Seeds, String> {
    let range = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    match range {
        Some(range) if range.start < range.end => Ok(Seeds(range)),
        _ => Err(format!("`{text}` is not a range of seeds such as 0..100")),
    }
}

fn main() -> ExitCode {
    // Executors end and begin here all the time: a log is only for those who ask for one.
    if std::env::var_os("RUST_LOG").is_some() {
        tidemill::app::install_log("warn");
    }
    faults::silence_planned_panics();
    let is_well = match Line::parse().command {
        Command::Sim(args) => sim(&args),
        Command::Swarm(args) => swarm(&args),
    };
    if is_well { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn sim(args: &SimArgs) -> bool {
    let scenario = if args.random { Scenario::random(args.seed) } else { Scenario::fixed(args.seed) };
    let scenario = Scenario { is_unseeded: args.unseeded, trace_lines: args.trace, ..scenario };
    let report = match scenario.run() {
        Ok(report) => report,
        Err(error) => {
            eprintln!("tidemill-chaos: {error}");
            return false;
        }
    };
    report.trace.iter().for_each(|line| println!("{line}"));
    println!("{}", if args.json { report.json() } else { report.text() });
    report.is_right() && (args.random || report.missed().is_empty())
}

fn swarm(args: &SwarmArgs) -> bool {
    let (next, end) = (AtomicU64::new(args.seeds.0.start), args.seeds.0.end);
    let reports = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = Scenario::random(seed).run().map_err(|error| error.to_string());
                    tell(seed, &outcome);
                    reports.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                }
            });
        }
    });
    let reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    let all_right = reports.len() as u64 == end - args.seeds.0.start
        && reports.iter().all(|outcome| outcome.as_ref().is_ok_and(Report::is_right));
    let sum = |of: fn(&Report) -> u64| reports.iter().flatten().map(of).sum::<u64>();
    let (struck, lost, repeated) =
        (sum(Report::faults_struck), sum(|r| r.difference.lost), sum(|r| r.difference.repeated));
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, count) in reports.iter().flatten().flat_map(Report::strikes) {
        *kinds.entry(kind).or_default() += count;
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    println!("struck: {}", kinds.join(", "));
    println!("{} seeds, {struck} faults struck, {lost} lost, {repeated} repeated", reports.len());
    all_right
}

/// A seed that went wrong is told in full; run it alone with `sim --random --seed`.
fn tell(seed: u64, outcome: &Result<Report, String>) {
    match outcome {
        Ok(report) if report.is_right() => {}
        Ok(report) => println!("{}\n", report.text()),
        Err(error) => println!("seed {seed}: {error}\n"),
    }
}
