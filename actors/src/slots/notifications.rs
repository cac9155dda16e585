//! Notices on their way: one asynchronous piece of work for each executor that is told of a task.

use super::InputSource;
use crate::{
    executor::{Event, Report},
    transport::fill_notice,
};
use tidemill_protocol::{id::PartitionId, message::Notice};
use tokio::{runtime::Handle, task::JoinSet};

/// The notices of an executor that are under way; dropping it ends them. Each task of a batch is told of once to each of its
/// readers' executors, so batches in flight bound them.
pub struct Notifications {
    runtime: Handle,
    under_way: JoinSet<()>,
}

impl Notifications {
    /// None yet; they will be sent from `runtime`.
    pub fn new(runtime: Handle) -> Self {
        Notifications { runtime, under_way: JoinSet::new() }
    }

    /// Sends a notice, with those of its outputs that are in `bring` and still here; reports `NoticeUndelivered` if it does
    /// not arrive.
    pub fn send<R: Report>(
        &mut self,
        notice: Notice,
        bring: Vec<PartitionId>,
        InputSource { store, transport, .. }: InputSource,
        report: R,
    ) {
        while self.under_way.try_join_next().is_some() {}
        let (batch, to) = (notice.task.key.batch, notice.to);
        // Encoding runs user code: whatever ends this without an answer is a notice that was not delivered.
        let unless_sent = Undelivered { report: Some(report), batch, to };
        let work = async move {
            let mut unless_sent = unless_sent;
            let (notice, _reserved) = fill_notice(&store, notice, &bring).await;
            match transport.notify(notice).await {
                Ok(()) => unless_sent.report = None,
                Err(error) => tracing::debug!(%batch, %to, %error, "a notice was not delivered"),
            }
        };
        self.under_way.spawn_on(work, &self.runtime);
    }
}

/// Reports a notice that was not delivered, when it is dropped.
struct Undelivered<R: Report> {
    report: Option<R>,
    batch: tidemill_protocol::id::BatchNumber,
    to: tidemill_protocol::id::Member,
}

impl<R: Report> Drop for Undelivered<R> {
    fn drop(&mut self) {
        if let Some(report) = &self.report {
            report.report(Event::NoticeUndelivered { batch: self.batch, to: self.to });
        }
    }
}
