//! Speculative copies: a second attempt of a task that takes too long, where a slot is idle. When that is the case is the
//! policy in `pace`; here it is carried out, at most once for each event, without a look at tasks that are in time.

use super::{
    core::Scheduler,
    event::{Action, Counter},
    job::{At, Job, TaskState, Twin},
    launch::facts,
    pace::{History, SpeculationLimits},
    placement::Placement,
    spec::Inputs,
};
use std::{collections::BTreeSet, time::Duration};
use tidemill_protocol::{
    id::{BatchNumber, Member, PartitionId, StageId, TaskId},
    time::Time,
};

impl Scheduler {
    /// Starts what copies there should be, and notes when to look again.
    pub(super) fn speculate(&mut self, now: Time, out: &mut Vec<Action>) {
        let Some(limits) = self.config.speculation else {
            return;
        };
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
        }
        let is_idle = self.executors.has_idle_slot();
        let mut late = Vec::new();
        let mut next: Option<Time> = None;
        for (batch, job) in self.jobs.range(self.next..) {
            for stage in (0..job.stages.len()).map(|n| StageId(n as u16)) {
                let Some(patience) = patience(&limits, &self.history, job, stage) else {
                    continue;
                };
                let watched = &job.stage(stage).pace.watched;
                let (late_ones, due) = split(watched, now, patience);
                if is_idle {
                    late.extend(late_ones.map(|partition| (*batch, (stage, partition))));
                }
                next = next.into_iter().chain(due).min();
            }
        }
        for (batch, at) in late {
            if !self.executors.has_idle_slot() {
                break; // Whatever frees one is an event, and comes here again.
            }
            self.copy(now, &limits, batch, at, out);
        }
        if let Some(next) = next {
            self.look_at = Some(self.look_at.map_or(next, |before| before.min(next)));
        }
    }

    fn copy(
        &mut self,
        now: Time,
        limits: &SpeculationLimits,
        batch: BatchNumber,
        at: At,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(&batch) else {
            return;
        };
        let stage = job.stage(at.0);
        if stage.pace.copies >= limits.copies_max(stage.tasks.len()) {
            return;
        }
        let task = job.task(at);
        let TaskState::Running { on, .. } = task.state else {
            return;
        };
        let launched = task.launched;
        let mut avoid: Vec<Member> = task.avoid.clone();
        avoid.push(on);
        let Ok(inputs) = Inputs::of(job, at, &self.executors) else {
            return;
        };
        let policy = Placement { bytes_at: &inputs.bytes_at, avoid: &avoid };
        let is_idle = |member: &Member| {
            let executor = self.executors.get(*member);
            !avoid.contains(member) && executor.is_some_and(|e| e.has_free_slot() && e.is_usable())
        };
        let Some(member) = policy.decide(&self.executors).filter(is_idle) else {
            return;
        };
        let Some(attempt) = job.next_attempt(at) else {
            return;
        };
        let task = TaskId { key: job.key(at), attempt };
        self.executors.take(member);
        job.begin_copy(at, Twin { attempt, on: member, launched: now });
        out.push(Action::Count(Counter::TasksLaunched, 1));
        out.push(Action::Count(Counter::TasksCopied, 1));
        out.push(Action::Copied { task, slow: on, waited: now.since(launched) });
        let facts = facts(&self.config, &job.plan);
        let tasks = vec![inputs.spec(task, member)];
        self.sends(facts.batch, member, out);
        // Readers were promised the first attempt: of a copy nobody is told.
        out.push(Action::Launch { member, facts, tasks, routes: Vec::new() });
    }

    /// Remembers how long the stages of a batch took.
    pub(super) fn remember_pace(&mut self, job: &Job) {
        for (index, stage) in job.stages.iter().enumerate() {
            if let Some(median) = stage.pace.median() {
                self.history.note(job.stages.len(), StageId(index as u16), median);
            }
        }
    }
}

/// The tasks that have been out for longer than `patience`, and when the next one will have been.
fn split(
    watched: &BTreeSet<(Time, PartitionId)>,
    now: Time,
    patience: Duration,
) -> (impl Iterator<Item = PartitionId>, Option<Time>) {
    let nanos = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
    // Launched before this moment is late.
    let edge = (Time((now.0 + 1).saturating_sub(nanos)), PartitionId(0));
    let late = watched.range(..edge).map(|(_, partition)| *partition);
    (late, watched.range(edge..).next().map(|(launched, _)| *launched + patience))
}

/// How long tasks of a stage may run; none if nothing is known, or nothing more may be copied.
fn patience(limits: &SpeculationLimits, history: &History, job: &Job, stage: StageId) -> Option<Duration> {
    let of = job.stage(stage);
    if of.pace.watched.is_empty() || of.pace.copies >= limits.copies_max(of.tasks.len()) {
        return None;
    }
    let done = of.tasks.len() - of.missing;
    let is_half_done = done * 2 >= of.tasks.len();
    let median = of.pace.median().filter(|_| is_half_done);
    let median = median.or_else(|| history.usual(job.stages.len(), stage))?;
    Some(limits.patience(median))
}
