//! What was sent ahead, later: it begins, it is called back because a promise is broken, or its inputs are named because a
//! notice may be lost.
//!
//! ```text
//!                     all that it reads is accepted
//!   waiting, foreseen ──────────────────────────────> running       (an early report counts now)
//!        │                                               │ a notice may be lost
//!        │ a first attempt that it reads fell            └──> its inputs are named; it ignores that if it has begun
//!        └──> waiting ──> launched by name when its inputs are there, as any task
//! ```

use super::{
    core::Scheduler,
    event::{Action, Counter},
    foresight::{Foreseen, Report},
    job::{At, Job, TaskState},
    launch::pages,
    spec::Inputs,
};
use std::{collections::BTreeMap, sync::Arc};
use tidemill_protocol::{
    id::{BatchNumber, DataKey, Member, SinkId, TaskId},
    message::TaskSpec,
    time::Time,
};

impl Scheduler {
    /// Does what follows for tasks that were sent ahead from what has changed, until nothing does.
    pub(super) fn follow_up(&mut self, now: Time, out: &mut Vec<Action>) {
        while let Some(batch) = self.jobs.iter().find(|(_, job)| job.has_news()).map(|(batch, _)| *batch) {
            self.recall(batch, out);
            self.start_foreseen(now, batch, out);
        }
    }

