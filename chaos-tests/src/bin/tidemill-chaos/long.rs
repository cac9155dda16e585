//! `tidemill-chaos long`: scenarios that take longer than a test may, one line each.

use clap::Args;
use tidemill::cluster::sim::Planted;
use tidemill_chaos::{
    Swarm,
    real::{End, Real, SCENARIOS},
    swarm::PLANTED,
};

/// Planted defects are to be found before this seed.
const PLANTED_BELOW: u64 = 200;

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  tidemill-chaos long --seeds 20 --only swarm\n  tidemill-chaos long --times 1 --only real-kill"
)]
pub struct LongArgs {
    /// How many seeds the swarm has
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// How many run at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
    /// How often each scenario with real processes is repeated
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    times: u64,
    /// Only scenarios whose name begins so
    #[arg(long)]
    only: Option<String>,
}

/// What a scenario has found: whether it is as it should be, and in words.
type Verdict = (bool, String);

/// Runs what is asked for; whether all of it is as it should be. Nothing at all is not.
pub fn run(args: &LongArgs) -> bool {
    let mut scenarios: Vec<(String, Box<dyn Fn() -> Verdict + '_>)> =
        vec![("swarm".to_owned(), Box::new(|| swarm(args)))];
    for (name, bug) in PLANTED {
        scenarios.push((format!("planted-{name}"), Box::new(move || planted(args.jobs, bug))));
    }
    for real in &SCENARIOS {
        let name = format!("real-{}", real.name);
        scenarios.push((name, Box::new(|| repeated(args.times, real))));
    }
    let is_wanted = |name: &str| args.only.as_ref().is_none_or(|only| name.starts_with(only.as_str()));
    let (mut all, mut failed) = (0, 0);
    for (name, scenario) in scenarios.iter().filter(|(name, _)| is_wanted(name)) {
        let (is_right, text) = scenario();
        all += 1;
        failed += u64::from(!is_right);
        println!("{} {name}: {text}", if is_right { "ok    " } else { "FAILED" });
    }
    println!("{all} scenarios, {failed} failed");
    all > 0 && failed == 0
}

fn swarm(args: &LongArgs) -> Verdict {
    let swarm = Swarm { seeds: 0..args.seeds, jobs: args.jobs, planted: None, ends_at_first: false };
    let found = swarm.run(|_, _| ());
    let first =
        found.first_wrong().map(|seed| format!("; the first wrong seed is {seed}")).unwrap_or_default();
    (found.is_right(), format!("{}{first}", found.totals()))
}

/// A scenario with real processes, again and again, until it goes wrong.
fn repeated(times: u64, real: &Real) -> Verdict {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return (false, format!("this program cannot be found: {error}")),
    };
    let (mut counted, mut faults, mut last) = (0, 0, String::new());
    for time in 1..=times {
        match real.run(&program) {
            Ok(End::Equal { lines, struck }) => {
                counted += lines;
                faults += struck.len();
                last = struck.join(", ");
            }
            Ok(End::LeftOut(why)) => return (true, format!("left out: {why}")),
            Err(wrong) => return (false, format!("time {time} of {times}: {wrong}")),
        }
    }
    (true, format!("{times} times, {faults} faults struck, {counted} lines, totals equal; at last {last}"))
}

fn planted(jobs: u64, bug: Planted) -> Verdict {
    let swarm = Swarm { seeds: 0..PLANTED_BELOW, jobs, planted: Some(bug), ends_at_first: true };
    match swarm.run(|_, _| ()).first_wrong() {
        Some(seed) => (true, format!("found with seed {seed}")),
        None => (false, format!("not found below seed {PLANTED_BELOW}")),
    }
}
