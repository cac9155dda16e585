//! Safe blocks that have lost a holder are copied again.

use super::*;
use crate::{
    batch_generator::{GeneratorNote, copies::UNDER_WAY_MAX},
    seam::Machine,
};
use std::net::SocketAddr;

/// One receiver on node 1 of `nodes`; its `blocks` safe blocks lie on 1 and 2.
fn desk(nodes: &[u16], blocks: u64) -> Desk {
    let config = every(1_000, vec![stream(0, StreamKind::Acknowledged, 1)]);
    let (mut desk, _) = Desk::new(config, 5_300, nodes);
    desk.tell(1, Event::ReceiverStarted(receiver(0, 0)));
    for sequence in 0..blocks {
        let out = desk.add(10, id(sequence), 0, 10 * sequence + 10, 1);
        assert_eq!(copies(&out), vec![], "the receiver copies it");
        assert_eq!(copies(&desk.safe(11, id(sequence), 2)), vec![]);
    }
    desk
}

fn id(sequence: u64) -> BlockId {
    block_id(receiver(0, 0), sequence)
}

/// The copies that are ordered: sequence, from, to.
fn copies(actions: &[Action]) -> Vec<(u64, u16, u16)> {
    let order = |action: &Action| match action {
        Action::CopyBlock { from, block, to } => Some((block.sequence, from.node.0, to.node.0)),
        _ => None,
    };
    actions.iter().filter_map(order).collect()
}

fn copied(desk: &mut Desk, ms: u64, sequence: u64, to: u16, kept: bool) -> Vec<Action> {
    desk.tell(ms, Event::BlockCopied { block: id(sequence), to: member(to), kept })
}

fn down(desk: &mut Desk, ms: u64, node: u16) -> Vec<Action> {
    desk.tell(ms, Event::ExecutorDown(member(node)))
}

#[test]
fn the_survivor_copies_to_others_and_then_the_survivors_loss_loses_nothing() {
    let mut desk = desk(&[1, 2, 3, 4], 2);
    let out = down(&mut desk, 20, 1);
    assert_eq!(copies(&out), vec![(0, 2, 3), (1, 2, 4)], "spread over those who stay");
    let note = |block, to| Action::Note(GeneratorNote::BlockCopied { block, to: member(to) });
    assert!(copied(&mut desk, 30, 0, 3, true).contains(&note(id(0), 3)));
    assert!(copied(&mut desk, 31, 1, 4, true).contains(&note(id(1), 4)));
    let out = down(&mut desk, 40, 2);
    let is_loss = |a: &Action| matches!(a, Action::Note(GeneratorNote::BlocksLost { .. }));
    assert!(!out.iter().any(is_loss), "{out:?}");
    assert_eq!(copies(&out), vec![(0, 3, 4), (1, 4, 3)], "and again");
}

#[test]
fn a_survivor_that_dies_before_the_copy_takes_the_block_with_it_and_it_is_told() {
    let mut desk = desk(&[1, 2, 3], 1);
    assert_eq!(copies(&down(&mut desk, 20, 1)), vec![(0, 2, 3)]);
    let out = down(&mut desk, 21, 2);
    assert!(out.contains(&Action::Note(GeneratorNote::BlocksLost { blocks: 1, records: 10 })), "{out:?}");
    // The copy came through after all, and is not wanted.
    let drop = Action::DropBlocks { member: member(3), blocks: vec![id(0)] };
    assert!(copied(&mut desk, 22, 0, 3, true).contains(&drop));
}

#[test]
fn the_receiver_itself_replaces_a_lost_replica() {
    let mut desk = desk(&[1, 2, 3], 3);
    assert_eq!(copies(&down(&mut desk, 20, 2)), vec![]);
    assert_eq!(copies(&desk.safe(21, id(0), 3)), vec![]);
}

#[test]
fn who_refuses_is_not_asked_before_all_others_and_then_after_a_delay_that_doubles() {
    let mut desk = desk(&[1, 2, 3, 4], 1);
    assert_eq!(copies(&down(&mut desk, 20, 1)), vec![(0, 2, 3)]);
    assert_eq!(copies(&copied(&mut desk, 30, 0, 3, false)), vec![(0, 2, 4)]);
    assert_eq!(copies(&copied(&mut desk, 40, 0, 4, false)), vec![]);
    assert_eq!(copies(&desk.wake(139)), vec![]);
    assert_eq!(copies(&desk.wake(140)), vec![(0, 2, 3)]);
    assert_eq!(copies(&copied(&mut desk, 150, 0, 3, false)), vec![(0, 2, 4)]);
    assert_eq!(copies(&copied(&mut desk, 160, 0, 4, false)), vec![]);
    assert_eq!(copies(&desk.wake(359)), vec![]);
    assert_eq!(copies(&desk.wake(360)), vec![(0, 2, 3)]);
}

