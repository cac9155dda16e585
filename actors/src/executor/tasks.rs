//! The attempts that an executor has been given, and where each stands.

use super::{SlotIndex, stuck::Watch};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tidemill_protocol::{
    id::{DataKey, Member, TaskId},
    message::{InputPart, StageRead, TaskFacts, TaskSpec},
    time::Time,
};

/// One attempt.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub facts: TaskFacts,
    /// What was ordered: its outcome names what it read by these parts.
    pub asked: Arc<TaskSpec>,
    /// The same with names for what was told by notices.
    pub spec: Arc<TaskSpec>,
    pub state: State,
    /// Whether its inputs were asked for by a fetch: then what is missing is missing.
    pub fetched: bool,
}

/// Where an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Expecting,
    Fetching,
    Ready,
    Running(Running),
}

/// An attempt on a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Running {
    pub slot: SlotIndex,
    pub watch: Watch,
    pub cancelled: bool,
}

/// All attempts, the order in which they take slots, and the free slots.
#[derive(Debug)]
pub(super) struct TaskTable {
    tasks: BTreeMap<TaskId, Task>,
    // The order of ids is the order of starting: oldest batch, then stage, then partition.
    ready: BTreeSet<TaskId>,
    free: BTreeSet<SlotIndex>,
    slots: u16,
}

impl TaskTable {
    pub fn new(slots: u16) -> Self {
        let free = (0..slots).map(SlotIndex).collect();
        TaskTable { tasks: BTreeMap::new(), ready: BTreeSet::new(), free, slots }
    }

    pub fn contains(&self, task: TaskId) -> bool {
        self.tasks.contains_key(&task)
    }

    /// Enters an attempt that is not known.
    pub fn insert(&mut self, task: Task) {
        let id = task.spec.task;
        if task.state == State::Ready {
            self.ready.insert(id);
        }
        self.tasks.insert(id, task);
    }

    pub fn get_mut(&mut self, task: TaskId) -> Option<&mut Task> {
        self.tasks.get_mut(&task)
    }

    /// Takes an attempt out. The slot of a running one is free again.
    pub fn remove(&mut self, id: TaskId) -> Option<Task> {
        let task = self.tasks.remove(&id)?;
        match task.state {
            State::Expecting | State::Fetching => {}
            State::Ready => {
                self.ready.remove(&id);
            }
            State::Running(Running { slot, .. }) => {
                self.free.insert(slot);
            }
        }
        Some(task)
    }

    /// The inputs of a fetching attempt are here; false if it is not fetching.
    pub fn make_ready(&mut self, id: TaskId) -> bool {
        match self.tasks.get_mut(&id) {
            Some(task) if task.state == State::Fetching => {
                task.state = State::Ready;
                self.ready.insert(id)
            }
            _ => false,
        }
    }

    /// Puts the first ready attempt on the first free slot, if there are both.
    pub fn start_next(&mut self, now: Time) -> Option<(SlotIndex, &Task)> {
        let (slot, id) = (*self.free.first()?, *self.ready.first()?);
        let task = self.tasks.get_mut(&id)?;
        self.free.remove(&slot);
        self.ready.remove(&id);
        task.state = State::Running(Running { slot, watch: Watch::new(now), cancelled: false });
        Some((slot, task))
    }

    /// The attempt on a slot, if it is this one.
    pub fn running_mut(&mut self, id: TaskId) -> Option<&mut Running> {
        match &mut self.tasks.get_mut(&id)?.state {
            State::Running(running) => Some(running),
            State::Expecting | State::Fetching | State::Ready => None,
        }
    }

    /// All attempts on slots, in order of ids.
    pub fn running(&self) -> impl Iterator<Item = (TaskId, Running)> {
        self.tasks.iter().filter_map(|(id, task)| match task.state {
            State::Running(running) => Some((*id, running)),
            State::Expecting | State::Fetching | State::Ready => None,
        })
    }

    /// Whether any slot is taken.
    pub fn is_busy(&self) -> bool {
        self.free.len() < usize::from(self.slots)
    }

    /// The attempts that satisfy a condition, in order of ids.
    pub fn ids_where(&self, condition: impl Fn(&Task) -> bool) -> Vec<TaskId> {
        self.tasks.iter().filter(|(_, task)| condition(task)).map(|(id, _)| *id).collect()
    }

    /// Panics if the sets contradict each other.
    pub fn assert_invariants(&self) {
        let mut slots = self.free.clone();
        for (id, running) in self.running() {
            assert!(slots.insert(running.slot), "{} of {id} is free or taken twice", running.slot);
        }
        assert_eq!(slots, (0..self.slots).map(SlotIndex).collect(), "a slot is lost or made up");
        let ready = self.ids_where(|task| task.state == State::Ready);
        assert!(ready.iter().eq(self.ready.iter()), "the queue differs from the tasks that are ready");
        assert!(self.free.is_empty() || self.ready.is_empty(), "a slot is free and a task is waiting");
        let is_named = |task: &Task| task.state == State::Expecting || !expects(&task.spec);
        assert!(self.tasks.values().all(is_named), "a task has begun whose inputs have no names");
    }
}

/// The data that a task reads.
pub(super) fn keys_read(spec: &TaskSpec) -> Vec<DataKey> {
    let key = |part: &InputPart| match part {
        InputPart::Held { key, .. } => Some(*key),
        InputPart::Range { .. } | InputPart::Shuffle { .. } => None,
    };
    spec.inputs.iter().flatten().filter_map(key).collect()
}

/// Whether `me` holds all that a task reads.
pub(super) fn holds_all(me: Member, spec: &TaskSpec) -> bool {
    spec.inputs.iter().flatten().all(|part| match part {
        InputPart::Held { holders, .. } => holders.contains(&me),
        InputPart::Range { .. } => true,
        InputPart::Shuffle { .. } => false,
    })
}

/// Whether a part of a task's input must be told by notices.
pub(super) fn expects(spec: &TaskSpec) -> bool {
    spec.inputs.iter().flatten().any(|part| matches!(part, InputPart::Shuffle { .. }))
}

/// The stages of which a task reads what notices told, each once.
pub(super) fn stages_read(spec: &TaskSpec) -> Vec<StageRead> {
    let stages = spec.inputs.iter().flatten().filter_map(|part| match part {
        InputPart::Shuffle { stage, attempt, .. } => Some(StageRead { stage: *stage, attempt: *attempt }),
        InputPart::Held { .. } | InputPart::Range { .. } => None,
    });
    stages.collect::<BTreeSet<_>>().into_iter().collect()
}
