//! One life of a receiver, event by event.

use super::at;
use crate::{
    core::Core,
    receiver::{
        BlockContent, ReceiverAction as Action, ReceiverConfig, ReceiverCore, ReceiverEvent as Event,
        SourceEnd,
    },
    seam::{StorageLevel, StreamKind},
};
use std::time::Duration;
use tidemill_protocol::{
    id::{BatchNumber, BlockId, Incarnation, Member, NodeId, Position, ReceiverId, ReceiverIndex, StreamId},
    message::{BlockInfo, ReceiverExitReason, ReceiverOrder, ToDriver},
    time::BatchTime,
};

const RECEIVER: ReceiverId =
    ReceiverId { stream: StreamId(2), index: ReceiverIndex(1), incarnation: Incarnation(3) };

fn member(node: u16) -> Member {
    Member { node: NodeId(node), incarnation: Incarnation(0) }
}

fn block(sequence: u64) -> BlockId {
    BlockId { receiver: RECEIVER, sequence }
}

fn content(sequence: u64, last: u64) -> BlockContent {
    BlockContent { sequence, rows: 2, bytes: 20, first: Some(Position(last - 1)), last: Some(Position(last)) }
}

struct Life(ReceiverCore);

impl Life {
    fn new(kind: StreamKind, storage: StorageLevel) -> Self {
        Life::with(ReceiverConfig::default(), kind, storage)
    }

    fn with(config: ReceiverConfig, kind: StreamKind, storage: StorageLevel) -> Self {
        let order = ReceiverOrder {
            receiver: RECEIVER,
            resume_after: None,
            open_batch: BatchNumber(7),
            records_per_s_max: 1_000,
        };
        let mut life = Life(ReceiverCore::new(config, order, member(1), kind, storage));
        let started = life.tell(0, Event::Start);
        let told = Action::TellDriver(ToDriver::ReceiverStarted { receiver: RECEIVER });
        assert_eq!(started, vec![told, Action::RunSource]);
        life
    }

    fn tell(&mut self, ms: u64, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.0.on_event(at(ms), event, &mut out);
        self.0.assert_invariants();
        out
    }

    fn append(&mut self, ms: u64) {
        assert_eq!(self.tell(ms, Event::Appended { full: false }), vec![]);
    }

    /// Fills a block and lets the core close it by its size.
    fn close(&mut self, ms: u64, sequence: u64, last: u64) -> Vec<Action> {
        assert_eq!(self.tell(ms, Event::Appended { full: true }), vec![Action::CloseBlock]);
        self.tell(ms, Event::Closed { content: Some(content(sequence, last)) })
    }

    fn peers(&mut self, ms: u64, nodes: &[u16]) -> Vec<Action> {
        self.tell(ms, Event::Peers { members: nodes.iter().map(|n| member(*n)).collect(), near: Vec::new() })
    }
}

fn added(sequence: u64, last: u64, batch: u64, awaits_safety: bool) -> Action {
    Action::TellDriver(ToDriver::BlockAdded(BlockInfo {
        block: block(sequence),
        batch: BatchNumber(batch),
        rows: 2,
        bytes: 20,
        first: Some(Position(last - 1)),
        last: Some(Position(last)),
        holder: member(1),
        awaits_safety,
    }))
}

fn safe(sequence: u64, replica: Option<u16>) -> Action {
    Action::TellDriver(ToDriver::BlockSafe { block: block(sequence), replica: replica.map(member) })
}

fn replicate(sequence: u64, to: u16) -> Action {
    Action::Replicate { block: block(sequence), to: member(to) }
}

fn end_of_batch(batch: u64) -> Action {
    Action::TellDriver(ToDriver::EndOfBatch { receiver: RECEIVER, batch: BatchNumber(batch) })
}

fn exited(reason: ReceiverExitReason) -> Action {
    Action::TellDriver(ToDriver::ReceiverExited { receiver: RECEIVER, reason })
}

fn cut(batch: u64, at_ms: u64, wall_ms: u64) -> Event {
    Event::Cut { batch: BatchNumber(batch), at: BatchTime(at_ms), wall: Duration::from_millis(wall_ms) }
}

