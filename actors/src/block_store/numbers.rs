//! The payload of this crate's tests: numbers, eight bytes each, in memory as on the wire.

use crate::seam::{Held, Payload, PayloadCodec, PayloadError};
use std::{any::Any, sync::Arc};
use tidemill_protocol::id::DatasetId;

/// A dataset whose decoder loses the last record: it does not survive the wire.
pub const LOSSY: DatasetId = DatasetId(66);

/// A dataset whose encoder fails.
pub const UNWRITABLE: DatasetId = DatasetId(67);

/// A dataset that is five times as long encoded as in memory.
pub const WORDY: DatasetId = DatasetId(68);

/// A number and 32 bytes of nothing.
const WORD_BYTES: usize = 40;

#[derive(Debug)]
pub struct Numbers {
    pub dataset: DatasetId,
    pub values: Vec<u64>,
}

impl Payload for Numbers {
    fn rows(&self) -> u64 {
        self.values.len() as u64
    }

    fn heap_bytes(&self) -> u64 {
        self.values.len() as u64 * 8
    }

    fn dataset(&self) -> DatasetId {
        self.dataset
    }

    fn encode(&self) -> Result<Vec<u8>, PayloadError> {
        if self.dataset == UNWRITABLE {
            return Err(PayloadError { dataset: self.dataset, reason: "cannot be written".into() });
        }
        if self.dataset == WORDY {
            let words = self.values.iter().map(|value| {
                let mut word = [0; WORD_BYTES];
                word[..8].copy_from_slice(&value.to_le_bytes());
                word
            });
            return Ok(words.flatten().collect());
        }
        Ok(self.values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

pub struct NumbersCodec;

impl PayloadCodec for NumbersCodec {
    fn decode(&self, dataset: DatasetId, bytes: &[u8]) -> Result<Arc<dyn Payload>, PayloadError> {
        if dataset == WORDY {
            let numbers: Vec<u8> = bytes.chunks(WORD_BYTES).flat_map(|word| &word[..8]).copied().collect();
            let plain = self.decode(DatasetId(1), &numbers)?;
            let values = plain.as_any().downcast_ref().map_or(Vec::new(), |n: &Numbers| n.values.clone());
            return Ok(Arc::new(Numbers { dataset, values }));
        }
        let (whole, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(PayloadError { dataset, reason: format!("{} bytes too many", rest.len()) });
        }
        let mut values: Vec<u64> = whole.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect();
        if dataset == LOSSY {
            values.pop();
        }
        Ok(Arc::new(Numbers { dataset, values }))
    }
}

/// One piece of `values`, of dataset 1.
pub fn held(values: &[u64]) -> Held {
    held_of(DatasetId(1), values)
}

pub fn held_of(dataset: DatasetId, values: &[u64]) -> Held {
    Held::new(vec![Arc::new(Numbers { dataset, values: values.to_vec() })])
}

/// The numbers of all pieces.
pub fn values(held: &Held) -> Vec<u64> {
    let numbers = held.pieces.iter().filter_map(|piece| piece.as_any().downcast_ref::<Numbers>());
    numbers.flat_map(|numbers| numbers.values.clone()).collect()
}
