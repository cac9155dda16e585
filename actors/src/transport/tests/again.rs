//! Requests whose answers are late: what is asked again, when, and how much of it.

use super::*;
use crate::transport::again::{AGAIN_AFTER, AGAIN_BYTES_MAX};
use futures_util::FutureExt;
use std::collections::VecDeque;
use tidemill_protocol::{id::Epoch, message::OutputInfo};

/// What becomes of a request.
#[derive(Clone, Copy)]
enum Fate {
    Lost,
    Late(Duration),
    Prompt,
}

/// What a peer was asked, and when.
#[derive(Clone, Debug, PartialEq)]
enum Asked {
    Fetch(DataKey, Option<u64>),
    Store,
    Notice { brought: usize },
}

/// A peer at the end of a bad link; requests without a fate get a prompt answer.
#[derive(Clone)]
struct Bad {
    began: tokio::time::Instant,
    store: BlockStore,
    fates: Arc<Mutex<VecDeque<Fate>>>,
    asked: Arc<Mutex<Vec<(Duration, Asked)>>>,
}

impl Bad {
    fn new(store: BlockStore, fates: &[Fate]) -> Self {
        let fates = Arc::new(Mutex::new(fates.iter().copied().collect()));
        Bad { began: tokio::time::Instant::now(), store, fates, asked: Arc::default() }
    }

    fn transport(&self) -> QuicTransport<Bad> {
        let quic = QuicTransport::new(self.clone(), codec(), clock());
        quic.set_peers(vec![peer(1, 0, 7001)]);
        quic
    }

    fn asked(&self) -> Vec<(Duration, Asked)> {
        self.asked.lock().expect("no panic holds it").clone()
    }

    fn meet<T: Send + 'static>(
        &self,
        asked: Asked,
        answer: impl Future<Output = T> + Send + 'static,
    ) -> BoxFuture<'static, T> {
        self.asked.lock().expect("no panic holds it").push((self.began.elapsed(), asked));
        let fate = self.fates.lock().expect("no panic holds it").pop_front().unwrap_or(Fate::Prompt);
        async move {
            match fate {
                Fate::Lost => pending().await,
                Fate::Late(by) => tokio::time::sleep(by).await,
                Fate::Prompt => {}
            }
            answer.await
        }
        .boxed()
    }
}

impl BulkClient for Bad {
    type Connection = ();

    fn connect(&self, _: Member, _: SocketAddr) -> BoxFuture<'static, Result<(), BulkError>> {
        Box::pin(async { Ok(()) })
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
        let store = self.store.clone();
        self.meet(Asked::Fetch(key, credit), async move {
            serve_fetch(&store, key, credit)
                .await
                .map(|(answer, _)| answer)
                .map_err(|e| BulkError(e.to_string()))
        })
    }

    fn store(&self, (): (), _: BlockId, _: Vec<Piece>) -> BoxFuture<'static, Result<StoreAnswer, BulkError>> {
        self.meet(Asked::Store, async { Ok(StoreAnswer::Stored) })
    }

    fn notify(&self, (): (), notice: Notice) -> BoxFuture<'static, Result<bool, BulkError>> {
        self.meet(Asked::Notice { brought: notice.brought.len() }, async { Ok(true) })
    }
}

fn large_store() -> BlockStore {
    BlockStore::new(Budget { bytes_max: 1 << 22, outputs_over_max: 0 })
}

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_fetch_without_an_answer_is_made_again_later_each_time_and_the_first_answer_counts() {
    let store = large_store();
    store.put_output(task(), PartitionId(0), held(&[4, 2])).expect("room");
    let peer = Bad::new(store, &[Fate::Lost, Fate::Lost, Fate::Lost]);
    let fetched = peer.transport().fetch_within(member(1, 0), output(0), 1_000).await.expect("the fourth");
    assert_eq!(values(&fetched), [4, 2]);
    let at = |ms: u32| (MS * ms, Asked::Fetch(output(0), Some(1_000)));
    assert_eq!(peer.asked(), [at(0), at(40), at(100), at(190)]);
    assert_eq!(AGAIN_AFTER, 40 * MS);
}

#[tokio::test(start_paused = true)]
async fn what_is_large_comes_by_the_first_request_however_late() {
    let store = large_store();
    let many: Vec<u64> = (0..AGAIN_BYTES_MAX).collect();
    store.put_output(task(), PartitionId(0), held(&many)).expect("room");
    for credit in [None, Some(1 << 20)] {
        let peer = Bad::new(store.clone(), &[Fate::Late(120 * MS)]);
        let quic = peer.transport();
        let fetched = match credit {
            None => quic.fetch(member(1, 0), output(0)).await,
            Some(credit) => quic.fetch_within(member(1, 0), output(0), credit).await,
        };
        assert_eq!(values(&fetched.expect("the first")), many);
        assert_eq!(peer.began.elapsed(), 120 * MS);
        let little = |ms: u32| (MS * ms, Asked::Fetch(output(0), Some(AGAIN_BYTES_MAX)));
        let first = (Duration::ZERO, Asked::Fetch(output(0), credit));
        assert_eq!(peer.asked(), [first, little(40), little(100)]);
    }
    // Where the second try offers as much as the first, its "more than that" is as good.
    let peer = Bad::new(store, &[Fate::Lost]);
    let refused = peer.transport().fetch_within(member(1, 0), output(0), 100).await.expect_err("too little");
    assert!(matches!(refused, FetchError::NeedsCredit { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_notice_is_repeated_with_the_little_that_it_brings_and_without_the_much() {
    for (values, again) in [(10, 1), (AGAIN_BYTES_MAX / 4, 0)] {
        let store = large_store();
        let many: Vec<u64> = (0..values).collect();
        store.put_output(task(), PartitionId(0), held(&many)).expect("room");
        let peer = Bad::new(store.clone(), &[Fate::Lost]);
        let outputs = vec![OutputInfo { partition: PartitionId(0), rows: values, bytes: 16 * values }];
        let (from, to) = (member(2, 0), member(1, 0));
        let notice = Notice { epoch: Epoch(1), from, to, task: task(), outputs, brought: Vec::new() };
        let (filled, _reserved) = fill_notice(&store, notice, &[PartitionId(0)]).await;
        assert_eq!(filled.brought.len(), 1, "it fits a notice");
        peer.transport().notify(filled).await.expect("the second arrives");
        let told = |ms: u32, brought| (MS * ms, Asked::Notice { brought });
        assert_eq!(peer.asked(), [told(0, 1), told(40, again)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_is_sent_once_and_small_questions_go_beside_it() {
    let peer = Bad::new(large_store(), &[Fate::Late(50 * MS)]);
    peer.transport().replicate(member(1, 0), block(3), held(&[1, 2])).await.expect("it is kept");
    let nudge = Asked::Fetch(DataKey::Block(block(3)), Some(0));
    assert_eq!(peer.asked(), [(Duration::ZERO, Asked::Store), (40 * MS, nudge)]);
    assert_eq!(peer.began.elapsed(), 50 * MS);
}

#[tokio::test(start_paused = true)]
async fn on_a_sound_link_nothing_is_asked_twice() {
    let store = large_store();
    store.put_output(task(), PartitionId(0), held(&[4, 2])).expect("room");
    let peer = Bad::new(store, &[Fate::Late(39 * MS)]);
    assert!(peer.transport().fetch(member(1, 0), output(0)).await.is_ok());
    assert_eq!(peer.asked().len(), 1);
}
