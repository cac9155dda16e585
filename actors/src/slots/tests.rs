//! From order to answer, on real threads: what ends well, what ends badly, and what does not end.

mod drops;
mod on_disk;

use super::{
    CostModel, InputSource,
    rig::{PATIENCE, Rig, clock, member, output, part, range, store, task},
    run::reported,
};
use crate::{
    block_store::{
        BlockStore, Budget, Share,
        numbers::{NumbersCodec, UNWRITABLE, WORDY, held, held_of, values},
    },
    core::Core,
    executor::{Event, TaskEnd},
    seam::{Held, InputData},
    transport::{
        BulkClient, BulkError, FetchAnswer, Heard, LocalTransport, QuicTransport, StoreAnswer, serve_fetch,
    },
};
use futures_util::future::{BoxFuture, ready};
use std::{net::SocketAddr, sync::Arc};
use tidemill_protocol::{
    id::{BatchNumber, BlockId, DataKey, Member, PartitionId, RunId, TaskId},
    message::{
        Exhausted, InputPart, Notice, OutputInfo, PeerInfo, Piece, REPORTED_BYTES_MAX, Resource, TaskSpec,
        ToDriver, ToExecutor,
    },
    time::Time,
};

fn sum_of(store: &BlockStore, task: TaskId) -> Vec<u64> {
    values(&store.get(output(task, 0)).expect("the task has kept its output"))
}

#[tokio::test]
async fn a_batch_of_two_stages_runs_from_order_to_answer() {
    let me = member(1);
    let mut rig = Rig::local(me);
    rig.run(task(0, 0), vec![range(1, 5)]);
    let ToDriver::TaskDone(map) = rig.told(Time::ZERO).await else { panic!("the task is sound") };
    let info = |partition| OutputInfo { partition: PartitionId(partition), rows: 2, bytes: 16 };
    assert_eq!((map.holder, map.rows_in, &map.outputs), (me, 4, &vec![info(0), info(1)]));
    assert_eq!((map.run_ns, &map.read), (1_000, &vec![]));

    rig.run(task(1, 1), vec![part(output(task(0, 0), 1), me)]);
    let ToDriver::TaskDone(reduce) = rig.told(Time::ZERO).await else { panic!("the task is sound") };
    assert_eq!(reduce.read, [output(task(0, 0), 1)]);
    assert_eq!(sum_of(&rig.store, task(1, 1)), [4], "1 + 3");

    rig.order(ToExecutor::ReleaseOutputs { up_to: BatchNumber(3) });
    assert_eq!(rig.store.bytes(), 0);
    rig.order(ToExecutor::Shutdown);
    assert_eq!(rig.fate.recv_timeout(PATIENCE).as_deref(), Ok("left"));
}

#[tokio::test]
async fn a_panic_is_a_failed_task_with_message_and_place() {
    let mut rig = Rig::local(member(1));
    for _ in 0..3 {
        rig.run(task(2, 0), vec![range(6, 7)]);
        let ToDriver::TaskFailed(failure) = rig.told(Time::ZERO).await else { panic!("the task panics") };
        let start = "batch-3/stage-2/p0/a0 panicked: no luck with [6] at ";
        assert!(failure.message.starts_with(start), "{}", failure.message);
        assert!(failure.message.contains("slots/rig.rs:"), "{}", failure.message);
        assert_eq!(failure.missing, None);
    }
    rig.run(task(3, 0), vec![]);
    let ToDriver::TaskFailed(failure) = rig.told(Time::ZERO).await else { panic!("the task fails") };
    assert_eq!(failure.message, "no such file");
}

