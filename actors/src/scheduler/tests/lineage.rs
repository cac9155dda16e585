//! Lineage against brute force. First the pure function: on small graphs with random histories its answer is contained in
//! every set of tasks that gives what is wanted without mixing two runs of a task, found by trying all of them. Then the
//! whole scheduler: random jobs on executors that die in any order and number, with the values really computed; each launch
//! must be in the set that a plain recursion over the graph calls lost and still needed, and runs once.

use super::super::lineage::{Copy, LineageStage, LineageTask, rebuild};
use super::oracle::{Value, compute, evaluate, mix, parents_of, random_job};
use super::*;
use crate::seam::PlannedRange;
use std::{collections::BTreeSet, sync::Arc};
use tidemill_protocol::world::SeededRng;

type At = (StageId, PartitionId);

/// Which run of which task that is not deterministic a value comes from.
type Origin = BTreeMap<At, u32>;

#[derive(Clone, Debug)]
struct Made {
    copy: Copy,
    origin: Origin,
}

/// A small graph, and what has been made of it.
struct Graph {
    parents: Vec<Vec<StageId>>,
    deterministic: Vec<bool>,
    wanted: Vec<bool>,
    finished: Vec<bool>,
    made: BTreeMap<At, Made>,
    runs: u32,
}

impl Graph {
    fn random(rng: &mut SeededRng) -> Graph {
        let count = rng.range(2, 5) as usize;
        let mut parents: Vec<Vec<StageId>> = Vec::new();
        for n in 0..count as u16 {
            let mut of: Vec<StageId> = (0..n).filter(|_| rng.chance(0.5)).map(StageId).collect();
            if n > 0 && of.is_empty() && rng.chance(0.7) {
                of.push(StageId(n - 1));
            }
            parents.push(of);
        }
        let is_leaf = |n: usize| !parents.iter().flatten().any(|p| usize::from(p.0) == n);
        let finished: Vec<bool> = (0..count).map(|n| is_leaf(n) && rng.chance(0.2)).collect();
        let wanted = (0..count).map(|n| is_leaf(n) && !finished[n]).collect();
        let deterministic = (0..count).map(|_| rng.chance(0.6)).collect();
        let mut made = BTreeMap::new();
        for stage in 0..count as u16 {
            for partition in 0..rng.range(1, 3) as u32 {
                let none = Made { copy: Copy::Coming, origin: Origin::new() };
                made.insert((StageId(stage), PartitionId(partition)), none);
            }
        }
        Graph { parents, deterministic, wanted, finished, made, runs: 0 }
    }

    fn inputs(&self, at: At) -> impl Iterator<Item = (&At, &Made)> {
        let parents = &self.parents[usize::from(at.0.0)];
        self.made.iter().filter(|(read, _)| parents.contains(&read.0))
    }

    /// Runs what can run, each with this chance; what a finished sink has read was all made.
    fn run(&mut self, rng: &mut SeededRng, chance: f64) {
        let names: Vec<At> = self.made.keys().copied().collect();
        for at in names {
            let can_run = self.inputs(at).all(|(_, made)| made.copy == Copy::Held);
            if self.made[&at].copy == Copy::Coming && can_run && rng.chance(chance) {
                let mut origin: Origin = self.inputs(at).flat_map(|(_, made)| made.origin.clone()).collect();
                if !self.deterministic[usize::from(at.0.0)] {
                    self.runs += 1;
                    origin.insert(at, self.runs);
                }
                self.made.insert(at, Made { copy: Copy::Held, origin });
            }
        }
    }

    fn lose(&mut self, rng: &mut SeededRng) {
        let held = self.made.values_mut().filter(|made| made.copy == Copy::Held);
        held.for_each(|made| {
            if rng.chance(0.4) {
                made.copy = Copy::Lost;
            }
        });
    }

