//! Core, performer, slots and store together, on real threads, driven by hand: the shell's loop in ten lines.

use super::{CostModel, InputSource, SlotWork};
use crate::{
    block_store::{
        BlockStore, Budget,
        numbers::{NumbersCodec, held, values},
    },
    core::Core,
    executor::{Event, ExecutorConfig, ExecutorCore, Lifecycle, Performer, Report, TaskEnd},
    seam::{Held, InputData, TaskContext, TaskError, TaskOutput, TaskRequest, Tasks},
    transport::{
        BulkClient, BulkError, LocalTransport, QuicTransport, StoreAnswer, Transport, fetch_replies,
    },
};
use futures_util::future::{BoxFuture, ready};
use std::{
    io,
    net::SocketAddr,
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
        Attempt, BatchNumber, DataKey, Epoch, Incarnation, Member, NodeId, PartitionId, ProgramId, StageId,
        TaskId, TaskKey,
    },
    message::{BulkReply, InputPart, OutputInfo, PeerInfo, Piece, TaskFacts, TaskSpec, ToDriver, ToExecutor},
    time::{BatchTime, Time},
    world::{Clock, ClockSource, FileSystem, Files, Job, SlotThread, Spawner, SpawnerSource},
};

const PATIENCE: Duration = Duration::from_secs(30);

fn member(node: u16) -> Member {
    Member {
        node: NodeId(node),
        incarnation: Incarnation(0),
    }
}

fn task(stage: u16, partition: u32) -> TaskId {
    let key = TaskKey {
        batch: BatchNumber(3),
        stage: StageId(stage),
        partition: PartitionId(partition),
    };
    TaskId {
        key,
        attempt: Attempt(0),
    }
}

fn output(task: TaskId, partition: u32) -> DataKey {
    DataKey::Output {
        task,
        partition: PartitionId(partition),
    }
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
    fn spawn(&self, _: BoxFuture<'static, ()>) {
        panic!("an executor starts no work of sources")
    }

    fn blocking(&self, _: Job) -> BoxFuture<'static, ()> {
        panic!("an executor starts no blocking work")
    }

    fn slot(&self, name: String) -> Box<dyn SlotThread> {
        let (give, jobs) = sync_channel::<Job>(4);
        let thread = std::thread::Builder::new().name(name);
        thread
            .spawn(move || jobs.into_iter().for_each(|job| job()))
            .expect("a thread can be started");
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
        Box::pin(ready(()))
    }
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

/// What the stages of the tests do: 0 deals numbers out to even and odd, 1 adds up, 2 panics, 3 fails, 4 waits for the
/// gate and hears nothing else.
struct Stages {
    gate: Arc<(Mutex<bool>, Condvar)>,
    waiting: SyncSender<TaskId>,
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
            _ => {
                let _ = self.waiting.send(request.task);
                let (open, opened) = &*self.gate;
                let open = open.lock().expect("no panic holds it");
                drop(opened.wait_while(open, |open| !*open).expect("no panic holds it"));
                vec![(PartitionId(0), held(&[1]))]
            }
        };
        Ok(TaskOutput { outputs, rows_in })
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
struct Rig {
    core: ExecutorCore,
    performer: Performer,
    report: Loop,
    events: Receiver<Event>,
    told: Receiver<ToDriver>,
    fate: Receiver<String>,
    gate: Arc<(Mutex<bool>, Condvar)>,
    waiting: Receiver<TaskId>,
    store: BlockStore,
}

impl Rig {
    fn new(me: Member, transport: Arc<dyn Transport>, store: BlockStore, cost: Option<CostModel>) -> Rig {
        let (give, events) = sync_channel(64);
        let (tell, told) = sync_channel(64);
        let (decide, fate) = sync_channel(4);
        let (wait, waiting) = sync_channel(4);
        let gate: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let config = ExecutorConfig {
            inputs_immediate: transport.is_immediate(),
            ..ExecutorConfig::new(me, ProgramId(7), 2)
        };
        let work = SlotWork {
            tasks: Arc::new(Stages { gate: gate.clone(), waiting: wait }),
            source: InputSource {
                me,
                store: store.clone(),
                transport,
            },
            clock: Clock::new(Ticking(AtomicU64::new(0))),
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
            store,
        }
    }