#[tokio::test]
async fn what_an_attempt_left_for_its_sink_is_discarded_unless_it_ends_well() {
    let mut rig = Rig::local(member(1));
    let discarded = |rig: &Rig| rig.discarded.try_iter().collect::<Vec<_>>();
    rig.run(task(0, 0), vec![range(1, 5)]);
    assert!(matches!(rig.told(Time::ZERO).await, ToDriver::TaskDone(_)));
    assert_eq!(discarded(&rig), [], "the driver publishes it");
    for bad in [task(2, 0), task(3, 0)] {
        rig.run(bad, vec![range(6, 7)]);
        assert!(matches!(rig.told(Time::ZERO).await, ToDriver::TaskFailed(_)), "a panic, or an error");
        assert_eq!(discarded(&rig), [(RunId(6), bad)]);
    }
    // Cancelled while it works: whoever cancelled it looked too early.
    let deaf = task(4, 0);
    rig.run(deaf, vec![]);
    rig.waiting.recv_timeout(PATIENCE).expect("it begins");
    rig.order(ToExecutor::Cancel { tasks: vec![deaf] });
    assert_eq!(discarded(&rig), []);
    rig.open_gate();
    let end = rig.next_event().await;
    assert!(matches!(end, Event::SlotFree { end: TaskEnd::Cancelled, .. }), "{end:?}");
    assert_eq!(discarded(&rig), [(RunId(6), deaf)]);
}

#[tokio::test]
async fn what_ended_well_before_it_heard_that_nobody_wants_it_is_discarded_too() {
    let mut rig = Rig::local(member(1));
    let sound = task(0, 0);
    rig.run(sound, vec![range(1, 5)]);
    let end = rig.next_event().await;
    assert!(matches!(end, Event::SlotFree { end: TaskEnd::Done { .. }, .. }), "{end:?}");
    rig.order(ToExecutor::Cancel { tasks: vec![sound] });
    rig.on(Time::ZERO, end);
    assert_eq!(rig.discarded.try_iter().collect::<Vec<_>>(), [(RunId(6), sound)]);
    assert_eq!(rig.store.bytes(), 0);
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
    assert!(matches!(rig.told(Time::ZERO).await, ToDriver::TaskDone(_)), "new threads are in their places");
    rig.open_gate();
    for _ in deaf {
        let end = rig.next_event().await;
        assert!(matches!(end, Event::SlotFree { end: TaskEnd::Cancelled, .. }), "{end:?}");
        rig.on(Time::ZERO, end);
    }
    assert!(deaf.iter().all(|id| rig.store.get(output(*id, 0)).is_none()));
}

#[tokio::test]
async fn an_output_that_finds_no_room_fails_its_task_and_leaves_nothing() {
    let mut rig = Rig::local(member(1));
    rig.run(task(0, 0), vec![range(0, 200)]);
    let ToDriver::TaskFailed(failure) = rig.told(Time::ZERO).await else { panic!("there is no room") };
    let message = "batch-3/stage-0/p0/a0 cannot keep its output: resources exhausted: no room for an output of 800 bytes: \
                   800 of 880 bytes are in use: raise memory_bytes_max";
    assert!(failure.message.starts_with(message), "{}", failure.message);
    let exhausted = Exhausted { resource: Resource::Outputs, needed: 800, max: 880 };
    assert_eq!(failure.exhausted, Some(exhausted));
    assert_eq!(rig.store.bytes(), 0);
}

#[tokio::test]
async fn an_input_that_nobody_holds_is_reported_as_missing() {
    let mut rig = Rig::local(member(1));
    let key = output(task(0, 9), 0);
    rig.run(task(1, 0), vec![part(key, member(2))]);
    let ToDriver::TaskFailed(failure) = rig.told(Time::ZERO).await else { panic!("the input is missing") };
    assert_eq!(failure.missing, Some(key));
    assert!(failure.message.contains("node-2.i0 is out of reach"), "{}", failure.message);
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

    fn fetch(
        &self,
        (): (),
        key: DataKey,
        credit: Option<u64>,
        _: Heard,
    ) -> BoxFuture<'static, Result<FetchAnswer, BulkError>> {
        let store = self.0.clone();
        Box::pin(async move {
            let answer = serve_fetch(&store, key, credit).await.map(|(answer, _)| answer);
            Ok(answer.unwrap_or_else(|error| FetchAnswer::Unsendable(error.to_string())))
        })
    }

    fn store(&self, (): (), _: BlockId, _: Vec<Piece>) -> BoxFuture<'static, Result<StoreAnswer, BulkError>> {
        Box::pin(ready(Ok(StoreAnswer::Full)))
    }

    fn notify(&self, (): (), _: Notice) -> BoxFuture<'static, Result<bool, BulkError>> {
        Box::pin(ready(Ok(true)))
    }
}