    fn stages(&self) -> Vec<LineageStage<'_>> {
        let tasks = |n: usize| {
            let own = self.made.iter().filter(move |(at, _)| usize::from(at.0.0) == n);
            own.map(move |(_, made)| LineageTask { parents: &self.parents[n], copy: made.copy }).collect()
        };
        let stage = |n: usize| LineageStage {
            wanted: self.wanted[n],
            deterministic: self.deterministic[n],
            finished: self.finished[n],
            tasks: tasks(n),
        };
        (0..self.parents.len()).map(stage).collect()
    }

    /// Whether running `again` beside what is coming gives everything that is wanted, of one run of each task.
    fn is_enough(&self, again: &BTreeSet<At>) -> bool {
        let mut known = BTreeMap::<At, Origin>::new();
        let mut seen = Origin::new();
        let mut agrees =
            |origin: &Origin| origin.iter().all(|(at, run)| *seen.entry(*at).or_insert(*run) == *run);
        for (at, made) in &self.made {
            let stage = usize::from(at.0.0);
            let runs = made.copy == Copy::Coming || again.contains(at);
            if runs {
                let mut origin = Origin::new();
                for (read, _) in self.inputs(*at) {
                    match known.get(read) {
                        Some(from) => origin.extend(from.clone()),
                        None => return false,
                    }
                }
                if !self.deterministic[stage] {
                    origin.insert(*at, u32::MAX);
                }
                if !agrees(&origin) {
                    return false;
                }
                known.insert(*at, origin);
            } else if made.copy == Copy::Held {
                // Whoever reads it sees what it was made from.
                if self.wanted[stage] && !agrees(&made.origin) {
                    return false;
                }
                known.insert(*at, made.origin.clone());
            } else if self.wanted[stage] {
                return false;
            }
        }
        // An origin is the union of its inputs': two runs of one task in it have met within `agrees` of an earlier one, or
        // here.
        self.made.keys().filter(|at| again.contains(at) || self.made[at].copy == Copy::Coming).all(|at| {
            let mut met = Origin::new();
            let mut inputs = self.inputs(*at).flat_map(|(read, _)| known[read].clone());
            inputs.all(|(of, run)| *met.entry(of).or_insert(run) == run)
        })
    }
}

#[test]
fn the_answer_is_contained_in_every_set_that_is_enough() {
    let (mut rebuilt, mut spoiled) = (0, 0);
    for seed in 0..4_000 {
        let mut rng = SeededRng::new(seed);
        let mut graph = Graph::random(&mut rng);
        // A finished sink has had all its outputs.
        let share = if graph.finished.contains(&true) { 1.0 } else { 0.7 };
        graph.run(&mut rng, share);
        for round in 0..3 {
            graph.lose(&mut rng);
            let answer = rebuild(&graph.stages());
            assert!(graph.is_enough(&answer.again), "seed {seed}, round {round}: {answer:?} is not enough");
            let made: Vec<At> =
                graph.made.iter().filter(|(_, m)| m.copy != Copy::Coming).map(|(at, _)| *at).collect();
            for bits in 0..1_u32 << made.len() {
                let set: BTreeSet<At> =
                    made.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, at)| *at).collect();
                let is_less = !answer.again.is_subset(&set);
                assert!(
                    !(is_less && graph.is_enough(&set)),
                    "seed {seed}, round {round}: {set:?} is enough, {answer:?} asks for more"
                );
            }
            rebuilt += answer.again.len();
            spoiled += answer.spoiled.len();
            for at in &answer.spoiled {
                graph.made.insert(*at, Made { copy: Copy::Lost, origin: Origin::new() });
            }
            for at in &answer.again {
                graph.made.insert(*at, Made { copy: Copy::Coming, origin: Origin::new() });
            }
            graph.run(&mut rng, 0.7);
        }
    }
    assert!(rebuilt > 4_000 && spoiled > 200, "{rebuilt} and {spoiled}: nothing was tested");
}

