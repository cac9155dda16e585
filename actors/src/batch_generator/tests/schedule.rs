//! Random schedules: real receiver cores and the real generator core in virtual time, with executors that die, sources
//! that fail, copies that are refused, clocks that differ, and messages that take their time. Whatever happens, each
//! record of an acknowledged stream is in exactly one decided batch, in order, and none that was acknowledged is lost.

mod executor;

use super::*;
use crate::{
    batch_generator::GeneratorNote,
    receiver::{BlockContent, ReceiverAction, ReceiverConfig, ReceiverCore, ReceiverEvent, SourceEnd},
};
use std::collections::{BTreeMap, BTreeSet};
use tidemill_protocol::{message::ToDriver, world::SeededRng};

const MS: u64 = 1_000_000;
/// The acknowledged and the unacknowledged stream.
const ACKNOWLEDGED: StreamId = StreamId(0);
/// So many records each sender has.
const RECORDS: u64 = 2_000;
/// Executors die until then.
const FAULTS_END: u64 = 8_000 * MS;
/// The pipeline must have ended by then.
const END: u64 = 120_000 * MS;

type Key = (StreamId, ReceiverIndex);

/// What happens next somewhere.
enum Next {
    Generator(Event),
    FromExecutor(Member, ToDriver),
    ToReceivers(Member, Option<ReceiverId>, ReceiverEvent),
    StartReceiver(Member, ReceiverOrder),
    Drop(Member, Vec<BlockId>),
    Cut(Member, BatchNumber, BatchTime),
    Source(Member, ReceiverId),
    /// A copy that the driver has ordered.
    OrderedCopy {
        from: Member,
        block: BlockId,
        to: Member,
    },
    Copy {
        from: Member,
        block: BlockId,
        to: Member,
    },
    WakeReceiver(Member, ReceiverId),
    WakeGenerator,
    Scheduler(Action),
    Decide,
    Kill,
    Down(Member),
    Up(Member),
}

/// A life of a receiver on an executor, with its source and its open block.
struct Life {
    core: ReceiverCore,
    reads: bool,
    paused: bool,
    position: u64,
    open: Option<(u64, u64)>,
    next_sequence: u64,
    armed: u64,
}

#[derive(Default)]
struct Executor {
    lives: BTreeMap<ReceiverId, Life>,
    blocks: BTreeSet<BlockId>,
    peers: Vec<Member>,
}

/// The scheduler as the generator sees it.
#[derive(Default)]
struct Scheduler {
    plans: BTreeMap<u64, Arc<BatchPlan>>,
    safe: BTreeSet<u64>,
    decided: Vec<Arc<BatchPlan>>,
    ended: bool,
}

struct Town {
    rng: SeededRng,
    now: u64,
    order: u64,
    agenda: BTreeMap<(u64, u64), Next>,
    /// When the last message between two places arrives: messages do not overtake each other.
    lanes: BTreeMap<(u16, u16), u64>,
    generator: GeneratorCore,
    armed: u64,
    executors: BTreeMap<Member, Executor>,
    /// Executors that the driver believes to live.
    believed: BTreeSet<Member>,
    scheduler: Scheduler,
    /// First and last position of every block that was ever closed.
    contents: BTreeMap<BlockId, (u64, u64)>,
    recorded: BTreeSet<BlockId>,
    acknowledged: BTreeMap<Key, u64>,
    sent: BTreeMap<Key, u64>,
    deaths: u32,
    struck: usize,
    copied: usize,
}

