//! An executor that leaves: what must happen to its receivers and blocks before it may.
//!
//! ```text
//!   leaving ──> receivers there stop in order ──> their last blocks become safe ──> they go on elsewhere, after them
//!           ──> blocks that are needed and held there are copied to those who stay (`copies`)
//!           ──> nothing of either is left: drained
//! ```
//!
//! With nobody else there, a block that is needed keeps the executor: what is held nowhere else is not given up. When all leave,
//! they stay for each other until the last blocks are safe; the very last one strikes those that are not, for their sender
//! repeats them.

use super::{books::Holding, core::GeneratorCore, messages::GeneratorAction as Action};
use std::collections::BTreeSet;
use tidemill_protocol::id::Member;

impl GeneratorCore {
    pub(super) fn on_leaving(&mut self, member: Member, out: &mut Vec<Action>) {
        if !self.lives.members.contains(&member) || self.lives.leaving.contains(&member) {
            return;
        }
        let stopped = self.lives.leave(member);
        out.extend(stopped.into_iter().map(|receiver| Action::StopReceiver { member, receiver }));
        self.copies.refresh(&self.books, &self.lives);
    }

    /// While everybody leaves: says whether blocks wait behind the batches that the scheduler has. It would leave these to whoever
    /// comes next if they held none, and the blocks would go with those who leave.
    pub(super) fn report_waiting(&mut self, out: &mut Vec<Action>) {
        let all_leave = !self.lives.leaving.is_empty() && !self.lives.somebody_stays();
        let waits = all_leave && self.books.has_waiting();
        if std::mem::replace(&mut self.waiting_told, waits) != waits {
            out.push(Action::BlocksWait(waits));
        }
    }

    /// Says once of each executor that leaves when nothing of it is needed any more.
    pub(super) fn report_drained(&mut self, out: &mut Vec<Action>) {
        if self.lives.leaving.len() == self.drained.len() {
            return;
        }
        let staying = self.lives.staying();
        for member in self.lives.leaving.difference(&self.drained).copied().collect::<Vec<_>>() {
            let is_needed = |held: Holding<'_>| held.holders.contains(&member) && !is_held(&held, &staying);
            if !self.lives.is_used(member) && !self.books.holdings().any(is_needed) {
                self.drained.insert(member);
                out.push(Action::Drained(member));
            }
        }
    }
}

/// Whether those who stay hold a block as often as it shall be, or as often as they can.
fn is_held(held: &Holding<'_>, staying: &BTreeSet<Member>) -> bool {
    let holders = held.holders.iter().filter(|holder| staying.contains(holder)).count();
    holders >= held.copies.min(staying.len()).max(1)
}
