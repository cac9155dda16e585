//! The store itself: a concurrent map, a byte count that is exact, and a wake-up for those who wait for room.

use super::ledger::Ledger;
use crate::seam::Held;
use dashmap::{DashMap, Entry as Place};
use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tidemill_protocol::id::{BatchNumber, BlockId, DataKey, PartitionId, TaskId};
use tokio::sync::{Notify, watch};

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
}

impl Default for Budget {
    /// 512 MiB, and 128 MiB on top for outputs.
    fn default() -> Self {
        Budget::new(512 << 20)
    }
}

/// A block was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutBlockError {
    /// The budget is used up. Wait for [`BlockStore::wait_for_room`] and try again.
    #[error("no room for a block of {needed} bytes: {used} of {bytes_max} bytes are in use")]
    Full {
        /// The block's bytes.
        needed: u64,
        /// Bytes in use.
        used: u64,
        /// The budget.
        bytes_max: u64,
    },
    /// The block alone is larger than the whole budget: cut smaller blocks or raise the budget.
    #[error("a block of {needed} bytes is larger than the whole memory budget of {bytes_max} bytes")]
    TooLarge {
        /// The block's bytes.
        needed: u64,
        /// The budget.
        bytes_max: u64,
    },
    /// The executor was killed; its memory does not come back.
    #[error("the block store is closed")]
    Closed,
}

impl PutBlockError {
    /// Whether the same block may be taken later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, PutBlockError::Full { .. })
    }
}

/// An output was not taken; its task fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutOutputError {
    /// The budget and what outputs may have on top of it are used up: raise it, or let fewer batches be in flight.
    #[error("no room for an output of {needed} bytes: {used} of {limit} bytes are in use")]
    Full {
        /// The output's bytes.
        needed: u64,
        /// Bytes in use.
        used: u64,
        /// The budget with the part on top.
        limit: u64,
    },
    /// The batch is released: nobody will ask for this.
    #[error("{0} is released: nobody will ask for its outputs again")]
    Released(BatchNumber),
    /// The executor was killed; its memory does not come back.
    #[error("the block store is closed")]
    Closed,
}

/// What went with a killed executor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Received blocks.
    pub blocks: u64,
    /// Task outputs.
    pub outputs: u64,
    /// The bytes of both.
    pub bytes: u64,
}

/// The data that one executor holds. Cloning it gives another handle to the same store.
#[derive(Clone)]
pub struct BlockStore(Arc<Inner>);

struct Inner {
    budget: Budget,
    data: DashMap<DataKey, Entry>,
    // Everything that adds takes this lock, so that the check against the budget and the addition are one step; reading
    // and removing do not.
    ledger: Mutex<Ledger>,
    closed: AtomicBool,
    bytes: AtomicU64,
    bytes_high_water: AtomicU64,
    /// Of `bytes`, those of blocks received here …
    received: AtomicU64,
    /// … and those of copies of others' blocks.
    copies: AtomicU64,
    room: Notify,
    has_room: watch::Sender<bool>,
}

// The bytes are kept as they were counted: a payload that weighs itself differently later must not bend the books.
struct Entry {
    held: Held,
    bytes: u64,
    kind: Kind,
}

/// What data are, as far as shares of the budget go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Received,
    Copy,
    Output,
}

impl BlockStore {
    /// An empty store.
    pub fn new(budget: Budget) -> Self {
        BlockStore(Arc::new(Inner {
            budget,
            data: DashMap::new(),
            ledger: Mutex::default(),
            closed: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            bytes_high_water: AtomicU64::new(0),
            received: AtomicU64::new(0),
            copies: AtomicU64::new(0),
            room: Notify::new(),
            has_room: watch::Sender::new(budget.bytes_max > 0),
        }))
    }

