//! Where what executors say arrives at the driver, whichever way it travelled.

use super::driver::Roles;
use std::sync::atomic::{AtomicU64, Ordering};
use tidemill_actors::{
    batch_generator::GeneratorEvent,
    node::{Event, LinkId},
    scheduler,
};
use tidemill_protocol::{id::Member, message::ToDriver};

/// The driver's ear: everything goes to membership first, which knows who lives. Usable from any thread; never waits.
pub(crate) struct DriverInbox {
    roles: Roles,
    links: AtomicU64,
}

impl DriverInbox {
    pub(crate) fn new(roles: Roles) -> Self {
        DriverInbox { roles, links: AtomicU64::new(1) }
    }

    /// A number for a new connection.
    pub(crate) fn new_link(&self) -> LinkId {
        LinkId(self.links.fetch_add(1, Ordering::Relaxed))
    }

    /// Somebody says something. Messages of one connection arrive in order.
    pub(crate) fn deliver(&self, link: LinkId, from: Member, message: ToDriver) {
        self.roles.node.tell(Event::Message { link, from, message });
    }

    /// A connection has ended: nothing will come over it any more.
    pub(crate) fn lost(&self, link: LinkId) {
        self.roles.node.tell(Event::LinkLost { link });
    }
}

/// What the batch generator is told by a message for it.
pub(super) fn generator_event(message: ToDriver) -> Option<GeneratorEvent> {
    Some(match message {
        ToDriver::ReceiverStarted { receiver } => GeneratorEvent::ReceiverStarted(receiver),
        ToDriver::BlockAdded(block) => GeneratorEvent::BlockAdded(block),
        ToDriver::BlockSafe { block, replica } => GeneratorEvent::BlockSafe { block, replica },
        ToDriver::BlockCopied { block, to, kept } => GeneratorEvent::BlockCopied { block, to, kept },
        ToDriver::EndOfBatch { receiver, batch } => GeneratorEvent::EndOfBatch { receiver, batch },
        ToDriver::ReceiverExited { receiver, reason } => GeneratorEvent::ReceiverExited { receiver, reason },
        _ => return None,
    })
}

/// What the scheduler is told by a message for it.
pub(super) fn scheduler_event(message: ToDriver) -> Option<scheduler::Event> {
    Some(match message {
        ToDriver::TaskDone(outcome) => scheduler::Event::TaskDone(outcome),
        ToDriver::TaskFailed(failure) => scheduler::Event::TaskFailed(failure),
        ToDriver::SlotLeaked { task } => scheduler::Event::SlotLeaked { task },
        _ => return None,
    })
}
