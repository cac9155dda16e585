//! When executors are told that a batch is over, so that they let go of its outputs.
//!
//! ```text
//!   batch released ──> much of it there?  ── yes ──> told at once
//!                      └─ no ──> owed ──┬── the next tasks go there ──> told with them, in one message
//!                                       └── none came for so long   ──> told
//! ```
//!
//! A message of its own for each executor and batch would cost a driver of hundreds of executors a third of all datagrams. Only who was
//! sent something of a batch is told of it.

use super::job::{Job, TaskState};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidemill_protocol::{
    id::{BatchNumber, Incarnation, Member, NodeId, PartitionId},
    time::Time,
};

/// Sorts before every other member.
const NOBODY: Member = Member { node: NodeId(0), incarnation: Incarnation(0) };

/// How long small outputs may stay where they are of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LateRelease {
    /// Who was sent no task for so long is told without one.
    pub patience: Duration,
    /// An executor that holds more than this is told at once, in bytes.
    pub bytes_max: u64,
}

impl Default for LateRelease {
    /// 1 s, 64 KiB.
    fn default() -> Self {
        LateRelease { patience: Duration::from_secs(1), bytes_max: 64 * 1024 }
    }
}

/// Who has to be told of which batch.
#[derive(Clone, Debug)]
pub(super) struct Releases {
    limits: Option<LateRelease>,
    /// Who was sent something of batches that are not released.
    sent: BTreeSet<(BatchNumber, Member)>,
    owed: BTreeMap<Member, Owed>,
    /// The owed ones, the first to be told first.
    order: BTreeSet<(Time, Member)>,
}

/// What one executor has not been told yet.
#[derive(Clone, Copy, Debug)]
struct Owed {
    /// Batches up to this one are over.
    up_to: BatchNumber,
    /// Since when the first of them is.
    since: Time,
    /// What it holds of all of them, at most.
    bytes: u64,
}

impl Releases {
    /// Nobody is owed anything. Without limits everybody is told at once.
    pub fn new(limits: Option<LateRelease>) -> Self {
        Releases { limits, sent: BTreeSet::new(), owed: BTreeMap::new(), order: BTreeSet::new() }
    }

    /// An executor is sent something of this batch.
    pub fn sent(&mut self, batch: BatchNumber, member: Member) {
        self.sent.insert((batch, member));
    }

    /// This batch, and all before it, are over; `bytes` is what executors hold of it. Gives those who are to be told now, by id.
    pub fn release(&mut self, now: Time, batch: BatchNumber, bytes: &BTreeMap<Member, u64>) -> Vec<Member> {
        let later = self.sent.split_off(&(batch.next(), NOBODY));
        let over = std::mem::replace(&mut self.sent, later);
        let members: BTreeSet<Member> = over.into_iter().map(|(_, member)| member).collect();
        let Some(limits) = self.limits else { return members.into_iter().collect() };
        let mut told = Vec::new();
        for member in members {
            let before = self.owed.get(&member).copied();
            let Owed { since, bytes: held, .. } =
                before.unwrap_or(Owed { up_to: batch, since: now, bytes: 0 });
            let bytes = held.saturating_add(bytes.get(&member).copied().unwrap_or(0));
            if bytes > limits.bytes_max {
                self.take(member);
                told.push(member);
            } else {
                self.owed.insert(member, Owed { up_to: batch, since, bytes });
                self.order.insert((since, member));
            }
        }
        told
    }

    /// What an executor is to be told with the tasks that are just being sent to it.
    pub fn take(&mut self, member: Member) -> Option<BatchNumber> {
        let owed = self.owed.remove(&member)?;
        self.order.remove(&(owed.since, member));
        Some(owed.up_to)
    }

    /// Who has waited long enough, and what for.
    pub fn due(&mut self, now: Time) -> Vec<(Member, BatchNumber)> {
        let mut due = Vec::new();
        while self.next_deadline().is_some_and(|at| at <= now)
            && let Some((_, member)) = self.order.first().copied()
        {
            due.extend(self.take(member).map(|up_to| (member, up_to)));
        }
        due
    }

    /// When somebody will have waited long enough.
    pub fn next_deadline(&self) -> Option<Time> {
        let (since, _) = self.order.first()?;
        Some(*since + self.limits?.patience)
    }

    /// An executor is gone.
    pub fn forget(&mut self, member: Member) {
        self.take(member);
        self.sent.retain(|(_, other)| *other != member);
    }

    /// Panics if the books contradict themselves, or somebody is owed who does not live.
    pub fn assert_invariants(&self, is_live: impl Fn(Member) -> bool) {
        let order: BTreeSet<(Time, Member)> =
            self.owed.iter().map(|(member, owed)| (owed.since, *member)).collect();
        assert_eq!(self.order, order, "the order of those who are owed a release");
        assert!(self.owed.keys().all(|member| is_live(*member)), "a dead one is owed a release");
    }
}

impl Job {
    /// What executors hold of this batch, at most: the outputs of their tasks, and what notices may have brought to their readers.
    pub(super) fn bytes_held(&self) -> BTreeMap<Member, u64> {
        let mut held = BTreeMap::<Member, u64>::new();
        for (_, task) in self.tasks() {
            if let TaskState::Done { holder, .. } = task.state {
                let held = held.entry(holder).or_default();
                *held = task.outputs.iter().fold(*held, |held, (_, bytes)| held.saturating_add(*bytes));
            }
        }
        for route in &self.routes {
            let outputs = self.stage(route.stage).tasks.iter().flat_map(|task| &task.outputs);
            // What executors say of their outputs sizes nothing here.
            let mut read = BTreeMap::<PartitionId, u64>::new();
            for (partition, bytes) in outputs {
                let read = read.entry(*partition).or_default();
                *read = read.saturating_add(*bytes);
            }
            let readers: Vec<Member> = route.members().collect();
            for (partition, place) in &route.partitions {
                let held = held.entry(readers[usize::from(*place)]).or_default();
                *held = held.saturating_add(read.get(partition).copied().unwrap_or(0));
            }
        }
        held
    }
}