    fn local(me: Member) -> Rig {
        let (local, store) = (LocalTransport::new(Arc::new(NumbersCodec)), store());
        local.register(me, store.clone()).expect("the first");
        Rig::new(me, Arc::new(local), store, None)
    }

    fn on(&mut self, now: Time, event: Event) {
        let mut actions = Vec::new();
        self.core.on_event(now, event, &mut actions);
        self.core.assert_invariants();
        for action in actions {
            self.performer.carry_out(action, &self.report);
        }
    }

    fn order(&mut self, message: ToExecutor) {
        self.on(
            Time::ZERO,
            Event::from_wire(message).expect("it is for executors"),
        );
    }

    fn run(&mut self, task: TaskId, parts: Vec<InputPart>) {
        let facts = TaskFacts {
            epoch: Epoch(1),
            program: ProgramId(7),
            batch: task.key.batch,
            time: BatchTime(1_000),
            seed: 5,
        };
        self.order(ToExecutor::Run {
            facts,
            tasks: vec![TaskSpec {
                task,
                inputs: vec![parts],
            }],
        });
    }

    /// Waits for the next event from a thread.
    async fn next_event(&self) -> Event {
        // Fetches run on the test's own thread, between two looks; slots on theirs.
        for _ in 0..100 {
            tokio::task::yield_now().await;
            if let Ok(event) = self.events.try_recv() {
                return event;
            }
        }
        self.events
            .recv_timeout(PATIENCE)
            .expect("something happens within 30 s")
    }

    /// Drives the executor until it tells the driver something.
    async fn told(&mut self, now: Time) -> ToDriver {
        loop {
            if let Ok(message) = self.told.try_recv() {
                return message;
            }
            let event = self.next_event().await;
            self.on(now, event);
        }
    }

    fn open_gate(&self) {
        *self.gate.0.lock().expect("no panic holds it") = true;
        self.gate.1.notify_all();
    }
}

fn store() -> BlockStore {
    BlockStore::new(Budget {
        bytes_max: 800,
        outputs_over_max: 80,
    })
}

fn range(from: u64, to: u64) -> InputPart {
    InputPart::Range {
        stream: tidemill_protocol::id::StreamId(0),
        partition: PartitionId(0),
        from,
        to,
    }
}

fn part(key: DataKey, holder: Member) -> InputPart {
    InputPart::Held {
        key,
        holders: vec![holder],
    }
}

fn sum_of(store: &BlockStore, task: TaskId) -> Vec<u64> {
    values(&store.get(output(task, 0)).expect("the task has kept its output"))
}

#[tokio::test]
async fn a_batch_of_two_stages_runs_from_order_to_answer() {
    let me = member(1);
    let mut rig = Rig::local(me);
    rig.run(task(0, 0), vec![range(1, 5)]);
    let ToDriver::TaskDone(map) = rig.told(Time::ZERO).await else {
        panic!("the task is sound")
    };
    let info = |partition| OutputInfo {
        partition: PartitionId(partition),
        rows: 2,
        bytes: 16,
    };
    assert_eq!(
        (map.holder, map.rows_in, map.outputs),
        (me, 4, vec![info(0), info(1)])
    );
    assert_eq!((map.run_ns, map.read), (1_000, vec![]));

    rig.run(task(1, 1), vec![part(output(task(0, 0), 1), me)]);
    let ToDriver::TaskDone(reduce) = rig.told(Time::ZERO).await else {
        panic!("the task is sound")
    };
    assert_eq!(reduce.read, [output(task(0, 0), 1)]);
    assert_eq!(sum_of(&rig.store, task(1, 1)), [4], "1 + 3");

    rig.order(ToExecutor::ReleaseOutputs {
        up_to: BatchNumber(3),
    });
    assert_eq!(rig.store.bytes(), 0);
    rig.order(ToExecutor::Shutdown);
    assert_eq!(rig.fate.recv_timeout(PATIENCE).as_deref(), Ok("left"));
}

