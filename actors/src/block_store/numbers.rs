//! The payload of this crate's tests: numbers, eight bytes each, in memory as on the wire.

use crate::seam::{Held, Payload, PayloadCodec, PayloadError};
use std::{any::Any, sync::Arc};
use tidemill_protocol::id::DatasetId;

/// A dataset whose decoder loses the last record: it does not survive the wire.
pub const LOSSY: DatasetId = DatasetId(66);

/// A dataset whose encoder fails.
pub const UNWRITABLE: DatasetId = DatasetId(67);

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
        Ok(self.values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

pub struct NumbersCodec;

impl PayloadCodec for NumbersCodec {
    fn decode(&self, dataset: DatasetId, bytes: &[u8]) -> Result<Arc<dyn Payload>, PayloadError> {
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
