//! A core on a desk: driven by hand, its actions compared with what a table says.

use std::{sync::Arc, time::Duration};
use tidemill_actors::core::Core;
use tidemill_actors::executor::{Action, Counted, Event, ExecutorConfig, ExecutorCore, SlotIndex, TaskEnd};
use tidemill_protocol::{
    id::{
        Attempt, BatchNumber, DataKey, Epoch, Incarnation, Member, NodeId, PartitionId, ProgramId, RunId,
        StageId, TaskId, TaskKey,
    },
    message::{InputPart, OutputInfo, TaskFacts, TaskFailure, TaskOutcome, TaskSpec, ToDriver},
    time::{BatchTime, Time},
};

pub const ME: Member = Member { node: NodeId(1), incarnation: Incarnation(0) };
pub const OTHER: Member = Member { node: NodeId(2), incarnation: Incarnation(0) };

pub fn task(batch: u64, stage: u16, partition: u32) -> TaskId {
    let key = TaskKey { batch: BatchNumber(batch), stage: StageId(stage), partition: PartitionId(partition) };
    TaskId { key, attempt: Attempt(0) }
}

pub fn output(task: TaskId, partition: u32) -> DataKey {
    DataKey::Output { task, partition: PartitionId(partition) }
}

/// A task that reads the output of (batch, 9, partition), held by `holder`.
pub fn spec(id: TaskId, holder: Member) -> Arc<TaskSpec> {
    let source = task(id.key.batch.0, 9, id.key.partition.0);
    let part = InputPart::Held { key: output(source, 0), holders: vec![holder] };
    Arc::new(TaskSpec { task: id, inputs: vec![vec![part]] })
}

pub fn facts(batch: u64) -> TaskFacts {
    TaskFacts {
        epoch: Epoch(1),
        program: ProgramId(7),
        batch: BatchNumber(batch),
        time: BatchTime(batch * 100),
        seed: 3,
        run: RunId(9),
    }
}

pub fn run(tasks: &[(TaskId, Member)]) -> Event {
    let tasks: Vec<_> = tasks.iter().map(|(id, holder)| spec(*id, *holder)).collect();
    Event::Run { facts: facts(tasks[0].task.key.batch.0), tasks, routes: Vec::new() }
}

pub fn start(slot: u16, id: TaskId, holder: Member) -> Action {
    Action::Start { slot: SlotIndex(slot), facts: facts(id.key.batch.0), spec: spec(id, holder) }
}

pub fn free(slot: u16, task: TaskId, end: TaskEnd) -> Event {
    Event::SlotFree { slot: SlotIndex(slot), task, end }
}

pub fn done() -> TaskEnd {
    let outputs = vec![OutputInfo { partition: PartitionId(4), rows: 2, bytes: 16 }];
    TaskEnd::Done { outputs, rows_in: 5, run_ns: 900, prepared: Vec::new() }
}

pub fn failed(message: &str) -> TaskEnd {
    TaskEnd::failed(message)
}

pub fn tell_done(id: TaskId) -> Vec<Action> {
    let TaskEnd::Done { outputs, rows_in, run_ns, prepared } = done() else { unreachable!("done is Done") };
    let read = vec![output(task(id.key.batch.0, 9, id.key.partition.0), 0)];
    let outcome = TaskOutcome {
        task: id,
        holder: ME,
        outputs,
        rows_in,
        run_ns,
        read,
        read_stages: Vec::new(),
        prepared,
    };
    vec![
        Action::Count(Counted::Done { run_ns: 900 }),
        Action::TellDriver(ToDriver::TaskDone(Arc::new(outcome))),
    ]
}

pub fn tell_failed(task: TaskId, message: &str, missing: Option<DataKey>) -> Vec<Action> {
    let (exhausted, unreached) = (None, Vec::new());
    let failure = TaskFailure { task, reporter: ME, message: message.into(), missing, exhausted, unreached };
    vec![Action::Count(Counted::Failed), Action::TellDriver(ToDriver::TaskFailed(failure))]
}

pub fn leak(slot: u16, task: TaskId) -> Vec<Action> {
    vec![
        Action::ReplaceSlot { slot: SlotIndex(slot), task },
        Action::Count(Counted::SlotLeaked),
        Action::TellDriver(ToDriver::SlotLeaked { task }),
    ]
}

/// A core, driven by hand; time in milliseconds.
pub struct Desk {
    pub core: ExecutorCore,
    pub now: Time,
}

impl Desk {
    pub fn new(slots: u16) -> Self {
        Desk::with(ExecutorConfig::new(ME, ProgramId(7), slots))
    }

    pub fn with(config: ExecutorConfig) -> Self {
        Desk { core: ExecutorCore::new(config), now: Time::ZERO }
    }

    pub fn at(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
        self.now = Time::ZERO + Duration::from_millis(now_ms);
        let mut out = Vec::new();
        self.core.on_event(self.now, event, &mut out);
        self.core.assert_invariants();
        out
    }

    pub fn on(&mut self, event: Event) -> Vec<Action> {
        self.at(self.now.0 / 1_000_000, event)
    }

    /// Lets time pass until `until_ms`, answering every question for progress; gives all that was done besides.
    pub fn pass(&mut self, until_ms: u64, counters: &[(TaskId, u64)]) -> Vec<Action> {
        let until = Time::ZERO + Duration::from_millis(until_ms);
        let mut all = Vec::new();
        while let Some(deadline) = self.core.next_deadline().filter(|deadline| *deadline <= until) {
            assert!(deadline > self.now, "the core wakes itself for nothing at {deadline}");
            let at_ms = deadline.0 / 1_000_000;
            for action in self.at(at_ms, Event::Wake) {
                assert_eq!(action, Action::ReadProgress);
                all.extend(self.at(at_ms, Event::Progress { counters: counters.to_vec() }));
            }
        }
        self.now = until;
        all
    }
}