#[test]
fn a_block_is_closed_one_interval_after_its_first_record() {
    let mut life = Life::new(StreamKind::Unacknowledged, StorageLevel::Single);
    assert_eq!(life.0.next_deadline(), None);
    life.append(100);
    assert_eq!(life.0.next_deadline(), Some(at(300)));
    assert_eq!(life.tell(299, Event::Wake), vec![]);
    assert_eq!(life.tell(300, Event::Wake), vec![Action::CloseBlock]);
    assert_eq!(
        life.tell(300, Event::Closed { content: Some(content(0, 2)) }),
        vec![added(0, 2, 7, false), safe(0, None)]
    );
    assert_eq!(life.0.next_deadline(), None);
}

#[test]
fn a_cut_ends_the_batch_after_its_last_block_and_what_comes_later_is_in_the_next() {
    let mut life = Life::new(StreamKind::Unacknowledged, StorageLevel::Single);
    // The wall clock says 5,950 when the monotonic one says 10: the cut at 6,000 is at 60.
    assert_eq!(life.tell(10, cut(7, 6_000, 5_950)), vec![]);
    assert_eq!(life.tell(10, cut(8, 6_100, 5_950)), vec![]);
    life.append(20);
    assert_eq!(life.0.next_deadline(), Some(at(60)));
    assert_eq!(life.tell(60, Event::Wake), vec![Action::CloseBlock]);
    // Between the cut and its execution more came: it is taken along, and the late event closes nothing twice.
    life.append(60);
    let told = life.tell(61, Event::Closed { content: Some(content(0, 2)) });
    assert_eq!(told, vec![added(0, 2, 7, false), safe(0, None), end_of_batch(7)]);
    assert_eq!(life.tell(160, Event::Wake), vec![Action::CloseBlock]);
    let told = life.tell(160, Event::Closed { content: Some(content(1, 4)) });
    assert_eq!(told, vec![added(1, 4, 8, false), safe(1, None), end_of_batch(8)]);
}

#[test]
fn an_empty_batch_is_ended_too() {
    let mut life = Life::new(StreamKind::Unacknowledged, StorageLevel::Single);
    life.tell(0, cut(7, 100, 0));
    assert_eq!(life.tell(100, Event::Wake), vec![Action::CloseBlock]);
    assert_eq!(life.tell(100, Event::Closed { content: None }), vec![end_of_batch(7)]);
}

#[test]
fn a_cut_that_has_passed_is_made_up_for_and_an_old_one_is_ignored() {
    let mut life = Life::new(StreamKind::Unacknowledged, StorageLevel::Single);
    assert_eq!(life.tell(50, cut(9, 100, 500)), vec![Action::CloseBlock]);
    // Batches 7 and 8 were missed: what there is belongs to 9.
    let told = life.tell(50, Event::Closed { content: Some(content(0, 2)) });
    assert_eq!(told, vec![added(0, 2, 9, false), safe(0, None), end_of_batch(9)]);
    assert_eq!(life.tell(51, cut(8, 600, 500)), vec![]);
    assert_eq!(life.0.next_deadline(), None);
}

#[test]
fn a_block_is_acknowledged_when_the_driver_has_it_and_all_before_it() {
    let mut life = Life::new(StreamKind::Acknowledged, StorageLevel::Replicated);
    assert_eq!(life.peers(0, &[1, 2, 3]), vec![]);
    assert_eq!(life.close(1, 0, 10), vec![added(0, 10, 7, true), replicate(0, 2)]);
    assert_eq!(life.close(2, 1, 20), vec![added(1, 20, 7, true), replicate(1, 3)]);
    assert_eq!(life.tell(3, Event::Replicated { sequence: 1, peer: member(3) }), vec![safe(1, Some(3))]);
    assert_eq!(life.tell(4, Event::SafeRecorded { block: block(1) }), vec![]);
    assert_eq!(life.tell(5, Event::Replicated { sequence: 0, peer: member(2) }), vec![safe(0, Some(2))]);
    assert_eq!(
        life.tell(6, Event::SafeRecorded { block: block(0) }),
        vec![Action::Acknowledge(Position(20))]
    );
    let other = BlockId { receiver: ReceiverId { incarnation: Incarnation(2), ..RECEIVER }, sequence: 0 };
    assert_eq!(life.tell(7, Event::SafeRecorded { block: other }), vec![]);
}

