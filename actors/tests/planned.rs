//! Planned sources that do not answer as they should, asked by the batch generator in virtual time.

mod support;

use futures_util::future::{self, BoxFuture};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use support::{in_virtual_time, ms};
use tidemill_actors::{
    batch_generator::{
        BatchInterval, ExecutorOutlet, GeneratorConfig, GeneratorCore, GeneratorEvent, GeneratorNote,
        GeneratorPerformer, GeneratorPorts, PlanOutlet, RangesFound,
    },
    receiver::BlockSink,
    seam::{BatchPlan, SourceError, SourceHost, StorageLevel, StreamInfo, StreamKind},
    shell::{Shell, ShellAddress},
    supervision::{Strategy, Supervisor, SupervisorHandle, SupervisorSpec},
};
use tidemill_protocol::{
    id::{BatchNumber, BlockId, Member, PartitionId, Position, ReceiverId, StreamId},
    message::ToExecutor,
    world::{Job, SlotThread, Spawner, SpawnerSource, World},
};

/// How a source answers.
#[derive(Clone, Copy)]
enum Manner {
    Panics,
    NeverAnswers,
}

struct Source {
    manner: Manner,
    asked: AtomicU32,
}

impl SourceHost for Source {
    fn receive(
        &self,
        _: ReceiverId,
        _: Option<Position>,
        _: BlockSink,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        unreachable!("there are no receivers")
    }

    fn next_ranges(
        &self,
        _: StreamId,
        _: &BTreeMap<PartitionId, u64>,
        _: Option<u64>,
    ) -> BoxFuture<'static, Result<RangesFound, SourceError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.manner {
            Manner::Panics => panic!("no such month"),
            Manner::NeverAnswers => Box::pin(future::pending()),
        }
    }
}

/// What the scheduler and the user are told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

impl ExecutorOutlet for Told {
    fn send(&self, to: Member, _: ToExecutor) {
        self.note(format!("to {to}"));
    }
}

impl PlanOutlet for Told {
    fn plan_ready(&self, plan: Arc<BatchPlan>, _: BTreeMap<BlockId, Vec<Member>>) {
        self.note(format!("plan {}", plan.batch.0));
    }
    fn replan(&self, plan: Arc<BatchPlan>, _: BTreeMap<BlockId, Vec<Member>>) {
        self.note(format!("replan {}", plan.batch.0));
    }
    fn block_held(&self, block: BlockId, _: Vec<Member>) {
        self.note(format!("held {block}"));
    }
    fn batch_safe(&self, batch: BatchNumber) {
        self.note(format!("safe {}", batch.0));
    }
    fn blocks_wait(&self, wait: bool) {
        self.note(format!("blocks wait: {wait}"));
    }
    fn drained(&self, member: Member) {
        self.note(format!("drained {member}"));
    }
    fn note(&self, note: GeneratorNote) {
        Told::note(self, format!("{note:?}"));
    }
    fn ended(&self) {
        Told::note(self, "ended".to_owned());
    }
    fn failed(&self, reason: String) {
        Told::note(self, reason);
    }
}

/// Runs asynchronous work on the thread of the test.
struct Here;

impl SpawnerSource for Here {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        tokio::spawn(work);
    }
    fn blocking(&self, work: Job) -> BoxFuture<'static, ()> {
        work();
        Box::pin(future::ready(()))
    }
    fn slot(&self, name: String) -> Box<dyn SlotThread> {
        panic!("the batch generator needs no slot {name}")
    }
}

/// A generator of batches every second from one planned source, which fails the pipeline at its third failure.
fn start(
    world: &World,
    source: &Arc<Source>,
    told: &Told,
) -> (SupervisorHandle, ShellAddress<GeneratorCore>) {
    let world = World { spawner: Spawner::new(Here), ..world.clone() };
    let stream = StreamInfo {
        id: StreamId(0),
        name: "months".to_owned(),
        kind: StreamKind::Planned,
        receivers: 0,
        storage: StorageLevel::default(),
    };
    let config = GeneratorConfig {
        interval: BatchInterval::Every(Duration::from_secs(1)),
        streams: vec![stream],
        range_failures_max: 3,
        ..GeneratorConfig::default()
    };
    let (address, inbox) = ShellAddress::new_pair();
    let ports = GeneratorPorts {
        executors: Arc::new(told.clone()),
        plans: Arc::new(told.clone()),
        source: source.clone(),
    };
    address.tell(GeneratorEvent::Start { wall: world.clock.wall() });
    let (of_shell, of_performer) = (config, world.clone());
    let child = Shell::child_spec(
        "batch_generator",
        inbox,
        move |_| GeneratorCore::new(of_shell.clone()),
        move |_| GeneratorPerformer::new(ports.clone(), of_performer.clone()),
    );
    let root = SupervisorSpec::new("root", Strategy::OneForOne).child(child);
    (Supervisor::start(root, &world), address)
}

#[test]
fn a_planned_source_that_panics_fails_the_pipeline_with_its_words() {
    in_virtual_time(1, |world| async move {
        let source = Arc::new(Source { manner: Manner::Panics, asked: AtomicU32::new(0) });
        let told = Told::default();
        let _started = start(&world, &source, &told);
        // Asked at the cut, and again after 100 ms and 200 ms.
        world.clock.sleep(ms(1_500)).await;
        let told = told.0.lock().unwrap().clone();
        assert_eq!(source.asked.load(Ordering::SeqCst), 3, "{told:?}");
        assert_eq!(told.len(), 1, "{told:?}");
        let said =
            "stream-0 cannot list what it holds: it panicked: no such month at actors/tests/planned.rs:";
        assert!(told[0].starts_with(said), "{told:?}");
    });
}

#[test]
fn a_planned_source_that_never_answers_is_asked_again_and_then_fails() {
    in_virtual_time(1, |world| async move {
        let source = Arc::new(Source { manner: Manner::NeverAnswers, asked: AtomicU32::new(0) });
        let told = Told::default();
        let _started = start(&world, &source, &told);
        // Asked at 1 s, 31.1 s and 61.3 s, each time for 30 s.
        for (until, asked) in [(30_900, 1), (61_000, 2), (91_200, 3)] {
            world.clock.sleep(ms(until) - Duration::from_nanos(world.clock.now().0)).await;
            assert_eq!(source.asked.load(Ordering::SeqCst), asked, "at {until} ms");
            assert_eq!(*told.0.lock().unwrap(), Vec::<String>::new());
        }
        world.clock.sleep(ms(200)).await;
        let told = told.0.lock().unwrap().clone();
        assert_eq!(told, ["stream-0 cannot list what it holds: no answer within 30s"]);
        assert_eq!(source.asked.load(Ordering::SeqCst), 3);
    });
}
