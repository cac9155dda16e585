//! Much data: over a slow link, and more than can cross machines at once.

use super::*;
use crate::transport::serve::serve_fetch_up_to;

/// A peer that sends a piece every 20 s, so many of them, and ends its answer, or says nothing more.
#[derive(Clone, Copy)]
struct Slow {
    pieces: u64,
    ends: bool,
}

impl BulkClient for Slow {
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
        _: DataKey,
        credit: Option<u64>,
        heard: Heard,
    ) -> BoxFuture<'static, Result<FetchAnswer, BulkError>> {
        let Slow { pieces, ends } = *self;
        Box::pin(async move {
            if credit.is_some() {
                return Ok(FetchAnswer::Needs(1 << 20)); // A second try, beside the first, asks for little.
            }
            let mut came = Vec::new();
            for number in 0..pieces {
                tokio::time::sleep(Duration::from_secs(20)).await;
                came.extend(held(&[number]).encode().expect("numbers can be written"));
                heard.tell();
            }
            if ends { Ok(FetchAnswer::Found(came)) } else { pending().await }
        })
    }

    fn store(&self, (): (), _: BlockId, _: Vec<Piece>) -> BoxFuture<'static, Result<StoreAnswer, BulkError>> {
        Box::pin(pending())
    }

    fn notify(&self, (): (), _: Notice) -> BoxFuture<'static, Result<bool, BulkError>> {
        Box::pin(pending())
    }
}

async fn fetched_from(slow: Slow) -> (Result<Held, FetchError>, Duration) {
    let quic = QuicTransport::new(slow, codec(), clock());
    quic.set_peers(vec![peer(1, 0, 7001)]);
    let began = tokio::time::Instant::now();
    (quic.fetch(member(1, 0), output(0)).await, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn what_comes_slowly_comes_and_what_stops_coming_is_given_up_after_30_s() {
    let (fetched, took) = fetched_from(Slow { pieces: 3, ends: true }).await;
    assert_eq!((values(&fetched.expect("it kept coming")), took.as_secs()), (vec![0, 1, 2], 60));
    let (fetched, took) = fetched_from(Slow { pieces: 2, ends: false }).await;
    let error = fetched.expect_err("it stopped");
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().ends_with("is out of reach: nothing more within 30 s"), "{error}");
    assert_eq!(took.as_secs(), 70);
}

#[tokio::test]
async fn what_is_more_than_a_client_takes_at_once_is_not_sent_and_the_answer_says_what_to_do() {
    let store = BlockStore::new(Budget { bytes_max: 10_000, outputs_over_max: 0 });
    store.put_output(task(), PartitionId(0), held(&[7; 100])).expect("room");
    let (answer, _) = serve_fetch_up_to(800, &store, output(0), None).await.expect("writable");
    assert!(matches!(answer, FetchAnswer::Found(_)), "800 bytes are not too much: {answer:?}");
    let (answer, held) = serve_fetch_up_to(799, &store, output(0), None).await.expect("writable");
    let reason = "it has 800 bytes, and at most 799 can cross machines at once: use more partitions";
    assert_eq!(answer, FetchAnswer::Unsendable(reason.to_owned()));
    drop(held);
    assert_eq!(store.bytes(), 800, "nothing is kept for what is not sent");
}
