//! The executor's decisions: what is fetched, what starts where, what is told, and when a thread is given up.

use super::{
    Action, Counted, Event, ExecutorConfig, SlotIndex, TaskEnd,
    cancelled::Cancelled,
    notices::Notices,
    stuck::{GivenUp, in_words, judge, look_every},
    tasks::{Running, State, Task, TaskTable, keys_read, stages_read},
};
use crate::core::Core;
use std::{collections::BTreeMap, sync::Arc};
use tidemill_protocol::{
    id::{DataKey, Epoch, Member, TaskId},
    message::{
        Exhausted, OutputInfo, Route, TaskFacts, TaskFailure, TaskOutcome, TaskSpec, ToDriver, short_text,
    },
    time::Time,
};

/// A report with a longer list of what was read brings nothing besides: it has to fit a control frame.
const READ_BESIDE_PREPARED_MAX: usize = 1_000;

/// The core of an executor; its states are in the [module](super)'s table.
#[derive(Debug)]
pub struct ExecutorCore {
    pub(super) config: ExecutorConfig,
    pub(super) epoch: Option<Epoch>,
    pub(super) tasks: TaskTable,
    pub(super) notices: Notices,
    cancelled: Cancelled,
    // Attempts whose threads were given up and have not come back.
    leaked: BTreeMap<TaskId, TaskFacts>,
    // When the progress counters are read next. It is not moved when tasks come and go, so that a steady flow of short
    // tasks sets a timer a few times a minute and not a few thousand times a second.
    look_at: Option<Time>,
    pub(super) leaving: bool,
    ended: bool,
}

impl ExecutorCore {
    /// An executor with all slots free.
    pub fn new(config: ExecutorConfig) -> Self {
        ExecutorCore {
            config,
            epoch: None,
            tasks: TaskTable::new(config.slots),
            notices: Notices::new(config.notices_max),
            cancelled: Cancelled::new(config.cancelled_memory_max),
            leaked: BTreeMap::new(),
            look_at: None,
            leaving: false,
            ended: false,
        }
    }

    /// Follows a driver; false if it is a deposed one. What an earlier driver ordered is stopped.
    fn follow(&mut self, now: Time, epoch: Epoch, out: &mut Vec<Action>) -> bool {
        let before = self.epoch.replace(self.epoch.map_or(epoch, |known| known.max(epoch)));
        if before.is_some_and(|before| before < epoch) {
            for task in self.tasks.ids_where(|task| task.facts.epoch < epoch) {
                self.cancel(now, task, out);
            }
            // What the earlier driver cancelled says nothing about attempts that the new one counts anew. Before the first
            // driver nothing is forgotten: its "cancel" may have come before anything else of it.
            self.cancelled.clear();
            self.notices.follow(epoch);
        }
        self.epoch == Some(epoch)
    }

    fn run(
        &mut self,
        now: Time,
        facts: &TaskFacts,
        (specs, routes): (Vec<Arc<TaskSpec>>, Vec<Arc<Route>>),
        out: &mut Vec<Action>,
    ) {
        if self.leaving || !self.follow(now, facts.epoch, out) {
            out.push(Action::Count(Counted::Refused));
            return;
        }
        if facts.program != self.config.program {
            out.push(Action::Count(Counted::Refused));
            let message =
                format!("this executor runs {}, the task is of {}", self.config.program, facts.program);
            for spec in specs {
                self.tell_failed(spec.task, message.clone(), Why::default(), out);
            }
            return;
        }
        self.notices.route(facts, routes);
        for spec in specs {
            self.accept(facts, spec, out);
        }
    }

    fn accept(&mut self, facts: &TaskFacts, spec: Arc<TaskSpec>, out: &mut Vec<Action>) {
        let id = spec.task;
        if self.cancelled.knows(id) {
            return;
        }
        let deposed = self.tasks.get_mut(id).map(|task| task.facts.epoch < facts.epoch);
        match (deposed, self.leaked.contains_key(&id)) {
            (None, false) => {}
            // A repeated order changes nothing.
            (Some(false), _) => return,
            // The id names what holds a thread, so nothing else can go by it here.
            (Some(true), _) | (None, true) => {
                let message = format!("an earlier run of {id} still holds a thread here");
                return self.tell_failed(id, message, Why::default(), out);
            }
        }
        self.enter(facts.clone(), spec, out);
    }