impl Town {
    fn new(seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        let mut unacknowledged = stream(1, StreamKind::Unacknowledged, 2);
        unacknowledged.storage = StorageLevel::Single;
        let streams = vec![stream(0, StreamKind::Acknowledged, 3), unacknowledged];
        let interval = [5, 50, 200][rng.range(0, 3) as usize];
        let config = GeneratorConfig { seed, executors_expected: 3, ..every(interval, streams) };
        let mut town = Town {
            rng,
            now: 0,
            order: 0,
            agenda: BTreeMap::new(),
            lanes: BTreeMap::new(),
            generator: GeneratorCore::new(config),
            armed: u64::MAX,
            executors: BTreeMap::new(),
            believed: BTreeSet::new(),
            scheduler: Scheduler::default(),
            contents: BTreeMap::new(),
            recorded: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            sent: BTreeMap::new(),
            deaths: 0,
            struck: 0,
            copied: 0,
        };
        town.at(0, Next::Generator(Event::Start { wall: Duration::from_millis(1_000_003) }));
        (1..=4).for_each(|node| town.at(u64::from(node), Next::Up(member(node))));
        town.at(500 * MS, Next::Kill);
        town
    }

    fn at(&mut self, at: u64, next: Next) {
        self.order += 1;
        self.agenda.insert((at.max(self.now), self.order), next);
    }

    fn soon(&mut self, low_ms: u64, high_ms: u64, next: Next) {
        let at = self.now + self.rng.range(low_ms * MS, high_ms * MS);
        self.at(at, next);
    }

    /// Over the wire, in order.
    fn send(&mut self, from: u16, to: u16, next: Next) {
        let at = self.now + self.rng.range(MS / 10, 8 * MS);
        let lane = self.lanes.entry((from, to)).or_default();
        *lane = at.max(*lane + 1);
        let at = *lane;
        self.at(at, next);
    }

    fn run(&mut self) {
        while let Some(((at, _), next)) = self.agenda.pop_first() {
            self.now = at;
            assert!(at < END, "it never ended");
            self.step(next);
            if self.scheduler.ended && self.scheduler.plans.is_empty() {
                return;
            }
        }
    }

    fn step(&mut self, next: Next) {
        match next {
            Next::Generator(event) => self.generator(event),
            Next::WakeGenerator => self.generator(Event::Wake),
            Next::FromExecutor(from, message) => self.driver_hears(from, message),
            Next::ToReceivers(to, receiver, event) => {
                let lives = self.executors.get(&to).map(|e| e.lives.keys().copied().collect::<Vec<_>>());
                let meant = lives.into_iter().flatten().filter(|r| receiver.is_none_or(|only| only == *r));
                meant.for_each(|r| self.receiver(to, r, event.clone()));
            }
            Next::StartReceiver(to, order) => self.start(to, order),
            Next::Drop(to, blocks) => {
                if let Some(executor) = self.executors.get_mut(&to) {
                    executor.blocks.retain(|block| !blocks.contains(block));
                    self.step(Next::ToReceivers(to, None, ReceiverEvent::Released { blocks }));
                }
            }
            Next::Cut(to, batch, at) => {
                // Each machine's clock is wrong by its own few milliseconds.
                let wall = Duration::from_nanos(self.now + 1_000_003 * MS + u64::from(to.node.0) * 3 * MS);
                self.step(Next::ToReceivers(to, None, ReceiverEvent::Cut { batch, at, wall }));
            }
            Next::Source(on, receiver) => self.source(on, receiver),
            Next::Copy { from, block, to } => self.copy(from, block, to),
            Next::OrderedCopy { from, block, to } => self.ordered_copy(from, block, to),
            Next::WakeReceiver(on, receiver) => self.receiver(on, receiver, ReceiverEvent::Wake),
            Next::Scheduler(action) => self.scheduler_hears(action),
            Next::Decide => self.decide(),
            Next::Kill => self.kill(),
            Next::Down(member) => {
                self.believed.remove(&member);
                self.generator(Event::ExecutorDown(member));
                self.tell_peers();
                let next = Member { incarnation: member.incarnation.next(), ..member };
                self.soon(10, 2_000, Next::Up(next));
            }
            Next::Up(member) => {
                self.executors.insert(member, Executor::default());
                self.believed.insert(member);
                self.generator(Event::ExecutorUp(member));
                self.tell_peers();
            }
        }
    }