#[tokio::test]
async fn a_panic_is_a_failed_task_with_message_and_place() {
    let mut rig = Rig::local(member(1));
    for _ in 0..3 {
        rig.run(task(2, 0), vec![range(6, 7)]);
        let ToDriver::TaskFailed(failure) = rig.told(Time::ZERO).await else {
            panic!("the task panics")
        };
        let start = "batch-3/stage-2/p0/a0 panicked: no luck with [6] at ";
        assert!(failure.message.starts_with(start), "{}", failure.message);
        assert!(failure.message.contains("slots/tests.rs:"), "{}", failure.message);
        assert_eq!(failure.missing, None);
    }
    rig.run(task(3, 0), vec![]);
    let ToDriver::TaskFailed(failure) = rig.told(Time::ZERO).await else {
        panic!("the task fails")
    };
    assert_eq!(failure.message, "no such file");
}

#[tokio::test]
async fn a_task_that_hears_nothing_loses_its_thread_and_its_result() {
    let mut rig = Rig::local(member(1));
    let deaf = [task(4, 0), task(4, 1)];
    for id in deaf {
        rig.run(id, vec![]);
    }
    for _ in deaf {
        // Cancelled before it begins, a task would not run at all.
        rig.waiting.recv_timeout(PATIENCE).expect("both begin");
    }
    rig.order(ToExecutor::Cancel { tasks: deaf.to_vec() });
    let mut leaked = Vec::new();
    while leaked.len() < deaf.len() {
        let deadline = rig.core.next_deadline().expect("two tasks run");
        rig.on(deadline, Event::Wake);
        let counters = rig.next_event().await;
        assert!(matches!(counters, Event::Progress { .. }));
        rig.on(deadline, counters);
        while let Ok(ToDriver::SlotLeaked { task }) = rig.told.try_recv() {
            leaked.push(task);
        }
    }
    assert_eq!(leaked, deaf);

    rig.run(task(1, 0), vec![range(0, 4)]);
    assert!(
        matches!(rig.told(Time::ZERO).await, ToDriver::TaskDone(_)),
        "new threads are in their places"
    );
    rig.open_gate();
    for _ in deaf {
        let end = rig.next_event().await;
        assert!(
            matches!(
                end,
                Event::SlotFree {
                    end: TaskEnd::Cancelled,
                    ..
                }
            ),
            "{end:?}"
        );
        rig.on(Time::ZERO, end);
    }
    assert!(deaf.iter().all(|id| rig.store.get(output(*id, 0)).is_none()));
}

#[tokio::test]
async fn an_output_that_finds_no_room_fails_its_task_and_leaves_nothing() {
    let mut rig = Rig::local(member(1));
    rig.run(task(0, 0), vec![range(0, 200)]);
    let ToDriver::TaskFailed(failure) = rig.told(Time::ZERO).await else {
        panic!("there is no room")
    };
    let message = "batch-3/stage-0/p0/a0 cannot keep its output: no room for an output of 800 bytes: \
                   800 of 880 bytes are in use";
    assert_eq!(failure.message, message);
    assert_eq!(rig.store.bytes(), 0);
}

#[tokio::test]
async fn an_input_that_nobody_holds_is_reported_as_missing() {
    let mut rig = Rig::local(member(1));
    let key = output(task(0, 9), 0);
    rig.run(task(1, 0), vec![part(key, member(2))]);
    let ToDriver::TaskFailed(failure) = rig.told(Time::ZERO).await else {
        panic!("the input is missing")
    };
    assert_eq!(failure.missing, Some(key));
    assert!(
        failure.message.contains("node-2.i0 is out of reach"),
        "{}",
        failure.message
    );
}

/// A peer in another process, as far as the executor can tell.
struct Peer(BlockStore);

impl BulkClient for Peer {
    type Connection = ();

    fn connect(&self, _: Member, _: SocketAddr) -> BoxFuture<'static, Result<(), BulkError>> {
        Box::pin(ready(Ok(())))
    }

    fn is_open(&self, (): &()) -> bool {
        true
    }

    fn fetch(&self, (): (), key: DataKey) -> BoxFuture<'static, Result<Option<Vec<Piece>>, BulkError>> {
        let pieces = fetch_replies(&self.0, key).filter_map(|reply| match reply {
            Ok(BulkReply::Piece(piece)) => Some(piece),
            _ => None,
        });
        let pieces: Vec<Piece> = pieces.collect();
        Box::pin(ready(Ok((!pieces.is_empty()).then_some(pieces))))
    }

    fn store(
        &self,
        (): (),
        _: tidemill_protocol::id::BlockId,
        _: Vec<Piece>,
    ) -> BoxFuture<'static, Result<StoreAnswer, BulkError>> {
        Box::pin(ready(Ok(StoreAnswer::Full)))
    }
}

