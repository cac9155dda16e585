//! The store itself: a concurrent map, and books that are exact.

use super::{
    budget::{Books, Budget, Kind, Reserved, ResourcesExhausted, Share},
    errors::{Lost, PutBlockError, PutOutputError},
    ledger::{Ledger, Warmth},
    spill::{Spill, SpillConfig, Spilled},
};
use crate::{
    seam::{Held, PayloadCodec},
    supervision::panic::catch,
};
use dashmap::{DashMap, Entry as Place};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tidemill_protocol::{
    id::{BatchNumber, BlockId, DataKey, PartitionId, TaskId},
    world::World,
};
use tokio::sync::watch;

/// The data that one executor holds. Cloning it gives another handle to the same store.
#[derive(Clone)]
pub struct BlockStore(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) books: Arc<Books>,
    pub(super) data: DashMap<DataKey, Entry>,
    // Everything that adds takes this lock, so that the check against the budget and the addition are one step; reading
    // does not. Taken before an entry of the map.
    ledger: Mutex<Ledger>,
    closed: AtomicBool,
    pub(super) spill: Option<Arc<Spill>>,
    /// Whether somebody is moving cold data.
    pub(super) spilling: AtomicBool,
}

// The bytes are kept as they were counted: a payload that weighs itself differently later must not bend the books.
pub(super) struct Entry {
    pub(super) at: At,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    pub(super) kind: Kind,
}

/// Where data are.
#[derive(Clone)]
pub(super) enum At {
    /// In memory, and how soon they are needed: it also tells this entry from a later one of the same key.
    Memory(Held, Warmth),
    Disk(Arc<Spilled>),
}

/// What data weigh, without looking at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// In memory, near enough.
    pub bytes: u64,
    /// Of their file, if they are on disk.
    pub file_bytes: Option<u64>,
    /// Their records.
    pub rows: u64,
}

impl BlockStore {
    /// An empty store that keeps everything in memory.
    pub fn new(budget: Budget) -> Self {
        Self::with(budget, None)
    }

    /// An empty store that moves cold data to disk when it fills. What earlier processes left there is removed, in the
    /// background.
    pub fn spilling(
        budget: Budget,
        config: SpillConfig,
        codec: Arc<dyn PayloadCodec>,
        world: &World,
    ) -> Self {
        let spill = Arc::new(Spill::new(config, codec, world));
        let (spawner, sweeps) = (spill.spawner.clone(), spill.clone());
        spill.spawner.spawn(async move {
            match spawner.blocking(move || sweeps.sweep()).await {
                Some(Ok(swept)) if swept > 0 => {
                    tracing::info!(swept, "spill files of dead processes removed")
                }
                Some(Err(error)) => tracing::warn!(%error, "spill files of dead processes stay"),
                _ => {}
            }
        });
        Self::with(budget, Some(spill))
    }

