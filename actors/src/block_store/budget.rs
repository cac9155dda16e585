//! What an executor may hold in memory, and the books of what it holds.
//!
//! ```text
//!   0 ──────────────────── bytes_max ──── + outputs_over_max ───────────────────────────────── limit()
//!     blocks, copies, outputs   outputs only      sure shares, whatever else is held:
//!                                                 copies ½ · permitted reads ⅛ · inputs ½ · first asks 1/16 · sending ⅛ · work 1
//! ```
//!
//! A *sure share* is what somebody may always take who would otherwise close a circle of waits: a copy of another's block
//! (or no block would ever be safe), what was read before its receiver was stopped, inputs of a task (or its batch would
//! never be published). Within a share one waits only for those who hold the same share, in the order of asking, and all
//! at once: who holds inputs never waits for more of them. For the share of work nobody waits who has some of it: a
//! task that builds more than is left of it fails.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tidemill_protocol::message::{Exhausted, Resource};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How much memory the data of an executor may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Blocks are refused from here on, in bytes.
    pub bytes_max: u64,
    /// By how many bytes task outputs may go beyond `bytes_max`.
    pub outputs_over_max: u64,
}

impl Budget {
    /// A budget of `bytes_max` bytes, with a quarter of it on top for outputs.
    pub fn new(bytes_max: u64) -> Self {
        Budget { bytes_max, outputs_over_max: bytes_max / 4 }
    }

    /// The most bytes that `share` ever holds.
    pub fn share(&self, share: Share) -> u64 {
        match share {
            Share::Inputs => self.bytes_max / 2,
            Share::FirstAsks => self.bytes_max / 16,
            Share::Sending => self.bytes_max / 8,
            Share::Work => self.bytes_max,
        }
    }

    /// What is never exceeded, whatever is asked for: all shares used up at the same time.
    pub fn limit(&self) -> u64 {
        let shares = [Share::Inputs, Share::FirstAsks, Share::Sending, Share::Work];
        let shares = shares.map(|share| self.share(share));
        let (copies, permitted) = (self.bytes_max / 2, self.bytes_max / 8);
        shares.into_iter().fold(self.outputs_max() + copies + permitted, u64::saturating_add)
    }

    /// Up to where outputs are taken.
    pub(super) fn outputs_max(&self) -> u64 {
        self.bytes_max.saturating_add(self.outputs_over_max)
    }

    /// Receivers stop reading when this much of what they received is not released, in memory or on disk.
    pub(super) fn received_max(&self) -> u64 {
        self.bytes_max / 2 - self.bytes_max / 8
    }
}

impl Default for Budget {
    /// 512 MiB, and 128 MiB on top for outputs.
    fn default() -> Self {
        Budget::new(512 << 20)
    }
}

/// What memory on its way is for. Each has a share of its own, so that none of them waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Inputs that a task brings in, with the bytes they arrive in.
    Inputs,
    /// The credit that goes with the first request for each input, before its size is known.
    FirstAsks,
    /// What is encoded for others and not sent yet.
    Sending,
    /// What running tasks build: outputs until they are in the store, tables, whole partitions; and inputs that they read from this
    /// process's disk. It is not among the bytes in use, for blocks are not to be refused because tasks compute.
    Work,
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Share::Inputs => "the inputs of a task",
            Share::FirstAsks => "first requests for inputs",
            Share::Sending => "what is being sent",
            Share::Work => "what running tasks build and read from disk",
        })
    }
}

/// More was asked for than the share can ever be. The same task may succeed on an executor with a larger budget.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "resources exhausted: {needed} bytes of memory for {share}, of which there can be {max}: raise memory_bytes_max, or use \
     more partitions"
)]
pub struct ResourcesExhausted {
    /// What for.
    pub share: Share,
    /// How many bytes.
    pub needed: u64,
    /// How many there can ever be.
    pub max: u64,
}

impl ResourcesExhausted {
    /// As the driver is told.
    pub fn wire(&self) -> Exhausted {
        let resource = if self.share == Share::Work { Resource::Outputs } else { Resource::Inputs };
        Exhausted { resource, needed: self.needed, max: self.max }
    }
}

/// What data are, as far as shares of the budget go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A copy of another's block.
    Copy,
    /// A block received here.
    Received,
    /// An output, or something on its way.
    Output,
}

/// What should go to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pressure {
    /// Whatever is coldest.
    Any,
    /// The coldest copy of another's block.
    Copies,
}

