//! How a loss changes the books: an executor that is gone, an input that could not be had, an output that must be made again.

use super::{
    core::Scheduler,
    event::{Action, Counter},
    job::{At, Job, TaskState},
    lineage,
};
use tidemill_protocol::{
    id::{BatchNumber, DataKey, Member, TaskId, TaskKey},
    time::Time,
};

impl Scheduler {
    /// Its running tasks go elsewhere, and its outputs that somebody still needs are made again, all in this event.
    pub(super) fn executor_down(&mut self, member: Member, out: &mut Vec<Action>) {
        if !self.executors.strike(member) {
            return;
        }
        self.conduct.forget(member.node);
        self.reach.forget(member);
        self.releases.forget(member);
        let batches: Vec<BatchNumber> = self.jobs.keys().copied().collect();
        for batch in batches {
            let ended = self.foreseen_gone(batch, member, out);
            let has_spoken = self.has_done(batch, member);
            let (mut running, outputs) = self.held_by(batch, member);
            // A task whose copy is elsewhere goes on there, and has lost nothing.
            running.retain(|at| !self.orphan(batch, *at, member, out));
            for at in &outputs {
                if planted!(AdoptDead) {
                    self.jobs.get_mut(&batch).into_iter().for_each(|job| job.task_mut(*at).outputs.clear());
                    continue;
                }
                self.lose(batch, *at, out);
            }
            let mut tasks = match running.is_empty() && outputs.is_empty() {
                true => Vec::new(),
                false => self.settle(batch, out),
            };
            if has_spoken {
                // It may have died before it had told all whom it was to tell, also of outputs that are empty and stay.
                self.doubt(batch, None, out);
            }
            running.extend(ended);
            tasks.extend(running.iter().map(|at| TaskKey { batch, stage: at.0, partition: at.1 }));
            tasks.sort_unstable();
            if !tasks.is_empty() {
                out.push(Action::Count(Counter::TasksLost, tasks.len() as u64));
                out.push(Action::TasksLost { batch, member, tasks });
            }
        }
    }

    /// An executor lives, but others do not reach it: what runs there runs elsewhere, and what they would read there is made again.
    /// What it has prepared for a sink the driver can have.
    pub(super) fn leave_behind(&mut self, member: Member, out: &mut Vec<Action>) {
        let batches: Vec<BatchNumber> = self.jobs.keys().copied().collect();
        for batch in batches {
            self.call_back_from(batch, member, out);
            let (running, mut outputs) = self.held_by(batch, member);
            for at in running {
                let attempts = self.jobs[&batch].task(at).attempts().filter(|twin| twin.on == member);
                let tasks: Vec<TaskId> =
                    attempts.map(|twin| self.jobs[&batch].id(at, twin.attempt)).collect();
                self.orphan(batch, at, member, out);
                tasks.into_iter().for_each(|task| self.cancel(member, task));
            }
            outputs.retain(|at| self.jobs[&batch].stage(at.0).sink.is_none());
            outputs.iter().for_each(|at| self.lose(batch, *at, out));
            if !outputs.is_empty() {
                self.settle(batch, out);
            }
        }
    }

    /// Whether an executor has ended a task of the batch well.
    fn has_done(&self, batch: BatchNumber, member: Member) -> bool {
        let mut tasks = self.jobs.get(&batch).into_iter().flat_map(Job::tasks);
        tasks.any(|(_, task)| matches!(task.state, TaskState::Done { holder, .. } if holder == member))
    }

    /// The attempts and the outputs of a batch that an executor takes with it.
    fn held_by(&self, batch: BatchNumber, member: Member) -> (Vec<At>, Vec<At>) {
        let (mut running, mut outputs) = (Vec::new(), Vec::new());
        let publishing = self.publishing_of(batch);
        for (at, task) in self.jobs.get(&batch).into_iter().flat_map(Job::tasks) {
            if task.attempts().any(|twin| twin.on == member) {
                running.push(at);
            }
            match task.state {
                TaskState::Done { holder, .. } if holder == member => {
                    // An empty output cannot be lost, and a sink that is being given its output says itself if it misses it.
                    let job = &self.jobs[&batch];
                    if !task.outputs.is_empty() && !job.is_finished(at.0, publishing) {
                        outputs.push(at);
                    }
                }
                _ => {}
            }
        }
        (running, outputs)
    }

    /// The executor of an attempt is gone; true if another attempt of the task goes on.
    fn orphan(&mut self, batch: BatchNumber, at: At, member: Member, out: &mut Vec<Action>) -> bool {
        let Some(job) = self.jobs.get_mut(&batch) else {
            return false;
        };
        let Some(twin) = job.task(at).attempts().find(|twin| twin.on == member) else {
            return false;
        };
        if let Some(sink) = job.stage(at.0).sink {
            out.push(Action::Discard { sink, task: job.id(at, twin.attempt) });
        }
        let goes_on = job.end_attempt(at, twin.attempt);
        if !goes_on {
            self.queue.enter(job.key(at));
        }
        goes_on
    }

