//! The batch generator by hand-written events: cuts, plans, lives, ends; and random schedules.

mod copies;
mod cuts;
mod leaving;
mod lives;
mod schedule;
mod throttle;

use super::{
    BatchInterval, GeneratorAction as Action, GeneratorConfig, GeneratorCore, GeneratorEvent as Event,
    RangesFound,
};
use crate::{
    core::Core,
    seam::{BatchPlan, PlannedRange, StorageLevel, StreamInfo, StreamInput, StreamKind},
};
use std::{sync::Arc, time::Duration};
use tidemill_protocol::{
    id::{
        BatchNumber, BlockId, Incarnation, Member, NodeId, PartitionId, Position, ReceiverId, ReceiverIndex,
        StreamId,
    },
    message::{BlockInfo, ReceiverOrder},
    time::{BatchTime, Time},
};

fn at(ms: u64) -> Time {
    Time(ms * 1_000_000)
}

fn member(node: u16) -> Member {
    Member { node: NodeId(node), incarnation: Incarnation(0) }
}

fn receiver(index: u16, incarnation: u32) -> ReceiverId {
    ReceiverId { stream: StreamId(0), index: ReceiverIndex(index), incarnation: Incarnation(incarnation) }
}

fn block_id(receiver: ReceiverId, sequence: u64) -> BlockId {
    BlockId { receiver, sequence }
}

fn stream(id: u16, kind: StreamKind, receivers: u16) -> StreamInfo {
    let storage = StorageLevel::Replicated;
    StreamInfo { id: StreamId(id), name: format!("input {id}"), kind, receivers, storage }
}

fn every(ms: u64, streams: Vec<StreamInfo>) -> GeneratorConfig {
    GeneratorConfig {
        interval: BatchInterval::Every(Duration::from_millis(ms)),
        streams,
        ..GeneratorConfig::default()
    }
}

fn range(partition: u32, from: u64, to: u64) -> PlannedRange {
    PlannedRange { partition: PartitionId(partition), from, to, rows: to - from }
}

struct Desk(GeneratorCore);

impl Desk {
    /// A generator that was started at monotonic 0 when the wall clock said `wall_ms`, with these executors.
    fn new(config: GeneratorConfig, wall_ms: u64, nodes: &[u16]) -> (Self, Vec<Action>) {
        let mut desk = Desk(GeneratorCore::new(config));
        let mut out = Vec::new();
        for node in nodes {
            out.extend(desk.tell(0, Event::ExecutorUp(member(*node))));
        }
        out.extend(desk.tell(0, Event::Start { wall: Duration::from_millis(wall_ms) }));
        (desk, out)
    }

    fn tell(&mut self, ms: u64, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.0.on_event(at(ms), event, &mut out);
        self.0.assert_invariants();
        out
    }

    fn wake(&mut self, ms: u64) -> Vec<Action> {
        self.tell(ms, Event::Wake)
    }

    fn add(&mut self, ms: u64, block: BlockId, batch: u64, last: u64, holder: u16) -> Vec<Action> {
        self.tell(
            ms,
            Event::BlockAdded(BlockInfo {
                block,
                batch: BatchNumber(batch),
                rows: 10,
                bytes: 100,
                first: Some(Position(last - 9)),
                last: Some(Position(last)),
                holder: member(holder),
                awaits_safety: true,
            }),
        )
    }

    fn safe(&mut self, ms: u64, block: BlockId, replica: u16) -> Vec<Action> {
        self.tell(ms, Event::BlockSafe { block, replica: Some(member(replica)) })
    }

    fn end(&mut self, ms: u64, receiver: ReceiverId, batch: u64) -> Vec<Action> {
        self.tell(ms, Event::EndOfBatch { receiver, batch: BatchNumber(batch) })
    }

    fn found(&mut self, ms: u64, batch: u64, ranges: Vec<PlannedRange>, exhausted: bool) -> Vec<Action> {
        let result = Ok(RangesFound { ranges, exhausted });
        self.tell(ms, Event::RangesReady { batch: BatchNumber(batch), stream: StreamId(0), result })
    }
}

