//! Copies of blocks: who shall hold one, what is safe, and which position may be acknowledged.

use crate::seam::StorageLevel;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidemill_protocol::{
    id::{Member, Position},
    time::Time,
};

/// What a block still needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    /// It is on its way to `to`.
    Sending { to: Member },
    /// Nobody takes it now; it waits for a peer or for the time to ask again.
    Waiting,
    /// It is held by as many as its storage level asks for, and the driver was told.
    Told { replica: Option<Member> },
}

/// A closed block that the driver has not released.
#[derive(Clone, Debug)]
struct Flight {
    bytes: u64,
    last: Option<Position>,
    copy: Copy,
    tried: BTreeSet<Member>,
    recorded: bool,
}

/// What is to be done about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Copy it to `to`.
    Send { sequence: u64, to: Member },
    /// Tell the driver that it is safe.
    Safe { sequence: u64, replica: Option<Member> },
    /// Tell the driver of a copy that came after the block was let go of: it is let go of there too.
    Stray { sequence: u64, peer: Member },
}

/// The blocks of one life of a receiver, and their copies.
#[derive(Debug)]
pub(super) struct Copies {
    me: Member,
    storage: StorageLevel,
    retry_min: Duration,
    retry_max: Duration,
    /// Sorted, without this node.
    peers: Vec<Member>,
    /// Those who are on this machine: they hold a copy only if nobody else does.
    near: BTreeSet<Member>,
    blocks: BTreeMap<u64, Flight>,
    /// All blocks below are recorded.
    frontier: u64,
    retry_at: Option<Time>,
    retry_delay: Duration,
    unsafe_blocks: usize,
    unsafe_bytes: u64,
}