/// The books: exact at any time.
pub(super) struct Books {
    pub(super) budget: Budget,
    bytes: AtomicU64,
    bytes_high_water: AtomicU64,
    /// Those of blocks received here and not released yet. What goes to disk stays in it: a sender is held back by how far
    /// its executor is behind, which a disk does not change, and not by where the backlog is.
    received: AtomicU64,
    /// Of `bytes`, those of copies of others' blocks.
    copies: AtomicU64,
    has_room: watch::Sender<bool>,
    inputs: Pool,
    first_asks: Pool,
    sending: Pool,
    work: Pool,
}

impl Books {
    pub(super) fn new(budget: Budget) -> Self {
        Books {
            budget,
            bytes: AtomicU64::new(0),
            bytes_high_water: AtomicU64::new(0),
            received: AtomicU64::new(0),
            copies: AtomicU64::new(0),
            has_room: watch::Sender::new(budget.bytes_max > 0),
            inputs: Pool::new(budget.share(Share::Inputs)),
            first_asks: Pool::new(budget.share(Share::FirstAsks)),
            sending: Pool::new(budget.share(Share::Sending)),
            work: Pool::new(budget.share(Share::Work)),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    pub(super) fn bytes_high_water(&self) -> u64 {
        self.bytes_high_water.load(Ordering::Acquire)
    }

    pub(super) fn has_room(&self) -> watch::Receiver<bool> {
        self.has_room.subscribe()
    }

    /// Adds `needed` bytes if the sum stays within `limit`; otherwise gives the bytes in use. With a limit it is called
    /// under the ledger's lock, where the count can otherwise only grow by what is sure.
    pub(super) fn take(&self, kind: Kind, needed: u64, limit: u64) -> Result<(), u64> {
        let within = |used: u64| used.checked_add(needed).filter(|now| *now <= limit);
        let before = self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, within)?;
        self.bytes_high_water.fetch_max(before + needed, Ordering::AcqRel);
        if let Some(share) = self.of_kind(kind) {
            share.fetch_add(needed, Ordering::AcqRel);
        }
        self.tell_room();
        Ok(())
    }

    pub(super) fn give_back(&self, kind: Kind, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if let Some(share) = self.of_kind(kind) {
            share.fetch_sub(bytes, Ordering::AcqRel);
        }
        self.tell_room();
    }

    /// Data have gone to disk: their memory is free again.
    pub(super) fn give_to_disk(&self, kind: Kind, bytes: u64) {
        if kind == Kind::Received {
            // Before the memory is given back, or a receiver might read for a moment.
            self.received.fetch_add(bytes, Ordering::AcqRel);
        }
        self.give_back(kind, bytes);
    }

    /// Data that were on disk are released.
    pub(super) fn release_from_disk(&self, kind: Kind, bytes: u64) {
        if kind == Kind::Received {
            self.received.fetch_sub(bytes, Ordering::AcqRel);
            self.tell_room();
        }
    }

    /// How far a copy of `bytes` may fill the memory: it is sure of its half.
    pub(super) fn limit_of_copy(&self, bytes: u64) -> u64 {
        let fits = self.copies.load(Ordering::Acquire).saturating_add(bytes) <= self.budget.bytes_max / 2;
        if fits { u64::MAX } else { self.budget.bytes_max }
    }

    /// Whether so much is held that cold data should go to disk: in all, or of copies, which have a share of their own.
    pub(super) fn pressure(&self, percent: u8) -> Option<Pressure> {
        let above = |held: &AtomicU64, max: u64| {
            u128::from(held.load(Ordering::Acquire)) * 100 > u128::from(max) * u128::from(percent)
        };
        if above(&self.bytes, self.budget.bytes_max) {
            Some(Pressure::Any)
        } else if above(&self.copies, self.budget.bytes_max / 2) {
            Some(Pressure::Copies)
        } else {
            None
        }
    }

    fn of_kind(&self, kind: Kind) -> Option<&AtomicU64> {
        match kind {
            Kind::Received => Some(&self.received),
            Kind::Copy => Some(&self.copies),
            Kind::Output => None,
        }
    }

    fn tell_room(&self) {
        // The count is read under the channel's lock, so that the last one to change it leaves the truth behind.
        self.has_room.send_if_modified(|has_room| {
            let share_left = self.received.load(Ordering::Acquire) < self.budget.received_max();
            let now = share_left && self.bytes() < self.budget.bytes_max;
            std::mem::replace(has_room, now) != now
        });
    }

    fn pool(&self, share: Share) -> &Pool {
        match share {
            Share::Inputs => &self.inputs,
            Share::FirstAsks => &self.first_asks,
            Share::Sending => &self.sending,
            Share::Work => &self.work,
        }
    }

    /// `bytes` of the share of work, at once or not at all: what is to be given back.
    pub(super) fn take_work(&self, bytes: u64) -> Result<Units, ResourcesExhausted> {
        let pool = self.pool(Share::Work);
        let units = u32::try_from(bytes.div_ceil(pool.unit)).unwrap_or(u32::MAX);
        match pool.permits.try_acquire_many(units) {
            Ok(permit) => {
                permit.forget();
                Ok(Units(units as usize))
            }
            Err(_) => {
                let free = (pool.permits.available_permits() as u64).saturating_mul(pool.unit);
                let needed = pool.max.saturating_sub(free).saturating_add(bytes);
                Err(ResourcesExhausted { share: Share::Work, needed, max: pool.max })
            }
        }
    }

    /// The whole units in `bytes` of the share of work.
    pub(super) fn units_of_work(&self, bytes: u64) -> usize {
        usize::try_from(bytes / self.work.unit).unwrap_or(usize::MAX)
    }

    pub(super) fn give_back_work(&self, Units(units): Units) {
        self.work.permits.add_permits(units);
    }

    /// `bytes` of a share, all at once, in the order of asking.
    pub(super) async fn credit(
        self: &Arc<Self>,
        share: Share,
        bytes: u64,
    ) -> Result<Reserved, ResourcesExhausted> {
        let pool = self.pool(share);
        if bytes > pool.max {
            return Err(ResourcesExhausted { share, needed: bytes, max: pool.max });
        }
        let units = u32::try_from(bytes.div_ceil(pool.unit)).unwrap_or(u32::MAX);
        // Never closed; were it, the books would still count what is taken.
        let permit = pool.permits.clone().acquire_many_owned(units).await.ok();
        // A permit is the limit here.
        let _ = self.take(Kind::Output, bytes, u64::MAX);
        Ok(Reserved { books: self.clone(), kind: Kind::Output, bytes, permit, unit: pool.unit })
    }
}

/// What was taken of a pool, in its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Units(pub(super) usize);

/// Bytes to be given out and taken back, in units, because a semaphore counts to 2^32 only.
struct Pool {
    permits: Arc<Semaphore>,
    unit: u64,
    max: u64,
}

impl Pool {
    fn new(max: u64) -> Self {
        let unit = 1 + (max >> 30);
        let units = usize::try_from(max.div_ceil(unit)).unwrap_or(Semaphore::MAX_PERMITS);
        Pool { permits: Arc::new(Semaphore::new(units)), unit, max }
    }
}

/// Memory that is counted; dropping it gives it back.
pub struct Reserved {
    books: Arc<Books>,
    kind: Kind,
    bytes: u64,
    permit: Option<OwnedSemaphorePermit>,
    unit: u64,
}

impl Reserved {
    /// Memory that belongs to no share.
    pub(super) fn taken(books: &Arc<Books>, kind: Kind, bytes: u64) -> Self {
        Reserved { books: books.clone(), kind, bytes, permit: None, unit: 1 }
    }

    /// How much it is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it `bytes`, which are there already: what is more than before is counted beyond the share, and nobody waits for
    /// it. For what turned out larger than its estimate.
    pub fn change_to(&mut self, bytes: u64) {
        if let Some(more) = bytes.checked_sub(self.bytes) {
            // No limit, so it cannot be refused.
            let _ = self.books.take(self.kind, more, u64::MAX);
            self.bytes = bytes;
        }
        self.shrink_to(bytes);
    }

    /// Keeps `bytes` of it and gives back the rest. What is larger stays as it is.
    pub fn shrink_to(&mut self, bytes: u64) {
        let Some(surplus) = self.bytes.checked_sub(bytes).filter(|surplus| *surplus > 0) else {
            return;
        };
        self.bytes = bytes;
        if let Some(permit) = &mut self.permit {
            let kept = usize::try_from(bytes.div_ceil(self.unit)).unwrap_or(usize::MAX);
            drop(permit.split(permit.num_permits().saturating_sub(kept)));
        }
        self.books.give_back(self.kind, surplus);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.books.give_back(self.kind, self.bytes);
    }
}