    /// Calls back those whose promise is broken: they are launched by name when their inputs are there.
    fn recall(&mut self, batch: BatchNumber, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&batch) else { return };
        if !std::mem::take(&mut job.broken) {
            return;
        }
        // Stages stand after those that they read, and what is called back breaks a promise itself: once through is enough.
        for at in job.tasks().map(|(at, _)| at).collect::<Vec<At>>() {
            let Some(job) = self.jobs.get_mut(&batch) else { return };
            let is_broken =
                |job: &Job| job.task(at).parents.iter().any(|parent| !job.keeps_promises(*parent));
            if !job.is_ahead(at) || !is_broken(job) {
                continue;
            }
            self.call_back(batch, at, out);
        }
    }

    /// Calls back what was sent ahead to an executor.
    pub(super) fn call_back_from(&mut self, batch: BatchNumber, member: Member, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(&batch) else { return };
        let is_there = |foreseen: &Foreseen| foreseen.on == member;
        let ahead = job
            .tasks()
            .filter(|(at, task)| job.is_ahead(*at) && task.foreseen.as_ref().is_some_and(is_there));
        for at in ahead.map(|(at, _)| at).collect::<Vec<At>>() {
            self.call_back(batch, at, out);
        }
    }

    fn call_back(&mut self, batch: BatchNumber, at: At, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&batch) else { return };
        let Some(foreseen) = job.take_foreseen(at) else { return };
        let (task, sink) = (job.id(at, job.first), job.stage(at.0).sink);
        if job.has_inputs(at) {
            job.set(at, TaskState::Ready);
            self.queue.enter(task.key);
        }
        self.dismiss(task, sink, foreseen, out);
    }

    /// Those whose inputs are accepted run: from now on they are tasks like others.
    fn start_foreseen(&mut self, now: Time, batch: BatchNumber, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&batch) else { return };
        if !std::mem::take(&mut job.due) {
            return;
        }
        let mut nameless = Vec::new();
        for at in job.tasks().map(|(at, _)| at).collect::<Vec<At>>() {
            // A report that is looked at on the way may end the job, or lose what the next one reads.
            let Some(job) = self.jobs.get_mut(&batch) else { return };
            if !job.is_ahead(at) || !job.has_inputs(at) {
                continue;
            }
            let first = job.first;
            let Some(Foreseen { on, by_name, early }) = job.task(at).foreseen.clone() else { continue };
            job.set(at, TaskState::Ready);
            job.begin(now, at, first, on);
            job.expected -= 1;
            self.executors.begin_expected(on);
            match early {
                Some(Report::Done(outcome)) => self.task_done(now, outcome, out),
                Some(Report::Failed(failure)) => self.task_failed(now, failure, out),
                None if by_name => nameless.push(at),
                None => {}
            }
        }
        self.name_inputs(batch, nameless, out);
    }

    /// A notice for tasks of this batch (on this executor, if one is named) may not have come.
    pub(super) fn doubt(&mut self, batch: BatchNumber, reader: Option<Member>, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&batch) else { return };
        let mut running = Vec::new();
        for at in job.tasks().map(|(at, _)| at).collect::<Vec<At>>() {
            let task = job.task_mut(at);
            let is_running = matches!(task.state, TaskState::Running { .. });
            let Some(foreseen) = &mut task.foreseen else { continue };
            if foreseen.by_name || reader.is_some_and(|reader| reader != foreseen.on) {
                continue;
            }
            foreseen.by_name = true;
            if is_running {
                running.push(at);
            }
        }
        self.name_inputs(batch, running, out);
    }

    /// Tells those who run where their inputs are, all of which are there.
    fn name_inputs(&mut self, batch: BatchNumber, tasks: Vec<At>, out: &mut Vec<Action>) {
        let mut named = BTreeMap::<Member, Vec<(usize, Arc<TaskSpec>)>>::new();
        for at in tasks {
            let Some(job) = self.jobs.get_mut(&batch) else { return };
            let TaskState::Running { attempt, on } = job.task(at).state else { continue };
            match Inputs::of(job, at, &self.executors) {
                Ok(inputs) => {
                    let parts = inputs.parts;
                    named.entry(on).or_default().push((parts, inputs.spec(job.id(at, attempt), on)));
                }
                // A block that it reads as well is nowhere: it waits for news of it, as any task would.
                Err(_) => {
                    let (attempts, sink) = (job.end_attempts(at), job.stage(at.0).sink);
                    self.queue.enter(job.key(at));
                    for (on, task) in attempts {
                        self.cancel(on, task);
                        out.extend(sink.map(|sink| Action::Discard { sink, task }));
                    }
                }
            }
        }
        for (member, tasks) in named {
            out.push(Action::Count(Counter::InputsNamed, tasks.len() as u64));
            out.extend(pages(tasks).into_iter().map(|tasks| Action::Name { member, tasks }));
        }
    }

    /// Keeps what is said of an attempt whose inputs are not all accepted yet; gives the report back if it is of another one.
    pub(super) fn keep_early(&mut self, task: TaskId, by: Member, report: Report) -> Option<Report> {
        let at = (task.key.stage, task.key.partition);
        let job = self.jobs.get_mut(&task.key.batch);
        let Some(job) = job.filter(|job| job.find(at).is_some() && job.is_ahead(at)) else {
            return Some(report);
        };
        let first = job.first;
        let foreseen = job.task_mut(at).foreseen.as_mut();
        let Some(foreseen) = foreseen.filter(|foreseen| foreseen.on == by && task.attempt == first) else {
            return Some(report);
        };
        // What is told twice counts once.
        foreseen.early.get_or_insert(report);
        None
    }

    /// What was sent ahead to an executor that is gone; gives the tasks that had ended there.
    pub(super) fn foreseen_gone(
        &mut self,
        batch: BatchNumber,
        member: Member,
        out: &mut Vec<Action>,
    ) -> Vec<At> {
        let Some(job) = self.jobs.get_mut(&batch) else { return Vec::new() };
        let ahead = job.tasks().filter(|(at, task)| {
            job.is_ahead(*at) && task.foreseen.as_ref().is_some_and(|foreseen| foreseen.on == member)
        });
        let mut ended = Vec::new();
        for at in ahead.map(|(at, _)| at).collect::<Vec<At>>() {
            let Some(foreseen) = job.take_foreseen(at) else { continue };
            let task = job.id(at, job.first);
            out.extend(job.stage(at.0).sink.map(|sink| Action::Discard { sink, task }));
            if let Some(Report::Done(_)) = foreseen.early {
                ended.push(at);
            }
        }
        ended
    }

    /// An attempt that was sent ahead is not wanted any more, or what it has made.
    pub(super) fn dismiss(
        &mut self,
        task: TaskId,
        sink: Option<SinkId>,
        foreseen: Foreseen,
        out: &mut Vec<Action>,
    ) {
        let Foreseen { on, early, .. } = foreseen;
        self.executors.forget_expected(on);
        out.extend(sink.map(|sink| Action::Discard { sink, task }));
        match early {
            None => self.tell_cancel(on, task),
            Some(Report::Failed(_)) => out.push(Action::Count(Counter::ReportsRefused, 1)),
            Some(Report::Done(outcome)) => {
                out.push(Action::Count(Counter::ReportsRefused, 1));
                if self.executors.is_live(on) && !outcome.outputs.is_empty() {
                    let keys = outcome.outputs.iter();
                    let keys = keys.map(|o| DataKey::Output { task, partition: o.partition });
                    self.drops.entry(on).or_default().extend(keys);
                }
            }
        }
    }
}
