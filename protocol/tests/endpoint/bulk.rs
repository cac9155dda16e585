//! Bulk requests over real loopback UDP.

use crate::loopback::{bulk, control, pair, within};
use futures_util::future::{BoxFuture, FutureExt};
use quinn::{Connection, ConnectionError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tidemill_protocol::codec::PIECE_BYTES_MAX;
use tidemill_protocol::endpoint::bulk::{
    BulkHandler, FetchOutcome, Kept, PIECES_MAX, STORE_AHEAD_BYTES_MAX, STORE_BYTES_MAX, StoreOutcome, fetch,
    fetch_within, notify, serve_bulk, store,
};
use tidemill_protocol::endpoint::{CloseCode, LinkError, test_identity};
use tidemill_protocol::frame::{FrameKind, encode_message, header, stream::write_frame};
use tidemill_protocol::id::{
    Attempt, BatchNumber, BlockId, DataKey, DatasetId, Incarnation, PartitionId, ReceiverId, ReceiverIndex,
    StageId, StreamId, TaskId, TaskKey,
};
use tidemill_protocol::message::{
    BulkReply, BulkRequest, NOTICE_BYTES_MAX, Notice, OutputInfo, PackedPiece, Piece,
};
use tidemill_protocol::world::SeededRng;
use tokio::{sync::watch, task::JoinHandle};

fn block(sequence: u64) -> BlockId {
    let receiver = ReceiverId { stream: StreamId(0), index: ReceiverIndex(1), incarnation: Incarnation(2) };
    BlockId { receiver, sequence }
}

/// A key whose fetch makes the handler panic.
fn cursed() -> DataKey {
    let key = TaskKey { batch: BatchNumber(6), stage: StageId(6), partition: PartitionId(6) };
    DataKey::Output { task: TaskId { key, attempt: Attempt(0) }, partition: PartitionId(0) }
}

/// A key whose fetch never ends.
fn endless() -> DataKey {
    DataKey::Block(block(u64::MAX))
}

/// `count` pieces of `bytes` random bytes.
fn pieces(seed: u64, count: u64, bytes: usize) -> Vec<Piece> {
    let mut rng = SeededRng::new(seed);
    let piece = |rows| Piece {
        rows,
        dataset: DatasetId(3),
        bytes: std::iter::repeat_with(|| rng.next_u64().to_le_bytes()).flatten().take(bytes).collect(),
    };
    (0..count).map(piece).collect()
}

/// Holds blocks in a map, up to a budget.
struct Shelf {
    blocks: Mutex<BTreeMap<DataKey, Vec<Piece>>>,
    notices: Mutex<Vec<Notice>>,
    bytes_max: usize,
    /// How many fetches have come that never end.
    endless: watch::Sender<usize>,
}

impl BulkHandler for Shelf {
    fn fetch(&self, key: DataKey, credit: Option<u64>) -> BoxFuture<'_, (FetchOutcome, Kept)> {
        Box::pin(async move {
            assert_ne!(key, cursed(), "a handler that panics");
            if key == endless() {
                self.endless.send_modify(|count| *count += 1);
                return std::future::pending().await;
            }
            let Some(pieces) = self.blocks.lock().unwrap().get(&key).cloned() else {
                return (FetchOutcome::NotHere, Box::new(()) as Kept);
            };
            let needs = pieces.iter().map(|piece| piece.bytes.len() as u64).sum();
            let enough = credit.is_none_or(|credit| needs <= credit);
            (if enough { FetchOutcome::Found(pieces) } else { FetchOutcome::Needs(needs) }, Box::new(()))
        })
    }

    fn make_room(&self, _block: BlockId, bytes: u64) -> Option<Kept> {
        let held: usize = self.blocks.lock().unwrap().values().flatten().map(|piece| piece.bytes.len()).sum();
        (held + bytes as usize <= self.bytes_max).then(|| Box::new(()) as Kept)
    }

    fn store(&self, block: BlockId, pieces: Vec<Piece>, _room: Option<Kept>) -> BoxFuture<'_, StoreOutcome> {
        Box::pin(async move {
            let mut blocks = self.blocks.lock().unwrap();
            let held: usize = blocks.values().flatten().chain(&pieces).map(|piece| piece.bytes.len()).sum();
            if held > self.bytes_max {
                return StoreOutcome::Full;
            }
            blocks.insert(DataKey::Block(block), pieces);
            StoreOutcome::Stored
        })
    }

    fn notice(&self, notice: Notice) -> BoxFuture<'_, bool> {
        let is_meant = notice.to.incarnation == Incarnation(2);
        self.notices.lock().unwrap().push(notice);
        Box::pin(std::future::ready(is_meant))
    }
}

