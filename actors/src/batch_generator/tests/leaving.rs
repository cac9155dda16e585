//! An executor that leaves hands over its receivers and its blocks.

use super::*;
use crate::batch_generator::GeneratorNote;
use tidemill_protocol::message::ReceiverExitReason;

fn id(sequence: u64) -> BlockId {
    block_id(receiver(0, 0), sequence)
}

/// A receiver on node 1 of `nodes`.
fn running(nodes: &[u16]) -> Desk {
    let config = every(1_000, vec![stream(0, StreamKind::Acknowledged, 1)]);
    let (mut desk, _) = Desk::new(config, 5_300, nodes);
    desk.tell(1, Event::ReceiverStarted(receiver(0, 0)));
    desk
}

fn leave(desk: &mut Desk, ms: u64, node: u16) -> Vec<Action> {
    desk.tell(ms, Event::ExecutorLeaving(member(node)))
}

fn stopped(desk: &mut Desk, ms: u64) -> Vec<Action> {
    let reason = ReceiverExitReason::Stopped;
    desk.tell(ms, Event::ReceiverExited { receiver: receiver(0, 0), reason })
}

fn is_drained(actions: &[Action], node: u16) -> bool {
    actions.contains(&Action::Drained(member(node)))
}

#[test]
fn one_that_holds_nothing_is_drained_at_once_and_gets_no_receiver() {
    let mut desk = running(&[1, 2, 3]);
    assert_eq!(leave(&mut desk, 10, 2), vec![Action::Drained(member(2))]);
    assert_eq!(leave(&mut desk, 11, 2), vec![]);
    let out = desk.tell(20, Event::ExecutorDown(member(1)));
    assert_eq!(orders(&out).iter().map(|(node, _)| *node).collect::<Vec<_>>(), vec![3]);
}

#[test]
fn its_receiver_stops_in_order_and_goes_on_elsewhere_once_its_last_block_is_safe() {
    let mut desk = running(&[1, 2, 3]);
    desk.add(10, id(0), 0, 10, 1);
    desk.safe(11, id(0), 2);
    let out = leave(&mut desk, 20, 1);
    let copy = Action::CopyBlock { from: member(2), block: id(0), to: member(3) };
    assert_eq!(out, vec![Action::StopReceiver { member: member(1), receiver: receiver(0, 0) }, copy]);
    desk.add(21, id(1), 0, 20, 1);
    let out = stopped(&mut desk, 22);
    assert_eq!(orders(&out), vec![], "block 1 may still be lost: its sender would have to repeat it");
    let out = desk.safe(23, id(1), 3);
    let expected = ReceiverOrder {
        receiver: receiver(0, 1),
        resume_after: Some(Position(20)),
        open_batch: BatchNumber(0),
        records_per_s_max: u64::MAX,
    };
    assert_eq!(orders(&out), vec![(2, expected)]);
}

#[test]
fn its_blocks_are_copied_to_those_who_stay_before_it_may_go() {
    let mut desk = running(&[1, 2, 3]);
    desk.add(10, id(0), 0, 10, 1);
    desk.safe(11, id(0), 2);
    leave(&mut desk, 20, 1);
    let out = stopped(&mut desk, 22);
    assert!(!is_drained(&out, 1), "{out:?}");
    let copy = Event::BlockCopied { block: id(0), to: member(3), kept: true };
    let out = desk.tell(30, copy);
    assert!(is_drained(&out, 1), "{out:?}");
    let out = desk.tell(40, Event::ExecutorDown(member(1)));
    let is_news = |a: &Action| matches!(a, Action::CopyBlock { .. } | Action::Note(_) | Action::Drained(_));
    assert!(!out.iter().any(is_news), "nothing was lost: {out:?}");
}

#[test]
fn a_replica_on_it_is_replaced_by_the_receiver_and_then_it_is_drained() {
    let mut desk = running(&[1, 2, 3]);
    desk.add(10, id(0), 0, 10, 1);
    desk.safe(11, id(0), 2);
    assert_eq!(leave(&mut desk, 20, 2), vec![], "block 0 has one other holder only");
    let out = desk.safe(30, id(0), 3);
    assert!(is_drained(&out, 2), "{out:?}");
}