    /// Keeps a copy of another's block. A block that is already here stays as it is.
    ///
    /// Half of the budget is for copies, whatever else is held: executors that are full of what they have received would
    /// otherwise refuse each other's blocks, none of which would ever be safe and released.
    ///
    /// # Errors
    /// [`PutBlockError`]; the block is dropped then.
    pub fn put_block(&self, block: BlockId, held: Held) -> Result<(), PutBlockError> {
        let (inner, needed) = (&*self.0, held.bytes());
        let bytes_max = inner.budget.bytes_max;
        let _ledger = inner.ledger();
        if self.is_closed() {
            return Err(PutBlockError::Closed);
        }
        let Place::Vacant(place) = inner.data.entry(DataKey::Block(block)) else {
            return Ok(());
        };
        if needed > bytes_max {
            return Err(PutBlockError::TooLarge { needed, bytes_max });
        }
        let limit = if inner.has_share_for_copy(needed) { u64::MAX } else { bytes_max };
        inner.take(Kind::Copy, needed, limit).map_err(|used| PutBlockError::Full {
            needed,
            used,
            bytes_max,
        })?;
        place.insert(Entry { held, bytes: needed, kind: Kind::Copy });
        Ok(())
    }

    /// Keeps a block that this executor has received itself. Its memory was granted before it was read
    /// ([`has_room`](Self::has_room)), so it is taken even when the budget is used up meanwhile.
    ///
    /// # Errors
    /// Only [`PutBlockError::Closed`]; the block is dropped then.
    pub fn put_received(&self, block: BlockId, held: Held) -> Result<(), PutBlockError> {
        let (inner, needed) = (&*self.0, held.bytes());
        let _ledger = inner.ledger();
        if self.is_closed() {
            return Err(PutBlockError::Closed);
        }
        if let Place::Vacant(place) = inner.data.entry(DataKey::Block(block)) {
            // No limit, so it cannot be refused.
            let _ = inner.take(Kind::Received, needed, u64::MAX);
            place.insert(Entry { held, bytes: needed, kind: Kind::Received });
        }
        Ok(())
    }

    /// Whether receivers may read: false while the budget is used up, or three eighths of it by what was received here.
    /// The eighth up to a half is for what they have been permitted by then.
    pub fn has_room(&self) -> watch::Receiver<bool> {
        self.0.has_room.subscribe()
    }

    /// Keeps one partition of an attempt's output. One that is already here stays as it is.
    ///
    /// # Errors
    /// [`PutOutputError`]; the output is dropped then.
    pub fn put_output(&self, task: TaskId, partition: PartitionId, held: Held) -> Result<(), PutOutputError> {
        let (inner, needed) = (&*self.0, held.bytes());
        let (key, batch) = (DataKey::Output { task, partition }, task.key.batch);
        let limit = inner.budget.bytes_max.saturating_add(inner.budget.outputs_over_max);
        let mut ledger = inner.ledger();
        if self.is_closed() {
            return Err(PutOutputError::Closed);
        }
        if ledger.is_released(batch) {
            return Err(PutOutputError::Released(batch));
        }
        let Place::Vacant(place) = inner.data.entry(key) else {
            return Ok(());
        };
        inner.take(Kind::Output, needed, limit).map_err(|used| PutOutputError::Full {
            needed,
            used,
            limit,
        })?;
        place.insert(Entry { held, bytes: needed, kind: Kind::Output });
        ledger.note(batch, key);
        Ok(())
    }

    /// The data of `key`, shared.
    pub fn get(&self, key: DataKey) -> Option<Held> {
        self.0.data.get(&key).map(|entry| entry.held.clone())
    }

    /// Drops the data of `key`; says whether there were any.
    pub fn remove(&self, key: DataKey) -> bool {
        let Some((_, entry)) = self.0.data.remove(&key) else {
            return false;
        };
        self.0.give_back(entry.kind, entry.bytes);
        true
    }

    /// Drops the outputs of all batches up to and including `up_to`, now and for the future; says how many there were.
    pub fn release_outputs(&self, up_to: BatchNumber) -> usize {
        let keys = self.0.ledger().release(up_to);
        keys.into_iter().filter(|key| self.remove(*key)).count()
    }