#[test]
fn with_nobody_to_ask_the_next_executor_is() {
    let mut desk = desk(&[1, 2], 1);
    assert_eq!(copies(&down(&mut desk, 20, 1)), vec![]);
    assert_eq!(copies(&desk.tell(500, Event::ExecutorUp(member(5)))), vec![(0, 2, 5)]);
}

#[test]
fn so_many_at_a_time_and_the_oldest_first() {
    let blocks = UNDER_WAY_MAX as u64 + 3;
    let mut desk = desk(&[1, 2, 3], blocks);
    let out = down(&mut desk, 20, 1);
    assert_eq!(copies(&out), (0..UNDER_WAY_MAX as u64).map(|s| (s, 2, 3)).collect::<Vec<_>>());
    let next = UNDER_WAY_MAX as u64;
    assert_eq!(copies(&copied(&mut desk, 30, 5, 3, true)), vec![(next, 2, 3)]);
    assert_eq!(copies(&copied(&mut desk, 31, 0, 3, true)), vec![(next + 1, 2, 3)]);
    // Said twice: nobody waits for it.
    assert_eq!(copied(&mut desk, 32, 0, 3, true), vec![]);
}

#[test]
fn a_copy_of_a_handed_batch_is_told_to_the_scheduler_and_one_of_a_released_batch_is_dropped() {
    let mut desk = desk(&[1, 2, 3], 2);
    desk.wake(700);
    desk.end(701, receiver(0, 0), 0);
    assert_eq!(copies(&down(&mut desk, 800, 1)), vec![(0, 2, 3), (1, 2, 3)]);
    let held = Action::BlockHeld { block: id(0), holders: vec![member(2), member(3)] };
    assert!(copied(&mut desk, 810, 0, 3, true).contains(&held));
    desk.tell(820, Event::BatchReleased(BatchNumber(0)));
    let drop = Action::DropBlocks { member: member(3), blocks: vec![id(1)] };
    assert_eq!(copied(&mut desk, 830, 1, 3, true), vec![drop]);
}

#[test]
fn a_copy_goes_to_another_machine_if_there_is_one() {
    let ip = |last: u8| Machine::at(SocketAddr::from(([10, 0, 0, last], 7600)));
    let mut desk = desk(&[1, 2, 3, 4], 2);
    for (node, machine) in [(1, 1), (2, 1), (3, 1), (4, 2)] {
        desk.tell(12, Event::ExecutorAt(member(node), ip(machine)));
    }
    // Node 3 is idle, but shares the machine of node 2, which holds both.
    assert_eq!(copies(&down(&mut desk, 20, 1)), vec![(0, 2, 4), (1, 2, 4)]);
    assert_eq!(copies(&copied(&mut desk, 30, 0, 4, false)), vec![(0, 2, 3)], "rather there than nowhere");
}

#[test]
fn a_safe_batch_that_loses_a_block_with_all_its_holders_is_planned_without_it_and_is_safe_anew() {
    let mut desk = desk(&[1, 2, 3], 2);
    desk.wake(700);
    let safe = Action::BatchSafe(BatchNumber(0));
    assert!(desk.end(701, receiver(0, 0), 0).contains(&safe));
    down(&mut desk, 710, 1);
    copied(&mut desk, 711, 0, 3, true);
    let out = down(&mut desk, 712, 2);
    assert!(out.contains(&Action::Note(GeneratorNote::BlocksLost { blocks: 1, records: 10 })), "{out:?}");
    assert_eq!(plans(&out), vec![(0, vec![id(0)])]);
    let replanned = out.iter().position(|action| matches!(action, Action::Replan { .. }));
    let told = out.iter().position(|action| *action == safe);
    assert!(
        told.is_some() && replanned < told,
        "the scheduler forgets what it knew when it is given a new plan: {out:?}"
    );
}

#[test]
fn a_copy_of_a_block_that_was_let_go_of_is_dropped_whoever_tells_of_it() {
    let mut desk = desk(&[1, 2, 3], 0);
    let drop = Action::DropBlocks { member: member(3), blocks: vec![id(7)] };
    assert_eq!(desk.safe(20, id(7), 3), vec![drop.clone()]);
    let what = Box::new(Event::BlockCopied { block: id(7), to: member(3), kept: true });
    assert_eq!(desk.tell(21, Event::Said { by: member(1), what }), vec![drop]);
}
