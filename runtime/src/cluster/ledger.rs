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
    /// The plans of each batch, by version: which one counts is decided by the scheduler, which may refuse one.
    planned: BTreeMap<BatchNumber, Vec<Arc<BatchPlan>>>,
    no_more: bool,
    failure: Option<String>,
}

impl Ledger {
    /// Enters a plan; returns its version: 0, and one more for each that shall replace it.
    pub(crate) fn plan(&self, plan: &Arc<BatchPlan>) -> u32 {
        let mut batches = self.lock();
        let versions = batches.planned.entry(plan.batch).or_default();
        versions.push(plan.clone());
        u32::try_from(versions.len() - 1).unwrap_or(u32::MAX)
    }

    /// A batch was published: its info. `since_cut` is the time from its cut until now, where there was one.
    pub(crate) fn complete(&self, timings: &BatchTimings, since_cut: Option<Duration>) -> Option<BatchInfo> {
        let versions = self.lock().planned.remove(&timings.batch)?;
        let plan = versions.get(timings.version as usize)?;
        let processing = timings.processing_time();
        let total = since_cut.unwrap_or_default().max(timings.total_delay());
        Some(BatchInfo::new(plan, total.saturating_sub(processing), processing, total))
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

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_actors::seam::{PlannedBlock, StreamInput};
    use tidemill_protocol::{
        id::{BlockId, Incarnation, ProgramId, ReceiverId, ReceiverIndex, StreamId},
        time::{BatchTime, Time},
    };

    fn plan(batch: u64, rows: u64) -> Arc<BatchPlan> {
        let receiver =
            ReceiverId { stream: StreamId(0), index: ReceiverIndex(0), incarnation: Incarnation(0) };
        let block = PlannedBlock { id: BlockId { receiver, sequence: 0 }, rows, bytes: 8 * rows };
        Arc::new(BatchPlan {
            batch: BatchNumber(batch),
            time: BatchTime(1_000),
            program: ProgramId(7),
            seed: 0,
            default_partitions: 2,
            inputs: BTreeMap::from([(StreamId(0), StreamInput::Blocks(vec![block]))]),
        })
    }

    fn published(batch: u64, version: u32) -> BatchTimings {
        BatchTimings {
            batch: BatchNumber(batch),
            version,
            time: BatchTime(1_000),
            submitted: Time(0),
            first_launch: Time(0),
            decided: Time(1),
            published: Time(2),
            records_in: 0,
            tasks: 1,
            failures: 0,
        }
    }

    #[test]
    fn a_plan_that_was_refused_does_not_change_what_is_told_of_its_batch() {
        let ledger = Ledger::default();
        assert_eq!(ledger.plan(&plan(3, 10)), 0);
        assert_eq!(ledger.plan(&plan(3, 7)), 1);
        assert_eq!(ledger.plan(&plan(3, 5)), 2, "it comes when the batch is decided, and is refused");
        let info = ledger.complete(&published(3, 1), None).expect("it was planned");
        assert_eq!(info.records, 7);
        assert_eq!(ledger.complete(&published(3, 1), None), None, "told once");
        ledger.no_more();
        assert!(ledger.is_through());
    }
}
