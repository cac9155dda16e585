//! The attempts of one task: at most two are out, the running one and its copy.

use super::job::{At, Job, Task, TaskState, Twin};
use std::time::Duration;
use tidemill_protocol::{
    id::{Attempt, Member, TaskId},
    time::Time,
};

impl Task {
    /// The attempts that are out.
    pub fn attempts(&self) -> impl Iterator<Item = Twin> {
        let running = match self.state {
            TaskState::Running { attempt, on } => Some(Twin { attempt, on, launched: self.launched }),
            _ => None,
        };
        running.into_iter().chain(self.copy)
    }

    /// Whether this attempt is out, on this executor.
    pub fn runs(&self, attempt: Attempt, on: Member) -> bool {
        self.attempts().any(|twin| (twin.attempt, twin.on) == (attempt, on))
    }
}

impl Job {
    /// Takes the name of the next attempt; none if they are used up.
    pub fn next_attempt(&mut self, at: At) -> Option<Attempt> {
        let task = self.task_mut(at);
        let attempt = Attempt(task.next_attempt);
        task.next_attempt = task.next_attempt.checked_add(1)?;
        Some(attempt)
    }

    /// The first attempt of a ready task is out.
    pub fn begin(&mut self, now: Time, at: At, attempt: Attempt, on: Member) {
        self.set(at, TaskState::Running { attempt, on });
        self.task_mut(at).launched = now;
        self.stages[usize::from(at.0.0)].pace.watched.insert((now, at.1));
    }

    /// A copy of a running task is out.
    pub fn begin_copy(&mut self, at: At, copy: Twin) {
        let task = self.task_mut(at);
        task.copy = Some(copy);
        let launched = task.launched;
        let pace = &mut self.stages[usize::from(at.0.0)].pace;
        pace.watched.remove(&(launched, at.1));
        pace.copies += 1;
    }

    /// An attempt is out no more. True if another one is, which goes on; else the task is ready.
    pub fn end_attempt(&mut self, at: At, attempt: Attempt) -> bool {
        let task = self.task_mut(at);
        let Some(copy) = task.copy.take() else {
            self.set(at, TaskState::Ready);
            return false;
        };
        if copy.attempt != attempt {
            self.set(at, TaskState::Running { attempt: copy.attempt, on: copy.on });
            self.task_mut(at).launched = copy.launched;
        }
        let launched = self.task(at).launched;
        self.stages[usize::from(at.0.0)].pace.watched.insert((launched, at.1));
        true
    }

    /// Takes back all attempts of a running task, which is ready then; gives them.
    pub fn end_attempts(&mut self, at: At) -> Vec<(Member, TaskId)> {
        let out: Vec<(Member, TaskId)> =
            self.task(at).attempts().map(|twin| (twin.on, self.id(at, twin.attempt))).collect();
        for (_, task) in &out {
            self.end_attempt(at, task.attempt);
        }
        out
    }

    /// An attempt that is out was accepted, which ran for `ran`: the task is done. Gives the other one, which is not wanted any
    /// more.
    pub fn accept(&mut self, now: Time, at: At, attempt: Attempt, ran: Duration) -> Option<Twin> {
        let won = self.task(at).attempts().find(|twin| twin.attempt == attempt)?;
        let lost = self.task(at).attempts().find(|twin| twin.attempt != attempt);
        if let Some(lost) = lost {
            self.end_attempt(at, lost.attempt);
            if lost.attempt < attempt {
                self.overtaken.push(lost.on);
            }
        }
        // One that was sent ahead may have begun before the driver knew that it could.
        let ran = if self.task(at).foreseen.is_some() { ran } else { Duration::ZERO };
        self.set(at, TaskState::Done { attempt, holder: won.on });
        self.stages[usize::from(at.0.0)].pace.finish(now.since(won.launched).max(ran));
        lost
    }
}
