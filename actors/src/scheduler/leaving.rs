//! An executor that leaves: it is given no tasks any more, what runs there may end, and its outputs are waited for until the
//! batches that need them are released. So a leave makes no task run again.

use super::{
    core::Scheduler,
    event::Action,
    job::{Job, TaskState},
};

impl Scheduler {
    /// Says once of each executor that leaves when no task runs there and nobody will ask for an output of it.
    pub(super) fn report_drained(&mut self, out: &mut Vec<Action>) {
        for member in self.executors.draining() {
            if !self.jobs.values().flat_map(Job::tasks).any(|(_, task)| match task.state {
                TaskState::Running { on, .. } => on == member,
                TaskState::Done { holder, .. } => holder == member && !task.outputs.is_empty(),
                TaskState::Waiting => task.foreseen.as_ref().is_some_and(|foreseen| foreseen.on == member),
                TaskState::Ready | TaskState::Lost => false,
            }) {
                self.executors.set_drained(member);
                out.push(Action::ExecutorDrained { member });
            }
        }
    }
}
