//! Tasks that do not stop, and tasks that do not get on; all in virtual time.

use crate::desk::*;
use tidemill_actors::{
    core::Core,
    executor::{Action, Counted, Event, SlotIndex, TaskEnd},
};
use tidemill_protocol::id::TaskId;

#[test]
fn a_task_that_ignores_its_cancel_for_5_s_leaks_its_slot() {
    let mut desk = Desk::new(1);
    let (deaf, next) = (task(1, 0, 0), task(1, 0, 1));
    desk.on(run(&[(deaf, ME), (next, ME)]));
    desk.pass(1_000, &[(deaf, 0)]);
    assert_eq!(desk.on(Event::Cancel { tasks: vec![deaf] }), [Action::SetCancel { task: deaf }]);
    assert_eq!(desk.pass(5_900, &[(deaf, 0)]), []);
    assert_eq!(desk.pass(6_000, &[(deaf, 0)]), [leak(0, deaf), vec![start(0, next, ME)]].concat());
    let dropped = Action::DropData { keys: vec![output(deaf, 4)] };
    let discarded = Action::Discard { task: deaf, facts: facts(1) };
    assert_eq!(
        desk.on(free(0, deaf, done())),
        [discarded, dropped],
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
    assert_eq!(desk.on(free(0, slow, TaskEnd::Cancelled)), [Action::Count(Counted::Cancelled)]);
}

#[test]
fn a_stuck_task_is_named_failed_and_its_slot_replaced() {
    let mut desk = Desk::new(1);
    let (stuck, next) = (task(3, 0, 1), task(3, 0, 2));
    desk.on(run(&[(stuck, ME), (next, ME)]));
    assert_eq!(desk.pass(8_000, &[(stuck, 4)]), [], "it got on at first, seen at 7.5 s");
    assert_eq!(desk.pass(37_400, &[(stuck, 4)]), []);
    let failed =
        tell_failed(stuck, "batch-3/stage-0/p1 has made no progress for 30 s: its slot is replaced", None);
    let expected =
        [vec![Action::SetCancel { task: stuck }], failed, leak(0, stuck), vec![start(0, next, ME)]].concat();
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
        ends.extend(actions.into_iter().filter(|action| matches!(action, Action::EndProcess { .. })));
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
        assert!(actions.contains(&Action::ReplaceSlot { slot: SlotIndex(0), task: id }));
        assert!(!actions.iter().any(|action| matches!(action, Action::EndProcess { .. })));
        assert_eq!(desk.on(free(0, id, TaskEnd::Cancelled)), []);
    }
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