impl Copies {
    pub(super) fn new(me: Member, storage: StorageLevel, retry_min: Duration, retry_max: Duration) -> Self {
        Copies {
            me,
            storage,
            retry_min,
            retry_max,
            peers: Vec::new(),
            near: BTreeSet::new(),
            blocks: BTreeMap::new(),
            frontier: 0,
            retry_at: None,
            retry_delay: retry_min,
            unsafe_blocks: 0,
            unsafe_bytes: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Blocks and bytes that the driver has not recorded as safe.
    pub(super) fn unsafe_load(&self) -> (usize, u64) {
        (self.unsafe_blocks, self.unsafe_bytes)
    }

    pub(super) fn retry_at(&self) -> Option<Time> {
        self.retry_at
    }

    /// A block was closed.
    pub(super) fn add(
        &mut self,
        now: Time,
        sequence: u64,
        bytes: u64,
        last: Option<Position>,
        out: &mut Vec<Step>,
    ) {
        let flight = Flight { bytes, last, copy: Copy::Waiting, tried: BTreeSet::new(), recorded: false };
        self.blocks.insert(sequence, flight);
        self.unsafe_blocks += 1;
        self.unsafe_bytes += bytes;
        self.place(now, sequence, out);
    }

    /// `peer` says that it holds the block. One that has gone meanwhile does not count.
    pub(super) fn replicated(&mut self, sequence: u64, peer: Member, out: &mut Vec<Step>) {
        let live = self.peers.binary_search(&peer).is_ok();
        let Some(flight) = self.blocks.get_mut(&sequence) else {
            return out.push(Step::Stray { sequence, peer });
        };
        if live && !matches!(flight.copy, Copy::Told { .. }) {
            flight.copy = Copy::Told { replica: Some(peer) };
            self.retry_delay = self.retry_min;
            out.push(Step::Safe { sequence, replica: Some(peer) });
        }
    }

    /// `peer` did not take the block: somebody else shall.
    pub(super) fn failed(&mut self, now: Time, sequence: u64, peer: Member, out: &mut Vec<Step>) {
        let Some(flight) = self.blocks.get_mut(&sequence) else {
            return;
        };
        if flight.copy == (Copy::Sending { to: peer }) {
            flight.tried.insert(peer);
            self.place(now, sequence, out);
        }
    }

    /// These executors live, and some of them near: on this machine. What only a lost one held is copied again, also after it
    /// was safe: it shall survive the next loss too.
    pub(super) fn set_peers(
        &mut self,
        now: Time,
        members: Vec<Member>,
        near: Vec<Member>,
        out: &mut Vec<Step>,
    ) {
        self.near = near.into_iter().collect();
        self.peers = members.into_iter().filter(|m| m.node != self.me.node).collect();
        self.peers.sort_unstable();
        self.peers.dedup();
        let lacking = |copy: &Copy| match copy {
            Copy::Sending { to } => self.peers.binary_search(to).is_err(),
            Copy::Waiting => true,
            Copy::Told { replica: Some(held) } => self.peers.binary_search(held).is_err(),
            Copy::Told { replica: None } => self.storage != StorageLevel::Single && !self.peers.is_empty(),
        };
        let again: Vec<u64> = self.blocks.iter().filter(|(_, f)| lacking(&f.copy)).map(|(s, _)| *s).collect();
        self.retry_at = None;
        self.place_all(now, again, out);
    }

    /// Asks all peers again for the blocks that nobody took, if it is time.
    pub(super) fn retry(&mut self, now: Time, out: &mut Vec<Step>) {
        if self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        self.retry_at = None;
        self.retry_delay = (self.retry_delay * 2).min(self.retry_max);
        let waiting = self.blocks.iter().filter(|(_, f)| f.copy == Copy::Waiting).map(|(s, _)| *s).collect();
        self.place_all(now, waiting, out);
    }

    /// The driver has recorded a block as safe. Gives the position that may be acknowledged, if it has grown: that of
    /// the last block below which all are recorded.
    pub(super) fn recorded(&mut self, sequence: u64) -> Option<Position> {
        let flight = self.blocks.get_mut(&sequence)?;
        if !std::mem::replace(&mut flight.recorded, true) {
            self.unsafe_blocks -= 1;
            self.unsafe_bytes -= flight.bytes;
        }
        let mut safe = None;
        while let Some(flight) = self.blocks.get(&self.frontier).filter(|f| f.recorded) {
            safe = flight.last.or(safe);
            self.frontier += 1;
        }
        safe
    }

    /// The driver does not want the block any more: its batch is done, or it was struck from it.
    pub(super) fn released(&mut self, sequence: u64) {
        if let Some(flight) = self.blocks.remove(&sequence)
            && !flight.recorded
        {
            self.unsafe_blocks -= 1;
            self.unsafe_bytes -= flight.bytes;
        }
    }

    fn place_all(&mut self, now: Time, sequences: Vec<u64>, out: &mut Vec<Step>) {
        for sequence in sequences {
            if let Some(flight) = self.blocks.get_mut(&sequence) {
                flight.tried.clear();
            }
            self.place(now, sequence, out);
        }
    }

    /// Finds a holder for the second copy: the peers of other machines first, in turn, so that the load is spread, and the
    /// same ones for the same peers, so that a run can be repeated.
    fn place(&mut self, now: Time, sequence: u64, out: &mut Vec<Step>) {
        let alone = self.peers.is_empty();
        let Some(flight) = self.blocks.get_mut(&sequence) else {
            return;
        };
        let one_is_enough = match self.storage {
            StorageLevel::Single => true,
            StorageLevel::ReplicatedAllowDegraded => alone,
            StorageLevel::Replicated => false,
        };
        if one_is_enough {
            flight.copy = Copy::Told { replica: None };
            out.push(Step::Safe { sequence, replica: None });
            return;
        }
        let start = if alone { 0 } else { (sequence % self.peers.len() as u64) as usize };
        let turn = self.peers[start..].iter().chain(&self.peers[..start]);
        let willing = turn.copied().filter(|peer| !flight.tried.contains(peer));
        // The first of those that are equally far.
        match willing.min_by_key(|peer| self.near.contains(peer)) {
            Some(to) => {
                flight.copy = Copy::Sending { to };
                out.push(Step::Send { sequence, to });
            }
            None => {
                flight.copy = Copy::Waiting;
                if !alone && self.retry_at.is_none() {
                    self.retry_at = Some(now + self.retry_delay);
                }
            }
        }
    }

    pub(super) fn assert_invariants(&self) {
        let open: Vec<&Flight> = self.blocks.values().filter(|f| !f.recorded).collect();
        assert_eq!(self.unsafe_blocks, open.len(), "unsafe blocks are counted");
        assert_eq!(self.unsafe_bytes, open.iter().map(|f| f.bytes).sum::<u64>(), "unsafe bytes are counted");
        assert!(self.peers.iter().all(|p| p.node != self.me.node), "nobody is his own peer");
        for (sequence, flight) in &self.blocks {
            assert!(flight.recorded || *sequence >= self.frontier, "below the frontier all is recorded");
            if let Copy::Sending { to } = flight.copy {
                assert!(self.peers.contains(&to), "{sequence} is on its way to {to}, who has gone");
            }
            if self.storage == StorageLevel::Replicated {
                assert!(flight.copy != Copy::Told { replica: None }, "one copy alone is not safe");
            }
        }
    }
}
