//! The model cluster of the random test: processes with stores that take time over tasks, fail them, die, and come back as
//! zombies; and beside it the model of what the scheduler should believe, checked at each action. What executors tell each
//! other is in `talk`.

use super::{
    oracle::{Value, block_value, compute, evaluate, mix, parents_of},
    talk::{Talk, read_by},
    *,
};
use crate::scheduler::{Misconduct, PreparedPart};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};
use tidemill_protocol::world::SeededRng;

/// Which attempts of tasks that are not deterministic a value comes from.
type Origin = BTreeMap<TaskKey, Attempt>;

/// An executor that is never lost and holds all blocks: the loss of blocks has tests of its own.
pub(super) const KEEPER: Member = Member { node: NodeId(99), incarnation: Incarnation(0) };

pub(super) struct World {
    pub(super) scheduler: Scheduler,
    pub(super) rng: SeededRng,
    now: Time,
    seed: u64,
    pub(super) jobs: BTreeMap<BatchNumber, JobPlan>,
    /// Processes that run; a zombie has been declared dead and runs on.
    pub(super) processes: BTreeSet<Member>,
    /// Members the scheduler believes in.
    pub(super) live: BTreeSet<Member>,
    pub(super) store: BTreeMap<(Member, DataKey), (Value, Origin)>,
    /// Launched and not answered: by attempt, with what a zombie may still answer.
    pub(super) running: BTreeMap<TaskId, (Member, Arc<TaskSpec>)>,
    /// Attempts that the scheduler counts as running: one or two of a task.
    current: BTreeMap<TaskKey, Vec<(TaskId, Member)>>,
    /// Accepted: by whom, and whether there is an output to lose.
    pub(super) done: BTreeMap<TaskKey, (TaskId, Member, bool)>,
    launched: BTreeSet<TaskId>,
    failures: BTreeMap<TaskKey, u32>,
    publishing: Option<(BatchNumber, SinkId, Vec<PreparedPart>)>,
    pub(super) published: Vec<(BatchNumber, SinkId)>,
    decided: u64,
    incarnations: u32,
    pub(super) reruns: u64,
    pub(super) copies: u64,
    /// Copies that were announced and are to be launched.
    announced: BTreeSet<TaskId>,
    pub(super) excluded: BTreeSet<Member>,
    pub(super) exclusions: u64,
    /// Those because of a gap between two executors.
    pub(super) out_of_reach: u64,
    /// What executors have said and the driver has not heard, in order.
    mail: BTreeMap<Member, VecDeque<Event>>,
    /// What executors know of each other's tasks.
    pub(super) talk: Talk,
    pub(super) named: u64,
}

impl World {
    /// A cluster of the keeper alone.
    pub(super) fn new(seed: u64, rng: SeededRng) -> World {
        // With blocks on a node that is never lost, no history may end in a failure: reports of missing inputs are bounded far off.
        // An exclusion lasts for some tens of events, and a gap counts at once.
        let (exclusion_min, gap_min) = (Duration::from_millis(40), Duration::ZERO);
        let conduct = ConductLimits { exclusion_min, gap_min, ..ConductLimits::default() };
        // Every third history goes stage by stage.
        let prescheduling = SchedulerConfig::default().prescheduling.filter(|_| !seed.is_multiple_of(3));
        let config =
            SchedulerConfig { missing_max: 5_000, conduct, prescheduling, ..SchedulerConfig::default() };
        let mut world = World {
            scheduler: Scheduler::new(config),
            rng,
            now: Time(0),
            seed,
            jobs: BTreeMap::new(),
            processes: BTreeSet::new(),
            live: BTreeSet::new(),
            store: BTreeMap::new(),
            running: BTreeMap::new(),
            current: BTreeMap::new(),
            done: BTreeMap::new(),
            launched: BTreeSet::new(),
            failures: BTreeMap::new(),
            publishing: None,
            published: Vec::new(),
            decided: 0,
            incarnations: 0,
            reruns: 0,
            copies: 0,
            announced: BTreeSet::new(),
            excluded: BTreeSet::new(),
            exclusions: 0,
            out_of_reach: 0,
            mail: BTreeMap::new(),
            talk: Talk::default(),
            named: 0,
        };
        world.processes.insert(KEEPER);
        world.live.insert(KEEPER);
        world.tell(Event::ExecutorUp { member: KEEPER, slots: 1 });
        world
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.settle_early();
        let mut out = Vec::new();
        self.now = self.now + Duration::from_millis(1);
        self.scheduler.on_event(self.now, event, &mut out);
        self.scheduler.assert_invariants();
        out.into_iter().for_each(|action| self.perform(action));
    }