fn keep(store: &BlockStore, partition: u32, data: Held) -> DataKey {
    store
        .put_output(task(0, 0), PartitionId(partition), data)
        .expect("there is room");
    output(task(0, 0), partition)
}

#[tokio::test]
async fn inputs_of_other_processes_are_fetched_in_order_and_weighed() {
    let (me, peer, theirs, mine) = (member(1), member(2), store(), store());
    let quic = QuicTransport::new(Peer(theirs.clone()), Arc::new(NumbersCodec));
    let address = SocketAddr::from(([127, 0, 0, 1], 7_000));
    quic.set_peers(vec![PeerInfo {
        member: peer,
        bulk_address: Some(address),
    }]);
    let mut rig = Rig::new(me, Arc::new(quic), mine.clone(), None);
    let parts: Vec<InputPart> = (0..40)
        .map(|n| match n % 2 {
            0 => part(keep(&theirs, n, held(&[u64::from(n)])), peer),
            _ => part(keep(&mine, n, held(&[u64::from(n)])), me),
        })
        .collect();
    let before = mine.bytes();
    rig.run(task(1, 0), parts);
    let arrived = rig.next_event().await;
    assert_eq!(arrived, Event::InputsReady { task: task(1, 0) });
    assert_eq!(
        mine.bytes(),
        before + 20 * 8,
        "what was fetched counts while it is held"
    );
    rig.on(Time::ZERO, arrived);
    let ToDriver::TaskDone(outcome) = rig.told(Time::ZERO).await else {
        panic!("all inputs are there")
    };
    assert_eq!(outcome.read.len(), 40);
    assert_eq!(sum_of(&mine, task(1, 0)), [(0..40).sum::<u64>()]);
    assert_eq!(mine.bytes(), before + 8, "only the result is left");

    let lost = output(task(0, 0), 99);
    rig.run(
        task(1, 1),
        vec![part(output(task(0, 0), 0), peer), part(lost, peer)],
    );
    let ToDriver::TaskFailed(failure) = rig.told(Time::ZERO).await else {
        panic!("an input is lost")
    };
    assert_eq!(failure.missing, Some(lost));
}

#[tokio::test]
async fn a_cancelled_fetch_leaves_nothing_behind() {
    let (me, peer, theirs, mine) = (member(1), member(2), store(), store());
    let quic = QuicTransport::new(Peer(theirs.clone()), Arc::new(NumbersCodec));
    let address = SocketAddr::from(([127, 0, 0, 1], 7_000));
    quic.set_peers(vec![PeerInfo {
        member: peer,
        bulk_address: Some(address),
    }]);
    let mut rig = Rig::new(me, Arc::new(quic), mine.clone(), None);
    let key = keep(&theirs, 0, held(&[1]));

    rig.run(task(1, 0), vec![part(key, peer)]);
    rig.order(ToExecutor::Cancel {
        tasks: vec![task(1, 0)],
    });
    rig.run(task(1, 1), vec![part(key, peer)]);
    let ToDriver::TaskDone(outcome) = rig.told(Time::ZERO).await else {
        panic!("the other goes on")
    };
    assert_eq!(outcome.task, task(1, 1));
    rig.run(task(1, 2), vec![part(key, peer)]);
    let arrived = rig.next_event().await;
    assert_eq!(arrived, Event::InputsReady { task: task(1, 2) });
    rig.order(ToExecutor::Cancel {
        tasks: vec![task(1, 2)],
    });
    assert_eq!(mine.bytes(), 8, "the one result");
}

#[tokio::test]
async fn virtual_cost_is_part_of_the_run_time() {
    let (me, local, store) = (member(1), LocalTransport::new(Arc::new(NumbersCodec)), store());
    local.register(me, store.clone()).expect("the first");
    let model = CostModel {
        jitter: 0.0,
        ..CostModel::default()
    };
    let mut rig = Rig::new(me, Arc::new(local), store, Some(model));
    rig.run(task(1, 0), vec![range(0, 50)]);
    let ToDriver::TaskDone(outcome) = rig.told(Time::ZERO).await else {
        panic!("the task is sound")
    };
    assert_eq!(
        outcome.run_ns, 251_000,
        "200 µs, 50 records of 1 µs, and a tick of the clock"
    );
}
