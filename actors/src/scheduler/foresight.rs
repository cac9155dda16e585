//! Pre-scheduling: with the first tasks of a batch those of all later stages are sent, so that executors tell each other when
//! inputs are there and the driver is on nobody's way.
//!
//! ```text
//!   plan ──> stage 0 placed ──> stages 1, 2 … spread ──> one Run for each executor: tasks, and whom to tell when they end
//!                                                        reader: "attempt a of every task of stage 0, told by who runs it"
//! ```
//!
//! What readers are promised is a number: the first attempt of each task. So nothing need be known about where writers run, and
//! a promise is broken exactly when a first attempt does not become the task's; what follows then is in `recall`.

use super::{
    core::Scheduler,
    executors::Executors,
    job::{At, Job, TaskState},
    launch::Launches,
    spec::Inputs,
};
use crate::seam::PlannedPart;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tidemill_protocol::{
    id::{BatchNumber, Member, PartitionId, StageId},
    message::{Route, TaskFailure, TaskOutcome},
};

/// What an entry of a route's list of executors counts beside its partitions.
const READER_WEIGHT: usize = 4;

/// When the tasks of later stages are sent with those of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreschedulingLimits {
    /// Entries that the lists of whom to tell may have in all; a batch that needs more goes stage by stage. Each executor of a
    /// batch is sent them, in a control frame.
    pub route_entries_max: usize,
}

impl Default for PreschedulingLimits {
    /// 6,000: some 50 KB.
    fn default() -> Self {
        PreschedulingLimits { route_entries_max: 6_000 }
    }
}

/// An attempt that was sent before its inputs were there.
#[derive(Clone, Debug)]
pub(super) struct Foreseen {
    /// Where it is.
    pub on: Member,
    /// A notice may not have come there: its inputs are to be named, or have been.
    pub by_name: bool,
    /// What was said of it before all that it reads was accepted.
    pub early: Option<Report>,
}

/// What an executor says of an attempt.
#[derive(Clone, Debug)]
pub(super) enum Report {
    Done(Arc<TaskOutcome>),
    Failed(TaskFailure),
}

impl Scheduler {
    /// Adds to the first launch of a batch what can be sent ahead.
    pub(super) fn foresee(&mut self, batch: BatchNumber, launches: &mut Launches) {
        let Some(limits) = self.config.prescheduling else { return };
        let Some(job) = self.jobs.get_mut(&batch).filter(|job| !job.looked_ahead) else { return };
        job.looked_ahead = true;
        let mut spread = Spread::of(&self.executors, job);
        let waiting = job.tasks().filter(|(_, task)| task.state == TaskState::Waiting).map(|(at, _)| at);
        let mut chosen: Vec<(At, Member, Inputs)> = Vec::new();
        for at in waiting {
            if let Some(inputs) = Inputs::ahead(job, at, &self.executors)
                && let Some(member) = spread.next()
            {
                chosen.push((at, member, inputs));
            }
        }
        let routes = routes(job, chosen.iter().map(|(at, member, _)| (*at, *member)));
        if routes.iter().map(|route| entries(route)).sum::<usize>() > limits.route_entries_max {
            return;
        }
        job.routes = routes;
        for (at, member, inputs) in chosen {
            let Some(attempt) = job.next_attempt(at) else { continue };
            job.task_mut(at).foreseen = Some(Foreseen { on: member, by_name: false, early: None });
            job.expected += 1;
            self.executors.expect(member);
            let task = job.id(at, attempt);
            let launch = launches.entry((batch, member)).or_default();
            launch.push((inputs.parts, inputs.spec(task, member)));
        }
    }
}

/// The executors that may be given tasks ahead, the next one first: the least loaded by others, then who writes what is read.
struct Spread(BTreeSet<(u32, Reverse<u32>, Member, u32)>);

impl Spread {
    fn of(executors: &Executors, job: &Job) -> Spread {
        // What this batch runs on them is over when its later stages begin.
        let mut own = BTreeMap::<Member, u32>::new();
        for twin in job.tasks().flat_map(|(_, task)| task.attempts()) {
            *own.entry(twin.on).or_default() += 1;
        }
        let order = executors.trusted().map(|(member, executor)| {
            let own = own.get(&member).copied().unwrap_or(0);
            let tasks = executor.tasks.saturating_sub(own) + executor.expecting;
            (tasks * 1_000 / executor.slots, Reverse(own), member, 1_000 / executor.slots)
        });
        Spread(order.collect())
    }

    fn next(&mut self) -> Option<Member> {
        let (load, own, member, share) = self.0.pop_first()?;
        self.0.insert((load + share.max(1), own, member, share));
        Some(member)
    }
}

/// Whom to tell of each stage, if these tasks are there.
fn routes(job: &Job, tasks: impl Iterator<Item = (At, Member)>) -> Vec<Arc<Route>> {
    let mut read = BTreeMap::<StageId, BTreeSet<(PartitionId, Member)>>::new();
    for (at, member) in tasks {
        for part in job.job.stages[usize::from(at.0.0)].tasks[at.1.0 as usize].iter().flatten() {
            if let PlannedPart::Shuffle { parent, partition } = *part {
                read.entry(parent).or_default().insert((partition, member));
            }
        }
    }
    let route = |(stage, read): (StageId, BTreeSet<(PartitionId, Member)>)| {
        let members: BTreeSet<Member> = read.iter().map(|(_, member)| *member).collect();
        let places: BTreeMap<Member, u16> = members.iter().copied().zip(0..).collect();
        Arc::new(Route {
            stage,
            attempt: job.first,
            readers: members.iter().map(|member| (member.node, member.incarnation)).collect(),
            partitions: read.iter().map(|(partition, member)| (*partition, places[member])).collect(),
        })
    };
    read.into_iter().map(route).collect()
}

fn entries(route: &Route) -> usize {
    route.partitions.len() + READER_WEIGHT * route.readers.len()
}
