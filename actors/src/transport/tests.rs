//! Both transports between two stores; the QUIC one over a client that hands requests to the server's functions.

mod again;
mod large;
mod notices;

use super::*;
use crate::{
    block_store::{
        BlockStore, Budget,
        numbers::{LOSSY, NumbersCodec, UNWRITABLE, held, held_of, values},
    },
    seam::PayloadCodec,
};
use futures_util::future::pending;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tidemill_protocol::{
    id::{
        Attempt, BatchNumber, DatasetId, Incarnation, NodeId, PartitionId, ReceiverId, ReceiverIndex,
        StageId, StreamId, TaskId, TaskKey,
    },
    message::{Notice, PeerInfo, Piece},
    time::Time,
    world::{Clock, ClockSource},
};

fn member(node: u16, incarnation: u32) -> Member {
    Member { node: NodeId(node), incarnation: Incarnation(incarnation) }
}

fn block(sequence: u64) -> BlockId {
    let receiver = ReceiverId { stream: StreamId(0), index: ReceiverIndex(0), incarnation: Incarnation(0) };
    BlockId { receiver, sequence }
}

fn task() -> TaskId {
    let key = TaskKey { batch: BatchNumber(0), stage: StageId(0), partition: PartitionId(0) };
    TaskId { key, attempt: Attempt(0) }
}

fn output(partition: u32) -> DataKey {
    DataKey::Output { task: task(), partition: PartitionId(partition) }
}

fn small_store() -> BlockStore {
    BlockStore::new(Budget { bytes_max: 80, outputs_over_max: 80 })
}

fn codec() -> Arc<dyn PayloadCodec> {
    Arc::new(NumbersCodec)
}

#[tokio::test]
async fn inside_a_process_data_change_hands_by_reference() {
    let (local, store) = (LocalTransport::with_wire_check(codec(), false), small_store());
    local.register(member(1, 0), store.clone()).expect("the first");
    store.put_output(task(), PartitionId(3), held(&[1, 2])).expect("room");

    let fetched = local.fetch(member(1, 0), output(3)).await.expect("it is there");
    let kept = store.get(output(3)).expect("it is there");
    assert!(Arc::ptr_eq(&fetched.pieces, &kept.pieces));

    assert!(matches!(local.fetch(member(1, 0), output(4)).await, Err(FetchError::NotHere { .. })));
    assert!(matches!(local.fetch(member(2, 0), output(3)).await, Err(FetchError::Gone { .. })));
    assert!(local.is_immediate());
}

#[tokio::test]
async fn a_dead_incarnation_neither_serves_nor_registers() {
    let local = LocalTransport::new(codec());
    local.register(member(1, 1), small_store()).expect("the first");
    let refused = local.register(member(1, 0), small_store()).expect_err("it is dead");
    assert_eq!(refused, RegisterError { refused: member(1, 0), living: member(1, 1) });
    assert!(matches!(local.fetch_now(member(1, 0), output(0)), Some(Err(FetchError::Gone { .. }))));
    local.unregister(member(1, 0));
    assert!(matches!(local.fetch_now(member(1, 1), output(0)), Some(Err(FetchError::NotHere { .. }))));
    local.unregister(member(1, 1));
    assert!(matches!(local.fetch_now(member(1, 1), output(0)), Some(Err(FetchError::Gone { .. }))));
}

#[tokio::test]
async fn a_type_that_does_not_survive_the_wire_is_found_at_the_desk() {
    let (local, store) = (LocalTransport::with_wire_check(codec(), true), small_store());
    local.register(member(1, 0), store.clone()).expect("the first");
    store.put_output(task(), PartitionId(0), held_of(LOSSY, &[5, 6])).expect("room");
    store.put_output(task(), PartitionId(1), held_of(UNWRITABLE, &[5])).expect("room");
    store.put_output(task(), PartitionId(2), held(&[5, 6])).expect("room");

    let lossy = local.fetch(member(1, 0), output(0)).await.expect_err("a record is lost");
    assert_eq!(
        lossy.to_string(),
        "a payload of dataset-66 does not survive the wire: 2 records in 16 bytes became 1 records in 8 bytes \
         after decoding; they differ from byte 8 on"
    );
    assert!(!lossy.is_retryable());
    let unwritable = local.fetch(member(1, 0), output(1)).await.expect_err("it cannot be written");
    assert!(unwritable.to_string().contains("dataset-67"), "{unwritable}");
    assert!(local.own(output(0), held_of(LOSSY, &[5])).is_err(), "one's own outputs are checked too");

    let sound = local.fetch(member(1, 0), output(2)).await.expect("it survives");
    assert_eq!(values(&sound), [5, 6]);
}

