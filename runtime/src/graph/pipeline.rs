//! A built graph: what the roles see of it.

use super::{
    BuildOptions, Graph,
    attempts::Attempts,
    nodes::{SinkNode, StreamNode},
    stages::{End, Flat, From},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
};
use tidemill_actors::seam::Payload;
use tidemill_actors::seam::{
    BatchPlan, JobPlan, PayloadCodec, PayloadError, PlannedPart, PlannedRange, Program, SinkInfo,
    StageOutput, StagePlan, StreamInfo, StreamInput, StreamKind,
};
use tidemill_protocol::{
    id::{DatasetId, PartitionId, ProgramId, StageId, StreamId},
    message::ProgramPrint,
    time::BatchTime,
    world::{Files, World},
};
use xxhash_rust::xxh3::xxh3_64;

/// How many lines of the graph is told of when programs are compared: it travels in one message.
const OPERATORS_MAX: usize = 4_096;
/// How many batches' graphs are remembered where `transform` makes them differ: more than are ever in flight.
const FLATS_MAX: usize = 64;

/// A graph that was built: [`Program`], [`Tasks`](tidemill_actors::seam::Tasks), [`PayloadCodec`],
/// [`SourceHost`](tidemill_actors::seam::SourceHost) and [`SinkHost`](tidemill_actors::seam::SinkHost) in one.
pub struct Pipeline {
    pub(super) id: ProgramId,
    pub(super) graph: Graph,
    pub(super) options: BuildOptions,
    pub(super) files: Files,
    /// Where received sources find their network and clock; set once when a cluster takes the pipeline.
    pub(super) world: OnceLock<World>,
    pub(super) streams: Vec<StreamNode>,
    pub(super) stream_infos: Vec<StreamInfo>,
    pub(super) sinks: Vec<SinkNode>,
    pub(super) sink_infos: Vec<SinkInfo>,
    /// The one graph of all batches, if there is no `transform`.
    pub(super) constant: Option<Arc<Flat>>,
    /// In debug builds: what tasks gave so far.
    pub(super) attempts: Attempts,
    pub(super) recent: Mutex<BTreeMap<BatchTime, Arc<Flat>>>,
}

impl Pipeline {
    /// Gives received sources the world that they read in; the first one stays.
    pub(crate) fn attach(&self, world: World) {
        let _ = self.world.set(world);
    }

    /// Whether a stream's records are counted when a batch is planned: only then its rate can be kept.
    pub(crate) fn counts_records(&self, stream: StreamId) -> bool {
        self.streams.get(usize::from(stream.0)).is_some_and(|node| node.source.counts_records())
    }

    /// Whether a planned stream has ended: no later question will give a range.
    pub(crate) fn is_exhausted(&self, stream: StreamId, planned: &BTreeMap<PartitionId, u64>) -> bool {
        self.streams.get(usize::from(stream.0)).is_some_and(|node| node.source.is_exhausted(planned))
    }

    /// What this program is made of, for those who must run the same.
    pub(crate) fn made_of(&self) -> ProgramPrint {
        let BuildOptions { executable, default_partitions, parameters, .. } = &self.options;
        ProgramPrint {
            executable: *executable,
            partitions: *default_partitions,
            parameters: xxh3_64(parameters.as_bytes()),
            operators: self
                .operators()
                .iter()
                .take(OPERATORS_MAX)
                .map(|line| xxh3_64(line.as_bytes()))
                .collect(),
        }
    }

    /// The lines of the graph's description.
    pub(crate) fn operators(&self) -> Vec<String> {
        self.graph.describe().lines().map(str::to_owned).collect()
    }

    /// Asks sinks whether they could work at all.
    pub(crate) fn preflight(&self) -> Result<(), String> {
        self.sinks.iter().try_for_each(|node| node.sink.preflight(&self.files))
    }

    /// Asks received sources the same; only where their receivers will run, for elsewhere a port may be another's.
    pub(crate) async fn preflight_receivers(&self, world: &World) -> Result<(), String> {
        for source in self.streams.iter().filter_map(|node| node.source.received()) {
            source.preflight(world).await?;
        }
        Ok(())
    }

