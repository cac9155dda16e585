//! What executors have told each other about tasks that ended: whom to tell of the own ones, and what was heard of others.
//!
//! ```text
//!   Run { routes }  ──> routes: stage 0 is read on executor 2 (partitions 0, 2) and here (1)
//!   Notice          ──> told:   stage 0, attempt 0: task 0 on executor 1, task 1 on executor 2, …
//!                               all there ──> the part Shuffle { stage 0, partition 1 } has names: a task can begin
//! ```
//!
//! It stands until its batch is released, because a notice may come before the `Run` whose task waits for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tidemill_protocol::{
    id::{Attempt, BatchNumber, DataKey, Epoch, Member, PartitionId, StageId, TaskId, TaskKey},
    message::{InputPart, OutputInfo, Route, TaskFacts, TaskSpec},
};

/// What is known of one batch.
#[derive(Debug, Default)]
struct Batch {
    routes: BTreeMap<StageId, Arc<Route>>,
    told: BTreeMap<(StageId, Attempt), BTreeMap<PartitionId, Told>>,
    /// What was sent inside notices, by reader.
    brought_bytes: BTreeMap<Member, u64>,
}

/// A task of another that ended well.
#[derive(Debug)]
pub(super) struct Told {
    pub holder: Member,
    /// Its outputs for readers here that are not empty.
    pub outputs: Vec<PartitionId>,
    /// Those of them that came with the notice and were kept.
    pub kept: BTreeSet<PartitionId>,
    /// How many had come before: for the planted bug only.
    pub arrival: usize,
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is news.
    New,
    /// It was known, or its batch is released.
    Old,
    /// There is no room for it.
    Overflown,
}

/// All of it. Bounded by the number of notices and of the outputs in them.
#[derive(Debug)]
pub(super) struct Notices {
    max: usize,
    held: usize,
    batches: BTreeMap<(Epoch, BatchNumber), Batch>,
    released: Option<BatchNumber>,
}

impl Notices {
    pub fn new(max: usize) -> Self {
        Notices { max, held: 0, batches: BTreeMap::new(), released: None }
    }

    fn batch(&mut self, epoch: Epoch, batch: BatchNumber) -> Option<&mut Batch> {
        let is_released = self.released.is_some_and(|released| batch <= released);
        (!is_released).then(|| self.batches.entry((epoch, batch)).or_default())
    }

    /// Whom to tell when tasks of a batch end.
    pub fn route(&mut self, facts: &TaskFacts, routes: Vec<Arc<Route>>) {
        if let Some(batch) = self.batch(facts.epoch, facts.batch).filter(|_| !routes.is_empty()) {
            batch.routes.extend(routes.into_iter().map(|route| (route.stage, route)));
        }
    }

    /// Whom to tell that this attempt has ended, and of which of its outputs.
    pub fn readers(
        &self,
        epoch: Epoch,
        task: TaskId,
        outputs: &[OutputInfo],
    ) -> Vec<(Member, Vec<OutputInfo>)> {
        let batch = self.batches.get(&(epoch, task.key.batch));
        let route = batch.and_then(|batch| batch.routes.get(&task.key.stage));
        let Some(route) = route.filter(|route| route.attempt == task.attempt) else {
            return Vec::new();
        };
        let full = outputs.iter().filter(|output| output.rows > 0 || output.bytes > 0);
        let full: BTreeMap<PartitionId, &OutputInfo> =
            full.map(|output| (output.partition, output)).collect();
        let mut readers: Vec<(Member, Vec<OutputInfo>)> =
            route.members().map(|member| (member, Vec::new())).collect();
        for (partition, reader) in &route.partitions {
            if let (Some(output), Some((_, read))) =
                (full.get(partition), readers.get_mut(usize::from(*reader)))
            {
                read.push((*output).clone());
            }
        }
        readers
    }

    /// Which of these outputs travel inside a notice, as long as there is something left of `bytes_max` for this reader and batch.
    pub fn choose(
        &mut self,
        (epoch, batch): (Epoch, BatchNumber),
        reader: Member,
        outputs: &[OutputInfo],
        bytes_max: u64,
    ) -> Vec<PartitionId> {
        let Some(batch) = self.batch(epoch, batch) else { return Vec::new() };
        let brought = batch.brought_bytes.entry(reader).or_default();
        let mut chosen = Vec::new();
        for output in outputs {
            if let Some(sum) = brought.checked_add(output.bytes).filter(|sum| *sum <= bytes_max) {
                *brought = sum;
                chosen.push(output.partition);
            }
        }
        chosen
    }

