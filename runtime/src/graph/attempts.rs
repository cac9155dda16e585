//! Debug builds compare the attempts of a task: the same input must give the same bytes, or neither replay nor recovery means
//! anything. What is compared stays in one process; an attempt on another machine is compared there with those before it.

use super::{
    Pipeline,
    stages::{Branch, Flat},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};
use tidemill_actors::seam::{Held, InputData, PART_BYTES_MAX, PayloadError, TaskOutput};
use tidemill_protocol::id::TaskId;
use xxhash_rust::xxh3::Xxh3;

/// How many results are remembered: those of the oldest batches are forgotten first.
const RESULTS_MAX: usize = 4_096;

/// Two attempts of one task gave different results for the same input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "NotDeterministic: {task} gave another result for the same input than an attempt before it; look at {operators}: a user \
     function may depend on its records, the batch's time and the task's generator only"
)]
pub struct NotDeterministic {
    /// The later attempt.
    pub task: TaskId,
    /// The operators of its stage that run user functions, with their numbers.
    pub operators: String,
}

/// The results seen so far: by task and input, a hash of the output.
#[derive(Default)]
pub(super) struct Attempts(Mutex<BTreeMap<(u64, u16, u32, u64), u64>>);

impl Attempts {
    /// Remembers a result, or compares it with the one that is remembered.
    fn agree(&self, task: TaskId, input: u64, output: u64) -> bool {
        let key = (task.key.batch.0, task.key.stage.0, task.key.partition.0, input);
        let mut results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *results.entry(key).or_insert(output);
        while results.len() > RESULTS_MAX {
            results.pop_first();
        }
        first == output
    }
}

impl Pipeline {
    /// Fails if an attempt before this one gave something else for the same input.
    pub(super) fn compare_attempts(
        &self,
        task: TaskId,
        (flat, branch): (&Flat, &Branch),
        input: u64,
        output: &TaskOutput,
    ) -> Result<(), String> {
        let mut hash = Xxh3::new();
        for (partition, held) in &output.outputs {
            hash.update(&partition.0.to_le_bytes());
            add(&mut hash, held).map_err(|error| error.to_string())?;
        }
        if self.attempts.agree(task, input, hash.digest()) {
            return Ok(());
        }
        let name = |node: &usize| flat.nodes.get(*node).map(|n| format!("op-{node} ({})", n.label));
        let operators: Vec<String> = branch.path.iter().filter_map(name).collect();
        let operators = if operators.is_empty() { "its only operator".into() } else { operators.join(", ") };
        Err(NotDeterministic { task, operators }.to_string())
    }
}

/// A hash of what a task reads.
pub(super) fn input_hash(inputs: &[Vec<InputData>]) -> Result<u64, PayloadError> {
    let mut hash = Xxh3::new();
    for part in inputs.iter().flatten() {
        match part {
            InputData::Held(held) => add(&mut hash, held)?,
            InputData::Range { stream, partition, from, to } => {
                hash.update(&stream.0.to_le_bytes());
                hash.update(&partition.0.to_le_bytes());
                hash.update(&from.to_le_bytes());
                hash.update(&to.to_le_bytes());
            }
        }
        hash.update(b"|");
    }
    Ok(hash.digest())
}

fn add(hash: &mut Xxh3, held: &Held) -> Result<(), PayloadError> {
    for piece in held.pieces.iter() {
        // In the parts in which it travels, so that it does not matter where it was read.
        for (_, part) in piece.encode_parts(PART_BYTES_MAX)? {
            hash.update(&part);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{StreamContext, graph::BuildOptions, sources::Generator, testing::MemoryFiles};
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };
    use tidemill_actors::{
        block_store::WorkMeter,
        seam::{InputData, TaskContext, TaskRequest, Tasks},
    };
    use tidemill_protocol::{
        id::{
            Attempt, BatchNumber, Epoch, PartitionId, ProgramId, RunId, StageId, StreamId, TaskId, TaskKey,
        },
        message::TaskFacts,
        time::BatchTime,
        world::Files,
    };

    /// Runs two attempts of the one task of `numbers.map(f)`; gives the second one's error.
    fn second_attempt(f: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Option<String> {
        let context = StreamContext::new();
        context.generator("numbers", Generator::new(1, |_, n| n)).map(f).foreach_batch(|_, _| Ok(()));
        let files = Files::new(MemoryFiles::default());
        let pipeline = context.build(BuildOptions::default(), files.clone()).expect("a sound graph");
        let run = |attempt| {
            let key = TaskKey { batch: BatchNumber(3), stage: StageId(0), partition: PartitionId(0) };
            let task = TaskId { key, attempt: Attempt(attempt) };
            let (epoch, program) = (Epoch(1), ProgramId(0));
            let facts =
                TaskFacts { epoch, program, batch: key.batch, time: BatchTime(9), seed: 7, run: RunId(0) };
            let (cancelled, progress) = Default::default();
            let (files, work) = (files.clone(), WorkMeter::unlimited());
            let context = TaskContext { facts, task, cancelled, progress, files, work };
            let range = InputData::Range { stream: StreamId(0), partition: PartitionId(0), from: 0, to: 5 };
            pipeline.run(TaskRequest { task, inputs: vec![vec![range]] }, &context)
        };
        run(0).expect("the first attempt has nothing to be compared with");
        run(1).err().map(|error| error.to_string())
    }

    #[test]
    fn an_attempt_that_differs_is_reported_with_the_operator() {
        assert_eq!(second_attempt(|n| n * 2), None);
        let calls = Arc::new(AtomicU64::new(0));
        let error = second_attempt(move |n| n + calls.fetch_add(1, Ordering::Relaxed)).expect("it differs");
        assert!(error.starts_with("NotDeterministic: batch-3/stage-0/p0/a1 gave another result"), "{error}");
        assert!(error.contains("op-1 (map)"), "{error}");
    }
}
