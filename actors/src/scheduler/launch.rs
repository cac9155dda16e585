//! Launching: which ready task goes where, in how many messages.

use super::{
    core::{Scheduler, SchedulerConfig},
    event::{Action, Counter},
    job::{At, Job, TaskState},
    placement::Placement,
    spec::{Inputs, TASK_BYTES_MAX},
};
use crate::seam::BatchPlan;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tidemill_protocol::{
    id::{BatchNumber, Member, StageId, TaskId, TaskKey},
    message::{Route, TaskFacts, TaskSpec},
    time::Time,
};

/// Parts of inputs in one launch: some 150 bytes each, so that a launch stays below a control frame's 64 KiB. A single task
/// with more than this goes alone.
const LAUNCH_PARTS_MAX: usize = 256;

/// What is sent in one event: the tasks of a batch for an executor, each with the number of its parts.
pub(super) type Launches = BTreeMap<(BatchNumber, Member), Vec<(usize, Arc<TaskSpec>)>>;

impl Scheduler {
    /// Launches what has room, oldest batch first. Gives the batch that can never be had, if one is found.
    pub(super) fn launch(&mut self, now: Time, out: &mut Vec<Action>) -> Option<(BatchNumber, String)> {
        let mut launches = Launches::new();
        let mut doom = None;
        let mut last = None;
        while doom.is_none() && self.executors.has_room() {
            let Some(key) = self.queue.next_after(last) else {
                break;
            };
            last = Some(key);
            if self.is_left(key.batch) {
                continue;
            }
            match self.place(now, key) {
                Placed::At(member, parts, spec) => {
                    launches.entry((key.batch, member)).or_default().push((parts, spec));
                }
                Placed::NoRoom => {}
                Placed::Doomed(text) => doom = Some((key.batch, text)),
            }
        }
        let batches: BTreeSet<BatchNumber> = launches.keys().map(|(batch, _)| *batch).collect();
        for batch in batches {
            self.foresee(batch, &mut launches);
        }
        for ((batch, member), mut tasks) in launches {
            self.sends(batch, member, out);
            let job = self.jobs.get_mut(&batch).expect("its tasks have just been placed");
            job.first_launch.get_or_insert(now);
            out.push(Action::Count(Counter::TasksLaunched, tasks.len() as u64));
            tasks.sort_by_key(|(_, spec)| spec.task);
            let mut routes = job.new_routes(member, tasks.iter().map(|(_, spec)| spec.task));
            let facts = facts(&self.config, &job.plan);
            out.extend(pages(tasks).into_iter().map(|tasks| {
                let routes = std::mem::take(&mut routes);
                Action::Launch { member, facts: facts.clone(), tasks, routes }
            }));
        }
        doom
    }

    fn place(&mut self, now: Time, key: TaskKey) -> Placed {
        let at = (key.stage, key.partition);
        let job = self.jobs.get_mut(&key.batch).expect("a batch leaves the queue before it leaves the books");
        let inputs = match Inputs::of(job, at, &self.executors) {
            Ok(inputs) => inputs,
            Err(block) if job.decided.is_some() => {
                return Placed::Doomed(format!(
                    "{key} needs block {block}, and nobody alive holds it any more"
                ));
            }
            Err(_) => {
                self.queue.starve(key);
                return Placed::NoRoom;
            }
        };
        if inputs.bytes() > TASK_BYTES_MAX {
            let remedy = "fewer partitions before it, or shorter batches with fewer blocks";
            return Placed::Doomed(format!(
                "{key} reads {} parts, more than a message holds: {remedy}",
                inputs.parts
            ));
        }
        let avoid = &job.task(at).avoid;
        let decide =
            |avoid: &[Member]| Placement { bytes_at: &inputs.bytes_at, avoid }.decide(&self.executors);
        // Who was overtaken in this batch is slow right now: it gets more of it only where nobody else has room.
        let preferred = match job.overtaken.is_empty() {
            true => None,
            false => decide(&[&avoid[..], &job.overtaken].concat()),
        };
        let Some(member) = preferred.or_else(|| decide(avoid)) else {
            return Placed::NoRoom;
        };
        let Some(attempt) = job.next_attempt(at) else {
            return Placed::Doomed(format!("{key} has used up its attempts"));
        };
        self.executors.take(member);
        self.queue.leave(key);
        job.begin(now, at, attempt, member);
        Placed::At(member, inputs.parts, inputs.spec(TaskId { key, attempt }, member))
    }

    /// Makes every task ready whose inputs have come.
    pub(super) fn wake_tasks(&mut self, batch: BatchNumber) {
        let Some(job) = self.jobs.get_mut(&batch) else {
            return;
        };
        let is_due = |at: &At, state| state == TaskState::Waiting && job.has_inputs(*at);
        let due: Vec<At> =
            job.tasks().map(|(at, t)| (at, t.state)).filter(|(at, s)| is_due(at, *s)).map(|d| d.0).collect();
        for at in due {
            if job.is_ahead(at) {
                job.due = true;
                continue;
            }
            job.set(at, TaskState::Ready);
            self.queue.enter(job.key(at));
        }
    }
}

impl Job {
    /// Whom `member` must be told of for these tasks, and has not been.
    fn new_routes(&mut self, member: Member, tasks: impl Iterator<Item = TaskId>) -> Vec<Arc<Route>> {
        let promised = tasks.filter(|task| task.attempt == self.first).map(|task| task.key.stage);
        let stages: BTreeSet<StageId> = promised.collect();
        let routed = &mut self.routed;
        let new = self.routes.iter().filter(|route| stages.contains(&route.stage));
        new.filter(|route| routed.insert((member, route.stage))).cloned().collect()
    }
}

enum Placed {
    At(Member, usize, Arc<TaskSpec>),
    NoRoom,
    Doomed(String),
}

/// What all tasks of a batch share.
pub(super) fn facts(config: &SchedulerConfig, plan: &BatchPlan) -> TaskFacts {
    let (epoch, run) = (config.epoch, config.run);
    TaskFacts { epoch, program: plan.program, batch: plan.batch, time: plan.time, seed: plan.seed, run }
}

/// Cuts a launch so that each message fits a control frame.
pub(super) fn pages(tasks: Vec<(usize, Arc<TaskSpec>)>) -> Vec<Vec<Arc<TaskSpec>>> {
    let mut pages = Vec::with_capacity(1);
    let (mut page, mut filled) = (Vec::with_capacity(tasks.len()), 0);
    for (parts, task) in tasks {
        let parts = parts.max(1);
        if filled > 0 && filled + parts > LAUNCH_PARTS_MAX {
            pages.push(std::mem::take(&mut page));
            filled = 0;
        }
        page.push(task);
        filled += parts;
    }
    pages.push(page);
    pages
}
