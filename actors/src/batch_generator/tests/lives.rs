//! Receivers come, fail, move, and end; what becomes of their blocks.

use super::*;
use crate::batch_generator::{GeneratorNote, placement::choose};
use std::collections::{BTreeMap, BTreeSet};
use tidemill_protocol::message::ReceiverExitReason;

fn acknowledged(receivers: u16) -> GeneratorConfig {
    every(1_000, vec![stream(0, StreamKind::Acknowledged, receivers)])
}

/// A desk with one receiver running on node 1 of `nodes`, started at wall 5,300: batch 0 is cut at monotonic 700.
fn running(kind: StreamKind, nodes: &[u16]) -> Desk {
    let (mut desk, _) = Desk::new(every(1_000, vec![stream(0, kind, 1)]), 5_300, nodes);
    desk.tell(1, Event::ReceiverStarted(receiver(0, 0)));
    desk
}

fn failed(desk: &mut Desk, ms: u64, receiver: ReceiverId) -> Vec<Action> {
    let reason = ReceiverExitReason::Failed("reset".to_owned());
    desk.tell(ms, Event::ReceiverExited { receiver, reason })
}

#[test]
fn receivers_are_spread_evenly_with_ties_by_id_and_not_where_they_just_failed() {
    let load =
        |counts: &[(u16, usize)]| counts.iter().map(|(n, c)| (member(*n), *c)).collect::<BTreeMap<_, _>>();
    let choose = |counts: &[(u16, usize)], avoid: Option<u16>| {
        choose(&load(counts), &BTreeSet::new(), avoid.map(member)).map(|chosen| chosen.node.0)
    };
    assert_eq!(choose(&[(2, 1), (3, 0), (1, 1)], None), Some(3));
    assert_eq!(choose(&[(2, 1), (1, 1)], None), Some(1));
    assert_eq!(choose(&[(2, 5), (1, 0)], Some(1)), Some(2));
    assert_eq!(choose(&[(1, 0)], Some(1)), Some(1));
    assert_eq!(choose(&[], None), None);
    let (_, out) = Desk::new(GeneratorConfig { executors_expected: 3, ..acknowledged(7) }, 0, &[1, 2, 3]);
    let placed: Vec<u16> = orders(&out).into_iter().map(|(node, _)| node).collect();
    assert_eq!(placed, vec![1, 2, 3, 1, 2, 3, 1]);
}

#[test]
fn a_receiver_is_started_on_a_suspected_executor_only_if_all_others_are_suspected_or_have_just_failed_it() {
    let mut desk = running(StreamKind::Acknowledged, &[1, 2, 3]);
    let suspect = |desk: &mut Desk, ms: u64, node: u16, suspected: bool| {
        desk.tell(ms, Event::ExecutorSuspected { member: member(node), suspected });
    };
    let placed = |out: &[Action]| orders(out).into_iter().map(|(node, _)| node).collect::<Vec<_>>();
    suspect(&mut desk, 5, 2, true);
    assert_eq!(placed(&desk.tell(10, Event::ExecutorDown(member(1)))), [3], "node 2 may be dead");
    suspect(&mut desk, 15, 2, false);
    assert_eq!(placed(&desk.tell(20, Event::ExecutorDown(member(3)))), [2]);
    // What was thought of a dead one is forgotten; nobody else is there.
    suspect(&mut desk, 25, 2, true);
    desk.tell(30, Event::ExecutorDown(member(2)));
    assert_eq!(placed(&desk.tell(40, Event::ExecutorUp(member(4)))), [4]);
    suspect(&mut desk, 45, 4, true);
    desk.tell(50, Event::ReceiverStarted(receiver(0, 3)));
    desk.tell(60, Event::ExecutorUp(member(5)));
    suspect(&mut desk, 65, 5, true);
    assert_eq!(placed(&desk.tell(70, Event::ExecutorDown(member(4)))), [5], "rather there than nowhere");
}

#[test]
fn placement_waits_for_the_expected_executors_but_not_for_ever() {
    let config = GeneratorConfig { executors_expected: 2, ..acknowledged(2) };
    let (mut desk, out) = Desk::new(config.clone(), 0, &[1]);
    assert_eq!(orders(&out), vec![]);
    let out = desk.tell(10, Event::ExecutorUp(member(2)));
    assert_eq!(orders(&out).len(), 2);
    let (mut desk, _) = Desk::new(config, 0, &[1]);
    assert_eq!(orders(&desk.wake(1_999)), vec![]);
    assert_eq!(orders(&desk.wake(2_000)).len(), 2);
}

