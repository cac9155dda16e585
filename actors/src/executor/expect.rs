//! Tasks that were sent before their inputs were there: they wait for notices, and hold no slot and no memory meanwhile.

use super::{
    Action, Counted, ExecutorCore,
    notices::{Heard, Told},
    tasks::{State, Task, expects, holds_all},
};
use crate::transport::Noticed;
use std::{collections::BTreeSet, sync::Arc};
use tidemill_protocol::{
    id::{BatchNumber, Epoch, Member, PartitionId, TaskId},
    message::{Notice, OutputInfo, TaskFacts, TaskSpec, ToDriver},
};

impl ExecutorCore {
    /// Takes an attempt that is not known: its inputs are fetched, at hand, or waited for.
    pub(super) fn enter(&mut self, facts: TaskFacts, asked: Arc<TaskSpec>, out: &mut Vec<Action>) {
        let named = match expects(&asked) {
            true => self.notices.name(&facts, self.config.member, &asked).map(Arc::new),
            false => Some(asked.clone()),
        };
        let Some(spec) = named else {
            let spec = asked.clone();
            return self.tasks.insert(Task { facts, asked, spec, state: State::Expecting, fetched: false });
        };
        let at_hand = self.config.inputs_immediate || holds_all(self.config.member, &spec);
        let state = if at_hand { State::Ready } else { State::Fetching };
        if !at_hand {
            out.push(Action::Fetch { spec: spec.clone() });
        }
        self.tasks.insert(Task { facts, asked, spec, state, fetched: !at_hand });
    }

    /// The driver names the inputs of an attempt: of use if it is here and still waits for notices.
    pub(super) fn name_inputs(&mut self, spec: Arc<TaskSpec>, out: &mut Vec<Action>) {
        let waits = self.tasks.get_mut(spec.task).is_some_and(|task| task.state == State::Expecting);
        if waits
            && !expects(&spec)
            && let Some(task) = self.tasks.remove(spec.task)
        {
            self.enter(task.facts, spec, out);
        }
    }

    /// An attempt has ended well here: its readers are told.
    pub(super) fn announce(
        &mut self,
        epoch: Epoch,
        task: TaskId,
        outputs: &[OutputInfo],
        out: &mut Vec<Action>,
    ) {
        let from = self.config.member;
        for (to, outputs) in self.notices.readers(epoch, task, outputs) {
            if to == from {
                self.hear(epoch, task, from, &outputs, BTreeSet::new(), out);
                continue;
            }
            let bytes_max = if self.config.inputs_immediate { 0 } else { self.config.notice_bytes_max };
            let bring = self.notices.choose((epoch, task.key.batch), to, &outputs, bytes_max);
            let notice = Notice { epoch, from, to, task, outputs, brought: Vec::new() };
            out.push(Action::Notify { notice, bring });
        }
    }

    /// Another executor tells of a task that ended well there.
    pub(super) fn noticed(&mut self, Noticed { notice, kept }: Noticed, out: &mut Vec<Action>) {
        let is_old = self.epoch.is_some_and(|epoch| notice.epoch < epoch);
        if self.leaving || is_old || notice.to != self.config.member {
            return out.push(Action::Count(Counted::Refused));
        }
        let Notice { epoch, task, from, outputs, .. } = notice;
        self.hear(epoch, task, from, &outputs, kept.into_iter().collect(), out);
    }

    fn hear(
        &mut self,
        epoch: Epoch,
        task: TaskId,
        holder: Member,
        outputs: &[OutputInfo],
        kept: BTreeSet<PartitionId>,
        out: &mut Vec<Action>,
    ) {
        let outputs = outputs.iter().map(|output| output.partition).collect();
        let batch = task.key.batch;
        match self.notices.note(epoch, task, Told { holder, outputs, kept, arrival: 0 }) {
            Heard::New => self.wake_expecting(epoch, batch, out),
            Heard::Old => {}
            // The driver knows who holds what, and names it.
            Heard::Overflown => self.notice_lost(batch, self.config.member, out),
        }
    }

    /// A notice did not arrive, or was not kept: the driver must name the inputs of those who wait for it.
    pub(super) fn notice_lost(&self, batch: BatchNumber, reader: Member, out: &mut Vec<Action>) {
        out.push(Action::TellDriver(ToDriver::NoticeLost { batch, reader }));
    }

    fn wake_expecting(&mut self, epoch: Epoch, batch: BatchNumber, out: &mut Vec<Action>) {
        let waits = |task: &Task| {
            task.state == State::Expecting && (task.facts.epoch, task.facts.batch) == (epoch, batch)
        };
        for id in self.tasks.ids_where(waits) {
            let Some(task) = self.tasks.get_mut(id) else { continue };
            if self.notices.name(&task.facts, self.config.member, &task.asked).is_some()
                && let Some(task) = self.tasks.remove(id)
            {
                self.enter(task.facts, task.asked, out);
            }
        }
    }
}