#[tokio::test]
async fn copies_of_blocks_are_kept_or_refused_with_the_reason() {
    let (local, store) = (LocalTransport::new(codec()), small_store());
    local.register(member(2, 0), store.clone()).expect("the first");
    local.replicate(member(2, 0), block(0), held(&[1; 8])).await.expect("there is room");
    assert_eq!(store.get(DataKey::Block(block(0))).map(|kept| kept.rows()), Some(8));

    let full = local.replicate(member(2, 0), block(1), held(&[1; 8])).await.expect_err("no room");
    assert!(matches!(full, ReplicateError::Full { .. }) && full.is_retryable());
    let large = local.replicate(member(2, 0), block(1), held(&[1; 11])).await.expect_err("never any room");
    assert!(matches!(large, ReplicateError::Refused { .. }) && !large.is_retryable());
    store.clear();
    let gone = local.replicate(member(2, 0), block(1), held(&[1])).await.expect_err("killed");
    assert!(matches!(gone, ReplicateError::Gone { .. }));
}

/// tokio's clock, which the tests pause.
struct Paused(tokio::time::Instant);

impl ClockSource for Paused {
    fn now(&self) -> Time {
        Time::ZERO + self.0.elapsed()
    }

    fn wall(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(self.0 + deadline.since(Time::ZERO)))
    }
}

fn clock() -> Clock {
    Clock::new(Paused(tokio::time::Instant::now()))
}

/// A client whose connections end in another store, through the functions of the server's side.
#[derive(Clone)]
struct Wire {
    store: BlockStore,
    up: Arc<AtomicBool>,
    connects: Arc<AtomicU32>,
    addresses: Arc<Mutex<Vec<SocketAddr>>>,
    noticed: Arc<Mutex<Vec<Noticed>>>,
}

impl Wire {
    fn new(store: BlockStore) -> Self {
        let (up, connects) = (Arc::new(AtomicBool::new(true)), Arc::default());
        Wire { store, up, connects, addresses: Arc::default(), noticed: Arc::default() }
    }

    fn check_up(&self) -> Result<(), BulkError> {
        if self.up.load(Ordering::SeqCst) { Ok(()) } else { Err(BulkError("cut".into())) }
    }

    async fn answer(self, key: DataKey, credit: Option<u64>) -> Result<FetchAnswer, BulkError> {
        self.check_up()?;
        let answer = serve_fetch(&self.store, key, credit).await;
        answer.map(|(answer, _)| answer).map_err(|error| BulkError(error.to_string()))
    }
}

impl BulkClient for Wire {
    type Connection = u32;

    fn connect(&self, _: Member, address: SocketAddr) -> BoxFuture<'static, Result<u32, BulkError>> {
        self.addresses.lock().expect("no panic holds it").push(address);
        let number = self.connects.fetch_add(1, Ordering::SeqCst) + 1;
        let up = self.check_up();
        Box::pin(async move { up.map(|()| number) })
    }

    fn is_open(&self, connection: &u32) -> bool {
        *connection == self.connects.load(Ordering::SeqCst)
    }

    fn fetch(
        &self,
        _: u32,
        key: DataKey,
        credit: Option<u64>,
        _: Heard,
    ) -> BoxFuture<'static, Result<FetchAnswer, BulkError>> {
        Box::pin(self.clone().answer(key, credit))
    }

    fn store(
        &self,
        _: u32,
        block: BlockId,
        pieces: Vec<Piece>,
    ) -> BoxFuture<'static, Result<StoreAnswer, BulkError>> {
        let answer = serve_store(&self.store, &NumbersCodec, block, pieces, None::<()>);
        let answer = answer.map_err(|error| BulkError(error.to_string()));
        Box::pin(async move { answer })
    }

    fn notify(&self, _: u32, notice: Notice) -> BoxFuture<'static, Result<bool, BulkError>> {
        let up = self.check_up();
        let noticed = take_notice(&self.store, &NumbersCodec, notice);
        self.noticed.lock().expect("no panic holds it").push(noticed);
        Box::pin(async move { up.map(|()| true) })
    }
}

fn peer(node: u16, incarnation: u32, port: u16) -> PeerInfo {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    PeerInfo { member: member(node, incarnation), bulk_address: Some(address) }
}

