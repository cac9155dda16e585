//! The scheduler's tests: tables of events and actions in `rules`, `endings` and `losses`, what is sent ahead in `ahead`, copies and exclusions in `stragglers`, the
//! policies in `policies`, random
//! graphs (`random`) on a model cluster (`cluster`) against an oracle (`oracle`), lineage against brute force (`lineage`), the
//! performer in `performer`, what executors are told late in `releases`.

mod ahead;
mod cluster;
mod endings;
mod leaving;
mod lineage;
mod losses;
mod oracle;
mod performer;
mod policies;
mod random;
mod releases;
mod rules;
mod stragglers;
mod talk;
mod work;

use super::{Action, BlockPlace, ConductLimits, Event, PublishFailure, Scheduler, SchedulerConfig};
use crate::{
    core::Core,
    seam::{BatchPlan, JobPlan, PlannedBlock, PlannedPart, StageOutput, StagePlan, StreamInput},
};
use std::{collections::BTreeMap, fmt::Write, sync::Arc, time::Duration};
use tidemill_protocol::{
    id::*,
    message::{Exhausted, InputPart, OutputInfo, Resource, TaskFailure, TaskOutcome, TaskSpec},
    time::{BatchTime, Time},
};

/// Node `n` in its first life.
fn node(n: u16) -> Member {
    Member { node: NodeId(n), incarnation: Incarnation(1) }
}

/// Block `n` of one receiver.
fn block(n: u64) -> BlockId {
    let (stream, index) = (StreamId(0), ReceiverIndex(0));
    BlockId { receiver: ReceiverId { stream, index, incarnation: Incarnation(0) }, sequence: n }
}

/// A block held by these nodes.
fn place(n: u64, holders: &[u16]) -> BlockPlace {
    BlockPlace { block: block(n), holders: holders.iter().map(|h| node(*h)).collect() }
}

/// An attempt, written `batch/stage/partition.attempt`.
fn id(text: &str) -> TaskId {
    let numbers: Vec<u64> = text.split(['/', '.']).map(|n| n.parse().expect("a number")).collect();
    let (stage, partition) = (StageId(numbers[1] as u16), PartitionId(numbers[2] as u32));
    let key = TaskKey { batch: BatchNumber(numbers[0]), stage, partition };
    TaskId { key, attempt: Attempt(numbers[3] as u16) }
}

/// The output of an attempt for a reduce partition.
fn output(text: &str, partition: u32) -> DataKey {
    DataKey::Output { task: id(text), partition: PartitionId(partition) }
}

fn show(task: TaskId) -> String {
    let TaskKey { batch, stage, partition } = task.key;
    format!("{}/{}/{}.{}", batch.0, stage.0, partition.0, task.attempt.0)
}

fn show_key(key: &DataKey) -> String {
    match key {
        DataKey::Block(id) => format!("b{}", id.sequence),
        DataKey::Output { task, partition } => format!("{}>{}", show(*task), partition.0),
    }
}

/// One action as a line, counters left out.
fn line(action: &Action) -> Option<String> {
    let list = |tasks: &[TaskId]| tasks.iter().map(|t| show(*t)).collect::<Vec<_>>().join(" ");
    Some(match action {
        Action::Launch { member, tasks, .. } => {
            format!("run {}: {}", member.node.0, list(&tasks.iter().map(|t| t.task).collect::<Vec<_>>()))
        }
        Action::Name { member, tasks } => {
            format!("name {}: {}", member.node.0, list(&tasks.iter().map(|t| t.task).collect::<Vec<_>>()))
        }
        Action::Cancel { member, tasks } => format!("cancel {}: {}", member.node.0, list(tasks)),
        Action::Drop { member, keys } => {
            let keys: Vec<_> = keys.iter().map(show_key).collect();
            format!("drop {}: {}", member.node.0, keys.join(" "))
        }
        Action::Decided { batch } => format!("decided {}", batch.0),
        Action::Publish { batch, sink, parts, .. } => {
            let mut text = format!("publish {} sink {}:", batch.0, sink.0);
            for part in parts {
                let fetch = if part.has_rows { format!("@{}", part.holder.node.0) } else { String::new() };
                write!(text, " {}{fetch}", show(part.task)).expect("a string takes it");
            }
            text
        }
        Action::Discard { sink, task } => format!("discard sink {}: {}", sink.0, show(*task)),
        Action::Completed(timings) => format!("completed {}", timings.batch.0),
        Action::Release { batch, members } => {
            format!("release {} at {:?}", batch.0, members.iter().map(|m| m.node.0).collect::<Vec<_>>())
        }
        Action::ReleaseOutputs { member, up_to } => format!("release up to {} at {}", up_to.0, member.node.0),
        Action::PipelineFailed { text, .. } => format!("failed: {text}"),
        Action::TasksLost { batch, member, tasks } => {
            let tasks: Vec<_> = tasks.iter().map(|k| format!("{}/{}", k.stage.0, k.partition.0)).collect();
            format!("lost {} of {}: {}", member.node.0, batch.0, tasks.join(" "))
        }
        Action::ExecutorDrained { member } => format!("drained {}", member.node.0),
        Action::Copied { task, slow, .. } => format!("copy from {}: {}", slow.node.0, show(*task)),
        Action::Excluded { member, time, why } => format!("exclude {} for {time:?}: {why:?}", member.node.0),
        Action::Included { member } => format!("include {}", member.node.0),
        Action::Stopped => "stopped".to_owned(),
        // Told with each failure; what follows from it is what the tables are about.
        Action::AttemptFailed { .. } | Action::Count(..) => return None,
    })
}

