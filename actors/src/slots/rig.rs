//! One executor for tests: core, performer, slots and store together, on real threads, driven by hand: the shell's loop
//! in ten lines.

use super::{CostModel, InputSource, SlotWork};
use crate::{
    block_store::{
        BlockStore, Budget,
        numbers::{NumbersCodec, held, values},
    },
    core::Core,
    executor::{Event, ExecutorConfig, ExecutorCore, Lifecycle, Performer, Report},
    seam::{InputData, TaskContext, TaskError, TaskOutput, TaskRequest, Tasks},
    transport::{LocalTransport, Transport},
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, pending},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};
use tidemill_protocol::{
    id::{
        Attempt, BatchNumber, DataKey, Epoch, Incarnation, Member, NodeId, PartitionId, ProgramId, RunId,
        StageId, StreamId, TaskId, TaskKey,
    },
    message::{InputPart, TaskFacts, TaskSpec, ToDriver, ToExecutor},
    time::{BatchTime, Time},
    world::{Clock, ClockSource, FileSystem, Files, Job, SlotThread, Spawner, SpawnerSource},
};

pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn member(node: u16) -> Member {
    Member { node: NodeId(node), incarnation: Incarnation(0) }
}

pub fn task(stage: u16, partition: u32) -> TaskId {
    let key = TaskKey { batch: BatchNumber(3), stage: StageId(stage), partition: PartitionId(partition) };
    TaskId { key, attempt: Attempt(0) }
}

pub fn output(task: TaskId, partition: u32) -> DataKey {
    DataKey::Output { task, partition: PartitionId(partition) }
}

/// Slots on plain threads.
struct Threads;

struct ThreadSlot(SyncSender<Job>);

impl SlotThread for ThreadSlot {
    fn run(&self, job: Job, _: Duration) {
        let _ = self.0.send(job);
    }
}

impl SpawnerSource for Threads {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        work.now_or_never().expect("what an executor starts here never waits");
    }

    fn blocking(&self, work: Job) -> BoxFuture<'static, ()> {
        work();
        async {}.boxed()
    }

    fn slot(&self, name: String) -> Box<dyn SlotThread> {
        let (give, jobs) = sync_channel::<Job>(4);
        let thread = std::thread::Builder::new().name(name);
        thread.spawn(move || jobs.into_iter().for_each(|job| job())).expect("a thread can be started");
        Box::new(ThreadSlot(give))
    }
}

/// A clock that goes on by 1 µs whenever it is read.
struct Ticking(AtomicU64);

impl ClockSource for Ticking {
    fn now(&self) -> Time {
        Time(self.0.fetch_add(1_000, Ordering::Relaxed))
    }

    fn wall(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep_until(&self, _: Time) -> BoxFuture<'static, ()> {
        Box::pin(pending())
    }
}

/// A clock that stands still where it is put.
#[derive(Clone, Default)]
pub struct Standing(Arc<AtomicU64>);

impl Standing {
    pub fn put(&self, now: Time) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

impl ClockSource for Standing {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep_until(&self, _: Time) -> BoxFuture<'static, ()> {
        Box::pin(pending())
    }
}

/// A spawner whose work is done at once, on the caller's thread.
pub fn spawner() -> Spawner {
    Spawner::new(Threads)
}

/// See [`Ticking`]. Nobody is ever woken by it.
pub fn clock() -> Clock {
    Clock::new(Ticking(AtomicU64::new(0)))
}

struct NoFiles;