#[test]
fn a_peer_that_refuses_is_followed_by_another_and_by_a_second_round() {
    let mut life = Life::new(StreamKind::Acknowledged, StorageLevel::Replicated);
    life.peers(0, &[2, 3]);
    assert_eq!(life.close(0, 0, 10)[1], replicate(0, 2));
    assert_eq!(life.tell(1, Event::ReplicaFailed { sequence: 0, peer: member(2) }), vec![replicate(0, 3)]);
    // The refusal of one that was given up already means nothing.
    assert_eq!(life.tell(1, Event::ReplicaFailed { sequence: 0, peer: member(2) }), vec![]);
    assert_eq!(life.tell(2, Event::ReplicaFailed { sequence: 0, peer: member(3) }), vec![]);
    assert_eq!(life.0.next_deadline(), Some(at(102)));
    assert_eq!(life.tell(102, Event::Wake), vec![replicate(0, 2)]);
    assert_eq!(life.tell(103, Event::ReplicaFailed { sequence: 0, peer: member(2) }), vec![replicate(0, 3)]);
    assert_eq!(life.tell(104, Event::ReplicaFailed { sequence: 0, peer: member(3) }), vec![]);
    assert_eq!(life.0.next_deadline(), Some(at(304)), "twice the first wait");
}

#[test]
fn a_lost_peer_is_replaced_before_and_after_the_block_was_safe() {
    let mut life = Life::new(StreamKind::Acknowledged, StorageLevel::Replicated);
    life.peers(0, &[2, 3]);
    assert_eq!(life.close(0, 0, 10)[1], replicate(0, 2));
    assert_eq!(life.peers(1, &[3]), vec![replicate(0, 3)]);
    assert_eq!(life.tell(2, Event::Replicated { sequence: 0, peer: member(2) }), vec![], "it has gone");
    assert_eq!(life.tell(3, Event::Replicated { sequence: 0, peer: member(3) }), vec![safe(0, Some(3))]);
    life.tell(4, Event::SafeRecorded { block: block(0) });
    assert_eq!(life.peers(5, &[2]), vec![replicate(0, 2)]);
    assert_eq!(life.tell(6, Event::Replicated { sequence: 0, peer: member(2) }), vec![safe(0, Some(2))]);
    // Once released it needs no copy any more.
    life.tell(7, Event::Released { blocks: vec![block(0)] });
    assert_eq!(life.peers(8, &[3]), vec![]);
}

#[test]
fn with_one_executor_replicated_waits_and_degraded_does_not() {
    let mut life = Life::new(StreamKind::Acknowledged, StorageLevel::Replicated);
    life.peers(0, &[1]);
    assert_eq!(life.close(0, 0, 10), vec![added(0, 10, 7, true)]);
    assert_eq!(life.0.next_deadline(), None, "nobody to ask");
    assert_eq!(life.peers(5, &[1, 2]), vec![replicate(0, 2)]);

    let mut life = Life::new(StreamKind::Acknowledged, StorageLevel::ReplicatedAllowDegraded);
    life.peers(0, &[1]);
    assert_eq!(life.close(0, 0, 10), vec![added(0, 10, 7, true), safe(0, None)]);
    assert_eq!(life.peers(5, &[1, 2]), vec![replicate(0, 2)], "degraded only while alone");
    assert_eq!(life.peers(6, &[1]), vec![safe(0, None)]);
}

#[test]
fn too_many_unsafe_blocks_pause_the_source_until_one_is_safe() {
    let config = ReceiverConfig { unsafe_blocks_max: 2, ..ReceiverConfig::default() };
    let mut life = Life::with(config, StreamKind::Acknowledged, StorageLevel::Replicated);
    life.peers(0, &[2]);
    assert_eq!(life.close(0, 0, 10).len(), 2);
    assert_eq!(life.close(0, 1, 20).last(), Some(&Action::Pause(true)));
    life.tell(1, Event::Replicated { sequence: 0, peer: member(2) });
    let told = life.tell(2, Event::SafeRecorded { block: block(0) });
    assert_eq!(told, vec![Action::Acknowledge(Position(10)), Action::Pause(false)]);

    let config = ReceiverConfig { unsafe_bytes_max: 40, ..ReceiverConfig::default() };
    let mut life = Life::with(config, StreamKind::Acknowledged, StorageLevel::Replicated);
    life.peers(0, &[2]);
    life.close(0, 0, 10);
    assert_eq!(life.close(0, 1, 20).last(), Some(&Action::Pause(true)));
}