/// The plans that are handed over or changed, as (batch, blocks in order).
fn plans(actions: &[Action]) -> Vec<(u64, Vec<BlockId>)> {
    let blocks = |plan: &Arc<BatchPlan>| match &plan.inputs[&StreamId(0)] {
        StreamInput::Blocks(blocks) => blocks.iter().map(|b| b.id).collect(),
        StreamInput::Ranges(_) => Vec::new(),
    };
    let plan = |action: &Action| match action {
        Action::PlanReady { plan, .. } | Action::Replan { plan, .. } => Some((plan.batch.0, blocks(plan))),
        _ => None,
    };
    actions.iter().filter_map(plan).collect()
}

fn orders(actions: &[Action]) -> Vec<(u16, ReceiverOrder)> {
    let order = |action: &Action| match action {
        Action::StartReceiver { member, order } => Some((member.node.0, order.clone())),
        _ => None,
    };
    actions.iter().filter_map(order).collect()
}

fn announced(actions: &[Action]) -> Vec<(u64, u64)> {
    let cut = |action: &Action| match action {
        Action::AnnounceCut { batch, at, .. } => Some((batch.0, at.as_millis())),
        _ => None,
    };
    actions.iter().filter_map(cut).collect()
}

#[test]
fn a_batch_waits_for_every_running_receiver_and_is_planned_in_block_order() {
    let config = every(1_000, vec![stream(0, StreamKind::Acknowledged, 2)]);
    let (mut desk, out) = Desk::new(config, 5_300, &[1, 2]);
    let (r0, r1) = (receiver(0, 0), receiver(1, 0));
    assert_eq!(
        orders(&out).iter().map(|(m, o)| (*m, o.receiver)).collect::<Vec<_>>(),
        vec![(1, r0), (2, r1)]
    );
    assert_eq!(announced(&out), vec![(0, 6_000)]);
    desk.tell(1, Event::ReceiverStarted(r0));
    desk.tell(1, Event::ReceiverStarted(r1));
    desk.add(500, block_id(r1, 0), 0, 10, 2);
    desk.add(600, block_id(r0, 0), 0, 10, 1);
    assert_eq!(announced(&desk.wake(700)), vec![(1, 7_000)]);
    assert_eq!(plans(&desk.end(701, r0, 0)), vec![]);
    let out = desk.end(702, r1, 0);
    assert_eq!(plans(&out), vec![(0, vec![block_id(r0, 0), block_id(r1, 0)])]);
    assert!(!out.contains(&Action::BatchSafe(BatchNumber(0))), "its blocks are not safe");
    assert_eq!(
        desk.safe(703, block_id(r0, 0), 2),
        vec![
            Action::RecordSafe { member: member(1), block: block_id(r0, 0) },
            Action::BlockHeld { block: block_id(r0, 0), holders: vec![member(1), member(2)] },
        ]
    );
    assert!(desk.safe(704, block_id(r1, 0), 1).contains(&Action::BatchSafe(BatchNumber(0))));
    // A block that comes when its batch is complete goes into the next.
    desk.add(705, block_id(r0, 1), 0, 20, 1);
    desk.wake(1_700);
    desk.end(1_701, r0, 1);
    let out = desk.end(1_701, r1, 1);
    assert_eq!(plans(&out), vec![(1, vec![block_id(r0, 1)])]);
    // Released blocks are forgotten, and dropped everywhere.
    desk.tell(1_800, Event::BatchDecided(BatchNumber(0)));
    let out = desk.tell(1_801, Event::BatchReleased(BatchNumber(0)));
    let blocks = vec![block_id(r0, 0), block_id(r1, 0)];
    let drop = |node| Action::DropBlocks { member: member(node), blocks: blocks.clone() };
    assert_eq!(out, vec![drop(1), drop(2)]);
}

#[test]
fn an_empty_batch_is_planned_too_and_is_safe_at_once() {
    let config = every(1_000, vec![stream(0, StreamKind::Acknowledged, 1)]);
    let (mut desk, _) = Desk::new(config, 5_300, &[1]);
    desk.tell(1, Event::ReceiverStarted(receiver(0, 0)));
    desk.wake(700);
    let out = desk.end(701, receiver(0, 0), 0);
    assert_eq!(plans(&out), vec![(0, vec![])]);
    assert_eq!(out.last(), Some(&Action::BatchSafe(BatchNumber(0))));
}

