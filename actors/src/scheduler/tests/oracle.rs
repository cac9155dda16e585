//! What the random test compares with: random jobs, a pure task, and the whole job evaluated without a cluster.

use super::*;
use std::collections::BTreeSet;
use tidemill_protocol::world::SeededRng;

pub(super) type Value = u64;

pub(super) fn mix(a: u64, b: u64) -> u64 {
    SeededRng::new(a.wrapping_mul(31).wrapping_add(b)).next_u64()
}

/// A random job: 1 to 4 stages, each reading blocks, ranges, or earlier shuffles (diamonds included); leaves write sinks.
pub(super) fn random_job(rng: &mut SeededRng, first_block: u64) -> (JobPlan, u64) {
    let stages = rng.range(1, 5) as u16;
    let mut widths: Vec<u32> = Vec::new();
    let mut blocks = 0;
    let mut job = JobPlan::default();
    for n in 0..stages {
        let mut parents: Vec<u16> = (0..n).filter(|_| rng.chance(0.6)).collect();
        if n > 0 && parents.is_empty() && rng.chance(0.7) {
            parents.push(n - 1);
        }
        let partitions = rng.range(1, 5) as u32;
        let mut tasks = Vec::new();
        for p in 0..partitions {
            let mut inputs: Vec<Vec<PlannedPart>> = parents
                .iter()
                .map(|parent| vec![shuffle(*parent, p % widths[usize::from(*parent)])])
                .collect();
            if parents.is_empty() {
                let own = rng.range(1, 4);
                let part = |b| PlannedPart::Block(block(first_block + blocks + b));
                inputs.push((0..own).map(part).collect());
                blocks += own;
            }
            tasks.push(inputs);
        }
        let width = rng.range(1, 4) as u32;
        widths.push(width);
        let mut stage = stage(n, tasks, StageOutput::Shuffle { partitions: width });
        stage.deterministic = rng.chance(0.8);
        job.stages.push(stage);
    }
    // Stages that nobody reads write sinks; the last one always does.
    let read: BTreeSet<StageId> = job.stages.iter().flat_map(|s| parents_of(&job, s.id)).collect();
    let mut sink = 0;
    for stage in &mut job.stages {
        if !read.contains(&stage.id) {
            stage.output = StageOutput::Sink(SinkId(sink));
            sink += 1;
        }
    }
    (job, blocks)
}

pub(super) fn parents_of(job: &JobPlan, stage: StageId) -> BTreeSet<StageId> {
    let parts = job.stages[usize::from(stage.0)].tasks.iter().flatten().flatten();
    let parent = |part: &PlannedPart| match part {
        PlannedPart::Shuffle { parent, .. } => Some(*parent),
        _ => None,
    };
    parts.filter_map(parent).collect()
}

pub(super) fn block_value(id: BlockId) -> Value {
    mix(id.sequence, 1)
}

/// What a task makes of its inputs: a value for each reduce partition, some of them empty.
pub(super) fn compute(job: &JobPlan, key: TaskKey, inputs: u64) -> BTreeMap<PartitionId, Value> {
    let width = match job.stages[usize::from(key.stage.0)].output {
        StageOutput::Shuffle { partitions } => partitions,
        StageOutput::Sink(_) => 1,
    };
    let name = mix(u64::from(key.stage.0) << 32 | u64::from(key.partition.0), key.batch.0);
    let value = |p: u32| mix(mix(name, inputs), u64::from(p));
    (0..width).map(|p| (PartitionId(p), value(p))).filter(|(_, v)| v % 4 != 0).collect()
}

/// The oracle: the whole job, evaluated without a cluster.
pub(super) fn evaluate(job: &JobPlan, batch: BatchNumber) -> BTreeMap<TaskKey, BTreeMap<PartitionId, Value>> {
    let mut all = BTreeMap::<TaskKey, BTreeMap<PartitionId, Value>>::new();
    for stage in &job.stages {
        for (p, inputs) in stage.tasks.iter().enumerate() {
            let mut hash = 0;
            for input in inputs {
                hash = mix(hash, 99);
                for part in input {
                    match part {
                        PlannedPart::Block(id) => hash = mix(hash, block_value(*id)),
                        PlannedPart::Range(_, range) => hash = mix(hash, range.to),
                        PlannedPart::Shuffle { parent, partition } => {
                            let made = all.iter().filter(|(key, _)| key.stage == *parent);
                            for value in made.filter_map(|(_, outputs)| outputs.get(partition)) {
                                hash = mix(hash, *value);
                            }
                        }
                    }
                }
            }
            let key = TaskKey { batch, stage: stage.id, partition: PartitionId(p as u32) };
            all.insert(key, compute(job, key, hash));
        }
    }
    all
}
