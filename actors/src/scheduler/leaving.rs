//! An executor that leaves: it is given no tasks any more, what runs there may end, and its outputs are waited for until the
//! batches that need them are released. So a leave makes no task run again.
//!
//! When all of them leave, what was received would go with them: then they work on until no batch holds a block any more.
//! Batches that read planned sources only are left to whoever comes next, for those can be read again.

use super::{
    core::Scheduler,
    event::Action,
    job::{Job, Task, TaskState},
};
use tidemill_protocol::id::BatchNumber;

impl Scheduler {
    /// Whether tasks of `batch` are left to whoever comes next.
    pub(super) fn is_left(&self, batch: BatchNumber) -> bool {
        let holds_blocks = |job: &Job| !job.block_bytes.is_empty();
        // Batches are decided in turn, so that one with blocks needs all before it, also if it is not here yet.
        self.executors.all_leave()
            && !self.blocks_wait
            && !self.jobs.range(batch..).any(|(_, job)| holds_blocks(job))
    }

    /// Says once of each executor that leaves when no task runs there and nobody will ask for an output of it.
    pub(super) fn report_drained(&mut self, out: &mut Vec<Action>) {
        for member in self.executors.draining() {
            let is_needed = |task: &Task| match task.state {
                TaskState::Done { holder, .. } => holder == member && !task.outputs.is_empty(),
                TaskState::Waiting => task.foreseen.as_ref().is_some_and(|foreseen| foreseen.on == member),
                _ => task.attempts().any(|twin| twin.on == member),
            };
            if !self.jobs.values().flat_map(Job::tasks).any(|(_, task)| is_needed(task)) {
                self.executors.set_drained(member);
                out.push(Action::ExecutorDrained { member });
            }
        }
    }
}