    /// An attempt has ended.
    pub fn note(&mut self, epoch: Epoch, task: TaskId, told: Told) -> Heard {
        let (room, weight) = (self.max - self.held, 1 + told.outputs.len());
        let TaskId { key, attempt } = task;
        let known = self.batches.get(&(epoch, key.batch)).and_then(|b| b.told.get(&(key.stage, attempt)));
        if known.is_some_and(|stage| stage.contains_key(&key.partition)) {
            return Heard::Old;
        }
        // Nothing stands for what is not kept, or there would be no bound.
        if weight > room && self.released.is_none_or(|released| key.batch > released) {
            return Heard::Overflown;
        }
        let Some(batch) = self.batch(epoch, key.batch) else { return Heard::Old };
        let stage = batch.told.entry((key.stage, attempt)).or_default();
        let arrival = stage.len();
        stage.insert(key.partition, Told { arrival, ..told });
        self.held += weight;
        Heard::New
    }

    /// What a task reads, with names for everything; none as long as something is not told.
    pub fn name(&self, facts: &TaskFacts, me: Member, spec: &TaskSpec) -> Option<TaskSpec> {
        let batch = self.batches.get(&(facts.epoch, facts.batch));
        let mut inputs = Vec::with_capacity(spec.inputs.len());
        for parts in &spec.inputs {
            let mut named = Vec::with_capacity(parts.len());
            for part in parts {
                match part {
                    InputPart::Shuffle { writers: 0, .. } => {}
                    InputPart::Shuffle { stage, partition, writers, attempt } => {
                        let told = batch?
                            .told
                            .get(&(*stage, *attempt))
                            .filter(|told| are_all_there(told, *writers))?;
                        named.extend(in_order(told, *writers, *partition).map(|(writer, told)| {
                            let key = TaskKey { batch: facts.batch, stage: *stage, partition: writer };
                            let task = TaskId { key, attempt: *attempt };
                            let own = told.kept.contains(partition).then_some(me);
                            InputPart::Held {
                                key: DataKey::Output { task, partition: *partition },
                                holders: own.into_iter().chain([told.holder]).collect(),
                            }
                        }));
                    }
                    InputPart::Held { .. } | InputPart::Range { .. } => named.push(part.clone()),
                }
            }
            inputs.push(named);
        }
        Some(TaskSpec { task: spec.task, inputs })
    }

    /// Nothing of these batches is wanted any more.
    pub fn release(&mut self, up_to: BatchNumber) {
        self.released = self.released.max(Some(up_to));
        self.forget(|(_, batch)| batch <= up_to);
    }

    /// Another driver counts its attempts itself.
    pub fn follow(&mut self, driver: Epoch) {
        self.forget(|(epoch, _)| epoch < driver);
    }

    fn forget(&mut self, of: impl Fn((Epoch, BatchNumber)) -> bool) {
        self.batches.retain(|key, _| !of(*key));
        self.held = self.weigh();
    }

    fn weigh(&self) -> usize {
        let told = self.batches.values().flat_map(|batch| batch.told.values()).flat_map(BTreeMap::values);
        told.map(|told| 1 + told.outputs.len()).sum()
    }

    /// Panics if there is more than may be, or the count is wrong.
    pub fn assert_invariants(&self) {
        assert_eq!(self.held, self.weigh(), "the notices that are held");
        assert!(self.held <= self.max, "more notices are held than allowed");
    }
}

/// Whether all of `writers` tasks were told of. Who tells of one that does not exist completes nothing.
fn are_all_there(told: &BTreeMap<PartitionId, Told>, writers: u32) -> bool {
    let count = writers as usize;
    told.len() >= count && told.range(..PartitionId(writers)).count() == count
}

/// The outputs for `partition`, in the order of the value: that of the tasks that made them.
fn in_order(
    told: &BTreeMap<PartitionId, Told>,
    writers: u32,
    partition: PartitionId,
) -> impl Iterator<Item = (PartitionId, &Told)> {
    let full = told.range(..PartitionId(writers)).filter(move |(_, told)| told.outputs.contains(&partition));
    let mut full: Vec<(PartitionId, &Told)> = full.map(|(writer, told)| (*writer, told)).collect();
    if planted!(MergeByArrival) {
        full.sort_by_key(|(_, told)| told.arrival);
    }
    full.into_iter()
}
