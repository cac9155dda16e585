//! The core by hand-written tables of events and actions.

use super::{Action, Counted, Event, ExecutorConfig, ExecutorCore, SlotIndex, TaskEnd};
use crate::core::Core;
use std::{sync::Arc, time::Duration};
use tidemill_protocol::{
    id::{
        Attempt, BatchNumber, DataKey, Epoch, Incarnation, Member, NodeId, PartitionId, ProgramId, StageId,
        TaskId, TaskKey,
    },
    message::{InputPart, OutputInfo, TaskFacts, TaskFailure, TaskOutcome, TaskSpec, ToDriver},
    time::{BatchTime, Time},
};

const ME: Member = Member {
    node: NodeId(1),
    incarnation: Incarnation(0),
};
const OTHER: Member = Member {
    node: NodeId(2),
    incarnation: Incarnation(0),
};

fn task(batch: u64, stage: u16, partition: u32) -> TaskId {
    let key = TaskKey {
        batch: BatchNumber(batch),
        stage: StageId(stage),
        partition: PartitionId(partition),
    };
    TaskId {
        key,
        attempt: Attempt(0),
    }
}

fn output(task: TaskId, partition: u32) -> DataKey {
    DataKey::Output {
        task,
        partition: PartitionId(partition),
    }
}

/// A task that reads the output of (batch, 9, partition), held by `holder`.
fn spec(id: TaskId, holder: Member) -> Arc<TaskSpec> {
    let source = task(id.key.batch.0, 9, id.key.partition.0);
    let part = InputPart::Held {
        key: output(source, 0),
        holders: vec![holder],
    };
    Arc::new(TaskSpec {
        task: id,
        inputs: vec![vec![part]],
    })
}

fn facts(batch: u64) -> TaskFacts {
    TaskFacts {
        epoch: Epoch(1),
        program: ProgramId(7),
        batch: BatchNumber(batch),
        time: BatchTime(batch * 100),
        seed: 3,
    }
}

fn run(tasks: &[(TaskId, Member)]) -> Event {
    let tasks: Vec<_> = tasks.iter().map(|(id, holder)| spec(*id, *holder)).collect();
    Event::Run {
        facts: facts(tasks[0].task.key.batch.0),
        tasks,
    }
}

fn start(slot: u16, id: TaskId, holder: Member) -> Action {
    Action::Start {
        slot: SlotIndex(slot),
        facts: facts(id.key.batch.0),
        spec: spec(id, holder),
    }
}

fn free(slot: u16, task: TaskId, end: TaskEnd) -> Event {
    Event::SlotFree {
        slot: SlotIndex(slot),
        task,
        end,
    }
}

fn done() -> TaskEnd {
    let outputs = vec![OutputInfo {
        partition: PartitionId(4),
        rows: 2,
        bytes: 16,
    }];
    TaskEnd::Done {
        outputs,
        rows_in: 5,
        run_ns: 900,
    }
}

fn failed(message: &str) -> TaskEnd {
    TaskEnd::Failed {
        message: message.into(),
    }
}

fn tell_done(id: TaskId) -> Vec<Action> {
    let TaskEnd::Done {
        outputs,
        rows_in,
        run_ns,
    } = done()
    else {
        unreachable!("done is Done")
    };
    let read = vec![output(task(id.key.batch.0, 9, id.key.partition.0), 0)];
    let outcome = TaskOutcome {
        task: id,
        holder: ME,
        outputs,
        rows_in,
        run_ns,
        read,
    };
    vec![
        Action::Count(Counted::Done { run_ns: 900 }),
        Action::TellDriver(ToDriver::TaskDone(outcome)),
    ]
}

fn tell_failed(task: TaskId, message: &str, missing: Option<DataKey>) -> Vec<Action> {
    let failure = TaskFailure {
        task,
        reporter: ME,
        message: message.into(),
        missing,
    };
    vec![
        Action::Count(Counted::Failed),
        Action::TellDriver(ToDriver::TaskFailed(failure)),
    ]
}

fn leak(slot: u16, task: TaskId) -> Vec<Action> {
    vec![
        Action::ReplaceSlot {
            slot: SlotIndex(slot),
            task,
        },
        Action::Count(Counted::SlotLeaked),
        Action::TellDriver(ToDriver::SlotLeaked { task }),
    ]
}

/// A core, driven by hand; time in milliseconds.
struct Desk {
    core: ExecutorCore,
    now: Time,
}

impl Desk {
    fn new(slots: u16) -> Self {
        Desk::with(ExecutorConfig::new(ME, ProgramId(7), slots))
    }

    fn with(config: ExecutorConfig) -> Self {
        Desk {
            core: ExecutorCore::new(config),
            now: Time::ZERO,
        }
    }