    fn cancel(&mut self, now: Time, id: TaskId, out: &mut Vec<Action>) {
        let Some(task) = self.tasks.get_mut(id) else {
            if !self.leaked.contains_key(&id) {
                self.cancelled.note(id);
            }
            return;
        };
        if let State::Running(running) = &mut task.state {
            if !running.cancelled {
                running.cancelled = true;
                running.watch.restart(now);
                out.push(Action::SetCancel { task: id });
                self.look_within(now);
            }
            return;
        }
        self.tasks.remove(id);
        self.cancelled.note(id);
        out.push(Action::Forget { task: id });
        out.push(Action::Count(Counted::Cancelled));
    }

    fn inputs_failed(&mut self, id: TaskId, why: Why, message: String, out: &mut Vec<Action>) {
        if self.tasks.get_mut(id).is_some_and(|task| task.state == State::Fetching) {
            self.tasks.remove(id);
            self.tell_failed(id, message, why, out);
        }
    }

    fn slot_free(&mut self, slot: SlotIndex, id: TaskId, end: TaskEnd, out: &mut Vec<Action>) {
        let ours = self.tasks.running_mut(id).copied().filter(|running| running.slot == slot);
        let Some(Running { cancelled, .. }) = ours else {
            // The thread of a leaked task has come back after all: it ends, and nobody wants what it brings.
            if let Some(facts) = self.leaked.remove(&id) {
                drop_results(id, facts, end, out);
            }
            return;
        };
        let Some(task) = self.tasks.remove(id) else { return };
        if cancelled {
            out.push(Action::Count(Counted::Cancelled));
            drop_results(id, task.facts, end, out);
            return;
        }
        match end {
            TaskEnd::Done { outputs, rows_in, run_ns, mut prepared } => {
                let (holder, read) = (self.config.member, keys_read(&task.asked));
                let read_stages = stages_read(&task.asked);
                out.push(Action::Count(Counted::Done { run_ns }));
                self.announce(task.facts.epoch, id, &outputs, out);
                if read.len() > READ_BESIDE_PREPARED_MAX {
                    prepared.clear();
                }
                let outcome =
                    TaskOutcome { task: id, holder, outputs, rows_in, run_ns, read, read_stages, prepared };
                out.push(Action::TellDriver(ToDriver::TaskDone(Arc::new(outcome))));
            }
            TaskEnd::Missing { .. } if !task.fetched && !self.config.inputs_immediate => {
                out.push(Action::Fetch { spec: task.spec.clone() });
                self.tasks.insert(Task { state: State::Fetching, fetched: true, ..task });
            }
            TaskEnd::Missing { key, message } => {
                self.tell_failed(id, message, Why { missing: Some(key), ..Why::default() }, out)
            }
            TaskEnd::Failed { message, exhausted } => {
                self.tell_failed(id, message, Why { exhausted, ..Why::default() }, out);
            }
            TaskEnd::Cancelled => {
                let message = format!("{id} says that it was cancelled, but nobody cancelled it");
                self.tell_failed(id, message, Why::default(), out);
            }
        }
    }

    fn progress(&mut self, now: Time, counters: Vec<(TaskId, u64)>, out: &mut Vec<Action>) {
        for (id, counter) in counters {
            let Some(running) = self.tasks.running_mut(id) else {
                continue;
            };
            running.watch.look(now, counter);
            let running = *running;
            if let Some(given_up) = judge(&self.config, now, &running.watch, running.cancelled) {
                self.leak(id, running.slot, given_up, out);
            }
        }
    }

    fn leak(&mut self, id: TaskId, slot: SlotIndex, given_up: GivenUp, out: &mut Vec<Action>) {
        let Some(task) = self.tasks.remove(id) else { return };
        self.leaked.insert(id, task.facts);
        if let GivenUp::Stuck { limit } = given_up {
            // Its result must not be kept, should it come back.
            out.push(Action::SetCancel { task: id });
            let message =
                format!("{} has made no progress for {}: its slot is replaced", id.key, in_words(limit));
            self.tell_failed(id, message, Why::default(), out);
        }
        out.push(Action::ReplaceSlot { slot, task: id });
        out.push(Action::Count(Counted::SlotLeaked));
        out.push(Action::TellDriver(ToDriver::SlotLeaked { task: id }));
        let (leaks, slots) = (self.leaked.len(), usize::from(self.config.slots));
        if leaks > slots && !self.ended {
            self.ended = true;
            let reason =
                format!("{leaks} tasks hold threads and do not stop, more than there are slots ({slots})");
            out.push(Action::EndProcess { reason });
        }
    }

