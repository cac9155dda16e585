//! Faults on real processes: a driver, three agents and their executors count the words of a numbered feed over QUIC, a fault
//! strikes while a task runs, and the totals are compared with a plain count.
//!
//! ```text
//!   feed (this process) ──numbered lines──> receiver ┐
//!   fault ──> process, link, disk, limits            ├ driver ──counts of each batch──> this process: equal?
//!   marks (a folder) <── who runs a task right now ──┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `program` | the application under test |
//! | `processes` | processes, and what they have said |
//! | `cluster` | all of them together, from the feed to the verdict |
//! | `places`, `groups` | a network namespace, a small disk; limits of the kernel; each is taken down on drop |
//! | `kills`, `pauses`, `links`, `disks`, `limits` | the scenarios |
//!
//! Both the tests and `tidemill-chaos long` run [`SCENARIOS`]. What needs root says so where there is none: [`End::LeftOut`].

mod cluster;
mod disks;
mod feed;
mod groups;
mod kills;
mod limits;
mod links;
mod pauses;
mod places;
mod processes;
pub mod program;

use std::{fmt, io, path::Path};

/// A scenario and its name. It is given the program, which is
/// [`program::word_count`] with a command line.
pub struct Real {
    /// Its name.
    pub name: &'static str,
    run: fn(&Path) -> Result<End, Wrong>,
}

/// All of them.
pub const SCENARIOS: [Real; 13] = [
    Real { name: "kill-receiver", run: kills::of_the_receivers_executor },
    Real { name: "kill-other", run: kills::of_another_executor },
    Real { name: "kill-agent", run: kills::of_an_agent },
    Real { name: "stop-10s", run: pauses::of_10_s },
    Real { name: "stop-60s", run: pauses::of_60_s },
    Real { name: "link-down", run: links::down },
    Real { name: "cut-one-way", run: links::cut_one_way },
    Real { name: "loss-30", run: links::loss_of_30_percent },
    Real { name: "disk-full", run: disks::full },
    Real { name: "spill-full", run: disks::full_of_spilled_data },
    Real { name: "memory-limit", run: limits::memory },
    Real { name: "memory-kill", run: limits::memory_kill },
    Real { name: "cpu-quota", run: limits::cpu },
];

impl Real {
    /// Runs it with `program`.
    ///
    /// # Errors
    /// [`Wrong`] if totals differ, if the fault struck nothing, or if something else is not as it should be.
    pub fn run(&self, program: &Path) -> Result<End, Wrong> {
        (self.run)(program).map_err(|Wrong(reason)| Wrong(format!("{}: {reason}", self.name)))
    }
}

/// The scenario of this name.
pub fn named(name: &str) -> Option<&'static Real> {
    SCENARIOS.iter().find(|real| real.name == name)
}

/// How a scenario ended, if nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Totals are equal and the faults struck.
    Equal {
        /// How many lines were counted.
        lines: u64,
        /// The faults that struck, in words.
        struck: Vec<String>,
    },
    /// It needs what is not here.
    LeftOut(String),
}

/// What is wrong, in words, with what the processes have said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(String);

impl Wrong {
    fn new(text: impl Into<String>) -> Self {
        Wrong(text.into())
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Wrong(error.to_string())
    }
}

impl From<&Wrong> for Wrong {
    fn from(wrong: &Wrong) -> Self {
        wrong.clone()
    }
}

/// An error unless it holds.
fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(Wrong(what())) }
}
