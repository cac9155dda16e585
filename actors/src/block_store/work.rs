//! What tasks build, counted while they run: outputs that are not in the store yet, tables, whole partitions; and what they have read
//! from disk.

use super::{
    budget::{Books, ResourcesExhausted, Units},
    store::BlockStore,
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How much one task has built. Clones count together; [`release`](Self::release) gives all of it back, as does dropping the last one.
///
/// Who builds does not wait for more of this share: it would wait for those who wait for it.
#[derive(Clone, Default)]
pub struct WorkMeter(Option<Arc<Counted>>);

struct Counted {
    books: Arc<Books>,
    units: AtomicUsize,
}

impl BlockStore {
    /// A meter for one task, which counts against the share of this store's budget that is for the work of tasks.
    pub fn work_meter(&self) -> WorkMeter {
        WorkMeter(Some(Arc::new(Counted { books: self.0.books.clone(), units: AtomicUsize::new(0) })))
    }
}

impl WorkMeter {
    /// A meter that counts nothing: for tasks without an executor.
    pub fn unlimited() -> Self {
        WorkMeter(None)
    }

    /// Counts `bytes` more.
    ///
    /// # Errors
    /// [`ResourcesExhausted`] if all running tasks together would then have built more than the share; nothing is counted.
    pub fn charge(&self, bytes: u64) -> Result<(), ResourcesExhausted> {
        let Some(counted) = &self.0 else { return Ok(()) };
        let Units(units) = counted.books.take_work(bytes)?;
        counted.units.fetch_add(units, Ordering::AcqRel);
        Ok(())
    }

    /// Counts `bytes` less: they were needed for a while only.
    pub fn give_back(&self, bytes: u64) {
        let Some(counted) = &self.0 else { return };
        let units = counted.books.units_of_work(bytes);
        let mut given = 0;
        // No more than it has, whatever is said.
        let _ = counted.units.fetch_update(Ordering::AcqRel, Ordering::Acquire, |has| {
            given = units.min(has);
            Some(has - given)
        });
        counted.books.give_back_work(Units(given));
    }

    /// The task has ended: what it built is dropped, or in the store.
    pub fn release(&self) {
        if let Some(counted) = &self.0 {
            counted.release();
        }
    }
}

impl Counted {
    fn release(&self) {
        self.books.give_back_work(Units(self.units.swap(0, Ordering::AcqRel)));
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.release();
    }
}
