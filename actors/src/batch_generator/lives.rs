//! The receivers and their lives: where each runs, which batches it has ended, up to which position it is safe, and when
//! the next life begins.

use super::placement;
use crate::seam::{Machine, StreamKind};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidemill_protocol::{
    id::{BatchNumber, BlockId, Incarnation, Member, Position, ReceiverId, ReceiverIndex, StreamId},
    message::{ReceiverExitReason, ReceiverOrder},
    time::Time,
    world::SeededRng,
};

/// Where a receiver stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has no life; the next one begins then, on some executor.
    Waiting { not_before: Time },
    /// The order is under way.
    Starting,
    /// It reads.
    Running { since: Time },
    /// It was told to stop.
    Stopping,
    /// It has stopped because its executor leaves; the next life begins elsewhere once all its blocks are safe, so that
    /// nothing is repeated.
    Moving,
    /// It has ended for good.
    Done,
}

/// A receiver.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) id: ReceiverId,
    kind: StreamKind,
    pub(super) state: State,
    /// Where its current life is, or where the last one was.
    pub(super) member: Option<Member>,
    avoid: Option<Member>,
    opened: BatchNumber,
    ended: Option<BatchNumber>,
    pub(super) rate: u64,
    pub(super) safe_position: Option<Position>,
    /// The blocks of this life from the first unsafe one on, by sequence: last position, and whether it is safe.
    pending: BTreeMap<u64, (Option<Position>, bool)>,
    failures: u32,
    /// It stops here in order to go on elsewhere.
    moves: bool,
}

impl Life {
    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, State::Starting | State::Running { .. } | State::Stopping)
    }

    fn is_waited_for(&self, batch: BatchNumber) -> bool {
        matches!(self.state, State::Running { .. } | State::Stopping)
            && self.opened <= batch
            && self.ended.is_none_or(|ended| ended < batch)
    }

    /// Takes the blocks that the sender will repeat, which is all from the first unsafe one on.
    fn take_repeated(&mut self) -> Vec<BlockId> {
        let receiver = self.id;
        let repeated = std::mem::take(&mut self.pending);
        if self.kind != StreamKind::Acknowledged {
            return Vec::new();
        }
        repeated.into_keys().map(|sequence| BlockId { receiver, sequence }).collect()
    }
}

/// What the end of a life leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct After {
    pub(super) receiver: ReceiverId,
    pub(super) struck: Vec<BlockId>,
    pub(super) resume_after: Option<Position>,
    /// How long until the next life; `None`: there is none.
    pub(super) restart: Option<Duration>,
}

/// How receivers are started again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    pub(super) min: Duration,
    pub(super) max: Duration,
    pub(super) stable_after: Duration,
}

/// All receivers, and the executors that they can live on.
#[derive(Debug)]
pub(super) struct Lives {
    lives: BTreeMap<(StreamId, ReceiverIndex), Life>,
    pub(super) members: BTreeSet<Member>,
    /// Those among them that are about to leave.
    pub(super) leaving: BTreeSet<Member>,
    /// Those among them that were not heard of for longer than usual.
    suspected: BTreeSet<Member>,
    /// Where they run, as far as it is known.
    machines: BTreeMap<Member, Machine>,
    backoff: Backoff,
    rng: SeededRng,
}

