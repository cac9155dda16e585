//! Machines that were denied: the driver keeps them off itself where they connect; here the executors are told, so that they keep
//! them off as well.
//!
//! ```text
//!   list of the authority ── Denied ──> membership ── Denied (what is new) ──> all executors
//!                                           └─────── Denied (all of it) ─────> who has just registered
//! ```
//!
//! A denial is not taken back, so what is told is only ever added to.

use super::{core::Membership, event::Action};
use tidemill_protocol::id::{Member, NodeId};

impl Membership {
    /// These were denied; some may be known already.
    pub(super) fn deny(&mut self, nodes: Vec<NodeId>, out: &mut Vec<Action>) {
        let new: Vec<NodeId> = nodes.into_iter().filter(|node| self.denied.insert(*node)).collect();
        if !new.is_empty() && !self.live.is_empty() {
            let to = self.live.values().map(|executor| executor.registration.member).collect();
            out.push(Action::Denied { to, nodes: new });
        }
    }

    /// Tells an executor that has just been admitted, before it hears of anybody.
    pub(super) fn tell_denied(&self, to: Member, out: &mut Vec<Action>) {
        if !self.denied.is_empty() {
            out.push(Action::Denied { to: vec![to], nodes: self.denied.iter().copied().collect() });
        }
    }
}