    /// An accepted output does not count any more.
    pub(super) fn lose(&mut self, batch: BatchNumber, at: At, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&batch) else {
            return;
        };
        let TaskState::Done { attempt, holder } = job.task(at).state else {
            return;
        };
        let task = job.id(at, attempt);
        if let Some(sink) = job.stage(at.0).sink {
            out.push(Action::Discard { sink, task });
        }
        let outputs = std::mem::take(&mut job.task_mut(at).outputs);
        if self.executors.is_live(holder) && !outputs.is_empty() {
            let keys = outputs.iter().map(|(partition, _)| DataKey::Output { task, partition: *partition });
            self.drops.entry(holder).or_default().extend(keys);
        }
        job.set(at, TaskState::Lost);
    }

    /// After losses: lineage says what runs again; attempts that read what is lost are stopped; what can run becomes ready.
    pub(super) fn settle(&mut self, batch: BatchNumber, out: &mut Vec<Action>) -> Vec<TaskKey> {
        let publishing = self.publishing_of(batch);
        let Some(job) = self.jobs.get(&batch) else {
            return Vec::new();
        };
        let rebuild = lineage::rebuild(&job.lineage(publishing));
        for at in &rebuild.spoiled {
            self.lose(batch, *at, out);
        }
        let Some(job) = self.jobs.get_mut(&batch) else {
            return Vec::new();
        };
        for at in &rebuild.again {
            job.set(*at, TaskState::Waiting);
        }
        let has_begun = |state| matches!(state, TaskState::Ready | TaskState::Running { .. });
        let tasks = job.tasks().map(|(at, task)| (at, task.state));
        let pulled: Vec<(At, TaskState)> =
            tasks.filter(|(at, s)| has_begun(*s) && !job.has_inputs(*at)).collect();
        for (at, state) in pulled {
            self.pull_back(batch, at, state, out);
        }
        self.wake_tasks(batch);
        rebuild.again.iter().map(|at| TaskKey { batch, stage: at.0, partition: at.1 }).collect()
    }

    /// A task that was ready or running must wait: an input is lost. A running one is stopped even if it may have read the
    /// input already, so that no two readers ever see different attempts of one task.
    fn pull_back(&mut self, batch: BatchNumber, at: At, state: TaskState, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&batch) else {
            return;
        };
        let (key, sink) = (job.key(at), job.stage(at.0).sink);
        let attempts = match state {
            TaskState::Running { .. } => job.end_attempts(at),
            _ => Vec::new(),
        };
        job.set(at, TaskState::Waiting);
        self.queue.leave(key);
        for (on, task) in attempts {
            self.cancel(on, task);
            out.extend(sink.map(|sink| Action::Discard { sink, task }));
        }
    }

    /// A task could not have an input. It is not to blame: an output is made again; a block is read elsewhere, at once the
    /// first time, and then after a pause, until its holders are known to be dead or it is there again.
    pub(super) fn input_missing(
        &mut self,
        now: Time,
        key: TaskKey,
        input: DataKey,
        reporter: Member,
        out: &mut Vec<Action>,
    ) {
        out.push(Action::Count(Counter::InputsMissing, 1));
        let Some(job) = self.jobs.get_mut(&key.batch) else {
            return;
        };
        let task = job.task_mut((key.stage, key.partition));
        // Another attempt may be out, and may have what this one missed.
        let is_ready = task.state == TaskState::Ready;
        match input {
            DataKey::Block(_) => {
                task.avoid(reporter);
                match (is_ready, task.missing) {
                    (false, _) => {}
                    (true, 0) => self.queue.enter(key),
                    (true, _) => self.queue.pause(key, now + self.config.block_retry),
                }
            }
            DataKey::Output { task: read, .. } => {
                if is_ready {
                    self.queue.enter(key);
                }
                let producer = (read.key.stage, read.key.partition);
                // If it has been made again already, the report is about the past.
                if let TaskState::Done { attempt, holder } = job.task(producer).state
                    && attempt == read.attempt
                {
                    job.task_mut(producer).avoid(holder);
                    self.lose(key.batch, producer, out);
                    self.settle(key.batch, out);
                    self.count_missing(read.key, holder, "had its output reported missing", out);
                }
            }
        }
        self.count_missing(key, reporter, &format!("could not have {input}"), out);
    }

    /// Ends a task that would otherwise go in circles.
    pub(super) fn count_missing(&mut self, key: TaskKey, on: Member, what: &str, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&key.batch) else {
            return;
        };
        let task = job.task_mut((key.stage, key.partition));
        task.missing = task.missing.saturating_add(1);
        if task.missing >= self.config.missing_max {
            let (times, node) = (task.missing, on.node);
            self.fail(key.batch, format!("{key} {what}: {times} such reports, last on {node}"), out);
        }
    }

    /// Takes a batch out of the books, stops its attempts, and throws away what it made and no sink has.
    pub(super) fn abandon(&mut self, batch: BatchNumber, out: &mut Vec<Action>) -> Option<Job> {
        let publishing = self.publishing_of(batch);
        let outputs: Vec<At> = match self.jobs.get(&batch) {
            Some(job) => {
                let done =
                    job.tasks().filter(|(at, t)| t.state.is_done() && !job.is_finished(at.0, publishing));
                done.map(|(at, _)| at).collect()
            }
            None => return None,
        };
        for at in outputs {
            self.lose(batch, at, out);
        }
        self.withdraw(batch, out)
    }

    /// Takes a batch out of the books and stops its attempts.
    pub(super) fn withdraw(&mut self, batch: BatchNumber, out: &mut Vec<Action>) -> Option<Job> {
        let job = self.jobs.remove(&batch)?;
        self.queue.leave_batch(batch);
        for (at, task) in job.tasks() {
            for twin in task.attempts() {
                let task = job.id(at, twin.attempt);
                self.cancel(twin.on, task);
                out.extend(job.stage(at.0).sink.map(|sink| Action::Discard { sink, task }));
            }
            if let Some(foreseen) = task.foreseen.clone().filter(|_| job.is_ahead(at)) {
                self.dismiss(job.id(at, job.first), job.stage(at.0).sink, foreseen, out);
            }
        }
        Some(job)
    }
}