impl Lives {
    pub(super) fn new(
        receivers: impl IntoIterator<Item = (StreamId, ReceiverIndex, StreamKind)>,
        rate: u64,
        backoff: Backoff,
        seed: u64,
    ) -> Self {
        let life = |(stream, index, kind)| {
            let id = ReceiverId { stream, index, incarnation: Incarnation(0) };
            let life = Life {
                id,
                kind,
                state: State::Waiting { not_before: Time::ZERO },
                member: None,
                avoid: None,
                opened: BatchNumber(0),
                ended: None,
                rate,
                safe_position: None,
                pending: BTreeMap::new(),
                failures: 0,
                moves: false,
            };
            ((stream, index), life)
        };
        Lives {
            lives: receivers.into_iter().map(life).collect(),
            members: BTreeSet::new(),
            leaving: BTreeSet::new(),
            suspected: BTreeSet::new(),
            machines: BTreeMap::new(),
            backoff,
            rng: SeededRng::new(seed),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Life> {
        self.lives.values()
    }

    /// The receiver whose current life is `id`.
    pub(super) fn get_mut(&mut self, id: ReceiverId) -> Option<&mut Life> {
        self.lives
            .get_mut(&(id.stream, id.index))
            .filter(|life| life.id == id || planted!(NoIncarnationCheck))
    }

    /// Notes where an executor runs.
    pub(super) fn set_machine(&mut self, member: Member, machine: Machine) {
        if self.members.contains(&member) {
            self.machines.insert(member, machine);
        }
    }

    /// Notes what the failure detector thinks of an executor.
    pub(super) fn suspect(&mut self, member: Member, suspected: bool) {
        self.suspected.remove(&member);
        if suspected && self.members.contains(&member) {
            self.suspected.insert(member);
        }
    }

    /// Whether a copy on a living executor counts for a block that was cut on `cut_on`: one that leaves takes it along, and
    /// will do only where nobody else could have it.
    pub(super) fn may_hold(&self, replica: Member, cut_on: Member) -> bool {
        let mut staying = self.members.difference(&self.leaving);
        !self.leaving.contains(&replica) || staying.all(|member| *member == cut_on)
    }

    /// Whether two executors are known to run on one machine.
    pub(super) fn share_machine(&self, one: Member, other: Member) -> bool {
        let machine = |member| self.machines.get(&member);
        machine(one).is_some() && machine(one) == machine(other)
    }

    /// Where this life of a receiver is, or was; none if it is not the newest.
    pub(super) fn host(&self, id: ReceiverId) -> Option<Member> {
        self.lives.get(&(id.stream, id.index)).filter(|life| life.id == id)?.member
    }

    pub(super) fn by_index_mut(&mut self, stream: StreamId, index: ReceiverIndex) -> Option<&mut Life> {
        self.lives.get_mut(&(stream, index))
    }

    /// The executors with live receivers, by id.
    pub(super) fn hosts(&self) -> Vec<Member> {
        let hosts: BTreeSet<Member> = self.iter().filter(|l| l.is_live()).filter_map(|l| l.member).collect();
        hosts.into_iter().collect()
    }

    /// Whether every receiver that runs has ended `batch`.
    pub(super) fn have_ended(&self, batch: BatchNumber) -> bool {
        !self.iter().any(|life| life.is_waited_for(batch))
    }

    /// Whether all have ended for good, and nothing of theirs can still be lost and repeated.
    pub(super) fn are_done(&self) -> bool {
        self.iter().all(|life| life.state == State::Done && (life.pending.is_empty() || !self.repeats(life)))
    }

    fn repeats(&self, life: &Life) -> bool {
        life.kind == StreamKind::Acknowledged
    }

    /// Whether all have ended, whatever may become of their blocks.
    pub(super) fn have_exited(&self) -> bool {
        self.iter().all(|life| life.state == State::Done)
    }

    /// Gives the next waiting receiver whose time has come a life on an executor.
    pub(super) fn place(&mut self, now: Time, open_batch: BatchNumber) -> Option<(Member, ReceiverOrder)> {
        let staying = self.members.difference(&self.leaving);
        let mut load: BTreeMap<Member, usize> = staying.map(|member| (*member, 0)).collect();
        for member in self.iter().filter(|l| l.is_live()).filter_map(|l| l.member) {
            if let Some(count) = load.get_mut(&member) {
                *count += 1;
            }
        }
        let due = |life: &&mut Life| matches!(life.state, State::Waiting { not_before } if not_before <= now);
        let life = self.lives.values_mut().find(due)?;
        let member = placement::choose(&load, &self.suspected, life.avoid)?;
        if life.member.is_some() {
            life.id.incarnation = life.id.incarnation.next();
        }
        life.state = State::Starting;
        life.moves = false;
        life.member = Some(member);
        life.opened = open_batch;
        life.ended = None;
        let order = ReceiverOrder {
            receiver: life.id,
            resume_after: life.safe_position,
            open_batch,
            records_per_s_max: life.rate,
        };
        Some((member, order))
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let waits = self.iter().filter_map(|life| match life.state {
            State::Waiting { not_before } => Some(not_before),
            _ => None,
        });
        waits.min()
    }

    /// A life has begun to read; returns where, if it was awaited.
    pub(super) fn started(&mut self, now: Time, id: ReceiverId) -> Option<Member> {
        let life = self.get_mut(id).filter(|life| life.state == State::Starting)?;
        life.state = State::Running { since: now };
        life.member
    }

    pub(super) fn end_of_batch(&mut self, id: ReceiverId, batch: BatchNumber) {
        if let Some(life) = self.get_mut(id) {
            life.ended = life.ended.max(Some(batch));
        }
    }

    /// A block of the current life; false if there is no such life.
    pub(super) fn block_added(&mut self, id: BlockId, last: Option<Position>) -> bool {
        let Some(life) = self.get_mut(id.receiver).filter(|life| life.is_live()) else {
            return false;
        };
        life.pending.insert(id.sequence, (last, false));
        true
    }

    /// A block is safe: the position up to which all is safe may grow.
    pub(super) fn block_safe(&mut self, id: BlockId) {
        let Some(life) = self.get_mut(id.receiver) else {
            return;
        };
        if let Some(pending) = life.pending.get_mut(&id.sequence) {
            pending.1 = true;
        }
        while let Some(first) = life.pending.first_entry().filter(|first| first.get().1) {
            life.safe_position = first.get().0.or(life.safe_position);
            first.remove();
        }
        if life.state == State::Moving && life.pending.is_empty() {
            life.state = State::Waiting { not_before: Time::ZERO };
        }
    }

    /// A life has ended by itself. `stopping`: no other shall begin.
    pub(super) fn exited(
        &mut self,
        now: Time,
        id: ReceiverId,
        reason: &ReceiverExitReason,
        stopping: bool,
    ) -> Option<After> {
        let (backoff, unit) = (self.backoff, self.rng.unit());
        let life = self.get_mut(id).filter(|life| life.is_live())?;
        let was = life.state;
        life.state = State::Done;
        let failed = match reason {
            ReceiverExitReason::Exhausted => false,
            ReceiverExitReason::Stopped => was != State::Stopping,
            ReceiverExitReason::Failed(_)
            | ReceiverExitReason::Panicked(_)
            | ReceiverExitReason::Uncopyable(_) => true,
        };
        // One that ended well leaves whole blocks behind, which go on to safety without it.
        let struck = if failed { life.take_repeated() } else { Vec::new() };
        let mut after = After { receiver: id, struck, resume_after: life.safe_position, restart: None };
        if failed && !stopping {
            let stable = matches!(was, State::Running { since } if now.since(since) >= backoff.stable_after);
            life.failures = if stable { 1 } else { life.failures.saturating_add(1) };
            let full =
                backoff.min.saturating_mul(2u32.saturating_pow(life.failures.min(24) - 1)).min(backoff.max);
            let delay = full.mul_f64(0.5 + 0.5 * unit);
            life.avoid = life.member;
            life.state = State::Waiting { not_before: now + delay };
            after.restart = Some(delay);
        } else if life.moves && *reason == ReceiverExitReason::Stopped && !stopping {
            let is_safe = life.pending.is_empty();
            life.state = if is_safe { State::Waiting { not_before: now } } else { State::Moving };
            after.restart = Some(Duration::ZERO);
        }
        Some(after)
    }

    /// An executor is dead, and all lives on it. What they had not made safe is repeated by the sender, also when the
    /// source had come to its end.
    pub(super) fn member_down(&mut self, now: Time, member: Member, stopping: bool) -> Vec<After> {
        self.members.remove(&member);
        self.leaving.remove(&member);
        self.suspected.remove(&member);
        self.machines.remove(&member);
        let mut ends = Vec::new();
        for life in self.lives.values_mut().filter(|life| life.member == Some(member)) {
            let was_live = life.is_live() || life.state == State::Moving;
            let struck = life.take_repeated();
            let again = !stopping && (was_live || !struck.is_empty());
            if !was_live && struck.is_empty() {
                continue;
            }
            life.state = if again { State::Waiting { not_before: now } } else { State::Done };
            life.avoid = None;
            ends.push(After {
                receiver: life.id,
                struck,
                resume_after: life.safe_position,
                restart: again.then_some(Duration::ZERO),
            });
        }
        ends
    }

    /// No further life begins. Gives the lives that are to be stopped.
    pub(super) fn stop(&mut self) -> Vec<(Member, ReceiverId)> {
        let mut live = Vec::new();
        for life in self.lives.values_mut() {
            match (life.state, life.member) {
                (State::Starting | State::Running { .. }, Some(member)) => {
                    life.state = State::Stopping;
                    live.push((member, life.id));
                }
                (State::Waiting { .. } | State::Moving, _) => life.state = State::Done,
                _ => {}
            }
        }
        live
    }

    /// Stops the lives on an executor that leaves; the next ones begin elsewhere.
    pub(super) fn leave(&mut self, member: Member) -> Vec<ReceiverId> {
        self.leaving.insert(member);
        let here = self.lives.values_mut().filter(|life| life.member == Some(member));
        let live = here.filter(|life| matches!(life.state, State::Starting | State::Running { .. }));
        live.map(|life| {
            (life.state, life.moves) = (State::Stopping, true);
            life.id
        })
        .collect()
    }

    /// Whether a receiver lives there, or has blocks on their way to safety from there; with nobody who stays, or to there.
    pub(super) fn is_used(&self, member: Member) -> bool {
        let uses = |life: &Life| life.is_live() || life.state == State::Moving;
        let all_leave = self.members == self.leaving;
        self.iter().any(|life| uses(life) && (all_leave || life.member == Some(member)))
    }

    /// Ends the move of receivers from the last executor there is, which leaves: nobody can take a copy of what is not safe.
    pub(super) fn end_moves_from_the_last(&mut self) -> Vec<After> {
        if self.members.len() != 1 || self.members != self.leaving {
            return Vec::new();
        }
        let moving = self.lives.values_mut().filter(|life| life.state == State::Moving);
        moving
            .map(|life| {
                life.state = State::Waiting { not_before: Time::ZERO };
                let (receiver, resume_after) = (life.id, life.safe_position);
                After { receiver, struck: life.take_repeated(), resume_after, restart: None }
            })
            .collect()
    }

    /// Whether there is an executor on which a receiver could be placed.
    pub(super) fn somebody_stays(&self) -> bool {
        self.members.len() > self.leaving.len()
    }

    /// The executors that stay, by id.
    pub(super) fn staying(&self) -> BTreeSet<Member> {
        self.members.difference(&self.leaving).copied().collect()
    }

    pub(super) fn assert_invariants(&self) {
        assert!(self.leaving.is_subset(&self.members), "whoever leaves is still there");
        assert!(self.suspected.is_subset(&self.members), "whoever is suspected is still there");
        assert!(self.machines.keys().all(|m| self.members.contains(m)), "places are those of the living");
        for life in self.iter() {
            if life.is_live() {
                assert!(
                    life.member.is_some_and(|m| self.members.contains(&m)),
                    "{} lives somewhere",
                    life.id
                );
            }
            assert!(
                life.pending.values().next().is_none_or(|first| !first.1),
                "the first pending block is unsafe"
            );
        }
    }
}