#[test]
fn a_copy_on_one_that_leaves_makes_no_block_safe() {
    let mut desk = running(&[1, 2, 3]);
    desk.add(10, id(0), 0, 10, 1);
    leave(&mut desk, 20, 2);
    // It was sent before the executor that cut it knew who leaves; that copies it again.
    assert_eq!(desk.safe(21, id(0), 2), vec![]);
    let recorded = Action::RecordSafe { member: member(1), block: id(0) };
    assert_eq!(desk.safe(22, id(0), 3), vec![recorded]);
}

#[test]
fn a_copy_on_one_that_leaves_counts_where_nobody_else_can_hold_it() {
    let recorded = Action::RecordSafe { member: member(1), block: id(0) };
    // Only the one that cut it stays.
    let mut desk = running(&[1, 2]);
    desk.add(10, id(0), 0, 10, 1);
    leave(&mut desk, 20, 2);
    assert!(desk.safe(21, id(0), 2).contains(&recorded));
    // Nobody stays.
    let mut desk = running(&[1, 2]);
    desk.add(10, id(0), 0, 10, 1);
    leave(&mut desk, 20, 2);
    leave(&mut desk, 21, 1);
    assert!(desk.safe(22, id(0), 2).contains(&recorded));
}

#[test]
fn with_one_other_executor_one_copy_must_do_and_with_none_the_release_is_awaited() {
    let mut desk = running(&[1, 2]);
    desk.add(10, id(0), 0, 10, 1);
    desk.safe(11, id(0), 2);
    assert!(is_drained(&leave(&mut desk, 20, 2), 2));
    assert!(!is_drained(&leave(&mut desk, 21, 1), 1));
    assert!(!is_drained(&stopped(&mut desk, 22), 1));
    desk.wake(700);
    let out = desk.tell(900, Event::BatchReleased(BatchNumber(0)));
    assert!(is_drained(&out, 1), "{out:?}");
}

#[test]
fn one_that_dies_while_it_leaves_is_a_loss_like_any_other() {
    let mut desk = running(&[1, 2, 3]);
    desk.add(10, id(0), 0, 10, 1);
    desk.safe(11, id(0), 2);
    leave(&mut desk, 20, 1);
    desk.add(21, id(1), 0, 20, 1);
    stopped(&mut desk, 22);
    let out = desk.tell(30, Event::ExecutorDown(member(1)));
    let started = orders(&out);
    assert_eq!(started.len(), 1, "{out:?}");
    assert_eq!(started[0].1.resume_after, Some(Position(10)), "block 1 is repeated");
    let copy = Action::CopyBlock { from: member(2), block: id(0), to: member(3) };
    assert!(!out.contains(&copy), "it is under way since the leave began");
}

#[test]
fn a_graceful_stop_meanwhile_ends_the_pipeline_without_another_life() {
    let mut desk = running(&[1, 2]);
    desk.add(10, id(0), 0, 10, 1);
    leave(&mut desk, 20, 1);
    stopped(&mut desk, 21);
    let mut out = desk.tell(22, Event::Stop { graceful: true });
    out.extend(desk.safe(23, id(0), 2));
    assert_eq!(orders(&out), vec![]);
    out.extend((100..2_000).step_by(100).flat_map(|ms| desk.wake(ms)));
    assert_eq!(plans(&out).len(), 1, "one last batch holds the block: {out:?}");
    assert!(out.contains(&Action::Ended));
}

#[test]
fn when_all_leave_they_stay_for_the_last_blocks_until_these_are_released() {
    let mut desk = running(&[1, 2, 3]);
    desk.add(10, id(0), 0, 10, 1);
    leave(&mut desk, 20, 1);
    assert!(is_drained(&leave(&mut desk, 21, 2), 2), "node 3 stays");
    let waits = vec![Action::BlocksWait(true)];
    assert_eq!(leave(&mut desk, 22, 3), waits, "nobody else can take the last block");
    let out = stopped(&mut desk, 23);
    assert!(!is_drained(&out, 1) && !is_drained(&out, 3), "{out:?}");
    let out = desk.safe(24, id(0), 3);
    assert!(!is_drained(&out, 1) && !is_drained(&out, 3), "{out:?}");
    let out = desk.wake(700);
    assert_eq!(plans(&out), vec![(0, vec![id(0)])]);
    assert!(out.contains(&Action::BatchSafe(BatchNumber(0))), "{out:?}");
    let out = desk.tell(710, Event::BatchReleased(BatchNumber(0)));
    assert!(is_drained(&out, 1) && is_drained(&out, 3), "{out:?}");
}

