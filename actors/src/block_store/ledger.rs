//! What a store remembers besides the data: which outputs belong to which batch, what is released for good, and what is
//! needed last.

use super::budget::{Kind, Pressure};
use std::{cmp::Reverse, collections::BTreeMap};
use tidemill_protocol::id::{BatchNumber, DataKey};

/// How soon data in memory are needed; the least is needed last.
///
/// Copies of others' blocks come first: they are read only if their holder dies. Then received blocks, the youngest
/// first, because older batches run before younger ones. Outputs come last, those of the youngest batch first: a stage
/// reads them as soon as the one before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Warmth {
    kind: Kind,
    batch: Reverse<u64>,
    put: Reverse<u64>,
}

/// The indexes of a store, so that a release, and a search for cold data, touch what they free and never walk it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    outputs: BTreeMap<BatchNumber, Vec<DataKey>>,
    released: Option<BatchNumber>,
    /// Everything in memory that could go to disk.
    cold: BTreeMap<Warmth, DataKey>,
    put: u64,
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

    /// Data have come into memory.
    pub fn warm(&mut self, kind: Kind, key: DataKey) -> Warmth {
        self.put += 1;
        let batch = match key {
            DataKey::Output { task, .. } => task.key.batch.0,
            DataKey::Block(_) => 0,
        };
        let warmth = Warmth { kind, batch: Reverse(batch), put: Reverse(self.put) };
        self.cold.insert(warmth, key);
        warmth
    }

    /// Data are not in memory any more, or not to be spilled.
    pub fn forget(&mut self, warmth: Warmth) {
        self.cold.remove(&warmth);
    }

    /// What is needed last of what is in memory.
    pub fn coldest(&self, of: Pressure) -> Option<(Warmth, DataKey)> {
        let coldest = match of {
            Pressure::Any => self.cold.first_key_value(),
            Pressure::Of(kind) => {
                let from = Warmth { kind, batch: Reverse(u64::MAX), put: Reverse(u64::MAX) };
                self.cold.range(from..).next().filter(|(warmth, _)| warmth.kind == kind)
            }
        };
        coldest.map(|(warmth, key)| (*warmth, *key))
    }

    /// The keys of all batches up to and including `up_to`, which are from now on released.
    pub fn release(&mut self, up_to: BatchNumber) -> Vec<DataKey> {
        self.released = self.released.max(Some(up_to));
        let kept = self.outputs.split_off(&up_to.next());
        std::mem::replace(&mut self.outputs, kept).into_values().flatten().collect()
    }

    /// Forgets all data.
    pub fn clear(&mut self) {
        self.outputs.clear();
        self.cold.clear();
    }
}
