//! An executor that goes in good order: it asks, nothing new is given to it, what is needed of it is had elsewhere, then it is
//! told to end.
//!
//! ```text
//!   executor ── Leaving ──> membership ── Standing(Leaving) ──> generator: receivers and blocks move
//!                               │                         ──> scheduler: no new tasks, outputs are waited for
//!                               ├── PeersLeaving ──> executors: no new copies there
//!   executor <── Shutdown ──────┘ <── Drained(Blocks), Drained(Outputs)
//! ```

use super::{
    core::Membership,
    event::{Action, Counter, Drain, Standing},
};
use tidemill_protocol::id::Member;

/// What may still be needed of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leave {
    has_blocks_elsewhere: bool,
    has_no_outputs: bool,
}

impl Leave {
    pub(super) fn is_drained(self) -> bool {
        self.has_blocks_elsewhere && self.has_no_outputs
    }
}

impl Membership {
    /// A live executor wants to leave. Asking twice changes nothing.
    pub(super) fn begin_leave(&mut self, member: Member, out: &mut Vec<Action>) {
        let Some(executor) = self.live.get_mut(&member.node).filter(|e| e.leave.is_none()) else {
            return;
        };
        executor.leave = Some(Leave::default());
        out.push(Action::Count(Counter::Leaving));
        // First the others: they shall give it no copies while it moves its own.
        self.tell_leaving(out);
        out.push(Action::Standing { member, standing: Standing::Leaving });
    }

    /// Tells everybody who leaves, if anybody does.
    pub(super) fn tell_leaving(&self, out: &mut Vec<Action>) {
        let leaving = self.live.values().filter(|executor| executor.leave.is_some());
        let members: Vec<Member> = leaving.map(|executor| executor.registration.member).collect();
        if !members.is_empty() {
            let to = self.live.values().map(|executor| executor.registration.member).collect();
            out.push(Action::PeersLeaving { to, members });
        }
    }

    /// A role needs nothing of it any more.
    pub(super) fn drained(&mut self, member: Member, of: Drain, out: &mut Vec<Action>) {
        let executor = self.live.get_mut(&member.node).filter(|e| e.registration.member == member);
        let Some(leave) = executor.and_then(|executor| executor.leave.as_mut()) else {
            return;
        };
        let before = leave.is_drained();
        match of {
            Drain::Blocks => leave.has_blocks_elsewhere = true,
            Drain::Outputs => leave.has_no_outputs = true,
        }
        if leave.is_drained() && !before {
            out.push(Action::Shutdown { member });
        }
    }
}