    fn with(budget: Budget, spill: Option<Arc<Spill>>) -> Self {
        BlockStore(Arc::new(Inner {
            books: Arc::new(Books::new(budget)),
            data: DashMap::new(),
            ledger: Mutex::default(),
            closed: AtomicBool::new(false),
            spill,
            spilling: AtomicBool::new(false),
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
        let (inner, needed, key) = (&*self.0, held.bytes(), DataKey::Block(block));
        {
            let mut ledger = inner.ledger();
            if self.is_closed() {
                return Err(PutBlockError::Closed);
            }
            let Place::Vacant(place) = inner.data.entry(key) else {
                return Ok(());
            };
            self.take_for_copy(needed)?;
            place.insert(Entry::in_memory(&mut ledger, Kind::Copy, key, held));
        }
        self.spill_if_needed();
        Ok(())
    }

    /// Memory for a copy of `bytes` that is about to come, if there is any now. Nobody waits for it here: the room that
    /// another would wait for is freed only when batches are published, and they wait for their blocks to be safe.
    ///
    /// # Errors
    /// As [`put_block`](Self::put_block).
    pub fn reserve_copy(&self, bytes: u64) -> Result<Reserved, PutBlockError> {
        let reserved = {
            let _ledger = self.0.ledger();
            if self.is_closed() {
                return Err(PutBlockError::Closed);
            }
            self.take_for_copy(bytes).map(|()| Reserved::taken(&self.0.books, Kind::Copy, bytes))
        };
        self.spill_if_needed();
        reserved
    }

    /// Called under the ledger's lock.
    fn take_for_copy(&self, needed: u64) -> Result<(), PutBlockError> {
        let books = &self.0.books;
        let bytes_max = books.budget.bytes_max;
        if needed > bytes_max {
            return Err(PutBlockError::TooLarge { needed, bytes_max });
        }
        let taken = books.take(Kind::Copy, needed, books.limit_of_copy(needed));
        taken.map_err(|used| PutBlockError::Full { needed, used, bytes_max })
    }

    /// Keeps a block that this executor has received itself. Its memory was granted before it was read
    /// ([`has_room`](Self::has_room)), so it is taken even when the budget is used up meanwhile.
    ///
    /// # Errors
    /// Only [`PutBlockError::Closed`]; the block is dropped then.
    pub fn put_received(&self, block: BlockId, held: Held) -> Result<(), PutBlockError> {
        let (inner, key) = (&*self.0, DataKey::Block(block));
        {
            let mut ledger = inner.ledger();
            if self.is_closed() {
                return Err(PutBlockError::Closed);
            }
            if let Place::Vacant(place) = inner.data.entry(key) {
                // No limit, so it cannot be refused.
                let _ = inner.books.take(Kind::Received, held.bytes(), u64::MAX);
                place.insert(Entry::in_memory(&mut ledger, Kind::Received, key, held));
            }
        }
        self.spill_if_needed();
        Ok(())
    }

    /// Whether receivers may read: false while the budget is used up, or what was received here and is not released yet, in
    /// memory or on disk, is three eighths of it. The eighth up to a half is for what they have been permitted by then.
    pub fn has_room(&self) -> watch::Receiver<bool> {
        self.0.books.has_room()
    }

    /// Keeps one partition of an attempt's output. One that is already here stays as it is. Where memory is used up, the
    /// output is written to disk here and now: called on a slot's thread, which may block.
    ///
    /// # Errors
    /// [`PutOutputError`]; the output is dropped then.
    pub fn put_output(&self, task: TaskId, partition: PartitionId, held: Held) -> Result<(), PutOutputError> {
        let key = DataKey::Output { task, partition };
        let limit = self.budget().outputs_max();
        let refused = match self.put_output_at(key, task.key.batch, &held, (None, limit)) {
            Err(refused @ PutOutputError::Full { .. }) => refused,
            other => {
                self.spill_if_needed();
                return other;
            }
        };
        let Some(spill) = &self.0.spill else { return Err(refused) };
        let written = {
            let _buffer = self.reserve(held.bytes());
            spill.write(&held)
        };
        match written {
            Ok(spilled) => {
                count_spilled(spilled.bytes());
                self.put_output_at(key, task.key.batch, &held, (Some(spilled), limit))
            }
            Err(error) => {
                count_refused();
                Err(PutOutputError::Disk { needed: held.bytes(), limit, reason: error.to_string() })
            }
        }
    }

    /// Keeps a copy of another executor's output that came with a notice, if the budget is not used up; says whether. It can be
    /// fetched again, so nothing gives way to it.
    pub fn put_brought(&self, task: TaskId, partition: PartitionId, held: Held) -> bool {
        let (key, limit) = (DataKey::Output { task, partition }, self.budget().bytes_max);
        let kept = self.put_output_at(key, task.key.batch, &held, (None, limit)).is_ok();
        self.spill_if_needed();
        kept
    }

    fn put_output_at(
        &self,
        key: DataKey,
        batch: BatchNumber,
        held: &Held,
        (spilled, limit): (Option<Spilled>, u64),
    ) -> Result<(), PutOutputError> {
        let (inner, needed) = (&*self.0, held.bytes());
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
        let entry = match spilled {
            None => {
                let taken = inner.books.take(Kind::Output, needed, limit);
                taken.map_err(|used| PutOutputError::Full { needed, used, limit })?;
                Entry::in_memory(&mut ledger, Kind::Output, key, held.clone())
            }
            Some(spilled) => {
                let at = At::Disk(Arc::new(spilled));
                Entry { at, bytes: needed, rows: held.rows(), kind: Kind::Output }
            }
        };
        place.insert(entry);
        ledger.note(batch, key);
        Ok(())
    }

    /// What the data of `key` weigh.
    pub fn weight(&self, key: DataKey) -> Option<Weight> {
        let entry = self.0.data.get(&key)?;
        let file_bytes = match &entry.at {
            At::Memory(..) => None,
            At::Disk(spilled) => Some(spilled.bytes()),
        };
        Some(Weight { bytes: entry.bytes, file_bytes, rows: entry.rows })
    }

    /// Drops the data of `key`; says whether there were any.
    pub fn remove(&self, key: DataKey) -> bool {
        self.withdraw(key).is_some()
    }

    /// Takes the data of `key` out of the store. Their memory is free when the result is dropped, which runs the records' own code
    /// and may take a while: not on the control thread.
    pub fn withdraw(&self, key: DataKey) -> Option<Withdrawn> {
        let mut ledger = self.0.ledger();
        let (_, entry) = self.0.data.remove(&key)?;
        if let At::Memory(_, warmth) = entry.at {
            ledger.forget(warmth);
        }
        Some(Withdrawn { store: self.clone(), entry: Some(entry) })
    }

    fn let_go(&self, entry: Entry) {
        match entry.at {
            At::Memory(held, _) => {
                // Dropping records runs their own code. Whatever it does, their memory is no longer ours to count.
                if let Err(panic) = catch(|| drop(held)) {
                    tracing::error!(%panic, "a record panicked while it was dropped");
                }
                self.0.books.give_back(entry.kind, entry.bytes);
            }
            // Removing a file may take a while, and this may be the control thread.
            At::Disk(spilled) => {
                self.0.books.release_from_disk(entry.kind, entry.bytes);
                let spawner = spilled.spawner().clone();
                let works = spawner.clone();
                spawner.spawn(async move {
                    works.blocking(move || drop(spilled)).await;
                });
            }
        }
    }

    /// Drops the outputs of all batches up to and including `up_to`, now and for the future; says how many there were.
    pub fn release_outputs(&self, up_to: BatchNumber) -> usize {
        self.withdraw_outputs(up_to).len()
    }

    /// As [`release_outputs`](Self::release_outputs), where another thread drops them: see [`withdraw`](Self::withdraw).
    pub fn withdraw_outputs(&self, up_to: BatchNumber) -> Vec<Withdrawn> {
        let keys = self.0.ledger().release(up_to);
        keys.into_iter().filter_map(|key| self.withdraw(key)).collect()
    }

    /// Counts `bytes` that are held outside the store for its executor's sake until the result is dropped. Never refused:
    /// they are there already, and make blocks be refused instead.
    pub fn reserve(&self, bytes: u64) -> Reserved {
        // No limit, so it cannot be refused.
        let _ = self.0.books.take(Kind::Output, bytes, u64::MAX);
        Reserved::taken(&self.0.books, Kind::Output, bytes)
    }

    /// `bytes` of a share, before they are asked for or made: all at once, in the order of asking. Waits for those who
    /// hold the same share, and for nobody else.
    ///
    /// # Errors
    /// [`ResourcesExhausted`] if the share is not so large.
    pub async fn credit(&self, share: Share, bytes: u64) -> Result<Reserved, ResourcesExhausted> {
        self.0.books.credit(share, bytes).await
    }

    /// What may be held.
    pub fn budget(&self) -> Budget {
        self.0.books.budget
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.0.books.bytes()
    }

    /// The most bytes that were ever in use.
    pub fn bytes_high_water(&self) -> u64 {
        self.0.books.bytes_high_water()
    }

    /// Bytes on disk now, and in all since the beginning.
    pub fn spilled_bytes(&self) -> (u64, u64) {
        self.0.spill.as_ref().map_or((0, 0), |spill| (spill.bytes(), spill.bytes_written()))
    }

    /// Whether copies of blocks are refused, whatever their size.
    pub fn is_full(&self) -> bool {
        self.bytes() >= self.0.books.limit_of_copy(1)
    }

    /// Drops everything and closes the store: its executor was killed, and memory does not come back.
    pub fn clear(&self) -> Lost {
        let mut gone = Vec::new();
        let mut lost = Lost::default();
        {
            let mut ledger = self.0.ledger();
            self.0.closed.store(true, Ordering::Release);
            ledger.clear();
            // The map is walked to empty it, not to decide: the order is of no consequence.
            let keys: Vec<DataKey> = self.0.data.iter().map(|entry| *entry.key()).collect();
            gone.extend(keys.iter().filter_map(|key| self.0.data.remove(key)));
        }
        for (key, entry) in gone {
            match key {
                DataKey::Block(_) => lost.blocks += 1,
                DataKey::Output { .. } => lost.outputs += 1,
            }
            lost.bytes += entry.bytes;
            self.let_go(entry);
        }
        if let Some(spill) = &self.0.spill {
            spill.close();
        }
        lost
    }

    /// Whether the store was cleared.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }
}

/// Data that are out of the store, and in its books until this is dropped.
pub struct Withdrawn {
    store: BlockStore,
    entry: Option<Entry>,
}

impl Withdrawn {
    /// The data, if they have at most `bytes_max` bytes and are in memory: the books have them no more, and whoever has
    /// the result drops it.
    pub fn take_little(&mut self, bytes_max: u64) -> Option<Held> {
        let is_little = |entry: &mut Entry| entry.bytes <= bytes_max && matches!(entry.at, At::Memory(..));
        let entry = self.entry.take_if(is_little)?;
        self.store.0.books.give_back(entry.kind, entry.bytes);
        match entry.at {
            At::Memory(held, _) => Some(held),
            At::Disk(_) => None,
        }
    }
}

impl Drop for Withdrawn {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.store.let_go(entry);
        }
    }
}

impl Inner {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A ledger is whole between any two statements, so a panic elsewhere leaves it usable.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Whether it is still the one that was put as `warmth` says.
    pub(super) fn is(&self, warmth: Warmth) -> bool {
        matches!(&self.at, At::Memory(_, present) if *present == warmth)
    }

    fn in_memory(ledger: &mut Ledger, kind: Kind, key: DataKey, held: Held) -> Self {
        let (bytes, rows) = (held.bytes(), held.rows());
        Entry { at: At::Memory(held, ledger.warm(kind, key)), bytes, rows, kind }
    }
}

pub(super) fn count_spilled(bytes: u64) {
    metrics::counter!("tidemill_spilled_bytes_total").increment(bytes);
}

pub(super) fn count_refused() {
    metrics::counter!("tidemill_spill_refused_total").increment(1);
}
