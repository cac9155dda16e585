//! What a scenario found, as a value, as text and as JSON.

use crate::{
    faults::Struck,
    oracle::{Counts, Difference},
};
use std::{collections::BTreeMap, fmt::Write, time::Duration};

/// What happened in the cluster, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// Batches published.
    pub batches: u64,
    /// The longest total delay of a batch.
    pub total_delay_max: Duration,
    /// Executors declared dead.
    pub executors_down: u64,
    /// Receivers started again.
    pub receiver_restarts: u64,
    /// Tasks that ran again because an executor was lost.
    pub tasks_lost: u64,
    /// Executors that left in good order.
    pub executors_left: u64,
    /// Tasks that ran again because of one of those: none, for everything that is needed of it is elsewhere when it goes.
    pub tasks_needless: u64,
    /// Blocks struck, whose lines the feeder repeated.
    pub blocks_struck: u64,
    /// Safe blocks that are gone: beyond the promise, and never silent.
    pub blocks_lost: u64,
    /// Blocks that had lost a holder, or were to lose one, and have another.
    pub blocks_copied: u64,
}

/// The outcome of one scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What all chance came from.
    pub seed: u64,
    /// The hash of the trace.
    pub trace_hash: u64,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Lines that the feeder wrote, repeats not counted; none if its feed did not end.
    pub lines: Option<u64>,
    /// Lines that it sent again.
    pub lines_repeated: u64,
    /// How the pipeline ended.
    pub outcome: Result<(), String>,
    /// What the pipeline counted.
    pub counted: Counts,
    /// Lists of lines that were not in the order in which they were written.
    pub out_of_order: u64,
    /// Against the plain count.
    pub difference: Difference,
    /// What became of each scheduled fault.
    pub struck: Vec<Struck>,
    /// What the cluster reported.
    pub happened: Happened,
    /// Virtual time from start to end.
    pub took: Duration,
    /// The first entries of the trace, if asked for.
    pub trace: Vec<String>,
}

impl Report {
    /// Whether the pipeline ended well, its totals are those of the plain count, and no leave has cost a task.
    pub fn is_right(&self) -> bool {
        let is_exact = self.lines.is_some() && self.difference.is_none() && self.out_of_order == 0;
        self.outcome.is_ok() && is_exact && self.happened.tasks_needless == 0
    }

    /// The scheduled faults that did not strike.
    pub fn missed(&self) -> Vec<&Struck> {
        self.struck.iter().filter(|struck| struck.count == 0).collect()
    }

    /// How many of the scheduled faults struck.
    pub fn faults_struck(&self) -> u64 {
        self.struck.iter().filter(|struck| struck.count > 0).count() as u64
    }

    /// How often each kind of fault struck.
    pub fn strikes(&self) -> BTreeMap<&'static str, u64> {
        let mut strikes = BTreeMap::new();
        for struck in &self.struck {
            *strikes.entry(struck.scheduled.fault.name()).or_default() += struck.count;
        }
        strikes
    }

    /// The verdict in a word.
    pub fn verdict(&self) -> &'static str {
        match (&self.outcome, self.difference.is_none() && self.lines.is_some()) {
            (Ok(()), true) if self.out_of_order > 0 => "disordered",
            (Ok(()), true) if self.happened.tasks_needless > 0 => "needless",
            (Ok(()), true) => "equal",
            (Ok(()), false) => "different",
            (Err(_), _) => "failed",
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let happened = &self.happened;
        let lines = self.lines.map_or("?".to_owned(), |lines| lines.to_string());
        let told = [
            format!("seed {}, trace {:016x}, {} datagrams", self.seed, self.trace_hash, self.datagrams),
            format!(
                "{lines} lines in {} batches, {} ms of virtual time",
                happened.batches,
                self.took.as_millis()
            ),
            format!(
                "{} executors lost, {} receivers restarted, {} tasks run again, {} lines repeated",
                happened.executors_down, happened.receiver_restarts, happened.tasks_lost, self.lines_repeated
            ),
        ];
        // Writing to a String cannot fail.
        told.iter().for_each(|line| _ = writeln!(text, "{line}"));
        for struck in &self.struck {
            let what = match struck.count {
                0 => "missed".to_owned(),
                count => format!("struck {count} times"),
            };
            _ = writeln!(
                text,
                "fault at {} ms: {:?}: {what}",
                struck.scheduled.at.as_millis(),
                struck.scheduled.fault
            );
        }
        if let Err(error) = &self.outcome {
            _ = writeln!(text, "the pipeline failed: {error}");
        }
        if happened.blocks_lost > 0 {
            _ = writeln!(text, "{} safe blocks are gone with both their holders", happened.blocks_lost);
        }
        if self.out_of_order > 0 {
            _ = writeln!(text, "{} lists are not in order", self.out_of_order);
        }
        if happened.tasks_needless > 0 {
            _ = writeln!(
                text,
                "{} tasks ran again for executors that had left in good order",
                happened.tasks_needless
            );
        }
        let Difference { lost, repeated } = self.difference;
        _ = write!(text, "totals: {} ({lost} words lost, {repeated} repeated)", self.verdict());
        text
    }

    /// For programs: one object on one line.
    pub fn json(&self) -> String {
        let happened = &self.happened;
        serde_json::json!({
            "seed": self.seed,
            "trace": format!("{:016x}", self.trace_hash),
            "datagrams": self.datagrams,
            "verdict": self.verdict(),
            "error": self.outcome.as_ref().err(),
            "lines": self.lines,
            "lines_repeated": self.lines_repeated,
            "lost": self.difference.lost,
            "repeated": self.difference.repeated,
            "batches": happened.batches,
            "executors_down": happened.executors_down,
            "receiver_restarts": happened.receiver_restarts,
            "tasks_lost": happened.tasks_lost,
            "executors_left": happened.executors_left,
            "tasks_needless": happened.tasks_needless,
            "blocks_struck": happened.blocks_struck,
            "blocks_lost": happened.blocks_lost,
            "blocks_copied": happened.blocks_copied,
            "faults_scheduled": self.struck.len(),
            "faults_struck": self.faults_struck(),
            "strikes": self.strikes(),
            "virtual_ms": self.took.as_millis() as u64,
        })
        .to_string()
    }
}
