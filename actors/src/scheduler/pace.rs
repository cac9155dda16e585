//! How long the tasks of a stage take, and when one takes too long: the policy of speculative copies.
//!
//! ```text
//!   launched                       median      × 1.4 and + 2 ms
//!      ├──────────────────────────────┼────────────────┼─────────> time
//!                                                      └ a copy starts, if a slot is idle elsewhere
//! ```
//!
//! The median is that of the stage's finished tasks, once half of the stage is done. Before that, for instance because all of
//! the stage waits for one slow executor, it is what the same stage had in earlier batches. All times are from launch to
//! report, as the scheduler sees them: queue, fetching and network included.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};
use tidemill_protocol::{
    id::{PartitionId, StageId},
    time::Time,
};

/// Earlier batches whose medians are remembered, for each stage.
const MEDIANS_MAX: usize = 8;
/// Earlier batches that must be known before they count.
const MEDIANS_MIN: usize = 3;
/// Stages whose medians are remembered. Jobs of more are not sped up by history.
const STAGES_MAX: usize = 256;

/// When a copy of a running task starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeculationLimits {
    /// Beyond the median by so many hundredths of it …
    pub excess_percent: u32,
    /// … and by this time at least.
    pub excess_min: Duration,
    /// At most so many copies for each hundred tasks of a stage, but at least one.
    pub copies_percent: usize,
}

impl Default for SpeculationLimits {
    /// 1.4 times the median, by 2 ms at least; 10 %.
    fn default() -> Self {
        SpeculationLimits { excess_percent: 40, excess_min: Duration::from_millis(2), copies_percent: 10 }
    }
}

impl SpeculationLimits {
    /// How long a task may run where others took `median`.
    pub fn patience(&self, median: Duration) -> Duration {
        median + (median.saturating_mul(self.excess_percent) / 100).max(self.excess_min)
    }

    /// How many copies a stage of `tasks` tasks may have.
    pub fn copies_max(&self, tasks: usize) -> usize {
        (tasks * self.copies_percent / 100).max(1)
    }
}

/// What is known of the times of one stage in one batch.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    /// The times of the attempts that were accepted, ascending.
    finished: Vec<Duration>,
    /// The running tasks that have no copy, the one launched first first.
    pub watched: BTreeSet<(Time, PartitionId)>,
    /// How many copies were started.
    pub copies: usize,
}

impl Pace {
    /// An attempt was accepted that took this long.
    pub fn finish(&mut self, took: Duration) {
        let at = self.finished.partition_point(|known| *known <= took);
        self.finished.insert(at, took);
    }

    /// The lower median of what has finished.
    pub fn median(&self) -> Option<Duration> {
        let last = self.finished.len().checked_sub(1)?;
        Some(self.finished[last / 2])
    }
}

/// The medians of stages in earlier batches.
#[derive(Clone, Debug, Default)]
pub(super) struct History(BTreeMap<(usize, StageId), VecDeque<Duration>>);

impl History {
    /// Notes the median of a stage of a job with `stages` stages. Jobs of different shapes have different numbers of stages.
    pub fn note(&mut self, stages: usize, stage: StageId, median: Duration) {
        if !self.0.contains_key(&(stages, stage)) && self.0.len() >= STAGES_MAX {
            return;
        }
        let medians = self.0.entry((stages, stage)).or_default();
        medians.push_back(median);
        if medians.len() > MEDIANS_MAX {
            medians.pop_front();
        }
    }

    /// What that stage usually takes: the median of the medians.
    pub fn usual(&self, stages: usize, stage: StageId) -> Option<Duration> {
        let mut medians: Vec<Duration> = self.0.get(&(stages, stage))?.iter().copied().collect();
        medians.sort_unstable();
        (medians.len() >= MEDIANS_MIN).then(|| medians[(medians.len() - 1) / 2])
    }
}