    fn at(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
        self.now = Time::ZERO + Duration::from_millis(now_ms);
        let mut out = Vec::new();
        self.core.on_event(self.now, event, &mut out);
        self.core.assert_invariants();
        out
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        self.at(self.now.0 / 1_000_000, event)
    }

    /// Lets time pass until `until_ms`, answering every question for progress; gives all that was done besides.
    fn pass(&mut self, until_ms: u64, counters: &[(TaskId, u64)]) -> Vec<Action> {
        let until = Time::ZERO + Duration::from_millis(until_ms);
        let mut all = Vec::new();
        while let Some(deadline) = self.core.next_deadline().filter(|deadline| *deadline <= until) {
            assert!(
                deadline > self.now,
                "the core wakes itself for nothing at {deadline}"
            );
            let at_ms = deadline.0 / 1_000_000;
            for action in self.at(at_ms, Event::Wake) {
                assert_eq!(action, Action::ReadProgress);
                all.extend(self.at(
                    at_ms,
                    Event::Progress {
                        counters: counters.to_vec(),
                    },
                ));
            }
        }
        self.now = until;
        all
    }
}

#[test]
fn what_is_at_hand_starts_in_the_same_event_oldest_first() {
    let mut desk = Desk::new(2);
    let (a, b, c, d) = (task(2, 0, 0), task(2, 0, 1), task(1, 1, 0), task(1, 0, 5));
    assert_eq!(
        desk.on(run(&[(a, ME), (b, ME)])),
        [start(0, a, ME), start(1, b, ME)]
    );
    assert_eq!(desk.on(run(&[(c, ME), (d, ME)])), []);
    assert_eq!(
        desk.on(free(1, b, done())),
        [tell_done(b), vec![start(1, d, ME)]].concat()
    );
    assert_eq!(
        desk.on(free(0, a, done())),
        [tell_done(a), vec![start(0, c, ME)]].concat()
    );
    assert_eq!(desk.on(free(0, c, done())), tell_done(c));
    assert_eq!(desk.on(free(1, d, done())), tell_done(d));
}

#[test]
fn a_fetch_holds_no_slot() {
    let mut desk = Desk::new(1);
    let (far, near) = (task(1, 0, 0), task(1, 0, 1));
    let fetch = Action::Fetch {
        spec: spec(far, OTHER),
    };
    assert_eq!(
        desk.on(run(&[(far, OTHER), (near, ME)])),
        [fetch, start(0, near, ME)]
    );
    assert_eq!(desk.on(Event::InputsReady { task: far }), []);
    assert_eq!(desk.on(Event::InputsReady { task: far }), [], "said twice");
    assert_eq!(
        desk.on(free(0, near, done())),
        [tell_done(near), vec![start(0, far, OTHER)]].concat()
    );
}

#[test]
fn an_immediate_transport_makes_everything_at_hand() {
    let config = ExecutorConfig {
        inputs_immediate: true,
        ..ExecutorConfig::new(ME, ProgramId(7), 1)
    };
    let mut desk = Desk::with(config);
    let (a, key) = (task(1, 0, 0), output(task(1, 9, 0), 0));
    assert_eq!(desk.on(run(&[(a, OTHER)])), [start(0, a, OTHER)]);
    let missing = TaskEnd::Missing {
        key,
        message: "gone".into(),
    };
    assert_eq!(desk.on(free(0, a, missing)), tell_failed(a, "gone", Some(key)));
}

#[test]
fn a_missing_input_is_fetched_once_and_then_reported() {
    let mut desk = Desk::new(1);
    let (a, key) = (task(1, 0, 0), output(task(1, 9, 0), 0));
    let missing = || TaskEnd::Missing {
        key,
        message: "gone".into(),
    };
    desk.on(run(&[(a, ME)]));
    assert_eq!(
        desk.on(free(0, a, missing())),
        [Action::Fetch { spec: spec(a, ME) }]
    );
    let failed = Event::InputsFailed {
        task: a,
        missing: Some(key),
        message: "nobody has it".into(),
    };
    assert_eq!(
        desk.on(failed.clone()),
        tell_failed(a, "nobody has it", Some(key))
    );
    assert_eq!(desk.on(failed), [], "said twice");
}

#[test]
fn cancel_may_come_first() {
    let mut desk = Desk::new(1);
    let (a, b) = (task(1, 0, 0), task(1, 0, 1));
    assert_eq!(desk.on(Event::Cancel { tasks: vec![a] }), []);
    assert_eq!(desk.on(run(&[(a, ME), (b, ME)])), [start(0, b, ME)]);
}

#[test]
fn the_memory_of_cancelled_attempts_is_bounded() {
    let config = ExecutorConfig {
        cancelled_memory_max: 2,
        ..ExecutorConfig::new(ME, ProgramId(7), 4)
    };
    let mut desk = Desk::with(config);
    let tasks: Vec<TaskId> = (0..3).map(|partition| task(1, 0, partition)).collect();
    desk.on(Event::Cancel { tasks: tasks.clone() });
    let orders: Vec<_> = tasks.iter().map(|id| (*id, ME)).collect();
    assert_eq!(
        desk.on(run(&orders)),
        [start(0, tasks[0], ME)],
        "the oldest is forgotten"
    );
}

