//! Many seeds, each a scenario with faults of its own, a few at the same time.

use crate::{report::Report, scenario::Scenario};
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use tidemill::cluster::sim::{Planted, SimError};

/// The planted defects, by the names that the command takes.
pub const PLANTED: [(&str, Planted); 5] = [
    ("no-incarnation-check", Planted::NoIncarnationCheck),
    ("ack-before-safe", Planted::AckBeforeSafe),
    ("merge-by-arrival", Planted::MergeByArrival),
    ("adopt-dead", Planted::AdoptDead),
    ("forget-replica", Planted::ForgetReplica),
];

/// Which seeds.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// From the first to before the last.
    pub seeds: Range<u64>,
    /// How many at the same time.
    pub jobs: u64,
    /// A defect in all of them.
    pub planted: Option<Planted>,
    /// Whether no more are begun once one went wrong.
    pub ends_at_first: bool,
}

/// What a swarm has found.
#[derive(Debug, Default)]
pub struct Found {
    /// By seed.
    pub outcomes: BTreeMap<u64, Result<Report, SimError>>,
    /// How many seeds there were to be.
    pub expected: u64,
}

impl Swarm {
    /// Runs it; `told` hears of each seed as it ends.
    pub fn run(&self, told: impl Fn(u64, &Result<Report, SimError>) + Sync) -> Found {
        let next = AtomicU64::new(self.seeds.start);
        let outcomes = Mutex::new(BTreeMap::new());
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= self.seeds.end {
                    return;
                }
                let outcome = Scenario { planted: self.planted, ..Scenario::random(seed) }.run();
                told(seed, &outcome);
                let is_right = outcome.as_ref().is_ok_and(Report::is_right);
                outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, outcome);
                if self.ends_at_first && !is_right {
                    next.store(self.seeds.end, Ordering::Relaxed);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(work);
            }
        });
        let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
        Found { outcomes, expected: self.seeds.end - self.seeds.start }
    }
}

impl Found {
    fn reports(&self) -> impl Iterator<Item = &Report> {
        self.outcomes.values().flatten()
    }

    /// Whether every seed has run and its totals are right.
    pub fn is_right(&self) -> bool {
        let is_right = |outcome: &Result<Report, SimError>| outcome.as_ref().is_ok_and(Report::is_right);
        self.outcomes.len() as u64 == self.expected && self.outcomes.values().all(is_right)
    }

    /// The first seed that went wrong.
    pub fn first_wrong(&self) -> Option<u64> {
        self.outcomes.iter().find(|(_, o)| !o.as_ref().is_ok_and(Report::is_right)).map(|(seed, _)| *seed)
    }

    /// Of all seeds the one with the fewest faults that struck, and how many.
    pub fn fewest_struck(&self) -> Option<(u64, u64)> {
        self.reports().map(|report| (report.seed, report.faults_struck())).min_by_key(|(_, struck)| *struck)
    }

    /// How often each kind of fault struck.
    pub fn kinds(&self) -> String {
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for (kind, count) in self.reports().flat_map(Report::strikes) {
            *kinds.entry(kind).or_default() += count;
        }
        let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        kinds.join(", ")
    }

    /// The last line.
    pub fn totals(&self) -> String {
        let sum = |of: fn(&Report) -> u64| self.reports().map(of).sum::<u64>();
        let (struck, lost, repeated) =
            (sum(Report::faults_struck), sum(|r| r.difference.lost), sum(|r| r.difference.repeated));
        format!("{} seeds, {struck} faults struck, {lost} lost, {repeated} repeated", self.outcomes.len())
    }
}

/// A seed that went wrong, in full, and how to see it again; none if it went well.
pub fn told(seed: u64, planted: Option<Planted>, outcome: &Result<Report, SimError>) -> Option<String> {
    let text = match outcome {
        Ok(report) if report.is_right() => return None,
        Ok(report) => report.text(),
        Err(error) => format!("seed {seed}: {error}"),
    };
    let name = PLANTED.iter().find(|(_, bug)| Some(*bug) == planted).map(|(name, _)| *name);
    let bug = name.map(|name| format!(" --planted {name}")).unwrap_or_default();
    Some(format!(
        "{text}\nagain: tidemill-chaos sim --seed {seed} --random{bug}\nsmallest: tidemill-chaos sim --seed {seed} --shrink{bug}\n"
    ))
}