/// A scheduler, and executors whose tasks are really computed.
struct Run {
    seed: u64,
    rng: SeededRng,
    scheduler: Scheduler,
    now: Time,
    queue_per_slot: u16,
    jobs: BTreeMap<BatchNumber, JobPlan>,
    live: BTreeMap<Member, u16>,
    store: BTreeMap<(Member, TaskId), BTreeMap<PartitionId, Value>>,
    running: BTreeMap<TaskKey, (Member, Arc<TaskSpec>)>,
    held: BTreeMap<TaskKey, (TaskId, Member)>,
    /// Was held, is gone, and nobody needed it.
    lost: BTreeSet<TaskKey>,
    published: BTreeSet<(BatchNumber, SinkId)>,
    /// What may still be launched, once each.
    expected: BTreeSet<TaskKey>,
    /// Told of the last loss.
    told: BTreeSet<TaskKey>,
    lives: u32,
    again: u64,
    widest: usize,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut rng = SeededRng::new(seed);
        let queue_per_slot = rng.range(0, 2) as u16;
        // Copies of late tasks are no rebuilding, and what is sent ahead is not rebuilt but called back.
        let base = SchedulerConfig { speculation: None, prescheduling: None, ..SchedulerConfig::default() };
        let config = SchedulerConfig { queue_per_slot, ..base };
        Run {
            seed,
            rng,
            scheduler: Scheduler::new(config),
            now: Time(0),
            queue_per_slot,
            jobs: BTreeMap::new(),
            live: BTreeMap::new(),
            store: BTreeMap::new(),
            running: BTreeMap::new(),
            held: BTreeMap::new(),
            lost: BTreeSet::new(),
            published: BTreeSet::new(),
            expected: BTreeSet::new(),
            told: BTreeSet::new(),
            lives: 0,
            again: 0,
            widest: 0,
        }
    }

    fn tell(&mut self, event: Event) {
        let mut out = Vec::new();
        self.now = self.now + Duration::from_micros(10);
        self.scheduler.on_event(self.now, event, &mut out);
        self.scheduler.assert_invariants();
        out.into_iter().for_each(|action| self.perform(action));
    }

    fn perform(&mut self, action: Action) {
        let seed = self.seed;
        match action {
            Action::Launch { member, tasks, .. } => {
                for spec in tasks {
                    let key = spec.task.key;
                    assert!(self.expected.remove(&key), "seed {seed}: {key} runs without need, or twice");
                    assert!(!self.held.contains_key(&key), "seed {seed}: the output of {key} is there");
                    self.again += u64::from(spec.task.attempt.0 > 0);
                    assert!(self.running.insert(key, (member, spec)).is_none(), "seed {seed}: {key} runs");
                }
            }
            Action::Cancel { tasks, .. } => {
                for task in tasks {
                    assert!(self.running.remove(&task.key).is_some(), "seed {seed}: {task} does not run");
                }
            }
            Action::Publish { batch, sink, parts, .. } => {
                let expected = evaluate(&self.jobs[&batch], batch);
                for part in parts {
                    let made = self.store.get(&(part.holder, part.task)).and_then(|m| m.get(&PartitionId(0)));
                    assert_eq!(
                        made,
                        expected[&part.task.key].get(&PartitionId(0)),
                        "seed {seed}: {}",
                        part.task
                    );
                }
                assert!(self.published.insert((batch, sink)), "seed {seed}: {sink} had {batch}");
                self.tell(published(batch.0, sink.0));
            }
            Action::Release { batch, .. } => {
                self.jobs.remove(&batch);
                self.held.retain(|key, _| key.batch != batch);
                self.lost.retain(|key| key.batch != batch);
            }
            Action::TasksLost { tasks, .. } => self.told.extend(tasks),
            Action::PipelineFailed { text, .. } => panic!("seed {seed}: {text}"),
            _ => {}
        }
    }

    fn keys(&self, batch: BatchNumber, stage: StageId) -> impl Iterator<Item = TaskKey> + use<> {
        let count = self.jobs[&batch].stages[usize::from(stage.0)].tasks.len() as u32;
        (0..count).map(move |p| TaskKey { batch, stage, partition: PartitionId(p) })
    }

    /// The oracle: what is not held and leads to a sink that has not been published.
    fn needed(&self) -> BTreeSet<TaskKey> {
        fn visit(run: &Run, key: TaskKey, found: &mut BTreeSet<TaskKey>) {
            if !run.held.contains_key(&key) && found.insert(key) {
                for parent in parents_of(&run.jobs[&key.batch], key.stage) {
                    run.keys(key.batch, parent).for_each(|read| visit(run, read, found));
                }
            }
        }
        let mut found = BTreeSet::new();
        for (batch, job) in &self.jobs {
            for stage in &job.stages {
                if let StageOutput::Sink(sink) = stage.output
                    && !self.published.contains(&(*batch, sink))
                {
                    self.keys(*batch, stage.id).for_each(|key| visit(self, key, &mut found));
                }
            }
        }
        found
    }

    fn has_inputs(&self, key: TaskKey) -> bool {
        let parents = parents_of(&self.jobs[&key.batch], key.stage);
        parents.into_iter().all(|p| self.keys(key.batch, p).all(|read| self.held.contains_key(&read)))
    }

    fn up(&mut self) {
        if self.live.len() < 6 {
            self.lives += 1;
            let member = Member { node: NodeId(self.lives as u16), incarnation: Incarnation(1) };
            let slots = self.rng.range(1, 3) as u16;
            self.live.insert(member, slots);
            self.tell(Event::ExecutorUp { member, slots });
        }
    }

    fn plan(&mut self, batch: u64) {
        let (mut job, _) = random_job(&mut self.rng, batch * 100);
        for stage in &mut job.stages {
            stage.deterministic = true;
        }
        read_ranges(&mut job);
        self.jobs.insert(BatchNumber(batch), job.clone());
        for stage in &job.stages {
            let keys: Vec<TaskKey> = self.keys(BatchNumber(batch), stage.id).collect();
            self.expected.extend(keys);
        }
        self.tell(plan(batch, job, Vec::new()));
        self.tell(safe(batch));
    }

    /// An executor is gone: what the scheduler says and does is what the oracle says.
    fn down(&mut self, member: Member) {
        self.live.remove(&member);
        self.store.retain(|(holder, _), _| *holder != member);
        let orphans: BTreeSet<TaskKey> =
            self.running.iter().filter(|(_, (on, _))| *on == member).map(|(key, _)| *key).collect();
        self.running.retain(|key, _| !orphans.contains(key));
        let (jobs, published) = (&self.jobs, &self.published);
        let mut gone = BTreeSet::new();
        for (key, (task, holder)) in &self.held {
            let is_empty = compute_is_empty(&jobs[&key.batch], *key);
            let output = jobs[&key.batch].stages[usize::from(key.stage.0)].output;
            let has_it = matches!(output, StageOutput::Sink(sink) if published.contains(&(key.batch, sink)));
            if *holder == member && !is_empty && !has_it {
                gone.insert((*key, *task));
            }
        }
        gone.iter().for_each(|(key, _)| _ = self.held.remove(key));
        self.lost.extend(gone.iter().map(|(key, _)| *key));
        let needed = self.needed();
        let mut told: BTreeSet<TaskKey> = needed.intersection(&self.lost).copied().collect();
        told.extend(orphans);
        self.lost.retain(|key| !needed.contains(key));
        let goes_on = |key: &TaskKey| self.running.contains_key(key) && self.has_inputs(*key);
        self.expected = needed.iter().filter(|key| !goes_on(key)).copied().collect();
        self.told.clear();
        let running = self.running.len();
        self.tell(Event::ExecutorDown { member, has_ended: false });
        assert_eq!(self.told, told, "seed {}: what the loss of {member} costs", self.seed);
        self.widest = self.widest.max(self.running.len().saturating_sub(running));
        self.assert_spread();
    }

    /// Nothing waits while somebody has room, and nothing queues while somebody has a free slot.
    fn assert_spread(&self) {
        let tasks = |member| self.running.values().filter(|(on, _)| *on == member).count() as u16;
        let waiting = self.expected.iter().filter(|key| self.has_inputs(**key)).count();
        let queue = 1 + self.queue_per_slot;
        let full = self.live.iter().all(|(member, slots)| tasks(*member) == slots * queue);
        assert!(waiting == 0 || full, "seed {}: {waiting} tasks wait while there is room", self.seed);
    }

    fn end_one(&mut self) {
        let names: BTreeSet<TaskKey> = self.running.keys().copied().collect();
        let Some(key) = names.iter().nth(self.rng.range(0, names.len().max(1) as u64) as usize) else {
            return;
        };
        let (holder, spec) = self.running.remove(key).expect("it was picked from there");
        let (mut hash, mut read) = (0, Vec::new());
        for input in &spec.inputs {
            hash = mix(hash, 99);
            for part in input {
                match part {
                    InputPart::Range { to, .. } => hash = mix(hash, *to),
                    InputPart::Shuffle { .. } => panic!("nothing is sent ahead here"),
                    InputPart::Held { key, holders } => {
                        let DataKey::Output { task, partition } = key else { panic!("blocks were replaced") };
                        let made = self.store.get(&(holders[0], *task)).expect("the holder named holds it");
                        hash = mix(hash, made[partition]);
                        read.push(*key);
                    }
                }
            }
        }
        let made = compute(&self.jobs[&key.batch], *key, hash);
        let outputs = made.keys().map(|p| OutputInfo { partition: *p, rows: 1, bytes: 8 }).collect();
        let (task, read_stages) = (spec.task, Vec::new());
        self.store.insert((holder, task), made);
        self.held.insert(*key, (task, holder));
        let prepared = Vec::new();
        let outcome =
            TaskOutcome { task, holder, outputs, rows_in: 1, run_ns: 1, read, read_stages, prepared };
        self.tell(Event::TaskDone(Arc::new(outcome)));
    }
}