    /// An executor lets go of what it holds of batches up to this one.
    fn release(&mut self, member: Member, up_to: BatchNumber) {
        self.store.retain(|(holder, key), _| {
            *holder != member || !matches!(key, DataKey::Output { task, .. } if task.key.batch <= up_to)
        });
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Launch { member, tasks, routes, facts } => {
                self.talk.route(member, facts.batch, routes);
                tasks.into_iter().for_each(|spec| self.launch(member, spec))
            }
            Action::Name { member, tasks } => {
                self.named += tasks.len() as u64;
                tasks.into_iter().for_each(|spec| self.name(member, spec));
            }
            Action::Cancel { tasks, .. } => {
                for task in tasks {
                    assert!(self.end(task), "seed {}: {task} does not run", self.seed);
                }
            }
            Action::Drop { member, keys } => {
                for key in keys {
                    self.forget(member, key);
                }
            }
            Action::Decided { batch } => {
                assert_eq!(batch.0, self.decided, "seed {}", self.seed);
                self.decided += 1;
            }
            Action::Publish { batch, sink, parts, .. } => {
                assert!(self.publishing.is_none() && batch.0 < self.decided, "seed {}", self.seed);
                self.publishing = Some((batch, sink, parts));
            }
            Action::Release { batch, members } => {
                members.into_iter().for_each(|member| self.release(member, batch));
            }
            Action::ReleaseOutputs { member, up_to } => self.release(member, up_to),
            Action::PipelineFailed { text, .. } => panic!("seed {}: {text}", self.seed),
            Action::Discard { sink, task } => {
                let being_published = |(b, s, parts): &(_, _, Vec<PreparedPart>)| {
                    (*b, *s) == (task.key.batch, sink) && parts.iter().any(|part| part.task == task)
                };
                assert!(!self.publishing.as_ref().is_some_and(being_published), "seed {}", self.seed);
            }
            Action::Copied { task, .. } => {
                assert_eq!(self.current[&task.key].len(), 1, "seed {}: {task} is a third", self.seed);
                self.announced.insert(task);
            }
            Action::Excluded { member, why, .. } => {
                self.excluded.insert(member);
                self.exclusions += 1;
                self.out_of_reach += u64::from(why == Misconduct::OutOfReach);
                assert!(self.live.iter().any(|m| !self.excluded.contains(m)), "seed {}: all are", self.seed);
            }
            Action::Included { member } => {
                assert!(self.excluded.remove(&member), "seed {}", self.seed);
            }
            Action::Completed(_) | Action::TasksLost { .. } | Action::Stopped | Action::Count(..) => {}
            Action::ExecutorDrained { .. } | Action::AttemptFailed { .. } => {}
        }
    }

    fn launch(&mut self, member: Member, spec: Arc<TaskSpec>) {
        let key = spec.task.key;
        let seed = self.seed;
        assert!(self.live.contains(&member), "seed {seed}: {member} is dead");
        assert!(self.launched.insert(spec.task), "seed {seed}: {} was used before", spec.task);
        assert!(!self.excluded.contains(&member), "seed {seed}: {member} is excluded");
        let is_copy = self.announced.remove(&spec.task);
        let others = self.current.get(&key).map_or(&[][..], |attempts| attempts);
        assert_eq!(others.len(), usize::from(is_copy), "seed {seed}: {key} runs already");
        assert!(others.iter().all(|(_, on)| *on != member), "seed {seed}: {key} runs twice on {member}");
        // An empty output that is spoiled is dropped without a word, so exactness is asked of deterministic jobs only.
        let is_exact = self.jobs[&key.batch].stages.iter().all(|s| s.deterministic);
        if let Some((task, holder, full)) = self.done.remove(&key) {
            let is_early = self.talk.early.remove(&task).is_some();
            assert!(
                !full && (is_early || !is_exact),
                "seed {seed}: {holder} still holds the output of {key}"
            );
        }
        self.copies += u64::from(is_copy);
        if spec.task.attempt.0 > 0 {
            self.reruns += u64::from(!is_copy);
            assert!(!is_exact || self.is_needed(key), "seed {seed}: nobody needs {key}");
        }
        self.current.entry(key).or_default().push((spec.task, member));
        self.running.insert(spec.task, (member, spec));
    }

    /// An attempt does not count as running any more; false if it did not before.
    fn end(&mut self, task: TaskId) -> bool {
        let Some(attempts) = self.current.get_mut(&task.key) else {
            return false;
        };
        let before = attempts.len();
        attempts.retain(|(id, _)| *id != task);
        let ended = attempts.len() < before;
        if attempts.is_empty() {
            self.current.remove(&task.key);
        }
        ended
    }

    /// Whether a sink or a task that is not done needs this.
    fn is_needed(&self, key: TaskKey) -> bool {
        let job = &self.jobs[&key.batch];
        if let StageOutput::Sink(sink) = job.stages[usize::from(key.stage.0)].output {
            return !self.published.contains(&(key.batch, sink));
        }
        job.stages.iter().filter(|s| parents_of(job, s.id).contains(&key.stage)).any(|reader| {
            (0..reader.tasks.len() as u32).any(|p| {
                let reader = TaskKey { stage: reader.id, partition: PartitionId(p), ..key };
                self.done.get(&reader).is_none_or(|(task, ..)| self.talk.early.contains_key(task))
            })
        })
    }

    /// An output is gone from a store; if it belongs to an accepted attempt, that is not done any more.
    fn forget(&mut self, member: Member, key: DataKey) {
        self.store.remove(&(member, key));
        if let DataKey::Output { task, .. } = key
            && self.done.get(&task.key).is_some_and(|(id, ..)| *id == task)
        {
            self.done.remove(&task.key);
        }
    }

    pub(super) fn up(&mut self) {
        self.incarnations += 1;
        let free = (1..=4).map(NodeId).find(|n| self.live.iter().all(|m| m.node != *n));
        let Some(node) = free else { return };
        let member = Member { node, incarnation: Incarnation(self.incarnations) };
        self.processes.insert(member);
        self.live.insert(member);
        let slots = self.rng.range(1, 3) as u16;
        self.tell(Event::ExecutorUp { member, slots });
    }

    /// One of those that may die, none of which holds a block.
    pub(super) fn victim(&mut self) -> Option<Member> {
        let mortal = self.live.iter().filter(|member| **member != KEEPER).copied().collect();
        pick(&mut self.rng, &mortal)
    }

    /// The process dies, or only seems to; the scheduler hears of it now.
    pub(super) fn down(&mut self, member: Member) {
        self.live.remove(&member);
        if self.rng.chance(0.5) {
            self.processes.remove(&member);
            self.store.retain(|(holder, _), _| *holder != member);
        }
        self.excluded.remove(&member);
        // Nothing is heard of it any more, and what was not accepted is forgotten.
        self.mail.remove(&member);
        let early = &mut self.talk.early;
        self.done.retain(|_, (task, holder, _)| *holder != member || early.remove(task).is_none());
        self.current.retain(|_, attempts| {
            attempts.retain(|(_, on)| *on != member);
            !attempts.is_empty()
        });
        let publishing = self.publishing.as_ref().map(|(b, s, _)| (*b, *s));
        let (jobs, published) = (&self.jobs, &self.published);
        self.done.retain(|key, (_, holder, full)| {
            let output = jobs[&key.batch].stages[usize::from(key.stage.0)].output;
            let out_of_reach = match output {
                StageOutput::Sink(sink) => {
                    publishing == Some((key.batch, sink)) || published.contains(&(key.batch, sink))
                }
                StageOutput::Shuffle { .. } => false,
            };
            *holder != member || !*full || out_of_reach
        });
        self.tell(Event::ExecutorDown { member, has_ended: false });
    }

    /// A process dies and the scheduler does not know yet.
    pub(super) fn crash(&mut self, member: Member) {
        self.processes.remove(&member);
        self.store.retain(|(holder, _), _| *holder != member);
    }

    /// The failure detector says something about somebody.
    pub(super) fn suspect(&mut self) {
        if let Some(member) = pick(&mut self.rng, &self.live) {
            let suspected = self.rng.chance(0.5);
            self.tell(match suspected {
                true => Event::ExecutorSuspected { member },
                false => Event::ExecutorTrusted { member },
            });
        }
    }

    /// The driver notices a crash.
    pub(super) fn notice(&mut self) {
        let mut believed = self.live.iter();
        let dead = believed.find(|member| !self.processes.contains(member)).copied();
        if let Some(member) = dead {
            self.down(member);
        }
    }

    fn fetch(&self, key: DataKey, holders: &[Member]) -> Option<(Value, Origin)> {
        if let DataKey::Block(id) = key {
            return Some((block_value(id), Origin::new()));
        }
        let mut alive = holders.iter().filter(|holder| self.processes.contains(holder));
        alive.find_map(|holder| self.store.get(&(*holder, key))).cloned()
    }

    /// No value that counts comes from two runs of one task that is not deterministic.
    fn merge(&self, into: &mut Origin, from: Origin) {
        for (key, attempt) in from {
            let known = *into.entry(key).or_insert(attempt);
            assert_eq!(known, attempt, "seed {}: two runs of {key} are mixed", self.seed);
        }
    }

    /// A running attempt ends, well or badly, also one of a zombie, or one that was cancelled; or the driver hears of one that has.
    pub(super) fn step(&mut self) {
        let senders: BTreeSet<Member> = self.mail.keys().copied().collect();
        if self.rng.chance(0.3)
            && let Some(sender) = pick(&mut self.rng, &senders)
        {
            return self.deliver(sender);
        }
        let can_begin = |(_, (member, spec)): &(&TaskId, &(Member, Arc<TaskSpec>))| {
            self.talk.name(*member, spec).is_some()
        };
        let names: BTreeSet<TaskId> = self.running.iter().filter(can_begin).map(|(task, _)| *task).collect();
        let Some(task) = pick(&mut self.rng, &names) else {
            return;
        };
        let (member, asked) = self.running.remove(&task).expect("it was picked from there");
        if !self.processes.contains(&member) {
            return;
        }
        let spec = self.talk.name(member, &asked).expect("it can begin");
        self.run(member, &asked, &spec);
        if self.rng.chance(0.2) {
            self.deliver(member);
        }
    }

    fn run(&mut self, member: Member, asked: &TaskSpec, spec: &TaskSpec) {
        let task = asked.task;
        let is_current = self.is_current(task, member);
        let failures = self.failures.entry(task.key).or_default();
        if self.rng.chance(0.05) && *failures < 3 {
            *failures += u32::from(is_current);
            return self.say_failed(task, member, None);
        }
        let (mut hash, mut origin) = (0, Origin::new());
        for input in &spec.inputs {
            hash = mix(hash, 99);
            for part in input {
                let InputPart::Held { key, holders } = part else {
                    continue;
                };
                match self.fetch(*key, holders) {
                    Some((value, from)) => {
                        hash = mix(hash, value);
                        if is_current {
                            self.merge(&mut origin, from);
                        }
                    }
                    None => return self.say_failed(task, member, Some(*key)),
                }
            }
        }
        let made = compute(&self.jobs[&task.key.batch], task.key, hash);
        let outputs: Vec<OutputInfo> =
            made.keys().map(|p| OutputInfo { partition: *p, rows: 1, bytes: 8 }).collect();
        if !self.jobs[&task.key.batch].stages[usize::from(task.key.stage.0)].deterministic {
            origin.insert(task.key, task.attempt);
        }
        for (partition, value) in made {
            let key = DataKey::Output { task, partition };
            self.store.insert((member, key), (value, origin.clone()));
        }
        // Node 1 is slow.
        let run_ns = if member.node.0 == 1 { 20_000_000 } else { 1_000_000 };
        let (read, read_stages) = read_by(asked);
        let told: Vec<PartitionId> = outputs.iter().map(|output| output.partition).collect();
        let prepared = Vec::new();
        let outcome =
            TaskOutcome { task, holder: member, outputs, rows_in: 1, run_ns, read, read_stages, prepared };
        self.say(member, Event::TaskDone(Arc::new(outcome)));
        self.announce(member, task, &told);
    }

    pub(super) fn is_current(&self, task: TaskId, member: Member) -> bool {
        self.current.get(&task.key).is_some_and(|out| out.contains(&(task, member)))
    }

    /// An executor says something, which the driver will hear unless it is declared dead before.
    pub(super) fn say(&mut self, member: Member, event: Event) {
        self.mail.entry(member).or_default().push_back(event);
    }

    fn say_failed(&mut self, task: TaskId, reporter: Member, missing: Option<DataKey>) {
        let (message, exhausted) = ("no".into(), None);
        let holder = match missing {
            Some(DataKey::Output { task, .. }) => self.done.get(&task.key).map(|(_, holder, _)| *holder),
            _ => None,
        };
        let unreached = holder.filter(|_| self.rng.chance(0.8)).into_iter().collect();
        let failure = TaskFailure { task, reporter, message, missing, exhausted, unreached };
        self.say(reporter, Event::TaskFailed(failure));
    }

    /// The driver hears the first thing that an executor has said.
    fn deliver(&mut self, sender: Member) {
        let Some(said) = self.mail.get_mut(&sender) else { return };
        let event = said.pop_front().expect("an empty box is taken away");
        if said.is_empty() {
            self.mail.remove(&sender);
        }
        match &event {
            Event::TaskDone(outcome) if self.is_current(outcome.task, outcome.holder) => {
                let TaskOutcome { task, holder, outputs, read_stages, .. } = &**outcome;
                self.end(*task);
                self.done.insert(task.key, (*task, *holder, !outputs.is_empty()));
                self.talk.were_early += u64::from(!self.has_inputs(task.key));
                self.talk.early.insert(*task, read_stages.clone());
                if self.rng.chance(0.05) {
                    self.tell(event.clone());
                }
            }
            Event::TaskFailed(TaskFailure { task, reporter, missing, .. })
                if self.is_current(*task, *reporter) =>
            {
                self.end(*task);
                // A report about an accepted output makes it lost, whoever still holds it; if the task was sent ahead, once the
                // report counts: then its output is dropped.
                if let Some(DataKey::Output { task: producer, .. }) = missing
                    && self.has_inputs(task.key)
                    && self.done.get(&producer.key).is_some_and(|(id, ..)| id == producer)
                {
                    self.done.remove(&producer.key);
                }
            }
            _ => {}
        }
        self.tell(event);
    }

    /// The sink answers: with what was fetched from processes that are still there.
    pub(super) fn publish(&mut self) {
        let Some((batch, sink, parts)) = self.publishing.take() else {
            return;
        };
        let expected = evaluate(&self.jobs[&batch], batch);
        let mut origin = Origin::new();
        for part in &parts {
            let key = DataKey::Output { task: part.task, partition: PartitionId(0) };
            let found = if part.has_rows { self.fetch(key, &[part.holder]) } else { None };
            if part.has_rows && found.is_none() {
                let gone =
                    |id: &TaskId| parts.iter().any(|p| p.task == *id && !self.live.contains(&p.holder));
                self.done.retain(|_, (id, _, full)| *id != part.task && !(*full && gone(id)));
                return self.tell(not_published(batch.0, sink.0, PublishFailure::Missing(key)));
            }
            let wanted = expected[&part.task.key].get(&PartitionId(0)).copied();
            let value = found.map(|(value, from)| {
                self.merge(&mut origin, from);
                value
            });
            assert_eq!(value, wanted, "seed {}: {} for {sink}", self.seed, part.task);
        }
        let of_sink = |key: &&TaskKey| {
            self.jobs[&batch].stages[usize::from(key.stage.0)].output == StageOutput::Sink(sink)
        };
        assert_eq!(parts.len(), expected.keys().filter(of_sink).count(), "seed {}", self.seed);
        assert!(self.published.last() < Some(&(batch, sink)), "seed {}: in order, once", self.seed);
        self.published.push((batch, sink));
        self.tell(published(batch.0, sink.0));
    }
}

pub(super) fn pick<T: Copy + Ord>(rng: &mut SeededRng, from: &BTreeSet<T>) -> Option<T> {
    let n = rng.range(0, from.len() as u64) as usize;
    from.iter().nth(n).copied()
}