#[test]
fn a_dead_executors_unsafe_blocks_are_struck_and_the_successor_resumes_after_the_safe_ones() {
    let mut desk = running(StreamKind::Acknowledged, &[1, 2, 3]);
    let life = receiver(0, 0);
    for (sequence, last) in [(0, 10), (1, 20), (2, 30)] {
        desk.add(10, block_id(life, sequence), 0, last, 1);
    }
    desk.safe(11, block_id(life, 0), 2);
    // Block 2 is safe, but block 1 before it is not: both come again.
    desk.safe(12, block_id(life, 2), 3);
    desk.wake(700);
    assert_eq!(plans(&desk.end(701, life, 0)), vec![(0, (0..3).map(|s| block_id(life, s)).collect())]);
    let out = desk.tell(800, Event::ExecutorDown(member(1)));
    assert_eq!(plans(&out), vec![(0, vec![block_id(life, 0)])]);
    assert!(out.contains(&Action::Note(GeneratorNote::BlocksStruck { blocks: 2, records: 20 })), "{out:?}");
    assert!(out.contains(&Action::BatchSafe(BatchNumber(0))), "what is left is safe");
    let drop = Action::DropBlocks { member: member(3), blocks: vec![block_id(life, 1), block_id(life, 2)] };
    assert!(out.contains(&drop));
    let started = orders(&out);
    assert_eq!(started.len(), 1);
    let (node, order) = &started[0];
    assert_eq!((*node, order.receiver, order.resume_after), (2, receiver(0, 1), Some(Position(10))));
    assert_eq!(order.open_batch, BatchNumber(1));
    // The new life hears of the cut that lies ahead.
    assert!(out.iter().any(
        |a| matches!(a, Action::AnnounceCut { members, batch: BatchNumber(1), .. } if members == &[member(2)])
    ));
    // What the dead one still says is refused, and a copy that it has made is let go of.
    assert_eq!(desk.add(801, block_id(life, 3), 1, 40, 1), vec![]);
    let drop = Action::DropBlocks { member: member(2), blocks: vec![block_id(life, 1)] };
    assert_eq!(desk.safe(801, block_id(life, 1), 2), vec![drop]);
}

#[test]
fn a_dead_receiver_is_not_waited_for() {
    let mut desk = running(StreamKind::Acknowledged, &[1, 2]);
    desk.wake(700);
    let out = failed(&mut desk, 710, receiver(0, 0));
    assert_eq!(plans(&out), vec![(0, vec![])]);
}

#[test]
fn a_replica_on_a_dead_executor_does_not_make_safe() {
    let mut desk = running(StreamKind::Acknowledged, &[1, 2]);
    desk.add(10, block_id(receiver(0, 0), 0), 0, 10, 1);
    desk.tell(11, Event::ExecutorDown(member(2)));
    assert_eq!(desk.safe(12, block_id(receiver(0, 0), 0), 2), vec![]);
}

#[test]
fn a_failing_receiver_comes_back_elsewhere_and_ever_later() {
    let mut desk = running(StreamKind::Acknowledged, &[1, 2]);
    let mut waits = Vec::new();
    let mut now = 10;
    for incarnation in 0..4 {
        let out = failed(&mut desk, now, receiver(0, incarnation));
        let wait = out.iter().find_map(|action| match action {
            Action::Note(GeneratorNote::ReceiverRestarts { after, .. }) => Some(after.as_millis() as u64),
            _ => None,
        });
        let wait = wait.expect("it restarts");
        waits.push(wait);
        let out = desk.wake(now + wait);
        assert_eq!(orders(&out), vec![], "rounded down: a little early");
        now += wait + 1;
        let started = orders(&desk.wake(now));
        assert_eq!(started[0].1.receiver, receiver(0, incarnation + 1));
        assert_eq!(started[0].0, [2, 1, 2, 1][incarnation as usize], "not where it failed");
        desk.tell(now, Event::ReceiverStarted(receiver(0, incarnation + 1)));
    }
    for (wait, full) in waits.iter().zip([100, 200, 400, 800]) {
        assert!((full / 2..=full).contains(wait), "{waits:?}");
    }
    // One that ran for long has no past.
    let out = failed(&mut desk, now + 10_000, receiver(0, 4));
    let short = |action: &Action| matches!(action, Action::Note(GeneratorNote::ReceiverRestarts { after, .. }) if *after <= Duration::from_millis(100));
    assert!(out.iter().any(short), "{out:?}");
}