/// Ranges in the place of blocks: they can always be read again, so that every executor may die.
fn read_ranges(job: &mut JobPlan) {
    for part in job.stages.iter_mut().flat_map(|stage| &mut stage.tasks).flatten().flatten() {
        if let PlannedPart::Block(id) = *part {
            let (partition, from) = (PartitionId(0), id.sequence);
            *part = PlannedPart::Range(StreamId(0), PlannedRange { partition, from, to: from + 1, rows: 1 });
        }
    }
}

/// Whether a task makes nothing: then nothing of it can be lost.
fn compute_is_empty(job: &JobPlan, key: TaskKey) -> bool {
    evaluate(job, key.batch)[&key].is_empty()
}

/// Runs one random history; gives how many attempts were made again, and the most that one loss set going at once.
fn lose_at_random(seed: u64) -> (u64, usize) {
    let mut run = Run::new(seed);
    let batches = run.rng.range(1, 5);
    let mut planned = 0;
    for round in 0..20_000_u64 {
        let may_lose = round < 400;
        match run.rng.range(0, 12) {
            0 if planned < batches => {
                run.plan(planned);
                planned += 1;
            }
            1 => run.up(),
            2 if may_lose => {
                let dying: Vec<Member> = run.live.keys().copied().filter(|_| run.rng.chance(0.3)).collect();
                dying.into_iter().for_each(|member| run.down(member));
            }
            _ => run.end_one(),
        }
        if planned == batches && run.jobs.is_empty() {
            assert!(run.expected.is_empty(), "seed {seed}: {:?} never ran", run.expected);
            return (run.again, run.widest);
        }
    }
    panic!("seed {seed}: the batches did not end");
}

