//! One task on a slot's thread, from its inputs to its end.

use super::{Fetched, Flags, InputSource};
use crate::{
    block_store::WorkMeter,
    executor::TaskEnd,
    seam::{Held, TaskContext, TaskError, TaskOutput, TaskRequest, Tasks},
    supervision::panic::catch,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tidemill_protocol::{
    id::{DataKey, TaskId},
    message::{OutputInfo, Piece, REPORTED_BYTES_MAX, TaskFacts, TaskSpec},
    time::Time,
    world::{Clock, Files},
};

/// What every task of an executor is run with.
#[derive(Clone)]
pub struct SlotWork {
    /// What runs tasks.
    pub tasks: Arc<dyn Tasks>,
    /// Where inputs come from, and outputs go to.
    pub source: InputSource,
    /// What run times are measured with.
    pub clock: Clock,
    /// For sinks that stage files and sources that read them.
    pub files: Files,
}

/// One attempt, ready for a slot.
pub struct Assignment {
    /// The plan's facts.
    pub facts: TaskFacts,
    /// What to run.
    pub spec: Arc<TaskSpec>,
    /// Its inputs if they were fetched; else they are at hand in this process.
    pub fetched: Option<Fetched>,
    /// How it is cancelled and watched.
    pub flags: Flags,
    /// The virtual time it takes on a sound node; zero in the real world.
    pub cost: Duration,
    /// When it was given to the slot: a simulated one may be slower than its cost.
    pub given: Time,
}

impl SlotWork {
    /// Runs an attempt to its end; a panic in user code is an end like another. What was kept of an attempt that did not
    /// end well is dropped again, and what it left for a sink is discarded: whoever cancelled it may have done so earlier,
    /// when there was nothing.
    pub fn run(&self, assignment: Assignment) -> TaskEnd {
        let (task, facts) = (assignment.spec.task, assignment.facts.clone());
        // Payloads are user code as well: decoding, weighing and dropping them stays inside.
        let end = catch(|| self.attempt(assignment))
            .unwrap_or_else(|panic| TaskEnd::failed(format!("{task} panicked: {panic}")));
        match end {
            TaskEnd::Done { .. } | TaskEnd::Missing { .. } => {}
            TaskEnd::Failed { .. } | TaskEnd::Cancelled => self.discard(task, &facts),
        }
        end
    }

    /// Removes what an attempt left for a sink. It blocks.
    pub fn discard(&self, task: TaskId, facts: &TaskFacts) {
        if let Err(panic) = catch(|| self.tasks.discard(task, facts, &self.files)) {
            tracing::warn!(%task, %panic, "what an attempt left for its sink could not be removed");
        }
    }

    fn attempt(&self, assignment: Assignment) -> TaskEnd {
        let Assignment { facts, spec, fetched, flags, cost, given } = assignment;
        if flags.cancelled.load(Ordering::Relaxed) {
            return TaskEnd::Cancelled;
        }
        let work = self.source.store.work_meter();
        // Also where the task panics, or has left a copy of its context somewhere.
        let _built = Built(&work);
        let (inputs, _reserved) = match fetched {
            Some(fetched) => (fetched.inputs, Some(fetched.reserved)),
            None => match self.source.read_now(&spec, &flags, &work) {
                Ok(inputs) => (inputs, None),
                Err(end) => return end,
            },
        };
        let Flags { cancelled, progress } = flags.clone();
        let (task, files) = (spec.task, self.files.clone());
        let context = TaskContext { facts, task, cancelled, progress, files, work: work.clone() };
        let started = self.clock.now();
        let ended = self.tasks.run(TaskRequest { task: spec.task, inputs }, &context);
        let ended_at = self.clock.now();
        let run_time = match cost {
            Duration::ZERO => ended_at.since(started),
            // The simulated slot has slept before the work, longer than the cost on a slow node.
            cost => ended_at.since(given).max(ended_at.since(started) + cost),
        };
        match ended {
            // Whoever cancels frees what the batch holds: nothing may be put in its place afterwards.
            _ if context.is_cancelled() => TaskEnd::Cancelled,
            Err(TaskError::Cancelled) => TaskEnd::Cancelled,
            Err(TaskError::Failed(message)) => TaskEnd::failed(message),
            Err(TaskError::Exhausted(error)) => {
                TaskEnd::Failed { message: format!("{}: {error}", spec.task), exhausted: Some(error.wire()) }
            }
            Ok(output) => {
                // From here on the store counts it.
                work.release();
                self.keep(spec.task, output, run_time)
            }
        }
    }

    fn keep(&self, task: TaskId, output: TaskOutput, run_time: Duration) -> TaskEnd {
        let prepared = match &output.outputs[..] {
            [(_, held)] if output.is_for_sink && !self.source.transport.is_immediate() => reported(held),
            _ => Vec::new(),
        };
        let mut outputs = Vec::with_capacity(output.outputs.len());
        for (partition, held) in output.outputs {
            let info = OutputInfo { partition, rows: held.rows(), bytes: held.bytes() };
            if let Err(error) = self.source.store.put_output(task, partition, held) {
                for kept in outputs.iter().map(|info: &OutputInfo| info.partition) {
                    self.source.store.remove(DataKey::Output { task, partition: kept });
                }
                let message = format!("{task} cannot keep its output: {error}");
                return TaskEnd::Failed { message, exhausted: error.exhausted() };
            }
            outputs.push(info);
        }
        let run_ns = u64::try_from(run_time.as_nanos()).unwrap_or(u64::MAX);
        TaskEnd::Done { outputs, rows_in: output.rows_in, run_ns, prepared }
    }
}

/// Gives back what a task has built, however it ends.
struct Built<'a>(&'a WorkMeter);

impl Drop for Built<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Each piece has some thirty bytes around it in a report.
const REPORTED_PIECES_MAX: usize = 64;

/// What of a sink's output travels with the report: all of it if it is little, which an estimate says first. What cannot be
/// written is not brought; whoever asks for it is told why.
pub(super) fn reported(held: &Held) -> Vec<Piece> {
    // An estimate reads some of the records: not of a million of them.
    if held.rows() > REPORTED_BYTES_MAX || held.encoded_bytes() > 2 * REPORTED_BYTES_MAX {
        return Vec::new();
    }
    let pieces = held.encode().unwrap_or_default();
    let bytes: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
    if bytes as u64 > REPORTED_BYTES_MAX || pieces.len() > REPORTED_PIECES_MAX { Vec::new() } else { pieces }
}

impl From<super::InputError> for TaskEnd {
    fn from(error: super::InputError) -> Self {
        match error.missing {
            Some(key) => TaskEnd::Missing { key, message: error.message },
            None => TaskEnd::Failed { message: error.message, exhausted: error.exhausted },
        }
    }
}