/// The notice of the samples, bringing one output of so many bytes.
fn notice(bytes: u64) -> Notice {
    let sample = BulkRequest::samples().into_iter().find_map(|request| match request {
        BulkRequest::Notice(notice) => Some(notice),
        _ => None,
    });
    let mut notice = sample.expect("the samples have every variant");
    notice.brought[0].pieces = pieces(7, 1, bytes as usize);
    notice
}

#[tokio::test]
async fn fetches_that_were_given_up_take_no_place_of_others() {
    let shelf = shelf();
    let (connection, _server) = served(&shelf).await;
    let mut endless_ones = shelf.endless.subscribe();
    // More than a connection has places for requests.
    for count in 1..=200 {
        let given_up = async {
            tokio::select! {
                answer = fetch(&connection, endless()) => panic!("{answer:?}"),
                reached = endless_ones.wait_for(|so_far| *so_far >= count) => drop(reached.unwrap()),
            }
        };
        within(given_up).await;
    }
    assert!(within(notify(&connection, notice(8))).await.unwrap());
}

#[tokio::test]
async fn a_notice_is_heard_or_refused_and_one_that_brings_too_much_cuts_off_its_sender() {
    let shelf = shelf();
    let (connection, server) = served(&shelf).await;
    let whole = notice(NOTICE_BYTES_MAX);
    assert!(within(notify(&connection, whole.clone())).await.unwrap());
    let mut reborn = notice(8);
    reborn.to.incarnation = Incarnation(3);
    assert!(!within(notify(&connection, reborn.clone())).await.unwrap());
    assert_eq!(*shelf.notices.lock().unwrap(), [whole, reborn]);
    let refused = within(notify(&connection, notice(NOTICE_BYTES_MAX + 8))).await.unwrap_err();
    assert!(!refused.is_rubbish(), "{refused}");
    let ended = within(server).await.unwrap();
    assert!(matches!(ended, LinkError::TooMuch { max: NOTICE_BYTES_MAX, .. }), "{ended}");
    assert_eq!(shelf.notices.lock().unwrap().len(), 2);
}

fn shelf() -> Arc<Shelf> {
    shelf_of(32 * 1024 * 1024)
}

fn shelf_of(bytes_max: usize) -> Arc<Shelf> {
    let (blocks, notices, endless) = (Mutex::default(), Mutex::default(), watch::Sender::default());
    Arc::new(Shelf { blocks, notices, bytes_max, endless })
}

/// A client's connection to a server that serves `shelf`.
async fn served(shelf: &Arc<Shelf>) -> (Connection, JoinHandle<LinkError>) {
    let (near, far) = pair(&bulk(), &bulk()).await;
    (near, tokio::spawn(serve_bulk(far, shelf.clone())))
}

async fn store_and_fetch_three_megabytes() {
    let (connection, server) = served(&shelf()).await;
    let sent = pieces(1, 3, 1_000_000);
    assert_eq!(within(store(&connection, block(0), sent.clone())).await.unwrap(), StoreOutcome::Stored);
    assert_eq!(within(fetch(&connection, DataKey::Block(block(0)))).await.unwrap(), Some(sent));
    assert_eq!(within(fetch(&connection, DataKey::Block(block(1)))).await.unwrap(), None);
    assert_eq!(within(store(&connection, block(2), vec![])).await.unwrap(), StoreOutcome::Stored);
    assert_eq!(within(fetch(&connection, DataKey::Block(block(2)))).await.unwrap(), Some(vec![]));
    tidemill_protocol::endpoint::close(&connection, CloseCode::Done, "done");
    let ended = within(server).await.unwrap();
    assert!(matches!(&ended, LinkError::Connection(ConnectionError::ApplicationClosed(_))), "{ended}");
    assert!(!ended.is_rubbish());
}