impl FileSystem for NoFiles {
    fn read_range(&self, _: &Path, _: u64, _: u64) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn list(&self, _: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn write(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// What the stages of the tests do: 0 deals numbers out to even and odd, 1 adds up, 2 panics, 3 fails, 5 builds as many bytes as
/// the numbers say, 4 waits for the gate and hears nothing else.
struct Stages {
    gate: Arc<(Mutex<bool>, Condvar)>,
    waiting: SyncSender<TaskId>,
    discarded: SyncSender<(RunId, TaskId)>,
}

impl Tasks for Stages {
    fn run(&self, request: TaskRequest, context: &TaskContext) -> Result<TaskOutput, TaskError> {
        let read = request.inputs.iter().flatten().map(|data| match data {
            InputData::Held(held) => values(held),
            InputData::Range { from, to, .. } => (*from..*to).collect(),
        });
        let read: Vec<u64> = read.flatten().collect();
        let rows_in = read.len() as u64;
        context.record_progress();
        let outputs = match request.task.key.stage.0 {
            0 => {
                let (odd, even): (Vec<u64>, Vec<u64>) = read.iter().partition(|value| *value % 2 == 1);
                vec![(PartitionId(0), held(&even)), (PartitionId(1), held(&odd))]
            }
            1 => vec![(PartitionId(0), held(&[read.iter().sum()]))],
            2 => panic!("no luck with {read:?}"),
            3 => return Err(TaskError::Failed("no such file".into())),
            5 => {
                read.iter().try_for_each(|bytes| context.work.charge(*bytes))?;
                Vec::new()
            }
            _ => {
                let _ = self.waiting.send(request.task);
                let (open, opened) = &*self.gate;
                let open = open.lock().expect("no panic holds it");
                drop(opened.wait_while(open, |open| !*open).expect("no panic holds it"));
                vec![(PartitionId(0), held(&[1]))]
            }
        };
        Ok(TaskOutput { outputs, rows_in, is_for_sink: request.task.key.stage.0 == 1 })
    }

    fn discard(&self, task: TaskId, facts: &TaskFacts, _: &Files) {
        let _ = self.discarded.send((facts.run, task));
    }
}

#[derive(Clone)]
struct Loop(SyncSender<Event>);

impl Report for Loop {
    fn report(&self, event: Event) {
        let _ = self.0.send(event);
    }
}

struct Node(SyncSender<String>);

impl Lifecycle for Node {
    fn left(&self) {
        let _ = self.0.send("left".into());
    }

    fn end_process(&self, reason: String) {
        let _ = self.0.send(reason);
    }
}

/// One executor and its loop.
pub struct Rig {
    pub core: ExecutorCore,
    pub performer: Performer,
    report: Loop,
    pub events: Receiver<Event>,
    pub told: Receiver<ToDriver>,
    pub fate: Receiver<String>,
    pub gate: Arc<(Mutex<bool>, Condvar)>,
    pub waiting: Receiver<TaskId>,
    pub discarded: Receiver<(RunId, TaskId)>,
    pub store: BlockStore,
}

impl Rig {
    pub fn new(me: Member, transport: Arc<dyn Transport>, store: BlockStore, cost: Option<CostModel>) -> Rig {
        let (give, events) = sync_channel(64);
        let (tell, told) = sync_channel(64);
        let (decide, fate) = sync_channel(4);
        let (wait, waiting) = sync_channel(4);
        let (discard, discarded) = sync_channel(64);
        let gate: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let config = ExecutorConfig {
            inputs_immediate: transport.is_immediate(),
            ..ExecutorConfig::new(me, ProgramId(7), 2)
        };
        let work = SlotWork {
            tasks: Arc::new(Stages { gate: gate.clone(), waiting: wait, discarded: discard }),
            source: InputSource { me, store: store.clone(), transport },
            clock: clock(),
            files: Files::new(NoFiles),
        };
        let bulk = tokio::runtime::Handle::current();
        let tell = move |message| tell.send(message).expect("the test listens");
        let performer = Performer::new(work, (Spawner::new(Threads), 2), bulk, cost, tell, Node(decide));
        Rig {
            core: ExecutorCore::new(config),
            performer,
            report: Loop(give),
            events,
            told,
            fate,
            gate,
            waiting,
            discarded,
            store,
        }
    }

    pub fn local(me: Member) -> Rig {
        let (local, store) = (LocalTransport::new(Arc::new(NumbersCodec)), store());
        local.register(me, store.clone()).expect("the first");
        Rig::new(me, Arc::new(local), store, None)
    }

    pub fn on(&mut self, now: Time, event: Event) {
        let mut actions = Vec::new();
        self.core.on_event(now, event, &mut actions);
        self.core.assert_invariants();
        for action in actions {
            self.performer.carry_out(action, &self.report);
        }
    }

    pub fn order(&mut self, message: ToExecutor) {
        self.on(Time::ZERO, Event::from_wire(message).expect("it is for executors"));
    }

    pub fn run(&mut self, task: TaskId, parts: Vec<InputPart>) {
        let facts = TaskFacts {
            epoch: Epoch(1),
            program: ProgramId(7),
            batch: task.key.batch,
            time: BatchTime(1_000),
            seed: 5,
            run: RunId(6),
        };
        self.order(ToExecutor::Run {
            facts,
            tasks: vec![Arc::new(TaskSpec { task, inputs: vec![parts] })],
            routes: Vec::new(),
        });
    }

    /// Waits for the next event from a thread.
    pub async fn next_event(&self) -> Event {
        // Fetches run on the test's own thread, between two looks; slots on theirs.
        for _ in 0..100 {
            tokio::task::yield_now().await;
            if let Ok(event) = self.events.try_recv() {
                return event;
            }
        }
        self.events.recv_timeout(PATIENCE).expect("something happens within 30 s")
    }

    /// Drives the executor until it tells the driver something.
    pub async fn told(&mut self, now: Time) -> ToDriver {
        loop {
            if let Ok(message) = self.told.try_recv() {
                return message;
            }
            let event = self.next_event().await;
            self.on(now, event);
        }
    }

    pub fn open_gate(&self) {
        *self.gate.0.lock().expect("no panic holds it") = true;
        self.gate.1.notify_all();
    }
}

pub fn store() -> BlockStore {
    BlockStore::new(Budget { bytes_max: 800, outputs_over_max: 80 })
}

pub fn range(from: u64, to: u64) -> InputPart {
    InputPart::Range { stream: StreamId(0), partition: PartitionId(0), from, to }
}

pub fn part(key: DataKey, holder: Member) -> InputPart {
    InputPart::Held { key, holders: vec![holder] }
}
