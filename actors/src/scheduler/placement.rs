//! Where a task runs: the policy. A trusted executor beats a suspected one; a free slot beats a place in a queue; among
//! those, an executor that holds the input beats one that would have to fetch it; then the least loaded; then the lowest id.
//!
//! An idle slot is preferred to locality on purpose: a batch lasts milliseconds, and fetching a block costs less than
//! waiting behind another task for it.

use super::executors::Executors;
use tidemill_protocol::id::Member;

/// The policy: what is known about one task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement<'a> {
    /// Bytes of the task's input by holder; each holder once.
    pub bytes_at: &'a [(Member, u64)],
    /// Where the task has failed before: used only when nobody else is there.
    pub avoid: &'a [Member],
}

impl Placement<'_> {
    /// The executor for the task, or none if those that it may use have no room. Looks at the holders of its input and at the
    /// first of the others, not at all executors.
    pub fn decide(&self, executors: &Executors) -> Option<Member> {
        // With somebody else alive, but full, the task waits: a slot elsewhere frees within a task's time.
        let must_avoid = executors.has_others(self.avoid);
        let may_use = |member: &Member| !(must_avoid && self.avoid.contains(member));
        let first = executors.in_order().find(may_use);
        let bytes_max = self.bytes_at.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
        // Half of what the best holder has is near enough: otherwise a few bytes more would pile all reducers on one node.
        let is_local = |bytes: u64| bytes.saturating_mul(2) >= bytes_max;
        let holders = self.bytes_at.iter().filter(|(_, bytes)| is_local(*bytes)).map(|(member, _)| *member);
        let local = holders.filter(may_use).filter_map(|member| {
            let executor = executors.get(member).filter(|executor| executor.room() > 0)?;
            let (suspected, is_queue, load) = executor.rank();
            Some(((suspected, is_queue, false, load), member))
        });
        let other = first.and_then(|member| {
            let (suspected, is_queue, load) = executors.get(member)?.rank();
            Some(((suspected, is_queue, true, load), member))
        });
        local.chain(other).min().map(|(_, member)| member)
    }
}