#[test]
fn after_any_loss_exactly_what_is_lost_and_needed_runs_again_in_parallel_with_the_same_values() {
    let histories: Vec<(u64, usize)> = (0..1_500).map(lose_at_random).collect();
    let again: u64 = histories.iter().map(|(again, _)| again).sum();
    let widest = histories.iter().map(|(_, widest)| *widest).max();
    assert!(again > 3_000, "the losses must cost something, or nothing was tested: {again}");
    assert!(widest >= Some(6), "no loss was rebuilt in parallel: {widest:?}");
}

#[test]
fn a_lost_executors_outputs_are_made_again_on_all_that_remain_at_once() {
    const MAPS: u64 = 96;
    let mut t = Table::with(&(1..=12).map(|n| (n, 8)).collect::<Vec<_>>());
    let launched = |t: &mut Table, event| {
        let mut out = Vec::new();
        t.scheduler.on_event(t.now, event, &mut out);
        let tasks = |action| match action {
            Action::Launch { member, tasks, .. } => tasks.iter().map(|spec| (spec.task, member)).collect(),
            _ => Vec::new(),
        };
        out.into_iter().flat_map(tasks).collect::<Vec<(TaskId, Member)>>()
    };
    let mut job = map_reduce(MAPS, 1);
    read_ranges(&mut job);
    let maps = launched(&mut t, plan(0, job, Vec::new()));
    assert_eq!(maps.len() as u64, MAPS);
    // All maps are done but one of another executor.
    let last = maps.iter().rev().find(|(_, on)| *on != node(3)).expect("12 executors run them");
    for (task, on) in maps.iter().filter(|map| *map != last) {
        launched(&mut t, done(&show(*task), on.node.0, &[0]));
    }
    let again = launched(&mut t, down(3));
    let on: BTreeSet<Member> = again.iter().map(|(_, on)| *on).collect();
    assert_eq!((again.len(), on.len()), (8, 8), "8 outputs, each made again by another executor");
}
