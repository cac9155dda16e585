//! What a store remembers besides the data: which outputs belong to which batch, and what is released for good.

use std::collections::BTreeMap;
use tidemill_protocol::id::{BatchNumber, DataKey};

/// The index of outputs by batch, so that a release touches what it frees and never walks the store.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    outputs: BTreeMap<BatchNumber, Vec<DataKey>>,
    released: Option<BatchNumber>,
}

impl Ledger {
    /// Whether outputs of `batch` are released: what a late attempt still brings is refused, or it would stay for ever.
    pub fn is_released(&self, batch: BatchNumber) -> bool {
        self.released.is_some_and(|released| batch <= released)
    }

    /// Notes an output. One that is removed by its key stays noted until its batch is released; that costs a key.
    pub fn note(&mut self, batch: BatchNumber, key: DataKey) {
        self.outputs.entry(batch).or_default().push(key);
    }

    /// The keys of all batches up to and including `up_to`, which are from now on released.
    pub fn release(&mut self, up_to: BatchNumber) -> Vec<DataKey> {
        self.released = self.released.max(Some(up_to));
        let kept = self.outputs.split_off(&up_to.next());
        std::mem::replace(&mut self.outputs, kept).into_values().flatten().collect()
    }

    /// Forgets all outputs.
    pub fn clear(&mut self) {
        self.outputs.clear();
    }
}
