//! How executors have behaved: who gets no tasks for a time. A policy: it looks and says, it changes nothing but its memory.
//!
//! ```text
//!           2 tasks failed, or 3 slow batches          time is over              a probation without complaint
//!   good ────────────────────────────────────> excluded ───────────> on probation ─────────────────────────> good
//!                                              10 s, 20 s, …  ^             │
//!                                                             └─────────────┘  1 slow batch, or 2 failed tasks
//! ```
//!
//! Slow is relative: in one stage of one batch, by the mean time on the slot of each executor's tasks, held against the
//! executor in the middle (the faster of two), and allowed more in proportion where it read more records. An attempt that was
//! overtaken by its copy is a slow one. An executor that fails everything on purpose of the program (a panic in a closure) is
//! like all others then; that the last one is never excluded is the caller's business.

use super::executors::Standing;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use tidemill_protocol::{
    id::{Member, NodeId, TaskKey},
    time::Time,
};

/// The limits of good conduct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConductLimits {
    /// So many different tasks that failed by their own fault on one executor …
    pub failures_max: usize,
    /// … within this time exclude it.
    pub failures_period: Duration,
    /// A batch was slow on an executor if its tasks took so many times longer than elsewhere …
    pub slow_factor: u64,
    /// … and at least so much longer.
    pub slow_excess_min: Duration,
    /// So many slow batches in a row exclude it; batches that say nothing about it do not count.
    pub slow_batches_max: u32,
    /// Two executors do not reach each other when fetches between them fail for so long.
    pub gap_min: Duration,
    /// How long it gets no tasks the first time; twice as long each further time. Probation lasts as long as the first time.
    pub exclusion_min: Duration,
    /// How long at most.
    pub exclusion_max: Duration,
}

impl Default for ConductLimits {
    /// 2 failed tasks within 60 s; 3 batches 3 times slower and by at least 5 ms, which is more than a busy machine takes from a task; a gap of 1 s,
    /// longer than a broken connection takes to be made again; 10 s to 5 min.
    fn default() -> Self {
        ConductLimits {
            failures_max: 2,
            failures_period: Duration::from_secs(60),
            slow_factor: 3,
            slow_excess_min: Duration::from_millis(5),
            slow_batches_max: 3,
            gap_min: Duration::from_secs(1),
            exclusion_min: Duration::from_secs(10),
            exclusion_max: Duration::from_secs(300),
        }
    }
}

/// Why an executor gets no tasks for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misconduct {
    /// Different tasks have failed on it, and may succeed elsewhere.
    Failures,
    /// Its tasks take much longer than those of others.
    Slowness,
    /// Others do not reach it, or it does not reach them: they could not have each other's outputs.
    OutOfReach,
    /// One of them, in an earlier life: the time is what is left of that exclusion.
    EarlierLife,
}

/// What one task says about its executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// Where it ran.
    pub on: Member,
    /// Its time on the slot.
    pub ran: Duration,
    /// The records it read.
    pub rows: u64,
}

#[derive(Clone, Debug, Default)]
struct Record {
    failures: VecDeque<(Time, TaskKey)>,
    slow_batches: u32,
    /// Exclusions since it was last good for as long as its last exclusion.
    exclusions: u32,
    /// When the last exclusion ended or will end.
    until: Option<Time>,
    /// When its probation ends.
    probation: Option<Time>,
    is_excluded: bool,
}

/// The memory of all nodes of whom there was a complaint. A process that is started again does not make a bad machine a good
/// one, so what counts is the node.
#[derive(Clone, Debug)]
pub(super) struct Conduct {
    limits: ConductLimits,
    records: BTreeMap<NodeId, Record>,
}

impl Conduct {
    pub fn new(limits: ConductLimits) -> Conduct {
        Conduct { limits, records: BTreeMap::new() }
    }

    /// This life of it is gone: of the node only an exclusion or a probation is remembered, until its time is over.
    pub fn forget(&mut self, node: NodeId) {
        if self.standing(node) == Standing::Good {
            self.records.remove(&node);
        }
    }

    /// What its past has earned it.
    pub fn standing(&self, node: NodeId) -> Standing {
        match self.records.get(&node) {
            Some(record) if record.is_excluded => Standing::Excluded,
            Some(Record { probation: Some(_), .. }) => Standing::OnProbation,
            _ => Standing::Good,
        }
    }

    /// What is left of its exclusion.
    pub fn time_left(&self, now: Time, node: NodeId) -> Duration {
        self.records
            .get(&node)
            .and_then(|record| record.until)
            .map_or(Duration::ZERO, |until| until.since(now))
    }

    /// A task failed on it by its own fault; true if it should be excluded.
    pub fn task_failed(&mut self, now: Time, on: Member, task: TaskKey) -> bool {
        let limits = self.limits;
        let record = self.records.entry(on.node).or_default();
        record.failures.retain(|(at, failed)| now.since(*at) <= limits.failures_period && *failed != task);
        record.failures.push_back((now, task));
        !record.is_excluded && record.failures.len() >= limits.failures_max
    }

