//! What tasks prepare for a sink, on its way to the driver: little comes with the task's report, the rest is asked for.
//!
//! ```text
//!   TaskDone { prepared } ──> kept here ──fetch()──> the sink
//!   its holder's store ─────────bulk────────┘
//! ```
//!
//! An output that is kept here is taken once. Whatever is not here (it was too large, there was no room, it was taken before)
//! its holder is asked for, so nothing depends on what is kept.

use futures_util::future::{BoxFuture, FutureExt, ready};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tidemill_actors::{
    scheduler::FetchPrepared,
    seam::{Held, PayloadCodec},
    transport::{FetchError, Transport},
};
use tidemill_protocol::{
    id::{BatchNumber, DataKey, Member, PartitionId, TaskId},
    message::{Piece, TaskOutcome},
};

/// The most bytes that are kept for sinks that are behind.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Outputs that have come with reports and that no sink has been given.
#[derive(Default)]
pub(super) struct Reported(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// By batch first, so that a batch's are let go together.
    outputs: BTreeMap<(TaskId, Member), Vec<Piece>>,
    bytes: usize,
    /// Of this batch and those before it nothing is kept any more.
    released: Option<BatchNumber>,
}

impl Reported {
    /// Takes out of a report what it brings.
    pub(super) fn keep(&self, outcome: &mut Arc<TaskOutcome>) {
        if outcome.prepared.is_empty() {
            return;
        }
        let pieces = std::mem::take(&mut Arc::make_mut(outcome).prepared);
        let mut kept = self.lock();
        let more = bytes_of(&pieces);
        let is_late = kept.released.is_some_and(|released| outcome.task.key.batch <= released);
        if is_late || kept.bytes + more > KEPT_BYTES_MAX {
            return;
        }
        let before = kept.outputs.insert((outcome.task, outcome.holder), pieces);
        kept.bytes = kept.bytes + more - before.as_deref().map_or(0, bytes_of);
    }

    /// Nothing of this batch, or of one before it, will be asked for.
    pub(super) fn release(&self, batch: BatchNumber) {
        let mut kept = self.lock();
        kept.released = kept.released.max(Some(batch));
        while let Some(first) = kept.outputs.first_entry().filter(|first| first.key().0.key.batch <= batch) {
            let pieces = first.remove();
            kept.bytes -= bytes_of(&pieces);
        }
    }

    fn take(&self, task: TaskId, holder: Member) -> Option<Vec<Piece>> {
        let mut kept = self.lock();
        let pieces = kept.outputs.remove(&(task, holder))?;
        kept.bytes -= bytes_of(&pieces);
        Some(pieces)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| piece.bytes.len()).sum()
}

/// Brings prepared outputs to the driver: from what was reported, else by whichever transport.
pub(super) struct Prepared {
    pub(super) reported: Arc<Reported>,
    pub(super) codec: Arc<dyn PayloadCodec>,
    pub(super) transport: Arc<dyn Transport>,
}

impl FetchPrepared for Prepared {
    fn fetch(&self, key: DataKey, holder: Member) -> BoxFuture<'static, Result<Held, FetchError>> {
        let reported = match key {
            DataKey::Output { task, partition: PartitionId(0) } => self.reported.take(task, holder),
            _ => None,
        };
        match reported.map(|pieces| Held::decode(&*self.codec, &pieces)) {
            Some(Ok(held)) => ready(Ok(held)).boxed(),
            // Asked for again it says the same, as an error of the fetch.
            Some(Err(_)) | None => self.transport.fetch(holder, key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::unconnected::Unconnected, data::Codec};
    use tidemill_protocol::{
        id::{Attempt, DatasetId, Incarnation, NodeId, StageId, TaskKey},
        message::OutputInfo,
    };

    fn task(batch: u64, partition: u32) -> TaskId {
        let key = TaskKey { batch: BatchNumber(batch), stage: StageId(1), partition: PartitionId(partition) };
        TaskId { key, attempt: Attempt(0) }
    }

    fn on(node: u16) -> Member {
        Member { node: NodeId(node), incarnation: Incarnation(1) }
    }

    fn report(task: TaskId, holder: Member, bytes: usize) -> Arc<TaskOutcome> {
        let output = OutputInfo { partition: PartitionId(0), rows: 1, bytes: bytes as u64 };
        let piece = Piece { rows: 1, dataset: DatasetId(5), bytes: vec![7; bytes].into() };
        Arc::new(TaskOutcome {
            task,
            holder,
            outputs: vec![output],
            rows_in: 1,
            run_ns: 1,
            read: Vec::new(),
            read_stages: Vec::new(),
            prepared: vec![piece],
        })
    }

    /// Asks for a sink's output where its holder can never be reached: only what was reported can be had.
    fn fetched(reported: &Arc<Reported>, task: TaskId, holder: Member) -> Option<Vec<u8>> {
        let prepared = Prepared {
            reported: reported.clone(),
            codec: Arc::new(Codec::default()),
            transport: Arc::new(Unconnected),
        };
        let key = DataKey::Output { task, partition: PartitionId(0) };
        match prepared.fetch(key, holder).now_or_never().expect("nobody waits here") {
            Ok(held) => Some(held.pieces[0].encode().unwrap()),
            Err(FetchError::Gone { peer, .. }) => {
                assert_eq!(peer, holder);
                None
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_a_report_brings_is_given_once_and_only_as_its_holders() {
        let reported = Arc::new(Reported::default());
        let mut outcome = report(task(3, 0), on(1), 4);
        reported.keep(&mut outcome);
        assert_eq!(outcome.prepared, [], "the scheduler has no use for it");
        assert_eq!(fetched(&reported, task(3, 0), on(2)), None, "a copy's output has its own name");
        assert_eq!(fetched(&reported, task(3, 1), on(1)), None);
        assert_eq!(fetched(&reported, task(3, 0), on(1)), Some(vec![7; 4]));
        assert_eq!(fetched(&reported, task(3, 0), on(1)), None, "its holder has it still");
        assert_eq!(reported.lock().bytes, 0);
    }

    #[test]
    fn a_released_batch_is_let_go_and_what_comes_late_is_not_kept() {
        let reported = Arc::new(Reported::default());
        for batch in [3, 4, 5] {
            reported.keep(&mut report(task(batch, 0), on(1), 10));
            reported.keep(&mut report(task(batch, 0), on(1), 10));
        }
        assert_eq!(reported.lock().bytes, 30, "told twice, it is kept once");
        reported.release(BatchNumber(4));
        assert_eq!(reported.lock().bytes, 10);
        reported.keep(&mut report(task(4, 1), on(2), 10));
        assert_eq!(fetched(&reported, task(4, 0), on(1)), None);
        assert_eq!(fetched(&reported, task(4, 1), on(2)), None);
        assert_eq!(fetched(&reported, task(5, 0), on(1)), Some(vec![7; 10]));
    }

    #[test]
    fn sinks_that_are_behind_do_not_fill_the_driver() {
        let reported = Arc::new(Reported::default());
        reported.keep(&mut report(task(1, 0), on(1), KEPT_BYTES_MAX));
        reported.keep(&mut report(task(1, 1), on(1), 1));
        assert_eq!(reported.lock().bytes, KEPT_BYTES_MAX);
        assert_eq!(fetched(&reported, task(1, 1), on(1)), None, "its holder is asked");
        assert!(fetched(&reported, task(1, 0), on(1)).is_some());
        reported.keep(&mut report(task(1, 1), on(1), 1));
        assert!(fetched(&reported, task(1, 1), on(1)).is_some(), "there is room again");
    }
}