#[test]
fn cancelled_attempts_end_in_silence_and_leave_nothing() {
    let mut desk = Desk::new(1);
    let (running, waiting, fetching) = (task(1, 0, 0), task(1, 0, 1), task(1, 0, 2));
    desk.on(run(&[(running, ME), (waiting, ME), (fetching, OTHER)]));
    let all = vec![fetching, running, waiting];
    let expected = [
        Action::Forget { task: fetching },
        Action::Count(Counted::Cancelled),
        Action::SetCancel { task: running },
        Action::Forget { task: waiting },
        Action::Count(Counted::Cancelled),
    ];
    assert_eq!(desk.on(Event::Cancel { tasks: all.clone() }), expected);
    assert_eq!(desk.on(Event::Cancel { tasks: all }), [], "said twice");
    assert_eq!(desk.on(Event::InputsReady { task: fetching }), [], "too late");
    let dropped = Action::DropData {
        keys: vec![output(running, 4)],
    };
    assert_eq!(
        desk.on(free(0, running, done())),
        [Action::Count(Counted::Cancelled), dropped]
    );
}

#[test]
fn a_task_that_ignores_its_cancel_for_5_s_leaks_its_slot() {
    let mut desk = Desk::new(1);
    let (deaf, next) = (task(1, 0, 0), task(1, 0, 1));
    desk.on(run(&[(deaf, ME), (next, ME)]));
    desk.pass(1_000, &[(deaf, 0)]);
    assert_eq!(
        desk.on(Event::Cancel { tasks: vec![deaf] }),
        [Action::SetCancel { task: deaf }]
    );
    assert_eq!(desk.pass(5_900, &[(deaf, 0)]), []);
    assert_eq!(
        desk.pass(6_000, &[(deaf, 0)]),
        [leak(0, deaf), vec![start(0, next, ME)]].concat()
    );
    let dropped = Action::DropData {
        keys: vec![output(deaf, 4)],
    };
    assert_eq!(
        desk.on(free(0, deaf, done())),
        [dropped],
        "it comes back after all: the slot is another's"
    );
    assert_eq!(desk.on(free(0, next, done())), tell_done(next));
}

#[test]
fn a_cancelled_task_that_gets_on_keeps_its_slot() {
    let mut desk = Desk::new(1);
    let slow = task(1, 0, 0);
    desk.on(run(&[(slow, ME)]));
    desk.on(Event::Cancel { tasks: vec![slow] });
    for step in 1..20 {
        assert_eq!(desk.pass(step * 2_000, &[(slow, step)]), []);
    }
    assert_eq!(
        desk.on(free(0, slow, TaskEnd::Cancelled)),
        [Action::Count(Counted::Cancelled)]
    );
}

#[test]
fn a_stuck_task_is_named_failed_and_its_slot_replaced() {
    let mut desk = Desk::new(1);
    let (stuck, next) = (task(3, 0, 1), task(3, 0, 2));
    desk.on(run(&[(stuck, ME), (next, ME)]));
    assert_eq!(
        desk.pass(8_000, &[(stuck, 4)]),
        [],
        "it got on at first, seen at 7.5 s"
    );
    assert_eq!(desk.pass(37_400, &[(stuck, 4)]), []);
    let failed = tell_failed(
        stuck,
        "batch-3/stage-0/p1 has made no progress for 30 s: its slot is replaced",
        None,
    );
    let expected = [
        vec![Action::SetCancel { task: stuck }],
        failed,
        leak(0, stuck),
        vec![start(0, next, ME)],
    ]
    .concat();
    assert_eq!(desk.pass(37_500, &[(stuck, 4)]), expected);
}

#[test]
fn more_leaks_than_slots_end_the_process_once() {
    let mut desk = Desk::new(1);
    let tasks: Vec<TaskId> = (0..4).map(|partition| task(1, 0, partition)).collect();
    desk.on(run(&tasks.iter().map(|id| (*id, ME)).collect::<Vec<_>>()));
    let mut ends = Vec::new();
    for (round, id) in tasks.iter().enumerate() {
        let actions = desk.pass((round as u64 + 1) * 40_000, &[(*id, 0)]);
        ends.extend(
            actions
                .into_iter()
                .filter(|action| matches!(action, Action::EndProcess { .. })),
        );
        assert_eq!(ends.len(), usize::from(round >= 1), "after {} leaks", round + 1);
    }
    let reason = "2 tasks hold threads and do not stop, more than there are slots (1)".to_string();
    assert_eq!(ends, [Action::EndProcess { reason }]);
}

