//! An executor that leaves: it is given no tasks any more, what runs there may end, and its outputs are waited for until the
//! batches that need them are released. So a leave makes no task run again.

use super::{
    core::Scheduler,
    event::Action,
    job::{Job, Task, TaskState},
};

impl Scheduler {
    /// Says once of each executor that leaves when no task runs there and nobody will ask for an output of it.
    pub(super) fn report_drained(&mut self, out: &mut Vec<Action>) {
        for member in self.executors.draining() {
            let is_needed = |task: &Task| match task.state {
                TaskState::Done { holder, .. } => holder == member && !task.outputs.is_empty(),
                _ => task.attempts().any(|twin| twin.on == member),
            };
            if !self.jobs.values().flat_map(Job::tasks).any(|(_, task)| is_needed(task)) {
                self.executors.set_drained(member);
                out.push(Action::ExecutorDrained { member });
            }
        }
    }
}
