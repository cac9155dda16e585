//! Where a task runs: the policy. A free slot beats a place in a queue; among those, an executor that holds the input beats
//! one that would have to fetch it; then the least loaded; then the lowest id.
//!
//! An idle slot is preferred to locality on purpose: a batch lasts milliseconds, and fetching a block costs less than
//! waiting behind another task for it.

use super::executors::Executor;
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
    /// The executor for the task, or none if those that it may use have no room.
    pub fn decide(&self, executors: impl Iterator<Item = (Member, Executor)> + Clone) -> Option<Member> {
        // With somebody else alive, but full, the task waits: a slot elsewhere frees within a task's time.
        let others_exist = executors.clone().any(|(member, _)| !self.avoid.contains(&member));
        let bytes_max = self.bytes_at.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
        executors
            .filter(|(member, executor)| {
                executor.has_room() && !(others_exist && self.avoid.contains(member))
            })
            .min_by_key(|(member, executor)| {
                (!executor.has_free_slot(), !self.is_local(*member, bytes_max), executor.load(), *member)
            })
            .map(|(member, _)| member)
    }

    /// Half of what the best holder has is near enough: otherwise a few bytes more would pile all reducers on one node.
    fn is_local(&self, member: Member, bytes_max: u64) -> bool {
        self.bytes_at.iter().any(|(holder, bytes)| *holder == member && bytes.saturating_mul(2) >= bytes_max)
    }
}