fn over_quic(peer: Member, store: BlockStore) -> QuicTransport<Peer> {
    let quic = QuicTransport::new(Peer(store), Arc::new(NumbersCodec), clock());
    let address = SocketAddr::from(([127, 0, 0, 1], 7_000));
    quic.set_peers(vec![PeerInfo { member: peer, bulk_address: Some(address) }]);
    quic
}

fn keep(store: &BlockStore, partition: u32, data: Held) -> DataKey {
    store.put_output(task(0, 0), PartitionId(partition), data).expect("there is room");
    output(task(0, 0), partition)
}

#[tokio::test]
async fn inputs_of_other_processes_are_fetched_in_order_and_weighed() {
    let (me, peer, theirs, mine) = (member(1), member(2), store(), store());
    let quic = over_quic(peer, theirs.clone());
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
    assert_eq!(mine.bytes(), before + 20 * 8, "what was fetched counts while it is held");
    rig.on(Time::ZERO, arrived);
    let ToDriver::TaskDone(outcome) = rig.told(Time::ZERO).await else { panic!("all inputs are there") };
    assert_eq!(outcome.read.len(), 40);
    assert_eq!(sum_of(&mine, task(1, 0)), [(0..40).sum::<u64>()]);
    assert_eq!(mine.bytes(), before + 8, "only the result is left");

    let lost = output(task(0, 0), 99);
    rig.run(task(1, 1), vec![part(output(task(0, 0), 0), peer), part(lost, peer)]);
    let ToDriver::TaskFailed(failure) = rig.told(Time::ZERO).await else { panic!("an input is lost") };
    assert_eq!(failure.missing, Some(lost));
}

#[tokio::test]
async fn little_that_is_for_a_sink_travels_with_the_report_and_much_does_not() {
    async fn report(rig: &mut Rig, task: TaskId) -> Vec<Piece> {
        rig.run(task, vec![range(1, 4)]);
        let ToDriver::TaskDone(outcome) = rig.told(Time::ZERO).await else { panic!("the task is sound") };
        assert!(!outcome.outputs.is_empty());
        outcome.prepared.clone()
    }
    let (me, peer) = (member(1), member(2));
    let mut rig = Rig::new(me, Arc::new(over_quic(peer, store())), store(), None);
    // Stage 1 sums up for the sink, stage 0 deals out for readers.
    let told = report(&mut rig, task(1, 0)).await;
    assert_eq!(values(&Held::decode(&NumbersCodec, &told).unwrap()), [6]);
    assert_eq!(report(&mut rig, task(0, 0)).await, []);
    assert_eq!(report(&mut Rig::local(me), task(1, 0)).await, [], "in one process it is at hand");

    let as_long_as_may_be = held(&[1; REPORTED_BYTES_MAX as usize / 8]);
    assert_eq!(reported(&as_long_as_may_be).len(), 1);
    assert_eq!(reported(&held(&[1; REPORTED_BYTES_MAX as usize / 8 + 1])), []);
    // Short in memory, long on the wire; and one that cannot be written: whoever asks for it is told.
    assert_eq!(reported(&held_of(WORDY, &[1; 200])), []);
    assert_eq!(reported(&held_of(UNWRITABLE, &[1])), []);
}