#[tokio::test]
async fn three_megabytes_are_stored_and_fetched_in_pieces() {
    store_and_fetch_three_megabytes().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_megabytes_are_stored_and_fetched_on_many_threads() {
    store_and_fetch_three_megabytes().await;
}

#[tokio::test]
async fn the_longest_piece_crosses_and_a_longer_one_is_refused_at_the_sender() {
    let (connection, _server) = served(&shelf()).await;
    let longest = pieces(2, 1, PIECE_BYTES_MAX);
    assert_eq!(within(store(&connection, block(0), longest.clone())).await.unwrap(), StoreOutcome::Stored);
    assert_eq!(within(fetch(&connection, DataKey::Block(block(0)))).await.unwrap(), Some(longest));
    let refused =
        within(store(&connection, block(1), pieces(3, 1, PIECE_BYTES_MAX + 1024))).await.unwrap_err();
    assert!(matches!(refused, LinkError::Unsendable(_)) && !refused.is_rubbish() && !refused.is_retryable());
    let many = vec![pieces(4, 1, 0).remove(0); PIECES_MAX as usize + 1];
    let refused = within(store(&connection, block(2), many)).await.unwrap_err();
    assert!(matches!(refused, LinkError::TooManyPieces { pieces: 65_537 }), "{refused}");
    // What was given up half-way is not kept, and the connection goes on.
    assert_eq!(within(fetch(&connection, DataKey::Block(block(1)))).await.unwrap(), None);
}

#[tokio::test]
async fn many_requests_at_once_do_not_mix() {
    let (connection, _server) = served(&shelf()).await;
    let storing = (0..100).map(|n| store(&connection, block(n), pieces(n, n % 4, 20_000)));
    for outcome in within(futures_util::future::join_all(storing)).await {
        assert_eq!(outcome.unwrap(), StoreOutcome::Stored);
    }
    let fetching = (0..100).map(|n| fetch(&connection, DataKey::Block(block(n))));
    for (n, found) in (0..100).zip(within(futures_util::future::join_all(fetching)).await) {
        assert_eq!(found.unwrap(), Some(pieces(n, n % 4, 20_000)));
    }
}

#[tokio::test]
async fn a_full_shelf_says_so() {
    let shelf = shelf_of(1_000);
    let (connection, _server) = served(&shelf).await;
    assert_eq!(within(store(&connection, block(0), pieces(0, 2, 500))).await.unwrap(), StoreOutcome::Stored);
    assert_eq!(within(store(&connection, block(1), pieces(0, 1, 1))).await.unwrap(), StoreOutcome::Full);
}

#[tokio::test]
async fn a_request_whose_handler_panics_or_whose_client_leaves_ends_alone() {
    let (connection, server) = served(&shelf()).await;
    let panicked = within(fetch(&connection, cursed())).await.unwrap_err();
    assert!(matches!(panicked, LinkError::Ended) && panicked.is_retryable(), "{panicked}");
    // A client that stops in the middle of a frame, and one that says nothing.
    let frame = encode_message(&BulkRequest::Store { block: block(0), pieces: 1, bytes: None }).unwrap();
    for part in [&frame[..4], &frame[..10], &frame[..]] {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(part).await.unwrap();
        send.finish().unwrap();
        assert_eq!(within(recv.read_to_end(100)).await.unwrap(), b"");
    }
    assert_eq!(within(fetch(&connection, DataKey::Block(block(0)))).await.unwrap(), None);
    assert!(!server.is_finished());
}

/// Sends `bytes` as a request, and waits for the connection to be closed.
async fn rubbish(shelf: &Arc<Shelf>, bytes: &[u8]) -> (LinkError, Option<u64>) {
    let (connection, server) = served(shelf).await;
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    let _ = send.finish();
    let ended = within(server).await.unwrap();
    let code = match within(connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => Some(u64::from(close.error_code)),
        _ => None,
    };
    (ended, code)
}

#[tokio::test]
async fn rubbish_on_a_stream_closes_that_connection_only() {
    let shelf = shelf();
    let (good, _server) = served(&shelf).await;
    let sent = pieces(5, 2, 100_000);
    within(store(&good, block(0), sent.clone())).await.unwrap();
    let request = |request: BulkRequest| encode_message(&request).unwrap();
    let piece = || request(BulkRequest::Piece(pieces(0, 1, 10).remove(0)));
    let announce = |pieces| request(BulkRequest::Store { block: block(9), pieces, bytes: None });
    let cases = [
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("a reply", encode_message(&BulkReply::Stored).unwrap()),
        ("a piece without a store", piece()),
        (
            "a fetch inside a store",
            [announce(1), request(BulkRequest::Fetch { key: cursed(), credit: None })].concat(),
        ),
        ("one piece too many", [announce(1), piece(), piece()].concat()),
        ("more pieces than a block has", announce(PIECES_MAX + 1)),
        (
            "more than may come unannounced",
            [
                announce(1),
                request(BulkRequest::Piece(pieces(0, 1, STORE_AHEAD_BYTES_MAX as usize + 1).remove(0))),
            ]
            .concat(),
        ),
        (
            "an announcement of more than a block",
            request(BulkRequest::Store { block: block(9), pieces: 1, bytes: Some(STORE_BYTES_MAX + 1) }),
        ),
        ("a frame of 16 MiB", vec![1, 0, 0, 0, 1, 4]),
        ("a deep body", [vec![0, 0, 4, 0, 1, 4], vec![0x91; 1024]].concat()),
    ];
    for (what, bytes) in cases {
        let (ended, code) = rubbish(&shelf, &bytes).await;
        assert!(ended.is_rubbish(), "{what}: {ended:?}");
        assert_eq!(code, Some(CloseCode::Rubbish as u64), "{what}");
        assert_eq!(
            within(fetch(&good, DataKey::Block(block(0)))).await.unwrap().as_ref(),
            Some(&sent),
            "{what}"
        );
    }
    assert_eq!(shelf.blocks.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_server_that_answers_rubbish_is_cut_off() {
    let cases = [
        ("a store's answer", encode_message(&BulkReply::Stored).unwrap()),
        ("a wrong count", encode_message(&BulkReply::End { pieces: 1 }).unwrap()),
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
    ];
    for (what, bytes) in cases {
        let (near, far) = pair(&bulk(), &bulk()).await;
        let serving = async {
            let (mut send, _recv) = far.accept_bi().await.unwrap();
            send.write_all(&bytes).await.unwrap();
            let _ = send.finish();
            far.closed().await
        };
        let (fetched, closed) = within(async { tokio::join!(fetch(&near, cursed()), serving) }).await;
        assert!(fetched.unwrap_err().is_rubbish(), "{what}");
        assert!(matches!(closed, ConnectionError::ApplicationClosed(_)), "{what}: {closed}");
    }
}

/// What says why a frame was refused before any of its body came.
fn is_too_long(error: &LinkError, frame: &str) -> bool {
    matches!(error, LinkError::Message(_)) && error.to_string() == frame
}

#[tokio::test]
async fn a_first_frame_longer_than_any_request_is_refused_by_its_header() {
    let shelf = shelf();
    // A notice of as many outputs as a frame has values for, which brings all that it may.
    let mut longest = notice(NOTICE_BYTES_MAX);
    let output = OutputInfo { partition: PartitionId(u32::MAX), rows: u64::MAX, bytes: u64::MAX };
    longest.outputs = vec![output; 9_300];
    let (good, _server) = served(&shelf).await;
    assert!(within(notify(&good, longest.clone())).await.unwrap());
    assert_eq!(*shelf.notices.lock().unwrap(), [longest]);

    let (connection, server) = served(&shelf).await;
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(&header(FrameKind::BulkRequest, 512 * 1024 + 1).unwrap()).await.unwrap();
    let ended = within(server).await.unwrap();
    assert!(is_too_long(&ended, "a BulkRequest of 524289 bytes is longer than 524288"), "{ended}");
}

#[tokio::test]
async fn an_unannounced_piece_longer_than_may_come_is_refused_by_its_header() {
    let (connection, server) = served(&shelf()).await;
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    let store = BulkRequest::Store { block: block(0), pieces: 2, bytes: None };
    let first = BulkRequest::Piece(pieces(1, 1, 1_000).remove(0));
    let long = header(FrameKind::BulkRequest, 100_000).unwrap().to_vec();
    let said = [encode_message(&store).unwrap(), encode_message(&first).unwrap(), long].concat();
    send.write_all(&said).await.unwrap();
    let ended = within(server).await.unwrap();
    // 65,536 less the 1,000 that have come, and 2,048 for what stands beside the bytes.
    assert!(is_too_long(&ended, "a BulkRequest of 100000 bytes is longer than 66584"), "{ended}");
}

#[tokio::test]
async fn an_answer_beyond_its_credit_is_refused_by_its_header() {
    let (near, far) = pair(&bulk(), &bulk()).await;
    let serving = async {
        let (mut send, _recv) = far.accept_bi().await.unwrap();
        send.write_all(&header(FrameKind::BulkReply, 10_000).unwrap()).await.unwrap();
        far.closed().await
    };
    let fetching = fetch_within(&near, cursed(), Some(1_000));
    let (fetched, closed) = within(async { tokio::join!(fetching, serving) }).await;
    let refused = fetched.unwrap_err();
    assert!(is_too_long(&refused, "a BulkReply of 10000 bytes is longer than 3048"), "{refused}");
    assert!(matches!(closed, ConnectionError::ApplicationClosed(_)), "{closed}");
}

#[tokio::test]
async fn a_packed_answer_beyond_its_credit_is_refused_before_it_is_unpacked() {
    let (near, far) = pair(&bulk(), &bulk()).await;
    let packed =
        PackedPiece { rows: 1, dataset: DatasetId(3), bytes_unpacked: 1_001, packed: vec![7; 10].into() };
    let serving = async {
        let (mut send, _recv) = far.accept_bi().await.unwrap();
        send.write_all(&encode_message(&BulkReply::Packed(packed)).unwrap()).await.unwrap();
        far.closed().await
    };
    let fetching = fetch_within(&near, cursed(), Some(1_000));
    let (fetched, _) = within(async { tokio::join!(fetching, serving) }).await;
    let refused = fetched.unwrap_err();
    assert!(matches!(refused, LinkError::TooMuch { max: 1_000, .. }), "{refused}");
}

#[tokio::test]
async fn a_bulk_peer_may_open_no_unidirectional_stream() {
    let (connection, _server) = served(&shelf()).await;
    assert_eq!(within(fetch(&connection, DataKey::Block(block(0)))).await.unwrap(), None);
    assert!(connection.open_uni().now_or_never().is_none(), "it waits for leave that never comes");
    // On a control connection the same is allowed at once.
    let (connection, _far) = pair(&control(test_identity()), &control(test_identity())).await;
    assert!(connection.open_uni().now_or_never().is_some_and(|opened| opened.is_ok()));
}

#[tokio::test]
async fn a_frame_is_written_with_its_header() {
    let (near, far) = pair(&bulk(), &bulk()).await;
    let (mut send, _recv) = near.open_bi().await.unwrap();
    write_frame(&mut send, FrameKind::BulkReply, &[1, 2, 3]).await.unwrap();
    send.finish().unwrap();
    let (_send, mut recv) = within(far.accept_bi()).await.unwrap();
    assert_eq!(within(recv.read_to_end(100)).await.unwrap(), [0, 0, 0, 3, 1, 5, 1, 2, 3]);
}

#[tokio::test]
async fn data_that_need_more_than_the_credit_say_how_much() {
    let (connection, _server) = served(&shelf()).await;
    let sent = pieces(8, 2, 50_000);
    assert_eq!(within(store(&connection, block(0), sent.clone())).await.unwrap(), StoreOutcome::Stored);
    let key = DataKey::Block(block(0));
    let short = within(fetch_within(&connection, key, Some(99_999))).await.unwrap();
    assert_eq!(short, FetchOutcome::Needs(100_000));
    let enough = within(fetch_within(&connection, key, Some(100_000))).await.unwrap();
    assert_eq!(enough, FetchOutcome::Found(sent));
    let missing = within(fetch_within(&connection, DataKey::Block(block(9)), Some(0))).await.unwrap();
    assert_eq!(missing, FetchOutcome::NotHere);
}

#[tokio::test]
async fn a_large_block_is_refused_before_it_is_sent() {
    let shelf = shelf_of(1_000_000);
    let (connection, _server) = served(&shelf).await;
    let before = connection.stats().udp_tx.bytes;
    assert_eq!(
        within(store(&connection, block(0), pieces(9, 2, 600_000))).await.unwrap(),
        StoreOutcome::Full
    );
    assert!(connection.stats().udp_tx.bytes - before < 64 * 1024, "the pieces stayed here");
    assert_eq!(
        within(store(&connection, block(1), pieces(9, 1, 900_000))).await.unwrap(),
        StoreOutcome::Stored
    );
    assert!(connection.stats().udp_tx.bytes - before > 900_000);
}

#[tokio::test]
async fn text_crosses_compressed() {
    let (connection, _server) = served(&shelf()).await;
    let text = b"all that the tide brings, the tide takes. ".repeat(50_000);
    let sent = vec![Piece { rows: 1, dataset: DatasetId(3), bytes: text.into() }];
    let before = connection.stats().udp_tx.bytes;
    assert_eq!(within(store(&connection, block(0), sent.clone())).await.unwrap(), StoreOutcome::Stored);
    assert!(connection.stats().udp_tx.bytes - before < 500_000, "2 MB shrink to less than a quarter");
    assert_eq!(within(fetch(&connection, DataKey::Block(block(0)))).await.unwrap(), Some(sent));
}

#[tokio::test]
async fn data_that_cannot_be_sent_are_withheld_in_words_and_the_connection_lives() {
    let shelf = shelf();
    let (connection, server) = served(&shelf).await;
    let long = |bytes| vec![Piece { rows: 1, dataset: DatasetId(3), bytes }];
    let noise = pieces(2, 1, 9 << 20).remove(0).bytes;
    // Equal bytes would shrink to a few thousand; the client would have to take them for a bomb.
    let cases = [
        (long(noise), "9437184 bytes are more than the limit of 8387584"),
        (long(vec![7; 9 << 20].into()), "9437184 bytes are more than the limit of 8387584"),
        (vec![pieces(4, 1, 0).remove(0); PIECES_MAX as usize + 1], "65537 pieces are more than"),
    ];
    for (number, (pieces, reason)) in (0..).zip(cases) {
        let key = DataKey::Block(block(number));
        shelf.blocks.lock().unwrap().insert(key, pieces);
        let withheld = within(fetch(&connection, key)).await.unwrap_err();
        assert!(matches!(&withheld, LinkError::Withheld(why) if why.contains(reason)), "{withheld}");
        assert!(!withheld.is_rubbish() && !withheld.is_retryable());
        let outcome = within(fetch_within(&connection, key, Some(64 << 20))).await.unwrap();
        assert!(matches!(&outcome, FetchOutcome::Unsendable(why) if why.contains(reason)), "{outcome:?}");
    }
    assert_eq!(within(fetch(&connection, DataKey::Block(block(9)))).await.unwrap(), None);
    assert!(!server.is_finished());
    let block_max = within(store(&connection, block(8), pieces(0, 13, 5 << 20))).await.unwrap_err();
    assert!(matches!(block_max, LinkError::Unsendable(_)), "68 MB at once: {block_max}");
}
