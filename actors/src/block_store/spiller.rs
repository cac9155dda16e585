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
        let Some(spill) = self.0.spill.as_ref().filter(|spill| self.next(spill).is_some()) else { return };
        if !self.0.spilling.swap(true, Ordering::AcqRel) {
            let (store, spill) = (self.clone(), spill.clone());
            spill.spawner.clone().spawn(async move { store.spill_until_below(spill).await });
        }
    }

    /// What is to be moved, if anything.
    fn next(&self, spill: &Spill) -> Option<(Warmth, DataKey)> {
        let pressure = self.0.books.pressure(spill.config.from_percent).filter(|_| !self.is_closed())?;
        self.0.ledger().coldest(pressure)
    }

    async fn spill_until_below(self, spill: Arc<Spill>) {
        loop {
            let Some((warmth, key)) = self.next(&spill) else {
                self.0.spilling.store(false, Ordering::Release);
                // Somebody may have put data between the look and the store, and relied on us.
                if self.next(&spill).is_some() && !self.0.spilling.swap(true, Ordering::AcqRel) {
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
                    self.0.ledger().forget(warmth);
                }
                Some(Err(error @ (SpillError::Limit { .. } | SpillError::Write(_)))) => {
                    tracing::warn!(%error, "data stay in memory");
                    count_refused();
                    spill.clock.sleep(RETRY_AFTER).await;
                }
                // A codec that panicked; or the world is ending, and then nothing matters any more.
                None => self.0.ledger().forget(warmth),
            }
        }
    }

    /// Gives the bytes that went to disk. Data that were removed meanwhile are not moved.
    fn spill_one(&self, spill: &Arc<Spill>, warmth: Warmth, key: DataKey) -> Result<u64, SpillError> {
        let Some(held) = self.in_memory(key) else {
            self.0.ledger().forget(warmth);
            return Ok(0);
        };
        let spilled = {
            // What is encoded stands beside what is held until it is written.
            let _ = self.0.books.take(Kind::Output, held.bytes(), u64::MAX);
            let _buffer = Reserved::taken(&self.0.books, Kind::Output, held.bytes());
            spill.write(&held)?
        };
        let bytes = spilled.bytes();
        let moved = {
            let mut ledger = self.0.ledger();
            match self.0.data.get_mut(&key) {
                Some(mut entry) if entry.is(warmth) => {
                    ledger.forget(warmth);
                    entry.at = At::Disk(Arc::new(spilled));
                    Some((entry.kind, entry.bytes))
                }
                _ => None,
            }
        };
        // Given back when the data themselves are gone.
        drop(held);
        if let Some((kind, freed)) = moved {
            self.0.books.give_back(kind, freed);
        }
        Ok(bytes)
    }
}