    fn wake(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.look_at.is_none_or(|at| now < at) {
            return;
        }
        self.look_at = None;
        if self.tasks.is_busy() {
            out.push(Action::ReadProgress);
            self.look_within(now);
        }
    }

    /// Sees to it that counters are read soon enough for what is running.
    fn look_within(&mut self, now: Time) {
        let any_cancelled = self.tasks.running().any(|(_, running)| running.cancelled);
        let at = now + look_every(&self.config, any_cancelled);
        self.look_at = Some(self.look_at.map_or(at, |before| before.min(at)));
    }

    fn shutdown(&mut self, now: Time, out: &mut Vec<Action>) {
        self.leaving = true;
        for task in self.tasks.ids_where(|_| true) {
            self.cancel(now, task, out);
        }
    }

    /// What follows from every event: free slots are filled, and an executor that leaves leaves when the last task has.
    fn settle(&mut self, now: Time, out: &mut Vec<Action>) {
        while let Some((slot, task)) = self.tasks.start_next(now) {
            out.push(Action::Start { slot, facts: task.facts.clone(), spec: task.spec.clone() });
        }
        if self.look_at.is_none() && self.tasks.is_busy() {
            self.look_within(now);
        }
        if self.leaving && !self.ended && !self.tasks.is_busy() {
            self.ended = true;
            out.push(Action::Leave);
        }
    }

    fn tell_failed(&self, task: TaskId, message: String, why: Why, out: &mut Vec<Action>) {
        let (Why { missing, exhausted, unreached }, reporter) = (why, self.config.member);
        let message = short_text(message);
        let failure = TaskFailure { task, reporter, message, missing, exhausted, unreached };
        out.push(Action::Count(Counted::Failed));
        out.push(Action::TellDriver(ToDriver::TaskFailed(failure)));
    }
}

/// Why an attempt has failed, if not by its own fault.
#[derive(Clone, Debug, Default)]
struct Why {
    missing: Option<DataKey>,
    exhausted: Option<Exhausted>,
    unreached: Vec<Member>,
}

/// Nobody will ask for what an unwanted attempt has kept, and nobody will publish what it has left for a sink.
fn drop_results(task: TaskId, facts: TaskFacts, end: TaskEnd, out: &mut Vec<Action>) {
    let TaskEnd::Done { outputs, .. } = end else { return };
    out.push(Action::Discard { task, facts });
    if !outputs.is_empty() {
        let key = |info: OutputInfo| DataKey::Output { task, partition: info.partition };
        out.push(Action::DropData { keys: outputs.into_iter().map(key).collect() });
    }
}

impl Core for ExecutorCore {
    type Event = Event;
    type Action = Action;

    const NAME: &'static str = "executor";

    fn on_event(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Welcome { epoch } => {
                self.follow(now, epoch, out);
            }
            Event::Run { facts, tasks, routes } => self.run(now, &facts, (tasks, routes), out),
            Event::NameInputs { tasks } => tasks.into_iter().for_each(|spec| self.name_inputs(spec, out)),
            Event::Cancel { tasks } => tasks.into_iter().for_each(|task| self.cancel(now, task, out)),
            Event::Drop { keys } => out.push(Action::DropData { keys }),
            Event::ReleaseOutputs { up_to } => {
                self.notices.release(up_to);
                out.push(Action::ReleaseOutputs { up_to });
            }
            Event::Noticed(noticed) => self.noticed(noticed, out),
            Event::NoticeUndelivered { batch, to } => self.notice_lost(batch, to, out),
            Event::Shutdown => self.shutdown(now, out),
            Event::InputsReady { task } => {
                self.tasks.make_ready(task);
            }
            Event::InputsFailed { task, missing, exhausted, unreached, message } => {
                self.inputs_failed(task, Why { missing, exhausted, unreached }, message, out);
            }
            Event::SlotFree { slot, task, end } => self.slot_free(slot, task, end, out),
            Event::Progress { counters } => self.progress(now, counters, out),
            Event::Wake => self.wake(now, out),
        }
        self.settle(now, out);
    }

    fn wake() -> Event {
        Event::Wake
    }

    fn next_deadline(&self) -> Option<Time> {
        self.look_at
    }

    fn assert_invariants(&self) {
        self.tasks.assert_invariants();
        self.cancelled.assert_invariants();
        self.notices.assert_invariants();
        assert!(self.leaked.keys().all(|id| !self.tasks.contains(*id)), "a leaked task is still at work");
        assert!(self.look_at.is_some() || !self.tasks.is_busy(), "a slot is taken and nobody looks");
    }
}