#[test]
fn the_last_one_to_leave_strikes_what_nobody_can_copy() {
    let mut desk = running(&[1, 2]);
    desk.add(10, id(0), 0, 10, 1);
    leave(&mut desk, 20, 1);
    leave(&mut desk, 21, 2);
    desk.tell(22, Event::ExecutorDown(member(2)));
    let out = stopped(&mut desk, 23);
    assert!(out.contains(&Action::Note(GeneratorNote::BlocksStruck { blocks: 1, records: 10 })), "{out:?}");
    assert!(is_drained(&out, 1), "{out:?}");
    // Whoever comes next goes on there.
    desk.tell(30, Event::ExecutorDown(member(1)));
    let out = desk.tell(40, Event::ExecutorUp(member(4)));
    assert_eq!(
        orders(&out).iter().map(|(node, order)| (*node, order.resume_after)).collect::<Vec<_>>(),
        [(4, None)]
    );
}

#[test]
fn a_receiver_that_nobody_can_host_waits_without_a_timer() {
    let mut desk = running(&[1, 2]);
    leave(&mut desk, 20, 2);
    leave(&mut desk, 21, 1);
    stopped(&mut desk, 22);
    // The next cut, and no attempt to place the receiver before that.
    assert_eq!(desk.0.next_deadline(), Some(at(700)));
    let out = desk.tell(30, Event::ExecutorUp(member(3)));
    assert_eq!(orders(&out).iter().map(|(node, _)| *node).collect::<Vec<_>>(), vec![3]);
}

#[test]
fn while_all_leave_it_is_told_whether_blocks_wait_behind_the_batches_in_flight() {
    let streams = vec![stream(0, StreamKind::Acknowledged, 1)];
    let config = GeneratorConfig { in_flight_max: 1, ..every(1_000, streams) };
    let (mut desk, _) = Desk::new(config, 5_300, &[1]);
    desk.tell(1, Event::ReceiverStarted(receiver(0, 0)));
    desk.wake(700);
    assert_eq!(plans(&desk.end(701, receiver(0, 0), 0)), vec![(0, vec![])]);
    desk.add(710, id(0), 1, 10, 1);
    let waits = |actions: &[Action]| {
        let wait = |a: &Action| if let Action::BlocksWait(wait) = a { Some(*wait) } else { None };
        actions.iter().filter_map(wait).collect::<Vec<_>>()
    };
    assert_eq!(waits(&leave(&mut desk, 720, 1)), [true]);
    // Of the last one that leaves nobody takes a copy: its sender repeats the block, so nothing waits.
    let mut alone = desk;
    assert_eq!(waits(&stopped(&mut alone, 730)), [false]);
    // Two that leave give each other copies; the block goes on to its batch.
    let streams = vec![stream(0, StreamKind::Acknowledged, 1)];
    let config = GeneratorConfig { in_flight_max: 1, ..every(1_000, streams) };
    let (mut desk, _) = Desk::new(config, 5_300, &[1, 2]);
    desk.tell(1, Event::ReceiverStarted(receiver(0, 0)));
    desk.wake(700);
    desk.end(701, receiver(0, 0), 0);
    desk.add(710, id(0), 1, 10, 1);
    desk.safe(711, id(0), 2);
    assert_eq!(waits(&leave(&mut desk, 720, 1)), Vec::<bool>::new(), "node 2 stays");
    assert_eq!(waits(&leave(&mut desk, 721, 2)), [true]);
    stopped(&mut desk, 722);
    assert_eq!(waits(&desk.wake(1_700)), Vec::<bool>::new(), "batch 0 is in flight, and it has room for one");
    let out = desk.tell(1_800, Event::BatchDecided(BatchNumber(0)));
    assert_eq!((plans(&out), waits(&out)), (vec![(1, vec![id(0)])], vec![false]));
}