    /// A batch has ended: its stages' tasks, and whose attempts were overtaken. Gives who should be excluded, by id.
    pub fn batch_ended(&mut self, stages: &[Vec<Sample>], overtaken: &[Member]) -> Vec<Member> {
        // For each executor: how many of its stages (or attempts) speak against it, and how many for it.
        let mut verdicts = BTreeMap::<Member, (u32, u32)>::new();
        overtaken.iter().for_each(|member| verdicts.entry(*member).or_default().0 += 1);
        for (member, is_slow) in stages.iter().flat_map(|samples| self.compare(samples)) {
            let (against, pro) = verdicts.entry(member).or_default();
            *(if is_slow { against } else { pro }) += 1;
        }
        let mut found = Vec::new();
        for (member, (against, pro)) in verdicts {
            if against <= pro {
                // Of those of whom there was never a complaint nothing is remembered.
                self.records.entry(member.node).and_modify(|record| record.slow_batches = 0);
                continue;
            }
            let record = self.records.entry(member.node).or_default();
            record.slow_batches += 1;
            let most = if record.probation.is_some() { 1 } else { self.limits.slow_batches_max };
            if record.slow_batches >= most && !record.is_excluded {
                found.push(member);
            }
        }
        found
    }

    /// For each executor of a stage that ran on more than one: whether it was slow.
    fn compare(&self, samples: &[Sample]) -> Vec<(Member, bool)> {
        let mut sums = BTreeMap::<Member, (u128, u128, u128)>::new();
        for sample in samples {
            let (count, ran, rows) = sums.entry(sample.on).or_default();
            *count += 1;
            *ran += sample.ran.as_nanos();
            *rows += u128::from(sample.rows);
        }
        if sums.len() < 2 {
            return Vec::new();
        }
        let means: Vec<(Member, u128, u128)> = sums
            .into_iter()
            .map(|(member, (count, ran, rows))| (member, ran / count, rows / count))
            .collect();
        let mut by_time: Vec<(u128, u128)> = means.iter().map(|(_, ran, rows)| (*ran, *rows)).collect();
        by_time.sort_unstable();
        let (usual, usual_rows) = by_time[(by_time.len() - 1) / 2];
        let is_slow = |ran: u128, rows: u128| {
            // Three times as many records may take three times as long.
            let fair = (usual * rows.max(1) / usual_rows.max(1)).max(usual);
            ran >= fair * u128::from(self.limits.slow_factor)
                && ran - fair >= self.limits.slow_excess_min.as_nanos()
        };
        means.into_iter().map(|(member, ran, rows)| (member, is_slow(ran, rows))).collect()
    }

    /// It is excluded from now on; gives for how long.
    pub fn exclude(&mut self, now: Time, member: Member) -> Duration {
        let limits = self.limits;
        let record = self.records.entry(member.node).or_default();
        let last = time_of(&limits, record.exclusions);
        if record.until.is_none_or(|until| now.since(until) >= last) {
            record.exclusions = 0;
        }
        let time = time_of(&limits, record.exclusions + 1);
        record.exclusions += 1;
        record.until = Some(now + time);
        record.probation = None;
        record.is_excluded = true;
        record.failures.clear();
        record.slow_batches = 0;
        time
    }

    /// Nobody else is there: its exclusion is over before its time.
    pub fn pardon(&mut self, now: Time, member: Member) {
        if let Some(record) = self.records.get_mut(&member.node) {
            record.is_excluded = false;
            record.until = Some(now);
            record.probation = None;
        }
    }

    /// Whose exclusion is over (true) and whose probation is (false), by id.
    pub fn due(&mut self, now: Time) -> Vec<(NodeId, bool)> {
        let mut found = Vec::new();
        for (node, record) in &mut self.records {
            if record.is_excluded && record.until.is_some_and(|until| until <= now) {
                record.is_excluded = false;
                record.probation = Some(now + self.limits.exclusion_min);
                found.push((*node, true));
            } else if record.probation.is_some_and(|until| until <= now) {
                record.probation = None;
                found.push((*node, false));
            }
        }
        found
    }

    /// When an exclusion or a probation is over next.
    pub fn next_deadline(&self) -> Option<Time> {
        let of = |record: &Record| if record.is_excluded { record.until } else { record.probation };
        self.records.values().filter_map(of).min()
    }
}

/// The length of the `n`-th exclusion in a row, from 1.
fn time_of(limits: &ConductLimits, n: u32) -> Duration {
    let doubled = 1_u32.checked_shl(n.saturating_sub(1)).unwrap_or(u32::MAX);
    limits.exclusion_min.saturating_mul(doubled).min(limits.exclusion_max)
}
