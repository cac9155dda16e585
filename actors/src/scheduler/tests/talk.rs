//! The model cluster's executors among themselves: whom they tell of tasks that ended, what they were told, and which outcomes
//! the driver has heard before it could accept them.

use super::{
    cluster::{KEEPER, World},
    *,
};
use std::{collections::BTreeSet, sync::Arc};
use tidemill_protocol::message::{Route, StageRead};

/// What one executor was told of a task.
#[derive(Clone, Debug)]
struct Told {
    holder: Member,
    outputs: BTreeSet<PartitionId>,
    /// What came with it.
    kept: BTreeSet<PartitionId>,
}

/// What executors know of each other's tasks.
#[derive(Default)]
pub(super) struct Talk {
    routes: BTreeMap<(Member, BatchNumber, StageId), Arc<Route>>,
    told: BTreeMap<(Member, TaskId), Told>,
    /// Outcomes that the driver was told before it has accepted all that they read, with that.
    pub early: BTreeMap<TaskId, Vec<StageRead>>,
    /// How many outcomes were early, and how many notices were lost.
    pub were_early: u64,
    pub lost: u64,
}

impl Talk {
    pub fn route(&mut self, member: Member, batch: BatchNumber, routes: Vec<Arc<Route>>) {
        for route in routes {
            assert!(!route.readers.is_empty() && !route.partitions.is_empty(), "{route:?} tells nobody");
            self.routes.insert((member, batch, route.stage), route);
        }
    }

    /// The spec with names for all that it reads; none as long as its executor was not told all.
    pub fn name(&self, member: Member, spec: &TaskSpec) -> Option<Arc<TaskSpec>> {
        let batch = spec.task.key.batch;
        let mut named = TaskSpec { task: spec.task, inputs: Vec::new() };
        for parts in &spec.inputs {
            let mut list = Vec::new();
            for part in parts {
                let InputPart::Shuffle { stage, partition, writers, attempt } = *part else {
                    list.push(part.clone());
                    continue;
                };
                for writer in (0..writers).map(PartitionId) {
                    let key = TaskKey { batch, stage, partition: writer };
                    let task = TaskId { key, attempt };
                    let told = self.told.get(&(member, task))?;
                    let own = told.kept.contains(&partition).then_some(member);
                    if told.outputs.contains(&partition) {
                        let holders = own.into_iter().chain([told.holder]).collect();
                        list.push(InputPart::Held { key: DataKey::Output { task, partition }, holders });
                    }
                }
            }
            named.inputs.push(list);
        }
        Some(Arc::new(named))
    }
}

impl World {
    /// An attempt has ended: those who read it are told, or not.
    pub(super) fn announce(&mut self, member: Member, task: TaskId, outputs: &[PartitionId]) {
        let route = self.talk.routes.get(&(member, task.key.batch, task.key.stage));
        let Some(route) = route.filter(|route| route.attempt == task.attempt).cloned() else {
            return;
        };
        for (place, reader) in route.members().enumerate() {
            // Before it has told all, it may die.
            if self.rng.chance(0.01) && member != KEEPER {
                return self.crash(member);
            }
            if self.rng.chance(0.05) && reader != member {
                self.talk.lost += 1;
                self.say(member, Event::NoticeLost { batch: task.key.batch, reader, by: member });
                continue;
            }
            let read = route.partitions.iter().filter(|(_, at)| usize::from(*at) == place).map(|(p, _)| *p);
            let read: BTreeSet<PartitionId> = read.filter(|p| outputs.contains(p)).collect();
            let brings = self.rng.chance(0.5);
            let kept = if brings { read.clone() } else { BTreeSet::new() };
            for partition in &kept {
                let key = DataKey::Output { task, partition: *partition };
                if let Some(found) = self.store.get(&(member, key)).cloned() {
                    self.store.insert((reader, key), found);
                }
            }
            self.talk.told.insert((reader, task), Told { holder: member, outputs: read, kept });
        }
    }

    /// Names come for an attempt that was launched before.
    pub(super) fn name(&mut self, member: Member, spec: Arc<TaskSpec>) {
        assert!(spec.inputs.iter().flatten().all(|part| !matches!(part, InputPart::Shuffle { .. })));
        if let Some((on, known)) = self.running.get_mut(&spec.task) {
            assert_eq!(*on, member);
            *known = spec;
        }
    }

    /// Whether all that a task reads is accepted.
    pub(super) fn has_inputs(&self, key: TaskKey) -> bool {
        let is_accepted =
            |key: &TaskKey| self.done.get(key).is_some_and(|(task, ..)| !self.talk.early.contains_key(task));
        self.read(key).iter().all(is_accepted)
    }

    /// The tasks that a task reads.
    fn read(&self, key: TaskKey) -> Vec<TaskKey> {
        let job = &self.jobs[&key.batch];
        let planned = &job.stages[usize::from(key.stage.0)].tasks[key.partition.0 as usize];
        let parents = planned.iter().flatten().filter_map(|part| match part {
            PlannedPart::Shuffle { parent, .. } => Some(*parent),
            _ => None,
        });
        let tasks = |stage: StageId| job.stages[usize::from(stage.0)].tasks.len() as u32;
        let keys = parents.flat_map(|stage| {
            (0..tasks(stage)).map(move |p| TaskKey { batch: key.batch, stage, partition: PartitionId(p) })
        });
        keys.collect()
    }

    /// Of what was early, the driver accepts what has read accepted attempts, once all are there, and refuses the rest.
    pub(super) fn settle_early(&mut self) {
        for (task, read_stages) in self.talk.early.clone() {
            if !self.has_inputs(task.key) {
                continue;
            }
            let is_read = |key: &TaskKey| {
                let (accepted, ..) = self.done[key];
                let read = read_stages.iter().find(|read| read.stage == key.stage);
                read.is_none_or(|read| read.attempt == accepted.attempt)
            };
            let counts = self.read(task.key).iter().all(is_read);
            self.talk.early.remove(&task);
            if !counts {
                self.done.remove(&task.key);
            }
        }
    }
}

/// What the outcome of a task says that it has read.
pub(super) fn read_by(asked: &TaskSpec) -> (Vec<DataKey>, Vec<StageRead>) {
    let (mut read, mut stages) = (Vec::new(), BTreeSet::new());
    for part in asked.inputs.iter().flatten() {
        match part {
            InputPart::Held { key, .. } => read.push(*key),
            InputPart::Range { .. } => {}
            InputPart::Shuffle { stage, attempt, .. } => {
                stages.insert(StageRead { stage: *stage, attempt: *attempt });
            }
        }
    }
    (read, stages.into_iter().collect())
}
