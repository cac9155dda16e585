//! Who gets no tasks for a time: what `conduct` says, carried out. The last usable executor is never excluded.

use super::{
    conduct::{Misconduct, Sample},
    core::Scheduler,
    event::{Action, Counter},
    executors::Standing,
    job::{Job, TaskState},
};
use tidemill_protocol::{id::Member, time::Time};

impl Scheduler {
    /// Ends what exclusions and probations are over.
    pub(super) fn review(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.conduct.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        for (node, was_excluded) in self.conduct.due(now) {
            let Some(member) = self.executors.of_node(node) else {
                self.conduct.forget(node);
                continue;
            };
            let standing = if was_excluded { Standing::OnProbation } else { Standing::Good };
            self.executors.set_standing(member, standing);
            if was_excluded {
                out.push(Action::Included { member });
            }
        }
    }

    /// An executor is there that was not, and its node's past comes with it; an exclusion only where there is somebody else.
    pub(super) fn welcome(&mut self, now: Time, member: Member, out: &mut Vec<Action>) {
        let is_excluded = self.conduct.standing(member.node) == Standing::Excluded;
        let others = self.executors.usable() - usize::from(self.executors.is_usable(member));
        if is_excluded && others == 0 {
            self.conduct.pardon(now, member);
        } else if is_excluded {
            let time = self.conduct.time_left(now, member.node);
            out.push(Action::Excluded { member, time, why: Misconduct::EarlierLife });
        }
        self.executors.set_standing(member, self.conduct.standing(member.node));
        self.keep_one_usable(now, out);
    }

    /// An executor gets no tasks for a time, unless nobody else would be left.
    pub(super) fn exclude(&mut self, now: Time, member: Member, why: Misconduct, out: &mut Vec<Action>) {
        let is_usable = self.executors.is_usable(member);
        let is_last = self.executors.usable() <= usize::from(is_usable);
        if is_last || !self.executors.is_live(member) {
            return;
        }
        let time = self.conduct.exclude(now, member);
        self.executors.set_standing(member, Standing::Excluded);
        out.push(Action::Count(Counter::ExecutorsExcluded, 1));
        out.push(Action::Excluded { member, time, why });
    }

    /// When the others are lost or suspected, the excluded are better than nobody.
    pub(super) fn keep_one_usable(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.executors.usable() > 0 {
            return;
        }
        for member in self.executors.excluded() {
            self.conduct.pardon(now, member);
            self.executors.set_standing(member, Standing::Good);
            out.push(Action::Included { member });
        }
    }

    /// A batch has ended: its tasks tell who is slow.
    pub(super) fn judge(&mut self, now: Time, job: &Job, out: &mut Vec<Action>) {
        let sample = |task: &super::job::Task| match task.state {
            TaskState::Done { holder, .. } => Some(Sample { on: holder, ran: task.ran, rows: task.rows_in }),
            _ => None,
        };
        let stages: Vec<Vec<Sample>> =
            job.stages.iter().map(|stage| stage.tasks.iter().filter_map(sample).collect()).collect();
        for member in self.conduct.batch_ended(&stages, &job.overtaken) {
            self.exclude(now, member, Misconduct::Slowness, out);
        }
    }
}
