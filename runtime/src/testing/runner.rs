//! Runs the batches of a pipeline without actors: plan, tasks in order of stage, sinks.

use super::MemoryFiles;
use crate::{
    StreamContext,
    graph::{BuildOptions, GraphError, Pipeline},
};
use futures_util::FutureExt;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};
use tidemill_actors::block_store::WorkMeter;
use tidemill_actors::seam::{
    BatchPlan, Held, InputData, PlannedPart, Program, PublishError, Published, SinkHost, SourceError,
    SourceHost, StageOutput, StreamInput, StreamKind, TaskContext, TaskError, TaskOutput, TaskRequest, Tasks,
};
use tidemill_protocol::{
    id::{Attempt, BatchNumber, Epoch, PartitionId, RunId, StageId, StreamId, TaskId, TaskKey},
    message::TaskFacts,
    time::BatchTime,
    world::Files,
};

/// The interval of test batches; the first is at 1,000 ms.
const INTERVAL_MS: u64 = 1000;

/// There is no driver here, and the files are this runner's own.
const RUN: RunId = RunId(0);

/// A batch could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A source could not be asked.
    #[error("a source: {0}")]
    Source(#[from] SourceError),
    /// A task failed; nothing is tried again here.
    #[error("task {task}: {error}")]
    Task {
        /// Which.
        task: TaskId,
        /// Why.
        error: TaskError,
    },
    /// A sink refused the batch.
    #[error("a sink: {0}")]
    Publish(#[from] PublishError),
    /// A sink or source waits for something; they run here without a runtime.
    #[error("a source or sink waits for something that does not exist in this runner")]
    Waits,
}

/// What the tasks of the stages so far have made.
type Made = BTreeMap<StageId, Vec<(TaskId, TaskOutput)>>;

/// Runs a pipeline batch by batch in this process, by the same plans and tasks as a cluster. Planned sources only.
///
/// See [`foreach_batch`](crate::DStream::foreach_batch) for an example.
pub struct LocalRunner {
    pipeline: Arc<Pipeline>,
    files: Files,
    threads: usize,
    planned: BTreeMap<StreamId, BTreeMap<PartitionId, u64>>,
    next: BatchNumber,
    /// What all tasks are given, so that a test of the runtime can cancel and watch them.
    pub(crate) cancelled: Arc<AtomicBool>,
    pub(crate) progress: Arc<AtomicU64>,
    pub(crate) work: WorkMeter,
}

impl LocalRunner {
    /// A runner for all that `context` declares, with default options and files in memory.
    ///
    /// # Errors
    /// [`GraphError`] if the graph cannot be built.
    pub fn new(context: &StreamContext) -> Result<Self, GraphError> {
        let files = Files::new(MemoryFiles::default());
        let pipeline = context.build(BuildOptions::default(), files.clone())?;
        Ok(Self::with(Arc::new(pipeline), files, 1))
    }

    /// A runner for a pipeline that was built with `files`, on `threads` threads.
    pub fn with(pipeline: Arc<Pipeline>, files: Files, threads: usize) -> Self {
        LocalRunner {
            pipeline,
            files,
            threads,
            planned: BTreeMap::new(),
            next: BatchNumber(0),
            cancelled: Arc::default(),
            progress: Arc::default(),
            work: WorkMeter::unlimited(),
        }
    }

    /// The files of sources and sinks.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Runs the next batch to its end; `None` if every source is exhausted.
    ///
    /// # Errors
    /// [`RunError`]; the batch is then lost.
    pub fn run_batch(&mut self) -> Result<Option<BatchTime>, RunError> {
        let Some(plan) = self.next_plan()? else {
            return Ok(None);
        };
        for published in self.execute(&plan)? {
            self.publish(published)?;
        }
        Ok(Some(plan.time))
    }

    /// Asks the sources what the next batch holds; `None` if every source is exhausted.
    ///
    /// # Errors
    /// [`RunError::Source`].
    pub fn next_plan(&mut self) -> Result<Option<BatchPlan>, RunError> {
        let streams = self.pipeline.streams().iter().filter(|s| s.kind == StreamKind::Planned);
        let (mut inputs, mut alive) = (BTreeMap::new(), false);
        for stream in streams {
            let planned = self.planned.entry(stream.id).or_default();
            alive |= !self.pipeline.is_exhausted(stream.id, planned);
            let found = self
                .pipeline
                .next_ranges(stream.id, planned, None)
                .now_or_never()
                .ok_or(RunError::Waits)??;
            let ranges = found.ranges;
            planned.extend(ranges.iter().map(|range| (range.partition, range.to)));
            inputs.insert(stream.id, StreamInput::Ranges(ranges));
        }
        if !alive {
            return Ok(None);
        }
        let batch = self.next;
        self.next = batch.next();
        Ok(Some(BatchPlan {
            batch,
            time: BatchTime((batch.0 + 1) * INTERVAL_MS),
            program: self.pipeline.id(),
            seed: batch.0,
            default_partitions: 2,
            inputs,
        }))
    }

    /// Runs the tasks of a batch; what each sink is to publish.
    ///
    /// # Errors
    /// [`RunError::Task`] of the first task that failed.
    pub fn execute(&self, plan: &BatchPlan) -> Result<Vec<Published>, RunError> {
        let (mut made, mut published) = (Made::new(), Vec::new());
        for stage in &self.pipeline.plan(plan).stages {
            let requests: Vec<TaskRequest> = stage
                .tasks
                .iter()
                .enumerate()
                .map(|(number, inputs)| {
                    let key =
                        TaskKey { batch: plan.batch, stage: stage.id, partition: PartitionId(number as u32) };
                    let inputs = inputs.iter().map(|parts| resolve(parts, &made)).collect();
                    TaskRequest { task: TaskId { key, attempt: Attempt(0) }, inputs }
                })
                .collect();
            let outputs = self.run_all(plan, requests)?;
            match stage.output {
                StageOutput::Shuffle { .. } => {
                    made.insert(stage.id, outputs);
                }
                StageOutput::Sink(sink) => {
                    let held = |mut output: TaskOutput| {
                        output.outputs.pop().map_or_else(Held::default, |(_, held)| held)
                    };
                    let partitions = outputs.into_iter().map(|(task, output)| (task, held(output))).collect();
                    published.push(Published {
                        run: RUN,
                        sink,
                        batch: plan.batch,
                        time: plan.time,
                        partitions,
                    });
                }
            }
        }
        Ok(published)
    }

    /// Publishes the output of one sink.
    ///
    /// # Errors
    /// [`RunError::Publish`].
    pub fn publish(&self, published: Published) -> Result<(), RunError> {
        Ok(self.pipeline.publish(published).now_or_never().ok_or(RunError::Waits)??)
    }

    fn run_all(
        &self,
        plan: &BatchPlan,
        requests: Vec<TaskRequest>,
    ) -> Result<Vec<(TaskId, TaskOutput)>, RunError> {
        if self.threads < 2 {
            return requests.into_iter().map(|request| self.run_one(plan, request)).collect();
        }
        let (next, count) = (AtomicUsize::new(0), requests.len());
        let results: Vec<_> = requests.iter().map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            for _ in 0..self.threads.min(count) {
                scope.spawn(|| {
                    while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let at = request.task.key.partition.0 as usize;
                        let result = self.run_one(plan, request.clone());
                        *results[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                    }
                });
            }
        });
        let done = |slot: Mutex<Option<_>>| {
            slot.into_inner()
                .unwrap_or_else(PoisonError::into_inner)
                .expect("every request was taken by a thread")
        };
        results.into_iter().map(done).collect()
    }

    fn run_one(&self, plan: &BatchPlan, request: TaskRequest) -> Result<(TaskId, TaskOutput), RunError> {
        let task = request.task;
        let facts = TaskFacts {
            epoch: Epoch(1),
            program: plan.program,
            batch: plan.batch,
            time: plan.time,
            seed: plan.seed,
            run: RUN,
        };
        let context = TaskContext {
            facts,
            task,
            cancelled: self.cancelled.clone(),
            progress: self.progress.clone(),
            files: self.files.clone(),
            work: self.work.clone(),
        };
        let output = self.pipeline.run(request, &context).map_err(|error| RunError::Task { task, error })?;
        Ok((task, output))
    }
}

/// The data of the planned parts.
fn resolve(parts: &[PlannedPart], made: &Made) -> Vec<InputData> {
    let mut inputs = Vec::new();
    for part in parts {
        match *part {
            // This runner has no receivers.
            PlannedPart::Block(_) => {}
            PlannedPart::Range(stream, range) => inputs.push(InputData::Range {
                stream,
                partition: range.partition,
                from: range.from,
                to: range.to,
            }),
            PlannedPart::Shuffle { parent, partition } => {
                let outputs = made.get(&parent).into_iter().flatten().flat_map(|(_, output)| &output.outputs);
                let mine = outputs.filter(|(of, _)| *of == partition);
                inputs.extend(mine.map(|(_, held)| InputData::Held(held.clone())));
            }
        }
    }
    inputs
}
