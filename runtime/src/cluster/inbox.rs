//! Where what executors say arrives at the driver, whichever way it travelled.

use super::driver::Roles;
use std::sync::atomic::{AtomicU64, Ordering};
use tidemill_actors::node::{Event, LinkId};
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
