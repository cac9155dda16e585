//! The driver's memory of batches between plan and publication: what a completed batch's info is made of, and when the
//! last one is through.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidemill_actors::{rate_controller::BatchInfo, scheduler::BatchTimings, seam::BatchPlan};
use tidemill_protocol::id::BatchNumber;

/// Batches that were planned and are not published yet.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Batches>);

#[derive(Default)]
struct Batches {
    planned: BTreeMap<BatchNumber, (Arc<BatchPlan>, u32)>,
    no_more: bool,
    failure: Option<String>,
}

impl Ledger {
    /// Enters a plan; gives its version: 0, and one more for each that replaces it.
    pub(crate) fn plan(&self, plan: &Arc<BatchPlan>) -> u32 {
        let mut batches = self.lock();
        let version = batches.planned.get(&plan.batch).map_or(0, |(_, version)| version + 1);
        batches.planned.insert(plan.batch, (plan.clone(), version));
        version
    }

    /// A batch was published: its info. `since_cut` is the time from its cut until now, where there was one.
    pub(crate) fn complete(&self, timings: &BatchTimings, since_cut: Option<Duration>) -> Option<BatchInfo> {
        let (plan, _) = self.lock().planned.remove(&timings.batch)?;
        let processing = timings.processing_time();
        let total = since_cut.unwrap_or_default().max(timings.total_delay());
        Some(BatchInfo::new(&plan, total.saturating_sub(processing), processing, total))
    }

    /// No further plan will come.
    pub(crate) fn no_more(&self) {
        self.lock().no_more = true;
    }

    /// Whether no further plan will come and all batches are published.
    pub(crate) fn is_through(&self) -> bool {
        let batches = self.lock();
        batches.no_more && batches.planned.is_empty()
    }

    /// Nothing from some batch on will be published, for this reason; the first reason stays.
    pub(crate) fn fail(&self, text: &str) {
        self.lock().failure.get_or_insert_with(|| text.to_owned());
    }

    /// Why the pipeline cannot go on, if it cannot.
    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Batches> {
        // Each change is one insertion or removal: a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
