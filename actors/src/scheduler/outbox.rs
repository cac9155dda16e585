//! What executors are told in one turn, gathered so that each of them gets one message: the tasks of several batches travel together
//! when the batches were planned, or got room, together.

use std::collections::BTreeMap;
use tidemill_protocol::{
    id::{BatchNumber, Member},
    message::ToExecutor,
};

/// Orders that are not sent yet.
#[derive(Debug, Default)]
pub struct Outbox(BTreeMap<Member, Vec<ToExecutor>>);

impl Outbox {
    /// One order more for this executor.
    pub(super) fn put(&mut self, to: Member, order: ToExecutor) {
        self.0.entry(to).or_default().push(order);
    }

    /// Batches up to this one are over.
    pub(super) fn release(&mut self, to: Member, up_to: BatchNumber) {
        self.put(to, ToExecutor::ReleaseOutputs { up_to });
    }

    /// Takes out everything: a message for each executor, by id. It is the order itself where there is one only.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (Member, ToExecutor)> + use<> {
        std::mem::take(&mut self.0).into_iter().map(|(member, orders)| (member, ToExecutor::together(orders)))
    }
}