#[test]
fn an_exhausted_source_exits_after_its_last_block_and_finishes_after_its_release() {
    let mut life = Life::new(StreamKind::Acknowledged, StorageLevel::Replicated);
    life.peers(0, &[2]);
    life.tell(0, cut(7, 1_000, 0));
    life.append(1);
    let told = life.tell(2, Event::SourceEnded(SourceEnd::Returned));
    assert_eq!(told, vec![Action::CloseSink, Action::CloseBlock]);
    let told = life.tell(3, Event::Closed { content: Some(content(0, 2)) });
    assert_eq!(told, vec![added(0, 2, 7, true), replicate(0, 2), exited(ReceiverExitReason::Exhausted)]);
    assert_eq!(life.0.next_deadline(), None, "cuts are over");
    assert_eq!(life.tell(4, Event::Replicated { sequence: 0, peer: member(2) }), vec![safe(0, Some(2))]);
    assert_eq!(life.tell(5, Event::SafeRecorded { block: block(0) }), vec![Action::Acknowledge(Position(2))]);
    assert_eq!(life.tell(6, Event::Released { blocks: vec![block(0)] }), vec![Action::Finished]);
    assert_eq!(life.tell(7, Event::Released { blocks: vec![block(0)] }), vec![], "once");
}

#[test]
fn a_failed_acknowledged_source_drops_its_open_block_and_an_unacknowledged_one_reports_it() {
    let failed = || Event::SourceEnded(SourceEnd::Failed("no route".to_owned()));
    let reason = || exited(ReceiverExitReason::Failed("no route".to_owned()));
    let mut life = Life::new(StreamKind::Acknowledged, StorageLevel::Replicated);
    life.append(0);
    assert_eq!(life.tell(1, failed()), vec![Action::CloseSink, reason(), Action::Finished]);

    let mut life = Life::new(StreamKind::Unacknowledged, StorageLevel::Single);
    life.append(0);
    assert_eq!(life.tell(1, failed()), vec![Action::CloseSink, Action::CloseBlock]);
    let told = life.tell(2, Event::Closed { content: Some(content(0, 2)) });
    assert_eq!(told, vec![added(0, 2, 7, false), safe(0, None), reason()]);
}

#[test]
fn a_panic_is_an_exit_with_its_words() {
    let mut life = Life::new(StreamKind::Acknowledged, StorageLevel::Replicated);
    let told = life.tell(1, Event::SourceEnded(SourceEnd::Panicked("at line 5".to_owned())));
    assert_eq!(told[1], exited(ReceiverExitReason::Panicked("at line 5".to_owned())));
}

#[test]
fn a_stopped_receiver_reports_what_it_has_and_a_deaf_source_is_dropped() {
    let mut life = Life::new(StreamKind::Unacknowledged, StorageLevel::Single);
    life.append(0);
    assert_eq!(life.tell(10, Event::Stop), vec![Action::CloseSink]);
    assert_eq!(life.tell(11, Event::Stop), vec![]);
    let told = life.tell(20, Event::SourceEnded(SourceEnd::Failed("closed".to_owned())));
    assert_eq!(told, vec![Action::CloseSink, Action::CloseBlock]);
    let told = life.tell(20, Event::Closed { content: None });
    assert_eq!(told, vec![exited(ReceiverExitReason::Stopped), Action::Finished]);

    let mut life = Life::new(StreamKind::Unacknowledged, StorageLevel::Single);
    life.tell(10, Event::Stop);
    assert_eq!(life.0.next_deadline(), Some(at(5_010)));
    let told = life.tell(5_010, Event::Wake);
    assert_eq!(told, vec![Action::AbortSource, Action::CloseSink, Action::CloseBlock]);
}

