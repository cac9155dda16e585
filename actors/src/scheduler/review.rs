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

    /// An executor could not have an input from these. One end of such a gap gets no tasks for a time, and what runs or lies there
    /// is made elsewhere: unless it holds blocks that nobody else does, for those could not be read elsewhere either. Whether it
    /// is the reporter.
    pub(super) fn out_of_reach(
        &mut self,
        now: Time,
        reporter: Member,
        unreached: &[Member],
        out: &mut Vec<Action>,
    ) -> bool {
        for holder in unreached.iter().filter(|holder| **holder != reporter) {
            let ends = [reporter, *holder];
            // Of who is dead, or has no tasks, this is no news.
            if !ends.into_iter().all(|end| self.executors.is_usable(end)) {
                continue;
            }
            let on_probation = |end: Member| self.conduct.standing(end.node) == Standing::OnProbation;
            let Some(member) = self.reach.failed(now, ends, on_probation) else { continue };
            if !self.holds_alone(member) && self.exclude(now, member, Misconduct::OutOfReach, out) {
                self.reach.forget(member);
                self.leave_behind(member, out);
            }
        }
        !unreached.is_empty() && self.conduct.standing(reporter.node) == Standing::Excluded
    }

    /// An executor could not tell another one of a task: that says which of two ends has more gaps, and fails nothing itself.
    pub(super) fn untold(&mut self, now: Time, by: Member, reader: Member) {
        if by != reader && self.executors.is_usable(by) && self.executors.is_usable(reader) {
            self.reach.note(now, [by, reader]);
        }
    }

    /// Whether it holds a block of which nobody else has a copy whose executor is given tasks.
    fn holds_alone(&self, member: Member) -> bool {
        let is_other = |holder: &Member| *holder != member && self.executors.is_usable(*holder);
        let mut places = self.jobs.values().flat_map(|job| job.blocks.values());
        places.any(|place| place.holders.contains(&member) && !place.holders.iter().any(is_other))
    }

    /// An executor gets no tasks for a time, unless nobody else would be left; whether it is so.
    pub(super) fn exclude(
        &mut self,
        now: Time,
        member: Member,
        why: Misconduct,
        out: &mut Vec<Action>,
    ) -> bool {
        let is_usable = self.executors.is_usable(member);
        let is_last = self.executors.usable() <= usize::from(is_usable);
        if is_last || !self.executors.is_live(member) {
            return false;
        }
        let time = self.conduct.exclude(now, member);
        self.executors.set_standing(member, Standing::Excluded);
        out.push(Action::Count(Counter::ExecutorsExcluded, 1));
        out.push(Action::Excluded { member, time, why });
        true
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