/// A scheduler under test.
struct Table {
    scheduler: Scheduler,
    now: Time,
    last: Vec<Action>,
}

impl Table {
    /// With these executors (node, slots), stage by stage.
    fn with(executors: &[(u16, u16)]) -> Table {
        let config =
            SchedulerConfig { prescheduling: None, late_release: None, ..SchedulerConfig::default() };
        Table::from(config, executors)
    }

    /// The same with all stages of a batch sent at once.
    fn ahead(executors: &[(u16, u16)]) -> Table {
        Table::from(SchedulerConfig { late_release: None, ..SchedulerConfig::default() }, executors)
    }

    fn from(config: SchedulerConfig, executors: &[(u16, u16)]) -> Table {
        let scheduler = Scheduler::new(SchedulerConfig { queue_per_slot: 0, ..config });
        let mut table = Table { scheduler, now: Time(1), last: Vec::new() };
        for (n, slots) in executors {
            table.gives(Event::ExecutorUp { member: node(*n), slots: *slots }, &[]);
        }
        table
    }

    /// Tells an event and compares the actions with the lines.
    #[track_caller]
    fn gives(&mut self, event: Event, expected: &[&str]) {
        self.last.clear();
        self.scheduler.on_event(self.now, event.clone(), &mut self.last);
        self.scheduler.assert_invariants();
        let lines: Vec<String> = self.last.iter().filter_map(line).collect();
        assert_eq!(lines, expected, "after {event:?}");
    }

    /// The spec that was launched last under this name.
    fn spec(&self, text: &str) -> Arc<TaskSpec> {
        let launched = self.last.iter().filter_map(|action| match action {
            Action::Launch { tasks, .. } => Some(tasks),
            _ => None,
        });
        launched.flatten().find(|spec| spec.task == id(text)).expect("it was launched").clone()
    }

    /// What it wants to be woken at, from now.
    fn wakes_in(&self) -> Option<Duration> {
        self.scheduler.next_deadline().map(|at| at.since(self.now))
    }

    fn later(&mut self, by: Duration) {
        self.now = self.now + by;
    }
}

/// The holders and names of a spec's parts, by input.
fn parts(spec: &TaskSpec) -> Vec<Vec<String>> {
    let part = |part: &InputPart| match part {
        InputPart::Held { key, holders } => {
            format!("{}@{:?}", show_key(key), holders.iter().map(|h| h.node.0).collect::<Vec<_>>())
        }
        InputPart::Range { from, to, .. } => format!("{from}..{to}"),
        InputPart::Shuffle { stage, partition, writers, attempt } => {
            format!("{}/0-{}.{}>{}", stage.0, writers - 1, attempt.0, partition.0)
        }
    };
    spec.inputs.iter().map(|input| input.iter().map(part).collect()).collect()
}

fn stage(n: u16, tasks: Vec<Vec<Vec<PlannedPart>>>, output: StageOutput) -> StagePlan {
    StagePlan { id: StageId(n), tasks, output, deterministic: true }
}

fn shuffle(parent: u16, partition: u32) -> PlannedPart {
    PlannedPart::Shuffle { parent: StageId(parent), partition: PartitionId(partition) }
}