#[test]
fn a_stop_before_the_start_is_heard() {
    let order = ReceiverOrder {
        receiver: RECEIVER,
        resume_after: None,
        open_batch: BatchNumber(0),
        records_per_s_max: 1,
    };
    let (kind, storage) = (StreamKind::Acknowledged, StorageLevel::Replicated);
    let mut life = Life(ReceiverCore::new(ReceiverConfig::default(), order, member(1), kind, storage));
    assert_eq!(life.tell(0, Event::Stop), vec![Action::CloseSink, Action::CloseBlock]);
    let told = life.tell(0, Event::Closed { content: None });
    assert_eq!(told, vec![exited(ReceiverExitReason::Stopped), Action::Finished]);
    assert_eq!(life.tell(1, Event::Start), vec![]);
}

#[test]
fn reports_are_gathered_and_sent_before_the_exit() {
    let mut life = Life::new(StreamKind::Acknowledged, StorageLevel::Replicated);
    assert_eq!(life.tell(100, Event::Reported), vec![]);
    assert_eq!(life.tell(1_100, Event::Wake), vec![Action::FlushReports]);
    assert_eq!(life.tell(1_200, Event::Reported), vec![]);
    let told = life.tell(1_300, Event::SourceEnded(SourceEnd::Failed(String::new())));
    assert_eq!(told[1], Action::FlushReports);
}

#[test]
fn a_copy_goes_to_another_machine_if_there_is_one() {
    let mut life = Life::new(StreamKind::Acknowledged, StorageLevel::Replicated);
    life.tell(0, Event::Start);
    let near = |nodes: &[u16]| nodes.iter().map(|n| member(*n)).collect::<Vec<_>>();
    life.tell(1, Event::Peers { members: near(&[1, 2, 3, 4]), near: near(&[1, 2, 3]) });
    for sequence in 0..3 {
        let out = life.close(10, sequence, 10 * sequence + 10);
        assert!(out.contains(&replicate(sequence, 4)), "{out:?}");
    }
    // It refuses: rather here than nowhere.
    let out = life.tell(11, Event::ReplicaFailed { sequence: 0, peer: member(4) });
    assert_eq!(out, vec![replicate(0, 2)]);
    let out = life.tell(12, Event::Peers { members: near(&[1, 2]), near: near(&[1, 2]) });
    assert_eq!(out, vec![replicate(1, 2), replicate(2, 2)]);
}

#[test]
fn a_copy_that_comes_after_the_block_was_let_go_of_is_told_so_that_it_is_let_go_of_too() {
    let mut life = Life::new(StreamKind::Acknowledged, StorageLevel::Replicated);
    life.tell(0, Event::Start);
    life.peers(0, &[2, 3]);
    assert!(life.close(1, 0, 10).contains(&replicate(0, 2)));
    life.tell(2, Event::Released { blocks: vec![block(0)] });
    let stray = ToDriver::BlockCopied { block: block(0), to: member(2), kept: true };
    let told = life.tell(3, Event::Replicated { sequence: 0, peer: member(2) });
    assert_eq!(told, vec![Action::TellDriver(stray)]);
}

#[test]
fn a_block_that_nobody_can_read_ends_the_receiver_with_the_text_whether_its_source_reads_or_not() {
    let why = || "the stream \"ticks\" has received records that no other executor can read".to_owned();
    let said = Action::TellDriver(ToDriver::ReceiverExited {
        receiver: RECEIVER,
        reason: ReceiverExitReason::Uncopyable(why()),
    });
    let mut life = Life::new(StreamKind::Unacknowledged, StorageLevel::Replicated);
    assert_eq!(life.tell(10, Event::Uncopyable { why: why() }), [Action::CloseSink, Action::CloseBlock]);
    assert_eq!(life.tell(20, Event::Closed { content: None }), [said.clone(), Action::Finished]);
    let mut life = Life::new(StreamKind::Unacknowledged, StorageLevel::Replicated);
    life.tell(10, Event::SourceEnded(SourceEnd::Returned));
    life.tell(20, Event::Closed { content: None });
    // Its last block is not safe, but it has nothing more to do; the driver is told all the same.
    assert_eq!(life.tell(30, Event::Uncopyable { why: why() }), [said]);
}