    fn tell_peers(&mut self) {
        let members: Vec<Member> = self.believed.iter().copied().collect();
        for to in members.clone() {
            let event = ReceiverEvent::Peers { members: members.clone(), near: Vec::new() };
            self.send(0, to.node.0, Next::ToReceivers(to, None, event));
        }
    }

    fn generator(&mut self, event: Event) {
        let mut out = Vec::new();
        self.generator.on_event(Time(self.now), event, &mut out);
        self.generator.assert_invariants();
        for action in out {
            match action {
                Action::StartReceiver { member, order } => {
                    self.send(0, member.node.0, Next::StartReceiver(member, order));
                }
                Action::AnnounceCut { members, batch, at } => {
                    members.into_iter().for_each(|m| self.send(0, m.node.0, Next::Cut(m, batch, at)));
                }
                Action::RecordSafe { member, block } => {
                    self.recorded.insert(block);
                    let event = ReceiverEvent::SafeRecorded { block };
                    self.send(0, member.node.0, Next::ToReceivers(member, Some(block.receiver), event));
                }
                Action::DropBlocks { member, blocks } => {
                    self.send(0, member.node.0, Next::Drop(member, blocks))
                }
                Action::CopyBlock { from, block, to } => {
                    self.send(0, from.node.0, Next::OrderedCopy { from, block, to });
                }
                Action::ReadWall => {
                    let wall = Duration::from_nanos(self.now + 1_000_003 * MS);
                    self.at(self.now, Next::Generator(Event::Wall { wall }));
                }
                Action::Note(GeneratorNote::BlocksStruck { blocks, .. }) => self.struck += blocks,
                Action::Note(GeneratorNote::BlockCopied { .. }) => self.copied += 1,
                Action::Note(_) => {}
                Action::Fail(why) => panic!("{why}"),
                other => self.at(self.now, Next::Scheduler(other)),
            }
        }
        if self.armed <= self.now {
            self.armed = u64::MAX;
        }
        if let Some(deadline) = self.generator.next_deadline().filter(|deadline| deadline.0 < self.armed) {
            self.armed = deadline.0;
            self.at(deadline.0, Next::WakeGenerator);
        }
    }

    fn driver_hears(&mut self, from: Member, message: ToDriver) {
        if !self.believed.contains(&from) {
            return;
        }
        let event = match message {
            ToDriver::ReceiverStarted { receiver } => Event::ReceiverStarted(receiver),
            ToDriver::BlockAdded(info) => Event::BlockAdded(info),
            ToDriver::BlockSafe { block, replica } => Event::BlockSafe { block, replica },
            ToDriver::BlockCopied { block, to, kept } => Event::BlockCopied { block, to, kept },
            ToDriver::EndOfBatch { receiver, batch } => Event::EndOfBatch { receiver, batch },
            ToDriver::ReceiverExited { receiver, reason } => Event::ReceiverExited { receiver, reason },
            other => panic!("a receiver does not say {other:?}"),
        };
        self.generator(event);
    }

    fn scheduler_hears(&mut self, action: Action) {
        match action {
            Action::PlanReady { plan, .. } => {
                self.scheduler.plans.insert(plan.batch.0, plan);
            }
            Action::Replan { plan, .. } => {
                self.scheduler.safe.remove(&plan.batch.0);
                self.scheduler.plans.insert(plan.batch.0, plan);
            }
            Action::BatchSafe(batch) => {
                self.scheduler.safe.insert(batch.0);
            }
            Action::Ended => self.scheduler.ended = true,
            Action::BlockHeld { .. } => {}
            other => panic!("the scheduler does not understand {other:?}"),
        }
        self.soon(1, 60, Next::Decide);
    }

