//! Moves cold data to disk while more is held than the mark: one piece of work at a time, in the background, off the
//! control thread.

use super::{
    budget::{Kind, Reserved},
    ledger::Warmth,
    spill::{Spill, SpillError},
    store::{At, BlockStore, count_refused, count_spilled},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tidemill_protocol::id::DataKey;

/// How long a disk that refused is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl BlockStore {
    /// Begins to move data if there is a reason to, and nobody does.
    pub(super) fn spill_if_needed(&self) {
        let Some(spill) = self.0.spill.as_ref().filter(|spill| self.is_above(spill)) else { return };
        if !self.0.spilling.swap(true, Ordering::AcqRel) {
            let (store, spill) = (self.clone(), spill.clone());
            spill.spawner.clone().spawn(async move { store.spill_until_below(spill).await });
        }
    }

    fn is_above(&self, spill: &Spill) -> bool {
        !self.is_closed() && self.0.books.is_above(u64::from(spill.config.from_percent))
    }

    async fn spill_until_below(self, spill: Arc<Spill>) {
        loop {
            let coldest = if self.is_above(&spill) { self.0.ledger().coldest() } else { None };
            let Some((warmth, key)) = coldest else {
                self.0.spilling.store(false, Ordering::Release);
                // Somebody may have put data between the look and the store, and relied on us.
                let again = self.is_above(&spill) && self.0.ledger().coldest().is_some();
                if again && !self.0.spilling.swap(true, Ordering::AcqRel) {
                    continue;
                }
                return;
            };
            let (store, writes) = (self.clone(), spill.clone());
            let moved = spill.spawner.blocking(move || store.spill_one(&writes, warmth, key)).await;
            match moved {
                Some(Ok(bytes)) => count_spilled(bytes),
                Some(Err(SpillError::Encode(error))) => {
                    tracing::error!(%key, %error, "cannot be moved to disk");
                    self.0.ledger().forget(warmth, key);
                }
                Some(Err(error @ (SpillError::Limit { .. } | SpillError::Write(_)))) => {
                    tracing::warn!(%error, "data stay in memory");
                    count_refused();
                    spill.clock.sleep(RETRY_AFTER).await;
                }
                // A codec that panicked; or the world is ending, and then nothing matters any more.
                None => self.0.ledger().forget(warmth, key),
            }
        }
    }

    /// Gives the bytes that went to disk. Data that were removed meanwhile are not moved.
    fn spill_one(&self, spill: &Arc<Spill>, warmth: Warmth, key: DataKey) -> Result<u64, SpillError> {
        let Some(held) = self.in_memory(key) else {
            self.0.ledger().forget(warmth, key);
            return Ok(0);
        };
        let spilled = {
            // What is encoded stands beside what is held until it is written.
            let _ = self.0.books.take(Kind::Output, held.bytes(), u64::MAX);
            let _buffer = Reserved::taken(&self.0.books, Kind::Output, held.bytes());
            spill.write(&held)?
        };
        let bytes = spilled.bytes();
        let mut ledger = self.0.ledger();
        let Some(mut entry) = self.0.data.get_mut(&key) else { return Ok(0) };
        if matches!(&entry.at, At::Memory(_, present) if *present == warmth) {
            ledger.forget(warmth, key);
            entry.at = At::Disk(Arc::new(spilled));
            let (kind, freed) = (entry.kind, entry.bytes);
            drop(entry);
            drop(ledger);
            drop(held);
            self.0.books.give_back(kind, freed);
        }
        Ok(bytes)
    }
}