#[test]
fn an_unacknowledged_receivers_blocks_outlive_its_failure_but_not_their_holders() {
    let mut desk = running(StreamKind::Unacknowledged, &[1, 2]);
    let life = receiver(0, 0);
    desk.add(10, block_id(life, 0), 0, 10, 1);
    desk.add(11, block_id(life, 1), 0, 20, 1);
    desk.safe(12, block_id(life, 0), 2);
    let out = failed(&mut desk, 20, life);
    assert!(!out.iter().any(|a| matches!(a, Action::DropBlocks { .. })), "{out:?}");
    desk.wake(700);
    let out = desk.tell(701, Event::ExecutorDown(member(1)));
    assert!(out.contains(&Action::Note(GeneratorNote::BlocksLost { blocks: 1, records: 10 })), "{out:?}");
    assert_eq!(plans(&out), vec![(0, vec![block_id(life, 0)])]);
}

#[test]
fn an_exhausted_stream_ends_the_pipeline_once_its_last_batch_is_planned_and_safe() {
    let mut desk = running(StreamKind::Acknowledged, &[1, 2]);
    let life = receiver(0, 0);
    desk.add(10, block_id(life, 0), 0, 10, 1);
    desk.tell(11, Event::ReceiverExited { receiver: life, reason: ReceiverExitReason::Exhausted });
    let out = desk.wake(700);
    assert_eq!(plans(&out), vec![(0, vec![block_id(life, 0)])]);
    assert!(!out.contains(&Action::Ended), "its executor may die, and then the sender repeats");
    let out = desk.safe(701, block_id(life, 0), 2);
    assert!(out.contains(&Action::Ended) && out.contains(&Action::BatchSafe(BatchNumber(0))), "{out:?}");
    assert_eq!(desk.0.next_deadline(), None);
}

#[test]
fn an_exhausted_receiver_whose_blocks_were_not_safe_lives_again_when_its_executor_dies() {
    let mut desk = running(StreamKind::Acknowledged, &[1, 2]);
    let life = receiver(0, 0);
    desk.add(10, block_id(life, 0), 0, 10, 1);
    desk.add(10, block_id(life, 1), 0, 20, 1);
    desk.tell(11, Event::ReceiverExited { receiver: life, reason: ReceiverExitReason::Exhausted });
    desk.safe(12, block_id(life, 0), 2);
    let started = orders(&desk.tell(20, Event::ExecutorDown(member(1))));
    assert_eq!(started[0].1.receiver, receiver(0, 1));
    assert_eq!(started[0].1.resume_after, Some(Position(10)));
}

#[test]
fn a_graceful_stop_plans_what_was_received_before_its_time() {
    let mut desk = running(StreamKind::Acknowledged, &[1, 2]);
    let life = receiver(0, 0);
    let out = desk.tell(100, Event::Stop { graceful: true });
    assert_eq!(out, vec![Action::StopReceiver { member: member(1), receiver: life }]);
    // Stamped with a batch that will never be cut.
    desk.add(101, block_id(life, 0), 3, 10, 1);
    let out = desk.tell(102, Event::ReceiverExited { receiver: life, reason: ReceiverExitReason::Stopped });
    assert_eq!(plans(&out), vec![(0, vec![block_id(life, 0)])]);
    assert!(out.contains(&Action::Ended));
    // Its safety is seen to also after the end.
    assert!(desk.safe(103, block_id(life, 0), 2).contains(&Action::BatchSafe(BatchNumber(0))));
}

#[test]
fn a_second_graceful_stop_changes_nothing() {
    let mut desk = running(StreamKind::Acknowledged, &[1, 2]);
    let life = receiver(0, 0);
    desk.add(50, block_id(life, 0), 0, 10, 1);
    desk.safe(51, block_id(life, 0), 2);
    let again = |desk: &mut Desk, ms| desk.tell(ms, Event::Stop { graceful: true });
    again(&mut desk, 100);
    assert_eq!(again(&mut desk, 101), vec![], "the receiver is still stopping");
    let out = desk.tell(102, Event::ReceiverExited { receiver: life, reason: ReceiverExitReason::Stopped });
    assert_eq!(plans(&out), vec![(0, vec![block_id(life, 0)])], "what was acknowledged is planned");
    assert!(out.contains(&Action::Ended));
    assert_eq!(again(&mut desk, 103), vec![]);
}