    fn decide(&mut self) {
        let next = self.scheduler.decided.len() as u64;
        if !self.scheduler.safe.contains(&next) {
            return;
        }
        let Some(plan) = self.scheduler.plans.remove(&next) else {
            return;
        };
        for block in blocks_of(&plan, ACKNOWLEDGED) {
            let held = self.executors.values().any(|executor| executor.blocks.contains(&block));
            assert!(held, "{block} is decided, but nobody holds it");
        }
        self.scheduler.decided.push(plan);
        self.at(self.now, Next::Generator(Event::BatchDecided(BatchNumber(next))));
        self.soon(1, 50, Next::Generator(Event::BatchReleased(BatchNumber(next))));
        self.soon(1, 60, Next::Decide);
    }

    /// Kills an executor, if no acknowledged block would be lost with it: *safe* survives one node at a time.
    fn kill(&mut self) {
        let alive: Vec<Member> = self.executors.keys().copied().collect();
        if self.now >= FAULTS_END {
            return;
        }
        self.soon(400, 1_200, Next::Kill);
        if alive.len() < 3 || alive.len() != self.believed.len() {
            return;
        }
        let victim = alive[self.rng.range(0, alive.len() as u64) as usize];
        let decided: BTreeSet<BlockId> =
            self.scheduler.decided.iter().flat_map(|plan| blocks_of(plan, ACKNOWLEDGED)).collect();
        let held_elsewhere = |block: &BlockId| {
            self.executors.iter().any(|(member, e)| *member != victim && e.blocks.contains(block))
        };
        let needed = self.recorded.difference(&decided).filter(|block| block.receiver.stream == ACKNOWLEDGED);
        let mut needed = needed.filter(|block| self.executors.values().any(|e| e.blocks.contains(block)));
        if needed.all(held_elsewhere) {
            self.executors.remove(&victim);
            self.deaths += 1;
            self.soon(10, 200, Next::Down(victim));
        }
    }

    fn check(&self) {
        let mut positions: BTreeMap<Key, Vec<(u64, u64)>> = BTreeMap::new();
        for (expected, plan) in self.scheduler.decided.iter().enumerate() {
            assert_eq!(plan.batch.0, expected as u64);
            for id in [ACKNOWLEDGED, StreamId(1)].into_iter().flat_map(|stream| blocks_of(plan, stream)) {
                let key = (id.receiver.stream, id.receiver.index);
                positions.entry(key).or_default().push(self.contents[&id]);
            }
        }
        for pair in self.scheduler.decided.windows(2) {
            assert!(pair[0].time < pair[1].time, "times grow");
        }
        for ((stream, index), ranges) in positions {
            let mut reached = 0;
            for (first, last) in ranges {
                if stream == ACKNOWLEDGED {
                    assert_eq!(first, reached + 1, "{stream}/{index}: each record once, and none left out");
                } else {
                    assert!(first > reached, "{stream}/{index}: none twice");
                }
                reached = last;
            }
            assert!(stream != ACKNOWLEDGED || reached == RECORDS, "{stream}/{index} ends at {reached}");
        }
    }
}

fn blocks_of(plan: &BatchPlan, stream: StreamId) -> Vec<BlockId> {
    match plan.inputs.get(&stream) {
        Some(StreamInput::Blocks(blocks)) => blocks.iter().map(|block| block.id).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn each_record_is_in_exactly_one_decided_batch_whatever_dies() {
    let (mut deaths, mut struck, mut copied) = (0, 0, 0);
    for seed in 0..40 {
        let mut town = Town::new(seed);
        town.run();
        assert!(town.scheduler.ended, "seed {seed} went silent");
        town.check();
        deaths += town.deaths;
        struck += town.struck;
        copied += town.copied;
    }
    assert!(
        deaths > 60 && struck > 60 && copied > 60,
        "the schedules are too kind: {deaths} deaths, {struck} blocks struck, {copied} copied"
    );
}

#[test]
fn a_schedule_repeats_itself() {
    let run = |seed| {
        let mut town = Town::new(seed);
        town.run();
        (town.now, town.scheduler.decided)
    };
    assert_eq!(run(7), run(7));
}
