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
    after_help = "Examples:\n  tidemill-chaos long --seeds 20 --only swarm\n  tidemill-chaos long --times 1 --only real-kill-agent"
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

/// What became of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Right,
    Wrong,
    /// It needs what is not here.
    LeftOut,
}

impl Outcome {
    fn of(is_right: bool) -> Self {
        if is_right { Outcome::Right } else { Outcome::Wrong }
    }

    /// The first word of its line.
    fn word(self) -> &'static str {
        match self {
            Outcome::Right => "ok      ",
            Outcome::Wrong => "FAILED  ",
            Outcome::LeftOut => "left out",
        }
    }
}

/// What a scenario has found, and in words.
type Verdict = (Outcome, String);

/// Runs what is asked for; whether all of it is as it should be. Nothing at all is not, and nor is it if everything was left out.
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
    let mut outcomes = Vec::new();
    for (name, scenario) in scenarios.iter().filter(|(name, _)| is_wanted(name)) {
        let (outcome, text) = scenario();
        outcomes.push(outcome);
        println!("{} {name}: {text}", outcome.word());
    }
    println!("{}", sum(&outcomes));
    outcomes.contains(&Outcome::Right) && !outcomes.contains(&Outcome::Wrong)
}

fn sum(outcomes: &[Outcome]) -> String {
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    let (failed, left_out) = (count(Outcome::Wrong), count(Outcome::LeftOut));
    let left_out = if left_out > 0 { format!(", {left_out} left out") } else { String::new() };
    format!("{} scenarios, {failed} failed{left_out}", outcomes.len())
}

fn swarm(args: &LongArgs) -> Verdict {
    let swarm = Swarm { seeds: 0..args.seeds, jobs: args.jobs, planted: None, ends_at_first: false };
    let found = swarm.run(|_, _| ());
    let first =
        found.first_wrong().map(|seed| format!("; the first wrong seed is {seed}")).unwrap_or_default();
    (Outcome::of(found.is_right()), format!("{}{first}", found.totals()))
}

/// A scenario with real processes, again and again, until it goes wrong.
fn repeated(times: u64, real: &Real) -> Verdict {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return (Outcome::Wrong, format!("this program cannot be found: {error}")),
    };
    let (mut counted, mut faults, mut last) = (0, 0, String::new());
    for time in 1..=times {
        match real.run(&program) {
            Ok(End::Equal { lines, struck }) => {
                counted += lines;
                faults += struck.len();
                last = struck.join(", ");
            }
            Ok(End::LeftOut(why)) => return (Outcome::LeftOut, why),
            Err(wrong) => return (Outcome::Wrong, format!("time {time} of {times}: {wrong}")),
        }
    }
    (
        Outcome::Right,
        format!("{times} times, {faults} faults struck, {counted} lines, totals equal; at last {last}"),
    )
}

fn planted(jobs: u64, bug: Planted) -> Verdict {
    let swarm = Swarm { seeds: 0..PLANTED_BELOW, jobs, planted: Some(bug), ends_at_first: true };
    match swarm.run(|_, _| ()).first_wrong() {
        Some(seed) => (Outcome::Right, format!("found with seed {seed}")),
        None => (Outcome::Wrong, format!("not found below seed {PLANTED_BELOW}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_neither_right_nor_wrong() {
        use Outcome::{LeftOut, Right, Wrong};
        assert_eq!(sum(&[Right, Right]), "2 scenarios, 0 failed");
        assert_eq!(sum(&[Right, LeftOut, Wrong, LeftOut]), "4 scenarios, 1 failed, 2 left out");
        assert_eq!([Right, Wrong, LeftOut].map(Outcome::word), ["ok      ", "FAILED  ", "left out"]);
    }
}