#[test]
fn plans_queue_beyond_the_batches_in_flight_while_cutting_goes_on() {
    let config = GeneratorConfig { in_flight_max: 2, ..every(10, vec![stream(0, StreamKind::Planned, 0)]) };
    let (mut desk, _) = Desk::new(config, 1_000, &[]);
    let mut handed = Vec::new();
    // The first cut is 50 ms ahead.
    for batch in 0..5 {
        let ms = 50 + 10 * batch;
        desk.wake(ms);
        handed.extend(plans(&desk.found(ms, batch, vec![], false)).into_iter().map(|p| p.0));
    }
    assert_eq!(handed, vec![0, 1]);
    assert_eq!(plans(&desk.tell(100, Event::BatchDecided(BatchNumber(0)))), vec![(2, vec![])]);
    assert_eq!(plans(&desk.tell(101, Event::BatchReleased(BatchNumber(1)))), vec![(3, vec![])]);
}

#[test]
fn ranges_go_on_where_the_last_batch_ended_and_keep_the_rate() {
    let streams = vec![stream(0, StreamKind::Planned, 0)];
    let (mut desk, _) = Desk::new(every(500, streams), 1_000, &[]);
    desk.tell(0, Event::SetRate { stream: StreamId(0), receiver: ReceiverIndex(0), records_per_s_max: 100 });
    let question = |batch: u64, planned: &[(u32, u64)]| Action::AskRanges {
        batch: BatchNumber(batch),
        stream: StreamId(0),
        planned: planned.iter().map(|(p, o)| (PartitionId(*p), *o)).collect(),
        records_max: Some(50),
    };
    assert_eq!(desk.wake(500).last(), Some(&question(0, &[])));
    let out = desk.found(510, 0, vec![range(0, 0, 30), range(1, 0, 20)], false);
    let Some(Action::PlanReady { plan, .. }) = out.first() else { panic!("{out:?}") };
    assert_eq!(plan.inputs[&StreamId(0)], StreamInput::Ranges(vec![range(0, 0, 30), range(1, 0, 20)]));
    assert_eq!(plan.time, BatchTime(1_500));
    assert_eq!(desk.wake(1_000).last(), Some(&question(1, &[(0, 30), (1, 20)])));
    // An answer that nobody waits for changes nothing.
    assert_eq!(desk.found(1_001, 0, vec![range(0, 30, 99)], false), vec![]);
    desk.found(1_002, 1, vec![range(0, 30, 40)], true);
    assert!(plans(&desk.wake(1_500)).is_empty(), "it has ended");
}

#[test]
fn a_planned_source_that_fails_is_asked_again_and_at_last_fails_the_pipeline() {
    let config =
        GeneratorConfig { range_failures_max: 3, ..every(1_000, vec![stream(0, StreamKind::Planned, 0)]) };
    let (mut desk, _) = Desk::new(config, 0, &[]);
    let failed = || Event::RangesReady {
        batch: BatchNumber(0),
        stream: StreamId(0),
        result: Err("no such folder".to_owned()),
    };
    desk.wake(1_000);
    assert_eq!(desk.tell(1_001, failed()), vec![]);
    assert_eq!(desk.0.next_deadline(), Some(at(1_101)));
    assert!(matches!(desk.wake(1_101).as_slice(), [Action::AskRanges { .. }]));
    desk.tell(1_102, failed());
    assert!(matches!(desk.wake(1_302).as_slice(), [Action::AskRanges { .. }]));
    assert!(
        matches!(desk.tell(1_303, failed()).as_slice(), [Action::Fail(why)] if why.contains("no such folder"))
    );
    assert_eq!(desk.0.next_deadline(), None);
}

