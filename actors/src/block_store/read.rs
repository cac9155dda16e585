//! Reading, wherever the data are.

use super::{
    spill::ReadSpillError,
    store::{At, BlockStore},
};
use crate::seam::{Held, PayloadError};
use std::{io, sync::Arc};
use tidemill_protocol::{id::DataKey, message::Piece};

impl BlockStore {
    /// The data of `key`, shared; from disk if they are there, in which case it blocks: for slots' threads. Spilled data
    /// that cannot be read are missing, and dropped if they are damaged.
    pub fn get(&self, key: DataKey) -> Option<Held> {
        match self.at(key)? {
            At::Memory(held, _) => Some(held),
            At::Disk(spilled) => self.or_missing(key, spilled.held()),
        }
    }

    /// The data of `key` if they are in memory.
    pub fn in_memory(&self, key: DataKey) -> Option<Held> {
        match self.at(key)? {
            At::Memory(held, _) => Some(held),
            At::Disk(_) => None,
        }
    }

    /// As [`get`](Self::get), for those who must not block: a file is read elsewhere.
    pub async fn load(&self, key: DataKey) -> Option<Held> {
        match self.at(key)? {
            At::Memory(held, _) => Some(held),
            At::Disk(spilled) => {
                let reads = spilled.clone();
                // No answer means that this world is ending.
                let held = spilled.spawner().blocking(move || reads.held()).await?;
                self.or_missing(key, held)
            }
        }
    }

    /// The data of `key`, encoded. What is on disk is that already.
    ///
    /// # Errors
    /// [`PayloadError`] if a payload cannot be written.
    pub async fn pieces(&self, key: DataKey) -> Result<Option<Vec<Piece>>, PayloadError> {
        match self.at(key) {
            None => Ok(None),
            Some(At::Memory(held, _)) => held.encode().map(Some),
            Some(At::Disk(spilled)) => {
                let reads: Arc<_> = spilled.clone();
                let pieces = spilled.spawner().blocking(move || reads.pieces()).await;
                Ok(pieces.and_then(|pieces| self.or_missing(key, pieces)))
            }
        }
    }

    fn at(&self, key: DataKey) -> Option<At> {
        self.0.data.get(&key).map(|entry| entry.at.clone())
    }

    fn or_missing<T>(&self, key: DataKey, read: Result<T, ReadSpillError>) -> Option<T> {
        let error = match read {
            Ok(data) => return Some(data),
            Err(error) => error,
        };
        tracing::error!(%key, %error, "spilled data are missing");
        metrics::counter!("tidemill_spill_unreadable_total").increment(1);
        let for_good = match &error {
            ReadSpillError::Read { cause, .. } => cause.kind() == io::ErrorKind::NotFound,
            ReadSpillError::Damaged { .. } | ReadSpillError::Decode(_) => true,
        };
        if for_good {
            self.remove(key);
        }
        None
    }
}