#[test]
fn a_second_graceful_stop_does_not_cost_the_last_batch_that_waits_for_its_ranges() {
    let streams = vec![stream(0, StreamKind::Planned, 0)];
    let (mut desk, _) = Desk::new(every(1_000, streams), 5_300, &[1]);
    let out = desk.tell(100, Event::Stop { graceful: true });
    assert!(matches!(out.as_slice(), [Action::AskRanges { .. }]), "{out:?}");
    assert_eq!(desk.tell(101, Event::Stop { graceful: true }), vec![]);
    let out = desk.found(102, 0, vec![range(0, 0, 5)], false);
    assert_eq!(plans(&out).len(), 1, "{out:?}");
    assert!(out.contains(&Action::Ended));
    // Without grace it ends at once, also after a graceful one.
    let (mut desk, _) = Desk::new(every(1_000, vec![stream(0, StreamKind::Planned, 0)]), 5_300, &[1]);
    desk.tell(100, Event::Stop { graceful: true });
    assert_eq!(desk.tell(101, Event::Stop { graceful: false }), vec![Action::Ended]);
}

#[test]
fn a_stop_without_grace_ends_at_once() {
    let mut desk = running(StreamKind::Acknowledged, &[1, 2]);
    let out = desk.tell(100, Event::Stop { graceful: false });
    assert_eq!(
        out,
        vec![Action::StopReceiver { member: member(1), receiver: receiver(0, 0) }, Action::Ended]
    );
    assert_eq!(desk.tell(101, Event::Stop { graceful: true }), vec![]);
}

#[test]
fn a_rate_reaches_the_living_receiver_and_its_successor() {
    let mut desk = running(StreamKind::Acknowledged, &[1, 2]);
    let set = Event::SetRate { stream: StreamId(0), receiver: ReceiverIndex(0), records_per_s_max: 77 };
    let told = Action::SetRate { member: member(1), receiver: receiver(0, 0), records_per_s_max: 77 };
    assert_eq!(desk.tell(10, set), vec![told]);
    let started = orders(&desk.tell(20, Event::ExecutorDown(member(1))));
    assert_eq!(started[0].1.records_per_s_max, 77);
}

#[test]
fn the_books_do_not_grow() {
    let mut desk = running(StreamKind::Acknowledged, &[1, 2]);
    let life = receiver(0, 0);
    for batch in 0..1_000 {
        let now = 700 + 1_000 * batch;
        desk.add(now - 1, block_id(life, batch), batch, 10 * (batch + 1), 1);
        desk.safe(now - 1, block_id(life, batch), 2);
        desk.wake(now);
        assert_eq!(plans(&desk.end(now, life, batch)).len(), 1);
        desk.tell(now, Event::BatchReleased(BatchNumber(batch)));
        let (batches, blocks) = desk.0.books_size();
        assert!(batches <= 2 && blocks <= 1, "{batches} batches, {blocks} blocks");
    }
}

#[test]
fn an_executor_speaks_for_its_own_receivers_and_blocks_only() {
    let mut desk = running(StreamKind::Acknowledged, &[1, 2, 3]);
    let life = receiver(0, 0);
    desk.add(10, block_id(life, 0), 0, 10, 1);
    let info = |holder| BlockInfo {
        block: block_id(life, 1),
        batch: BatchNumber(0),
        rows: 10,
        bytes: 100,
        first: Some(Position(11)),
        last: Some(Position(20)),
        holder: member(holder),
        awaits_safety: true,
    };
    let words = [
        Event::ReceiverStarted(life),
        Event::BlockSafe { block: block_id(life, 0), replica: Some(member(3)) },
        Event::BlockAdded(info(1)),
        Event::EndOfBatch { receiver: life, batch: BatchNumber(0) },
        Event::ReceiverExited { receiver: life, reason: ReceiverExitReason::Exhausted },
    ];
    let said = |by, what: &Event| Event::Said { by: member(by), what: Box::new(what.clone()) };
    let refused = vec![Action::Note(GeneratorNote::WordRefused { by: member(2) })];
    for what in words.iter().chain([&Event::BlockAdded(info(2)), &Event::ExecutorDown(member(3))]) {
        assert_eq!(desk.tell(20, said(2, what)), refused, "{what:?}");
    }
    assert_eq!(desk.0.books_size(), (1, 1));
    for what in &words {
        assert!(!desk.tell(21, said(1, what)).iter().any(|a| matches!(a, Action::Note(_))), "{what:?}");
    }
    // All of it has counted: the stream is exhausted after two blocks, of which one is not safe.
    let out = desk.wake(700);
    assert_eq!(plans(&out), vec![(0, vec![block_id(life, 0), block_id(life, 1)])]);
    assert!(desk.safe(701, block_id(life, 1), 2).contains(&Action::Ended));
}