#[test]
fn available_now_plans_as_batches_are_decided_and_ends_when_all_is_read() {
    let config = GeneratorConfig {
        interval: BatchInterval::AvailableNow,
        in_flight_max: 2,
        planned_records_max: Some(10),
        streams: vec![stream(0, StreamKind::Planned, 0)],
        ..GeneratorConfig::default()
    };
    let (mut desk, out) = Desk::new(config, 1_000, &[]);
    assert!(matches!(out.as_slice(), [Action::AskRanges { records_max: Some(10), .. }]), "{out:?}");
    let out = desk.found(1, 0, vec![range(0, 0, 10)], false);
    assert!(
        matches!(
            out.as_slice(),
            [Action::PlanReady { .. }, Action::AskRanges { .. }, ..]
                | [Action::AskRanges { .. }, Action::PlanReady { .. }, ..]
        ),
        "{out:?}"
    );
    // Two are in flight: the third is asked for when one is decided. Times grow though the clock stands still.
    let out = desk.found(1, 1, vec![range(0, 10, 20)], false);
    let times: Vec<_> = out
        .iter()
        .filter_map(|a| if let Action::PlanReady { plan, .. } = a { Some(plan.time.0) } else { None })
        .collect();
    assert_eq!(times, vec![1_002]);
    assert!(!out.iter().any(|a| matches!(a, Action::AskRanges { .. })));
    let out = desk.tell(1, Event::BatchDecided(BatchNumber(0)));
    assert!(matches!(out.as_slice(), [Action::AskRanges { .. }]), "{out:?}");
    // Nothing new, but more to come: no batch, and another question later.
    assert_eq!(desk.found(2, 2, vec![], false), vec![]);
    assert_eq!(desk.0.next_deadline(), Some(at(12)));
    assert!(matches!(desk.wake(12).as_slice(), [Action::AskRanges { batch: BatchNumber(2), .. }]));
    let out = desk.found(13, 2, vec![range(0, 20, 25)], true);
    assert_eq!(plans(&out), vec![(2, vec![])]);
    assert_eq!(out.iter().filter(|a| **a == Action::Ended).count(), 1);
    assert_eq!(desk.0.next_deadline(), None);
}

#[test]
fn available_now_without_anything_ends_without_a_batch() {
    let config = GeneratorConfig {
        interval: BatchInterval::AvailableNow,
        streams: vec![stream(0, StreamKind::Planned, 0)],
        ..GeneratorConfig::default()
    };
    let (mut desk, _) = Desk::new(config, 1_000, &[]);
    assert_eq!(desk.found(1, 0, vec![], true), vec![Action::Ended]);
}

#[test]
fn available_now_with_static_data_alone_is_one_batch() {
    let config = GeneratorConfig { interval: BatchInterval::AvailableNow, ..GeneratorConfig::default() };
    let (mut desk, out) = Desk::new(config, 1_000, &[1]);
    let [Action::PlanReady { plan, .. }, Action::Ended, Action::BatchSafe(BatchNumber(0))] = &out[..] else {
        panic!("{out:?}")
    };
    assert_eq!((plan.batch, plan.time), (BatchNumber(0), BatchTime(1_000)));
    assert_eq!(desk.wake(1_000), vec![]);
    assert_eq!(desk.0.next_deadline(), None);
}

#[test]
fn available_now_refuses_received_streams() {
    let config = GeneratorConfig {
        interval: BatchInterval::AvailableNow,
        streams: vec![stream(0, StreamKind::Acknowledged, 1)],
        ..GeneratorConfig::default()
    };
    let (_, out) = Desk::new(config, 1_000, &[1]);
    assert!(matches!(out.as_slice(), [Action::Fail(_)]));
}

#[test]
fn the_same_events_give_the_same_seeds_and_every_batch_another() {
    let seeds =
        || {
            let (mut desk, _) = Desk::new(every(1_000, vec![stream(0, StreamKind::Planned, 0)]), 0, &[]);
            let mut seeds = Vec::new();
            for batch in 0..3 {
                desk.wake(1_000 * (batch + 1));
                let out = desk.found(1_000 * (batch + 1), batch, vec![], false);
                seeds.extend(out.iter().filter_map(|a| {
                    if let Action::PlanReady { plan, .. } = a { Some(plan.seed) } else { None }
                }));
            }
            seeds
        };
    let first = seeds();
    assert_eq!(first, seeds());
    assert!(first.len() == 3 && first[0] != first[1] && first[1] != first[2] && first[0] != first[2]);
}
