//! `tidemill-chaos`: simulated clusters under faults, from the command line.

mod long;
mod plot;
mod recovery;
mod relay;
mod scale;

use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;
use tidemill::cluster::sim::Planted;
use tidemill_chaos::{
    Scenario, Swarm, faults,
    real::program,
    swarm::{PLANTED, told},
};

/// Puts faults into a simulated cluster and proves that nothing was lost or counted twice.
#[derive(Debug, Parser)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    tidemill-chaos sim --seed 7               # the fixed scenario: loss, reordering, a cut, a kill\n  \
    tidemill-chaos sim --seed 7 --random      # faults drawn from the seed\n  \
    tidemill-chaos sim --seed 7 --shrink      # the smallest part of those that still goes wrong\n  \
    tidemill-chaos swarm --seeds 0..10        # many seeds with faults of their own\n  \
    tidemill-chaos long --only planted-merge  # one of the long scenarios; all of them without --only\n  \
    tidemill-chaos scale --executors 10       # what a driver costs by the number of its executors\n  \
    tidemill-chaos recovery --seeds 1         # what a loss costs with 2 to 12 executors, in virtual time"
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
    /// Run the long scenarios, one line each; exit 1 if one fails
    Long(long::LongArgs),
    /// Measure what a driver costs, by the number of its executors
    Scale(scale::ScaleArgs),
    /// Show how the time to recover from a loss falls with the number of executors, in virtual time
    Recovery(recovery::RecoveryArgs),
    /// Stand between a UDP server and its peers, and lose, delay, double or cut what passes
    Relay(relay::RelayArgs),
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
    /// Draw the faults from the seed; if the run goes wrong, leave out faults while it still does, and print the rest
    #[arg(long, conflicts_with_all = ["json", "trace", "unseeded"])]
    shrink: bool,
    /// Plant this defect first, to see that it is found
    #[arg(long, value_parser = planted)]
    planted: Option<Planted>,
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
#[command(after_help = "Example:\n  tidemill-chaos swarm --seeds 0..10 --jobs 2")]
struct SwarmArgs {
    /// The first seed and the one after the last, as in 0..100
    #[arg(long, value_parser = seeds)]
    seeds: Seeds,
    /// How many run at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
    /// Plant this defect in all of them, and end at the first that goes wrong
    #[arg(long, value_parser = planted)]
    planted: Option<Planted>,
}

fn planted(name: &str) -> Result<Planted, String> {
    let names = PLANTED.map(|(name, _)| name).join(", ");
    let found = PLANTED.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, bug)| bug).ok_or_else(|| format!("there are {names}"))
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
    // The application that real processes run: its agents start executors from this very file.
    let first = std::env::args().nth(1).unwrap_or_default();
    if program::COMMANDS.contains(&first.as_str()) {
        return program::word_count().main();
    }
    // Executors end and begin here all the time: a log is only for those who ask for one.
    if std::env::var_os("RUST_LOG").is_some() {
        tidemill::app::install_log("warn");
    }
    faults::silence_planned_panics();
    let is_well = match Line::parse().command {
        Command::Sim(args) => sim(&args),
        Command::Swarm(args) => swarm(args),
        Command::Long(args) => long::run(&args),
        Command::Scale(args) => scale::run(&args),
        Command::Recovery(args) => recovery::run(&args),
        Command::Relay(args) => relay::run(&args),
    };
    if is_well { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn sim(args: &SimArgs) -> bool {
    let is_random = args.random || args.shrink;
    let scenario = if is_random { Scenario::random(args.seed) } else { Scenario::fixed(args.seed) };
    let scenario =
        Scenario { is_unseeded: args.unseeded, trace_lines: args.trace, planted: args.planted, ..scenario };
    if args.shrink {
        return shrink(&scenario);
    }
    let report = match scenario.run() {
        Ok(report) => report,
        Err(error) => {
            eprintln!("tidemill-chaos: {error}");
            return false;
        }
    };
    report.trace.iter().for_each(|line| println!("{line}"));
    println!("{}", if args.json { report.json() } else { report.text() });
    report.is_right() && (is_random || report.missed().is_empty())
}

fn shrink(scenario: &Scenario) -> bool {
    let Some(shrunk) = scenario.shrink() else {
        println!("seed {} does not go wrong", scenario.seed);
        return true;
    };
    let all = scenario.faults.len();
    println!(
        "seed {}: {} of {all} faults suffice, found in {} runs",
        scenario.seed,
        shrunk.faults.len(),
        shrunk.runs
    );
    shrunk.faults.iter().for_each(|scheduled| println!("  {scheduled}"));
    false
}

fn swarm(args: SwarmArgs) -> bool {
    let planted = args.planted;
    let swarm = Swarm { seeds: args.seeds.0, jobs: args.jobs, planted, ends_at_first: planted.is_some() };
    let found = swarm.run(|seed, outcome| {
        told(seed, planted, outcome).into_iter().for_each(|text| println!("{text}"));
    });
    if let Some((seed, struck)) = found.fewest_struck() {
        println!("fewest: {struck} faults struck with seed {seed}");
    }
    println!("struck: {}", found.kinds());
    println!("{}", found.totals());
    found.is_right()
}