#[test]
fn what_is_said_of_anothers_receiver_changes_neither_status_nor_holdings() {
    let config = every(1_000, vec![stream(0, StreamKind::Acknowledged, 1)]);
    let (mut desk, _) = Desk::new(config, 5_300, &[1, 2, 3]);
    let life = receiver(0, 0);
    let says = |by: u16, what: Event| Event::Said { by: member(by), what: Box::new(what) };
    let refused = vec![Action::Note(GeneratorNote::WordRefused { by: member(2) })];
    let info = |holder: u16, batch: u64| BlockInfo {
        block: block_id(life, holder.into()),
        batch: BatchNumber(batch),
        rows: 10,
        bytes: 100,
        first: None,
        last: None,
        holder: member(holder),
        awaits_safety: true,
    };
    // The receiver lives on node 1, so that node 2 has nothing to say of it.
    assert_eq!(desk.tell(1, says(2, Event::ReceiverStarted(life))), refused);
    assert_eq!(desk.tell(2, says(2, Event::BlockAdded(info(2, u64::MAX)))), refused);
    let started = GeneratorNote::ReceiverStarted { receiver: life, on: member(1) };
    assert_eq!(desk.tell(3, says(1, Event::ReceiverStarted(life))), vec![Action::Note(started)]);
    assert_eq!(desk.tell(4, says(1, Event::ReceiverStarted(life))), vec![], "said twice");
    assert_eq!(desk.tell(5, says(1, Event::BlockAdded(info(1, u64::MAX)))), vec![]);
    let lost = |actions: &[Action]| -> Vec<(u16, u64)> {
        let lost = |action: &Action| match action {
            Action::Note(GeneratorNote::HolderLost { member, blocks }) => Some((member.node.0, *blocks)),
            _ => None,
        };
        actions.iter().filter_map(lost).collect()
    };
    assert_eq!(lost(&desk.tell(6, Event::ExecutorDown(member(2)))), vec![]);
    assert_eq!(lost(&desk.tell(7, Event::ExecutorDown(member(1)))), vec![(1, 1)]);
}

#[test]
fn what_went_with_an_executor_is_counted_as_long_as_its_batch_is_not_released() {
    let mut desk = running(StreamKind::Acknowledged, &[1, 2, 3]);
    let life = receiver(0, 0);
    for sequence in 0..3 {
        // Stamped with a batch that never comes: the books know better.
        desk.add(10, block_id(life, sequence), [0, 1, u64::MAX][sequence as usize], 10 * (sequence + 1), 1);
        desk.safe(11, block_id(life, sequence), 2);
    }
    desk.wake(700);
    desk.end(701, life, 0);
    desk.tell(702, Event::BatchReleased(BatchNumber(0)));
    let out = desk.tell(703, Event::ExecutorDown(member(2)));
    let note = GeneratorNote::HolderLost { member: member(2), blocks: 2 };
    assert!(out.contains(&Action::Note(note)), "{out:?}");
    // One that was drained takes nothing along that is needed.
    desk.tell(704, Event::ExecutorLeaving(member(3)));
    let out = desk.tell(705, Event::ExecutorDown(member(3)));
    assert!(!out.iter().any(|a| matches!(a, Action::Note(_))), "{out:?}");
}

#[test]
fn a_receiver_whose_records_cannot_be_copied_is_not_started_again_and_the_pipeline_fails_with_its_words() {
    let mut desk = running(StreamKind::Unacknowledged, &[1, 2]);
    let reason = ReceiverExitReason::Uncopyable("it does not survive the wire".to_owned());
    let out = desk.tell(10, Event::ReceiverExited { receiver: receiver(0, 0), reason });
    assert_eq!(out, [Action::Fail("it does not survive the wire".to_owned())]);
}