#[test]
fn threads_that_come_back_are_not_counted_against_the_process() {
    let mut desk = Desk::new(1);
    for round in 0..5 {
        let id = task(round, 0, 0);
        desk.on(run(&[(id, ME)]));
        let actions = desk.pass((round + 1) * 40_000, &[(id, 0)]);
        assert!(actions.contains(&Action::ReplaceSlot {
            slot: SlotIndex(0),
            task: id
        }));
        assert!(
            !actions
                .iter()
                .any(|action| matches!(action, Action::EndProcess { .. }))
        );
        assert_eq!(desk.on(free(0, id, TaskEnd::Cancelled)), []);
    }
}

#[test]
fn other_programs_and_deposed_drivers_are_refused() {
    let mut desk = Desk::new(1);
    let (a, b) = (task(1, 0, 0), task(1, 0, 1));
    let of_another = Event::Run {
        facts: TaskFacts {
            program: ProgramId(8),
            ..facts(1)
        },
        tasks: vec![spec(a, ME)],
    };
    let message = "this executor runs program-7, the task is of program-8";
    let refused = vec![Action::Count(Counted::Refused)];
    assert_eq!(
        desk.on(of_another),
        [refused.clone(), tell_failed(a, message, None)].concat()
    );
    assert_eq!(desk.on(run(&[(a, ME), (b, ME)])), [start(0, a, ME)]);
    let expected = [
        Action::SetCancel { task: a },
        Action::Forget { task: b },
        Action::Count(Counted::Cancelled),
    ];
    assert_eq!(
        desk.on(Event::Welcome { epoch: Epoch(2) }),
        expected,
        "the new driver's reign begins"
    );
    assert_eq!(desk.on(run(&[(b, ME)])), refused);
    assert_eq!(
        desk.on(free(0, a, TaskEnd::Cancelled)),
        [Action::Count(Counted::Cancelled)]
    );
    let tasks = vec![spec(b, ME)];
    let newer = Event::Run {
        facts: TaskFacts {
            epoch: Epoch(2),
            ..facts(1)
        },
        tasks,
    };
    assert!(
        matches!(&desk.on(newer)[..], [Action::Start { .. }]),
        "attempts count anew with a new driver"
    );
}

#[test]
fn repeated_orders_and_failures_change_nothing_twice() {
    let mut desk = Desk::new(2);
    let a = task(1, 0, 0);
    assert_eq!(desk.on(run(&[(a, ME)])), [start(0, a, ME)]);
    assert_eq!(desk.on(run(&[(a, ME)])), []);
    assert_eq!(
        desk.on(free(0, a, failed("no luck at x.rs:1"))),
        tell_failed(a, "no luck at x.rs:1", None)
    );
    assert_eq!(desk.on(free(0, a, failed("again"))), []);
}

#[test]
fn data_are_dropped_as_told() {
    let mut desk = Desk::new(1);
    let keys = vec![output(task(1, 0, 0), 0)];
    assert_eq!(
        desk.on(Event::Drop { keys: keys.clone() }),
        [Action::DropData { keys }]
    );
    let up_to = BatchNumber(4);
    assert_eq!(
        desk.on(Event::ReleaseOutputs { up_to }),
        [Action::ReleaseOutputs { up_to }]
    );
}

#[test]
fn leaving_waits_for_what_runs_and_takes_nothing_new() {
    let mut desk = Desk::new(1);
    let (a, b) = (task(1, 0, 0), task(1, 0, 1));
    desk.on(run(&[(a, ME), (b, ME)]));
    let expected = [
        Action::SetCancel { task: a },
        Action::Forget { task: b },
        Action::Count(Counted::Cancelled),
    ];
    assert_eq!(desk.on(Event::Shutdown), expected);
    assert_eq!(desk.on(run(&[(b, ME)])), [Action::Count(Counted::Refused)]);
    let last = desk.on(free(0, a, TaskEnd::Cancelled));
    assert_eq!(last, [Action::Count(Counted::Cancelled), Action::Leave]);
}

#[test]
fn a_steady_flow_of_short_tasks_does_not_move_the_deadline() {
    let mut desk = Desk::new(1);
    let first = task(0, 0, 0);
    desk.at(0, run(&[(first, ME)]));
    let deadline = desk.core.next_deadline().expect("something runs");
    desk.at(1, free(0, first, done()));
    for batch in 1..100 {
        let id = task(batch, 0, 0);
        desk.at(batch * 10, run(&[(id, ME)]));
        desk.at(batch * 10 + 1, free(0, id, done()));
        assert_eq!(desk.core.next_deadline(), Some(deadline));
    }
    assert_eq!(desk.at(7_500, Event::Wake), [], "nothing runs, so nobody looks");
    assert_eq!(desk.core.next_deadline(), None);
}