/// `maps` tasks that read block 0, 1 …, shuffled to `reduces` tasks that write sink 0.
fn map_reduce(maps: u64, reduces: u32) -> JobPlan {
    let map = (0..maps).map(|n| vec![vec![PlannedPart::Block(block(n))]]).collect();
    let reduce = (0..reduces).map(|p| vec![vec![shuffle(0, p)]]).collect();
    JobPlan {
        stages: vec![
            stage(0, map, StageOutput::Shuffle { partitions: reduces }),
            stage(1, reduce, StageOutput::Sink(SinkId(0))),
        ],
    }
}

/// `tasks` tasks that read block 0, 1 … and write sink 0.
fn maps_only(tasks: u64) -> JobPlan {
    let map = (0..tasks).map(|n| vec![vec![PlannedPart::Block(block(n))]]).collect();
    JobPlan { stages: vec![stage(0, map, StageOutput::Sink(SinkId(0)))] }
}

/// The plan of a batch whose blocks have 10 records and 100 bytes each.
fn batch_plan(batch: u64, blocks: &[BlockPlace]) -> Arc<BatchPlan> {
    let planned = blocks.iter().map(|place| PlannedBlock { id: place.block, rows: 10, bytes: 100 }).collect();
    Arc::new(BatchPlan {
        batch: BatchNumber(batch),
        time: BatchTime(1_000 * (batch + 1)),
        program: ProgramId(7),
        seed: 42,
        default_partitions: 2,
        inputs: BTreeMap::from([(StreamId(0), StreamInput::Blocks(planned))]),
    })
}

fn plan(batch: u64, job: JobPlan, blocks: Vec<BlockPlace>) -> Event {
    replan(batch, 0, job, blocks)
}

fn replan(batch: u64, version: u32, job: JobPlan, blocks: Vec<BlockPlace>) -> Event {
    Event::Plan { plan: batch_plan(batch, &blocks), job: Arc::new(job), version, blocks }
}

fn safe(batch: u64) -> Event {
    Event::BatchSafe { batch: BatchNumber(batch) }
}

fn down(n: u16) -> Event {
    Event::ExecutorDown { member: node(n), has_ended: false }
}

/// A good outcome with 1 record of 8 bytes for each of `partitions`.
fn done(task: &str, on: u16, partitions: &[u32]) -> Event {
    done_reading(task, on, partitions, Vec::new())
}

fn done_reading(task: &str, on: u16, partitions: &[u32], read: Vec<DataKey>) -> Event {
    let outputs =
        partitions.iter().map(|p| OutputInfo { partition: PartitionId(*p), rows: 1, bytes: 8 }).collect();
    Event::TaskDone(Arc::new(TaskOutcome {
        task: id(task),
        holder: node(on),
        outputs,
        rows_in: 10,
        run_ns: 1,
        read,
        read_stages: Vec::new(),
        prepared: Vec::new(),
    }))
}

fn failed(task: &str, on: u16, message: &str) -> Event {
    Event::TaskFailed(TaskFailure {
        task: id(task),
        reporter: node(on),
        message: message.into(),
        missing: None,
        exhausted: None,
        unreached: Vec::new(),
    })
}

/// An executor had no memory for it.
fn refused(task: &str, on: u16) -> Event {
    Event::TaskFailed(TaskFailure {
        task: id(task),
        reporter: node(on),
        message: "resources exhausted".into(),
        missing: None,
        exhausted: Some(Exhausted { resource: Resource::Inputs, needed: 9, max: 8 }),
        unreached: Vec::new(),
    })
}

fn missing(task: &str, on: u16, key: DataKey) -> Event {
    let message = "not there".to_owned();
    Event::TaskFailed(TaskFailure {
        task: id(task),
        reporter: node(on),
        message,
        missing: Some(key),
        exhausted: None,
        unreached: Vec::new(),
    })
}

/// An input that is held by an executor which could not be reached.
fn unreached(task: &str, on: u16, key: DataKey, holder: u16) -> Event {
    let Event::TaskFailed(mut failure) = missing(task, on, key) else { panic!("it has failed") };
    failure.unreached.push(node(holder));
    Event::TaskFailed(failure)
}

fn published(batch: u64, sink: u16) -> Event {
    Event::Published { batch: BatchNumber(batch), sink: SinkId(sink), result: Ok(()) }
}

fn not_published(batch: u64, sink: u16, failure: PublishFailure) -> Event {
    Event::Published { batch: BatchNumber(batch), sink: SinkId(sink), result: Err(failure) }
}