#[tokio::test]
async fn over_quic_one_connection_serves_many_requests_and_is_made_anew_when_lost() {
    let (wire, store) = (Wire::new(small_store()), small_store());
    let wire = Wire { store: store.clone(), ..wire };
    let quic = QuicTransport::new(wire.clone(), codec(), clock());
    store.put_output(task(), PartitionId(0), held(&[4, 2])).expect("room");

    let unknown = quic.fetch(member(1, 0), output(0)).await.expect_err("not listed yet");
    assert!(matches!(unknown, FetchError::Gone { .. }));
    quic.set_peers(vec![peer(1, 0, 7001)]);
    for _ in 0..3 {
        let fetched = quic.fetch(member(1, 0), output(0)).await.expect("it is there");
        assert_eq!(values(&fetched), [4, 2]);
    }
    assert!(matches!(quic.fetch(member(1, 0), output(9)).await, Err(FetchError::NotHere { .. })));
    assert_eq!(wire.connects.load(Ordering::SeqCst), 1);

    wire.up.store(false, Ordering::SeqCst);
    wire.connects.fetch_add(1, Ordering::SeqCst);
    let cut = quic.fetch(member(1, 0), output(0)).await.expect_err("cut");
    assert!(matches!(cut, FetchError::Gone { .. }) && cut.is_retryable());
    wire.up.store(true, Ordering::SeqCst);
    assert!(quic.fetch(member(1, 0), output(0)).await.is_ok());
    assert_eq!(wire.connects.load(Ordering::SeqCst), 4, "1 at first, 1 counted as lost, 1 in vain, 1 anew");
}

#[tokio::test]
async fn over_quic_a_new_incarnation_has_a_new_connection_and_the_old_one_is_refused() {
    let wire = Wire::new(small_store());
    let quic = QuicTransport::new(wire.clone(), codec(), clock());
    quic.set_peers(vec![peer(1, 0, 7001)]);
    quic.replicate(member(1, 0), block(0), held(&[1; 9])).await.expect("there is room");
    quic.set_peers(vec![peer(1, 1, 7002)]);
    let dead = quic.replicate(member(1, 0), block(1), held(&[1])).await.expect_err("dead");
    assert!(matches!(dead, ReplicateError::Gone { .. }));
    let full = quic.replicate(member(1, 1), block(1), held(&[1; 9])).await.expect_err("no room");
    assert!(matches!(full, ReplicateError::Full { .. }));
    let unwritable = quic.replicate(member(1, 1), block(1), held_of(UNWRITABLE, &[1])).await;
    assert!(matches!(unwritable, Err(ReplicateError::Encode(error)) if error.dataset == UNWRITABLE));
    let ports: Vec<u16> = wire.addresses.lock().expect("no panic").iter().map(SocketAddr::port).collect();
    assert_eq!(ports, [7001, 7002]);
}

#[test]
fn a_replica_that_cannot_be_read_is_an_error_and_is_not_kept() {
    let store = small_store();
    let torn = Piece { rows: 1, dataset: DatasetId(1), bytes: vec![1, 2, 3].into() };
    let error = serve_store(&store, &NumbersCodec, block(0), vec![torn], None::<()>).expect_err("torn");
    assert_eq!(error.dataset, DatasetId(1));
    assert_eq!(store.bytes(), 0);
}

/// Peers that take connections and do not answer, or do not even take them.
struct Silent {
    connects: bool,
}

impl BulkClient for Silent {
    type Connection = ();

    fn connect(&self, _: Member, _: SocketAddr) -> BoxFuture<'static, Result<(), BulkError>> {
        let connects = self.connects;
        Box::pin(async move { if connects { Ok(()) } else { pending().await } })
    }

    fn is_open(&self, (): &()) -> bool {
        true
    }

    fn fetch(
        &self,
        (): (),
        _: DataKey,
        _: Option<u64>,
        _: Heard,
    ) -> BoxFuture<'static, Result<FetchAnswer, BulkError>> {
        Box::pin(pending())
    }

    fn store(&self, (): (), _: BlockId, _: Vec<Piece>) -> BoxFuture<'static, Result<StoreAnswer, BulkError>> {
        Box::pin(pending())
    }

    fn notify(&self, (): (), _: Notice) -> BoxFuture<'static, Result<bool, BulkError>> {
        Box::pin(pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_holds_nobody_for_ever() {
    for connects in [true, false] {
        let quic = QuicTransport::new(Silent { connects }, codec(), clock());
        quic.set_peers(vec![peer(1, 0, 7001)]);
        let began = tokio::time::Instant::now();
        let (first, second, copy) = futures_util::future::join3(
            quic.fetch(member(1, 0), output(0)),
            quic.fetch(member(1, 0), output(1)),
            quic.replicate(member(1, 0), block(0), held(&[1])),
        )
        .await;
        assert!(matches!(first, Err(FetchError::Gone { .. })));
        assert_eq!(
            second.expect_err("silence").to_string(),
            "node-1.i0 is out of reach: no answer within 30 s"
        );
        assert!(matches!(copy, Err(ReplicateError::Gone { .. })));
        assert_eq!(began.elapsed(), Duration::from_secs(30), "all three at the same time");
    }
}