#[tokio::test]
async fn a_cancelled_fetch_leaves_nothing_behind() {
    let (me, peer, theirs, mine) = (member(1), member(2), store(), store());
    let quic = over_quic(peer, theirs.clone());
    let mut rig = Rig::new(me, Arc::new(quic), mine.clone(), None);
    let key = keep(&theirs, 0, held(&[1]));

    rig.run(task(1, 0), vec![part(key, peer)]);
    rig.order(ToExecutor::Cancel { tasks: vec![task(1, 0)] });
    rig.run(task(1, 1), vec![part(key, peer)]);
    let ToDriver::TaskDone(outcome) = rig.told(Time::ZERO).await else { panic!("the other goes on") };
    assert_eq!(outcome.task, task(1, 1));
    rig.run(task(1, 2), vec![part(key, peer)]);
    let arrived = rig.next_event().await;
    assert_eq!(arrived, Event::InputsReady { task: task(1, 2) });
    rig.order(ToExecutor::Cancel { tasks: vec![task(1, 2)] });
    assert_eq!(mine.bytes(), 8, "the one result");
}

#[tokio::test]
async fn virtual_cost_is_part_of_the_run_time() {
    let (me, local, store) = (member(1), LocalTransport::new(Arc::new(NumbersCodec)), store());
    local.register(me, store.clone()).expect("the first");
    let model = CostModel { jitter: 0.0, ..CostModel::default() };
    let mut rig = Rig::new(me, Arc::new(local), store, Some(model));
    rig.run(task(1, 0), vec![range(0, 50)]);
    let ToDriver::TaskDone(outcome) = rig.told(Time::ZERO).await else { panic!("the task is sound") };
    assert_eq!(outcome.run_ns, 251_000, "200 µs, 50 records of 1 µs, and a tick of the clock");
}

/// A fan-in of 200 tasks over parts that need more than the first credit: what they bring in never exceeds the share.
#[tokio::test]
async fn many_fetches_at_once_stay_within_the_memory_for_inputs() {
    let (me, peer) = (member(1), member(2));
    let theirs = BlockStore::new(Budget::new(1 << 20));
    let mine = BlockStore::new(Budget::new(4_000));
    let parts: Vec<InputPart> =
        (0..20).map(|n| part(keep(&theirs, n, held(&[u64::from(n); 4])), peer)).collect();
    let source =
        InputSource { me, store: mine.clone(), transport: Arc::new(over_quic(peer, theirs.clone())) };
    let (inputs_max, first_max) = (mine.budget().share(Share::Inputs), mine.budget().share(Share::FirstAsks));
    let fetched = (0..200).map(|partition| {
        let (source, parts) = (source.clone(), parts.clone());
        async move {
            let spec = TaskSpec { task: task(1, partition), inputs: vec![parts] };
            let fetched = source.fetch(&spec).await.expect("each fits alone");
            assert_eq!(fetched.rows(), 80);
            // Held for a while, as by a task that waits for a slot and runs.
            tokio::task::yield_now().await;
        }
    });
    futures_util::future::join_all(fetched).await;
    assert!(mine.bytes_high_water() <= inputs_max + first_max, "{}", mine.bytes_high_water());
    assert!(mine.bytes_high_water() > inputs_max / 2, "many did fetch at once");
    assert_eq!((mine.bytes(), theirs.bytes()), (0, 20 * 32), "all of it was given back");

    let large = keep(&theirs, 99, held(&[1; 300]));
    let spec = TaskSpec { task: task(1, 999), inputs: vec![vec![part(large, peer)]] };
    let refused =
        source.fetch(&spec).await.map(|fetched| fetched.rows()).expect_err("2,400 bytes and their pieces");
    assert_eq!(refused.missing, None);
    assert!(refused.message.starts_with("resources exhausted"), "{refused}");
    assert_eq!(refused.exhausted.map(|e| (e.resource, e.max)), Some((Resource::Inputs, inputs_max)));
}