    /// Counts `bytes` that are held outside the store for its executor's sake (inputs fetched from others) until the
    /// result is dropped. Never refused: they belong to tasks under way, and make blocks be refused instead.
    pub fn reserve(&self, bytes: u64) -> Reserved {
        let _ledger = self.0.ledger();
        // No limit, so it cannot be refused.
        let _ = self.0.take(Kind::Output, bytes, u64::MAX);
        Reserved { store: self.clone(), bytes }
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Acquire)
    }

    /// The most bytes that were ever in use.
    pub fn bytes_high_water(&self) -> u64 {
        self.0.bytes_high_water.load(Ordering::Acquire)
    }

    /// Whether copies of blocks are refused, whatever their size.
    pub fn is_full(&self) -> bool {
        self.bytes() >= self.0.budget.bytes_max && !self.0.has_share_for_copy(1)
    }

    /// Waits until a block of `bytes` would be taken. Completes at once where waiting is of no use: a block larger than
    /// the budget, a closed store. Another may take the room first: put again, and wait again.
    pub async fn wait_for_room(&self, bytes: u64) {
        let bytes_max = self.0.budget.bytes_max;
        loop {
            let mut freed = pin!(self.0.room.notified());
            // Listening begins before looking, or a release between the two would be missed.
            freed.as_mut().enable();
            let fits = self.bytes().saturating_add(bytes) <= bytes_max || self.0.has_share_for_copy(bytes);
            if bytes > bytes_max || self.is_closed() || fits {
                return;
            }
            freed.await;
        }
    }

    /// Drops everything and closes the store: its executor was killed, and memory does not come back.
    pub fn clear(&self) -> Lost {
        let mut ledger = self.0.ledger();
        self.0.closed.store(true, Ordering::Release);
        ledger.clear();
        let mut lost = Lost::default();
        // The map is walked to empty it, not to decide: the order is of no consequence.
        self.0.data.retain(|key, entry| {
            match key {
                DataKey::Block(_) => lost.blocks += 1,
                DataKey::Output { .. } => lost.outputs += 1,
            }
            lost.bytes += entry.bytes;
            self.0.give_back(entry.kind, entry.bytes);
            false
        });
        lost
    }

    /// Whether the store was cleared.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }
}

impl Inner {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A ledger is whole between any two statements, so a panic elsewhere leaves it usable.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds `needed` bytes if the sum stays within `limit`; otherwise gives the bytes in use. Called under the ledger's
    /// lock: meanwhile the count can only fall.
    fn take(&self, kind: Kind, needed: u64, limit: u64) -> Result<(), u64> {
        let used = self.bytes.load(Ordering::Acquire);
        if used.saturating_add(needed) > limit {
            return Err(used);
        }
        let now = self.bytes.fetch_add(needed, Ordering::AcqRel) + needed;
        self.bytes_high_water.fetch_max(now, Ordering::AcqRel);
        if let Some(share) = self.share(kind) {
            share.fetch_add(needed, Ordering::AcqRel);
        }
        self.tell_room();
        Ok(())
    }

    fn give_back(&self, kind: Kind, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if let Some(share) = self.share(kind) {
            share.fetch_sub(bytes, Ordering::AcqRel);
        }
        self.room.notify_waiters();
        self.tell_room();
    }

    /// Whether a copy of `bytes` fits into the half that is for copies only.
    fn has_share_for_copy(&self, bytes: u64) -> bool {
        self.copies.load(Ordering::Acquire).saturating_add(bytes) <= self.budget.bytes_max / 2
    }

    fn share(&self, kind: Kind) -> Option<&AtomicU64> {
        match kind {
            Kind::Received => Some(&self.received),
            Kind::Copy => Some(&self.copies),
            Kind::Output => None,
        }
    }

    fn tell_room(&self) {
        // The count is read under the channel's lock, so that the last one to change it leaves the truth behind.
        self.has_room.send_if_modified(|has_room| {
            let bytes_max = self.budget.bytes_max;
            let share_left = self.received.load(Ordering::Acquire) < bytes_max / 2 - bytes_max / 8;
            let now = share_left && self.bytes.load(Ordering::Acquire) < bytes_max;
            std::mem::replace(has_room, now) != now
        });
    }
}

/// Bytes counted by [`BlockStore::reserve`]; dropping it gives them back.
pub struct Reserved {
    store: BlockStore,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.store.0.give_back(Kind::Output, self.bytes);
    }
}
