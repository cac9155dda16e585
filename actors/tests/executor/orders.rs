//! What orders lead to, by hand-written tables of events and actions.

use crate::desk::*;
use tidemill_actors::executor::{Action, Counted, Event, ExecutorConfig, TaskEnd};
use tidemill_protocol::{
    id::{BatchNumber, Epoch, ProgramId, TaskId},
    message::TaskFacts,
};

#[test]
fn what_is_at_hand_starts_in_the_same_event_oldest_first() {
    let mut desk = Desk::new(2);
    let (a, b, c, d) = (task(2, 0, 0), task(2, 0, 1), task(1, 1, 0), task(1, 0, 5));
    assert_eq!(desk.on(run(&[(a, ME), (b, ME)])), [start(0, a, ME), start(1, b, ME)]);
    assert_eq!(desk.on(run(&[(c, ME), (d, ME)])), []);
    assert_eq!(desk.on(free(1, b, done())), [tell_done(b), vec![start(1, d, ME)]].concat());
    assert_eq!(desk.on(free(0, a, done())), [tell_done(a), vec![start(0, c, ME)]].concat());
    assert_eq!(desk.on(free(0, c, done())), tell_done(c));
    assert_eq!(desk.on(free(1, d, done())), tell_done(d));
}

#[test]
fn a_fetch_holds_no_slot() {
    let mut desk = Desk::new(1);
    let (far, near) = (task(1, 0, 0), task(1, 0, 1));
    let fetch = Action::Fetch { spec: spec(far, OTHER) };
    assert_eq!(desk.on(run(&[(far, OTHER), (near, ME)])), [fetch, start(0, near, ME)]);
    assert_eq!(desk.on(Event::InputsReady { task: far }), []);
    assert_eq!(desk.on(Event::InputsReady { task: far }), [], "said twice");
    assert_eq!(desk.on(free(0, near, done())), [tell_done(near), vec![start(0, far, OTHER)]].concat());
}

#[test]
fn an_immediate_transport_makes_everything_at_hand() {
    let config = ExecutorConfig { inputs_immediate: true, ..ExecutorConfig::new(ME, ProgramId(7), 1) };
    let mut desk = Desk::with(config);
    let (a, key) = (task(1, 0, 0), output(task(1, 9, 0), 0));
    assert_eq!(desk.on(run(&[(a, OTHER)])), [start(0, a, OTHER)]);
    let missing = TaskEnd::Missing { key, message: "gone".into() };
    assert_eq!(desk.on(free(0, a, missing)), tell_failed(a, "gone", Some(key)));
}

#[test]
fn a_missing_input_is_fetched_once_and_then_reported() {
    let mut desk = Desk::new(1);
    let (a, key) = (task(1, 0, 0), output(task(1, 9, 0), 0));
    let missing = || TaskEnd::Missing { key, message: "gone".into() };
    desk.on(run(&[(a, ME)]));
    assert_eq!(desk.on(free(0, a, missing())), [Action::Fetch { spec: spec(a, ME) }]);
    let failed = Event::InputsFailed {
        task: a,
        missing: Some(key),
        exhausted: None,
        unreached: vec![],
        message: "nobody has it".into(),
    };
    assert_eq!(desk.on(failed.clone()), tell_failed(a, "nobody has it", Some(key)));
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
    let config = ExecutorConfig { cancelled_memory_max: 2, ..ExecutorConfig::new(ME, ProgramId(7), 4) };
    let mut desk = Desk::with(config);
    let tasks: Vec<TaskId> = (0..3).map(|partition| task(1, 0, partition)).collect();
    desk.on(Event::Cancel { tasks: tasks.clone() });
    let orders: Vec<_> = tasks.iter().map(|id| (*id, ME)).collect();
    assert_eq!(desk.on(run(&orders)), [start(0, tasks[0], ME)], "the oldest is forgotten");
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
    let dropped = Action::DropData { keys: vec![output(running, 4)] };
    let discarded = Action::Discard { task: running, facts: facts(1) };
    let expected = [Action::Count(Counted::Cancelled), discarded, dropped];
    assert_eq!(desk.on(free(0, running, done())), expected, "it ended well before it heard of it");
}

#[test]
fn other_programs_and_deposed_drivers_are_refused() {
    let mut desk = Desk::new(1);
    let (a, b) = (task(1, 0, 0), task(1, 0, 1));
    let of_another = Event::Run {
        facts: TaskFacts { program: ProgramId(8), ..facts(1) },
        tasks: vec![spec(a, ME)],
        routes: vec![],
    };
    let message = "this executor runs program-7, the task is of program-8";
    let refused = vec![Action::Count(Counted::Refused)];
    assert_eq!(desk.on(of_another), [refused.clone(), tell_failed(a, message, None)].concat());
    assert_eq!(desk.on(run(&[(a, ME), (b, ME)])), [start(0, a, ME)]);
    let expected =
        [Action::SetCancel { task: a }, Action::Forget { task: b }, Action::Count(Counted::Cancelled)];
    assert_eq!(desk.on(Event::Welcome { epoch: Epoch(2) }), expected, "the new driver's reign begins");
    assert_eq!(desk.on(run(&[(b, ME)])), refused);
    assert_eq!(desk.on(free(0, a, TaskEnd::Cancelled)), [Action::Count(Counted::Cancelled)]);
    let tasks = vec![spec(b, ME)];
    let newer = Event::Run { facts: TaskFacts { epoch: Epoch(2), ..facts(1) }, tasks, routes: vec![] };
    assert!(matches!(&desk.on(newer)[..], [Action::Start { .. }]), "attempts count anew with a new driver");
}

#[test]
fn repeated_orders_and_failures_change_nothing_twice() {
    let mut desk = Desk::new(2);
    let a = task(1, 0, 0);
    assert_eq!(desk.on(run(&[(a, ME)])), [start(0, a, ME)]);
    assert_eq!(desk.on(run(&[(a, ME)])), []);
    assert_eq!(desk.on(free(0, a, failed("no luck at x.rs:1"))), tell_failed(a, "no luck at x.rs:1", None));
    assert_eq!(desk.on(free(0, a, failed("again"))), []);
}

#[test]
fn data_are_dropped_as_told() {
    let mut desk = Desk::new(1);
    let keys = vec![output(task(1, 0, 0), 0)];
    assert_eq!(desk.on(Event::Drop { keys: keys.clone() }), [Action::DropData { keys }]);
    let up_to = BatchNumber(4);
    assert_eq!(desk.on(Event::ReleaseOutputs { up_to }), [Action::ReleaseOutputs { up_to }]);
}

#[test]
fn leaving_waits_for_what_runs_and_takes_nothing_new() {
    let mut desk = Desk::new(1);
    let (a, b) = (task(1, 0, 0), task(1, 0, 1));
    desk.on(run(&[(a, ME), (b, ME)]));
    let expected =
        [Action::SetCancel { task: a }, Action::Forget { task: b }, Action::Count(Counted::Cancelled)];
    assert_eq!(desk.on(Event::Shutdown), expected);
    assert_eq!(desk.on(run(&[(b, ME)])), [Action::Count(Counted::Refused)]);
    let last = desk.on(free(0, a, TaskEnd::Cancelled));
    assert_eq!(last, [Action::Count(Counted::Cancelled), Action::Leave]);
}
