//! Notices: what travels inside them, what is kept of it, and whom they do not reach.

use super::*;
use tidemill_protocol::{
    id::Epoch,
    message::{NOTICE_BYTES_MAX, OutputInfo},
};

/// A notice of the task of these tests to `to`.
fn notice(to: Member) -> Notice {
    let outputs = [0, 1].map(|p| OutputInfo { partition: PartitionId(p), rows: 2, bytes: 16 }).to_vec();
    Notice { epoch: Epoch(1), from: member(1, 0), to, task: task(), outputs, brought: Vec::new() }
}

fn large_store() -> BlockStore {
    BlockStore::new(Budget { bytes_max: 1 << 20, outputs_over_max: 0 })
}

fn brought(notice: &Notice) -> Vec<PartitionId> {
    notice.brought.iter().map(|output| output.partition).collect()
}

#[tokio::test]
async fn what_a_notice_brings_is_in_the_readers_store_and_counted_there() {
    let (store, readers) = (large_store(), large_store());
    store.put_output(task(), PartitionId(0), held(&[4, 2])).expect("room");
    store.put_output(task(), PartitionId(1), held(&[7])).expect("room");
    let before = store.bytes();
    // One that is not here (any more) is not brought.
    let bring = [PartitionId(0), PartitionId(1), PartitionId(2)];
    let (filled, reserved) = fill_notice(&store, notice(member(2, 0)), &bring).await;
    assert_eq!(brought(&filled), [PartitionId(0), PartitionId(1)]);
    assert!(store.bytes() >= before + filled.bytes_brought(), "what is being sent is counted");
    drop(reserved);
    assert_eq!(store.bytes(), before);
    let noticed = take_notice(&readers, &NumbersCodec, filled);
    assert_eq!(noticed, Noticed { notice: notice(member(2, 0)), kept: vec![PartitionId(0), PartitionId(1)] });
    assert_eq!(values(&readers.get(output(0)).expect("it was brought")), [4, 2]);
    assert_eq!(readers.bytes(), store.bytes(), "it weighs the same there");
    // It goes with its batch, and what comes after that is not kept.
    readers.release_outputs(BatchNumber(0));
    assert_eq!(readers.bytes(), 0);
    let (filled, _) = fill_notice(&store, notice(member(2, 0)), &bring).await;
    assert_eq!(take_notice(&readers, &NumbersCodec, filled).kept, []);
    assert_eq!(readers.bytes(), 0);
}

#[tokio::test]
async fn more_than_fits_a_notice_stays_and_a_reader_without_room_keeps_nothing() {
    let store = large_store();
    let many: Vec<u64> = (0..NOTICE_BYTES_MAX / 16).collect();
    store.put_output(task(), PartitionId(0), held(&many)).expect("room");
    store.put_output(task(), PartitionId(1), held(&many)).expect("room");
    let (filled, _) = fill_notice(&store, notice(member(2, 0)), &[PartitionId(0), PartitionId(1)]).await;
    assert!(filled.bytes_brought() <= NOTICE_BYTES_MAX, "{} bytes", filled.bytes_brought());
    let (one, _) = fill_notice(&store, notice(member(2, 0)), &[PartitionId(1)]).await;
    assert_eq!(brought(&one), [PartitionId(1)]);
    let small = small_store();
    assert_eq!(
        take_notice(&small, &NumbersCodec, one),
        Noticed { notice: notice(member(2, 0)), kept: vec![] }
    );
    assert_eq!(small.bytes(), 0);
    // Where hardly anything may be held for sending, nothing is brought, and nobody waits.
    small.put_output(task(), PartitionId(0), held(&[1])).expect("room");
    let (without, _) = fill_notice(&small, notice(member(2, 0)), &[PartitionId(0)]).await;
    assert_eq!(brought(&without), []);
}

#[tokio::test]
async fn an_output_that_cannot_be_written_or_read_is_left_for_its_reader_to_find() {
    let (store, readers) = (large_store(), large_store());
    store.put_output(task(), PartitionId(0), held_of(UNWRITABLE, &[5])).expect("room");
    let (mut filled, _) = fill_notice(&store, notice(member(2, 0)), &[PartitionId(0)]).await;
    assert_eq!(brought(&filled), []);
    let torn = vec![Piece { rows: 1, dataset: DatasetId(1), bytes: vec![1, 2, 3].into() }];
    filled
        .brought
        .push(tidemill_protocol::message::BroughtOutput { partition: PartitionId(0), pieces: torn });
    assert_eq!(take_notice(&readers, &NumbersCodec, filled).kept, []);
    assert_eq!(readers.bytes(), 0);
}

#[tokio::test]
async fn over_quic_a_notice_arrives_or_the_sender_hears_why_not() {
    let wire = Wire::new(large_store());
    let quic = QuicTransport::new(wire.clone(), codec(), clock());
    quic.set_peers(vec![peer(2, 0, 7001)]);
    quic.notify(notice(member(2, 0))).await.expect("it arrives");
    let noticed = wire.noticed.lock().expect("no panic holds it").clone();
    assert_eq!(noticed, [Noticed { notice: notice(member(2, 0)), kept: vec![] }]);
    let stranger = quic.notify(notice(member(3, 0))).await.expect_err("nobody knows it");
    assert_eq!(stranger.to_string(), "node-3.i0 was not told: it is not among the living executors");
    let reborn = quic.notify(notice(member(2, 1))).await.expect_err("another life");
    assert_eq!(reborn.to, member(2, 1));
    wire.up.store(false, Ordering::SeqCst);
    assert!(quic.notify(notice(member(2, 0))).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_holds_a_notice_for_30_s() {
    for connects in [true, false] {
        let quic = QuicTransport::new(Silent { connects }, codec(), clock());
        quic.set_peers(vec![peer(2, 0, 7001)]);
        let began = tokio::time::Instant::now();
        let error = quic.notify(notice(member(2, 0))).await.expect_err("silence");
        assert_eq!(error.reason, "no answer within 30 s");
        assert_eq!(began.elapsed(), Duration::from_secs(30));
    }
}

#[tokio::test]
async fn inside_a_process_a_life_hears_its_own_notices_until_it_ends() {
    let local = LocalTransport::new(codec());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (ear, takes) = (heard.clone(), Arc::new(AtomicBool::new(true)));
    let listens = takes.clone();
    let listen = move |noticed| {
        ear.lock().expect("no panic holds it").push(noticed);
        listens.load(Ordering::SeqCst)
    };
    local.register(member(2, 1), large_store()).expect("the first");
    local.listen(member(2, 1), Arc::new(listen));
    local.notify(notice(member(2, 1))).await.expect("it hears");
    assert!(local.notify(notice(member(2, 0))).await.is_err(), "that life is over");
    takes.store(false, Ordering::SeqCst);
    assert!(local.notify(notice(member(2, 1))).await.is_err(), "it takes no more");
    local.unregister(member(2, 1));
    assert!(local.notify(notice(member(2, 1))).await.is_err());
    assert_eq!(heard.lock().expect("no panic holds it").len(), 2);
}
