//! What a task costs in a simulated world, where its work takes no time of its own: so that stragglers, speculative
//! copies and time-outs happen there too.

use std::time::Duration;
use tidemill_protocol::{id::TaskId, world::SeededRng};

/// Virtual time on the slot as a function of the attempt and its rows: the same seed gives the same costs, in whatever
/// order tasks start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostModel {
    /// What draws are derived from.
    pub seed: u64,
    /// What every task costs.
    pub base: Duration,
    /// What a record costs.
    pub per_row: Duration,
    /// A task's cost is multiplied by a number in `1 - jitter ..= 1 + jitter`; 0.0 to 1.0.
    pub jitter: f64,
    /// The share of attempts that are stragglers; 0.0 to 1.0.
    pub straggler_share: f64,
    /// How many times longer a straggler takes.
    pub straggler_factor: u32,
}

impl Default for CostModel {
    /// 200 µs and 1 µs a record, ± 30 %; no stragglers.
    fn default() -> Self {
        CostModel {
            seed: 0,
            base: Duration::from_micros(200),
            per_row: Duration::from_micros(1),
            jitter: 0.3,
            straggler_share: 0.0,
            straggler_factor: 10,
        }
    }
}

impl CostModel {
    /// The cost of an attempt that reads `rows` records.
    pub fn cost(&self, task: TaskId, rows: u64) -> Duration {
        let TaskId { key, attempt } = task;
        let mut rng = SeededRng::new(self.seed);
        for part in [key.batch.0, u64::from(key.stage.0), u64::from(key.partition.0), u64::from(attempt.0)] {
            rng = SeededRng::new(rng.next_u64() ^ part);
        }
        let factor = 1.0 + self.jitter.clamp(0.0, 1.0) * (2.0 * rng.unit() - 1.0);
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        let cost = self.base.saturating_add(self.per_row.saturating_mul(rows)).mul_f64(factor);
        if rng.chance(self.straggler_share) { cost.saturating_mul(self.straggler_factor) } else { cost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_protocol::id::{Attempt, BatchNumber, PartitionId, StageId, TaskKey};

    fn task(partition: u32, attempt: u16) -> TaskId {
        let key = TaskKey { batch: BatchNumber(5), stage: StageId(1), partition: PartitionId(partition) };
        TaskId { key, attempt: Attempt(attempt) }
    }

    #[test]
    fn costs_stay_within_the_jitter_and_repeat() {
        let model = CostModel { seed: 9, ..CostModel::default() };
        let costs: Vec<Duration> = (0..100).map(|p| model.cost(task(p, 0), 800)).collect();
        assert!(costs.iter().all(|c| *c >= Duration::from_micros(700) && *c <= Duration::from_micros(1_300)));
        assert!(costs.iter().any(|c| *c != costs[0]));
        assert_eq!(costs, (0..100).map(|p| model.cost(task(p, 0), 800)).collect::<Vec<_>>());
        assert_ne!(model.cost(task(0, 0), 800), model.cost(task(0, 1), 800), "another attempt, another luck");
    }

    #[test]
    fn every_attempt_is_a_straggler_if_all_are() {
        let model = CostModel { jitter: 0.0, straggler_share: 1.0, ..CostModel::default() };
        assert_eq!(model.cost(task(0, 0), 0), Duration::from_millis(2));
    }
}