    /// The graph of the batch at `time`: a `transform` is called once a batch on each node.
    pub(super) fn flat(&self, time: BatchTime) -> Arc<Flat> {
        if let Some(flat) = &self.constant {
            return flat.clone();
        }
        let mut recent = self.recent.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(flat) = recent.get(&time) {
            return flat.clone();
        }
        let (flat, error) = Flat::new(&self.graph, time);
        if let Some(error) = error {
            // Building was tried when the pipeline was built, so this is a function that is not pure.
            panic!("transform built an invalid graph for the batch at {time}: {error}");
        }
        let flat = Arc::new(flat);
        recent.insert(time, flat.clone());
        while recent.len() > FLATS_MAX {
            recent.pop_first();
        }
        flat
    }

    fn is_static(&self, stream: StreamId) -> bool {
        self.stream_infos.get(usize::from(stream.0)).is_some_and(|info| info.kind == StreamKind::Static)
    }

    /// How many partitions an exchange has.
    pub(super) fn partitions(&self, asked: Option<u32>) -> u32 {
        asked.unwrap_or(self.options.default_partitions)
    }

    /// The parts of each task of a branch, for each of the branch's inputs.
    fn tasks_of(&self, from: &From, plan: &BatchPlan) -> Vec<Vec<Vec<PlannedPart>>> {
        match from {
            From::Stream(stream) => match plan.inputs.get(stream) {
                None if self.is_static(*stream) => {
                    let all = PlannedRange { partition: PartitionId(0), from: 0, to: 1, rows: 0 };
                    vec![vec![vec![PlannedPart::Range(*stream, all)]]]
                }
                None => Vec::new(),
                Some(StreamInput::Blocks(blocks)) => {
                    blocks.iter().map(|block| vec![vec![PlannedPart::Block(block.id)]]).collect()
                }
                Some(StreamInput::Ranges(ranges)) => {
                    ranges.iter().map(|range| vec![vec![PlannedPart::Range(*stream, *range)]]).collect()
                }
            },
            From::Stages(parents) => {
                let partitions = parents.first().map_or(0, |&(_, asked)| self.partitions(asked));
                let task = |partition| {
                    let part = |&(stage, _): &(usize, _)| {
                        let parent = StageId(stage as u16);
                        vec![PlannedPart::Shuffle { parent, partition: PartitionId(partition) }]
                    };
                    parents.iter().map(part).collect()
                };
                (0..partitions).map(task).collect()
            }
        }
    }
}

impl Program for Pipeline {
    fn id(&self) -> ProgramId {
        self.id
    }

    fn streams(&self) -> &[StreamInfo] {
        &self.stream_infos
    }

    fn sinks(&self) -> &[SinkInfo] {
        &self.sink_infos
    }

    /// The partitions of a shuffle are those of the graph or of [`BuildOptions::default_partitions`], never of the plan:
    /// the tasks that write a shuffle see no plan, and must agree with those that read it.
    fn plan(&self, plan: &BatchPlan) -> JobPlan {
        let flat = self.flat(plan.time);
        let stages = flat.stages.iter().enumerate().map(|(number, stage)| {
            let mut tasks = Vec::new();
            for branch in &stage.branches {
                for inputs in self.tasks_of(&branch.from, plan) {
                    let mut all = vec![Vec::new(); branch.inputs_before];
                    all.extend(inputs);
                    tasks.push(all);
                }
            }
            let output = match stage.end {
                End::Sink(sink) => StageOutput::Sink(sink),
                End::Exchange(_, asked) => StageOutput::Shuffle { partitions: self.partitions(asked) },
            };
            let deterministic = stage.deterministic;
            StagePlan { id: StageId(number as u16), tasks, output, deterministic }
        });
        JobPlan { stages: stages.collect() }
    }
}

impl PayloadCodec for Pipeline {
    fn decode(&self, dataset: DatasetId, bytes: &[u8]) -> Result<Arc<dyn Payload>, PayloadError> {
        self.graph.codec.decode(dataset, bytes)
    }
}