/// Four tasks at once, each with parts that need more than their holder estimates: whoever asks for more has given back what
/// came, or they would wait for each other.
#[tokio::test]
async fn parts_that_need_more_than_was_estimated_are_asked_for_again_without_a_circle() {
    let (me, peer) = (member(1), member(2));
    let theirs = BlockStore::new(Budget::new(8 << 20));
    let mine = BlockStore::new(Budget::new(1_300_000));
    // 40 KB in memory, 200 KB encoded: beyond the first credit, and beyond the estimate of 45 KB. A task needs 582 KB of the
    // 650 KB that there are.
    let wordy = |n: u64| held_of(WORDY, &[n; 5_000]);
    let parts: Vec<InputPart> = vec![
        part(keep(&theirs, 0, wordy(3)), peer),
        part(keep(&theirs, 1, held(&[5; 6_000])), peer),
        part(keep(&theirs, 2, wordy(7)), peer),
    ];
    let source =
        InputSource { me, store: mine.clone(), transport: Arc::new(over_quic(peer, theirs.clone())) };
    let fetched = (0..4).map(|partition| {
        let (source, parts) = (source.clone(), parts.clone());
        async move {
            let spec = TaskSpec { task: task(1, partition), inputs: vec![parts] };
            let fetched = source.fetch(&spec).await.expect("each fits alone");
            let each = |data: &InputData| match data {
                InputData::Held(held) => values(held),
                InputData::Range { .. } => Vec::new(),
            };
            let all: Vec<u64> = fetched.inputs.iter().flatten().flat_map(each).collect();
            assert_eq!(all, [vec![3; 5_000], vec![5; 6_000], vec![7; 5_000]].concat());
        }
    });
    let all = tokio::time::timeout(PATIENCE, futures_util::future::join_all(fetched));
    all.await.expect("nobody waits for ever");
    assert_eq!(mine.bytes(), 0, "all of it was given back");
    let (inputs_max, first_max) = (mine.budget().share(Share::Inputs), mine.budget().share(Share::FirstAsks));
    assert!(mine.bytes_high_water() <= inputs_max + first_max, "{}", mine.bytes_high_water());
    assert!(mine.bytes_high_water() > 400_000, "two encoded parts at once");
}

#[tokio::test]
async fn an_input_that_cannot_be_sent_fails_its_task_in_words_and_is_not_missing() {
    let (me, peer, theirs) = (member(1), member(2), store());
    let mut rig = Rig::new(me, Arc::new(over_quic(peer, theirs.clone())), store(), None);
    let key = keep(&theirs, 0, held_of(UNWRITABLE, &[1]));
    rig.run(task(1, 0), vec![part(key, peer)]);
    let ToDriver::TaskFailed(failure) = rig.told(Time::ZERO).await else { panic!("it cannot be sent") };
    assert_eq!((failure.missing, failure.exhausted), (None, None));
    assert!(failure.message.contains("cannot be sent by node-2.i0"), "{}", failure.message);
    assert!(failure.message.contains("cannot be written"), "{}", failure.message);
}

#[tokio::test]
async fn a_task_that_builds_more_than_there_is_fails_as_exhausted_and_gives_back_what_it_had() {
    let mut rig = Rig::local(member(1));
    for _ in 0..2 {
        rig.run(task(5, 0), vec![range(400, 402)]);
        let ToDriver::TaskFailed(failure) = rig.told(Time::ZERO).await else { panic!("800 bytes are all") };
        let said = "batch-3/stage-5/p0/a0: resources exhausted: 801 bytes of memory for what running tasks build and read from disk, of which \
                    there can be 800: raise memory_bytes_max, or use more partitions";
        assert_eq!(failure.message, said);
        let exhausted = Exhausted { resource: Resource::Outputs, needed: 801, max: 800 };
        assert_eq!(failure.exhausted, Some(exhausted));
    }
    rig.run(task(5, 0), vec![range(399, 401)]);
    assert!(matches!(rig.told(Time::ZERO).await, ToDriver::TaskDone(_)));
}
