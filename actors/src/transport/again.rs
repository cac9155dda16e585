//! A request that gets no answer for long is made once more beside the first, and again later each time.
//!
//! ```text
//!   first try  ├───────────────────────────────────────> …
//!   second           ├──────────> given up for the next      the first answer of the two counts
//!   third                        ├──────────────────> …
//!              0    40 ms       100 ms             190 ms
//! ```
//!
//! On a bad link QUIC learns late that a packet is lost: what it sends on its own when an answer is overdue carries no data, it
//! waits twice as long each time, and each lost acknowledgement makes it believe that the way is longer. A second try is a packet of its
//! own, which may arrive; and its acknowledgement tells both sides at once what of the first is lost. On a sound link no
//! request takes that long, unless much is sent: so a second try asks for little, and what is large comes by the first.

use futures_util::{
    FutureExt,
    future::{BoxFuture, pending},
};
use std::{pin::pin, time::Duration};
use tidemill_protocol::world::Clock;

/// After this time without an answer a request is made again; then half as much longer each time. Many times a sound link's round
/// trip, and a small part of a batch.
pub(super) const AGAIN_AFTER: Duration = Duration::from_millis(40);
/// The most that a second try asks for or brings, in bytes: what a few packets hold.
pub(super) const AGAIN_BYTES_MAX: u64 = 16 * 1024;

/// The answer to `first`, or to a further try of it: `again` makes one, whose `None` says nothing. At most one of them is under way
/// beside the first.
pub(super) async fn insist<'a, T>(
    clock: &Clock,
    first: impl Future<Output = T>,
    mut again: impl FnMut() -> BoxFuture<'a, Option<T>>,
) -> T {
    let mut first = pin!(first);
    let mut second: BoxFuture<'a, Option<T>> = nobody();
    let mut patience = AGAIN_AFTER;
    let mut overdue = clock.sleep(patience);
    loop {
        tokio::select! {
            biased;
            answer = &mut first => return answer,
            answer = &mut second => match answer {
                Some(answer) => return answer,
                None => second = nobody(),
            },
            () = &mut overdue => {
                metrics::counter!("tidemill_transport_asked_again_total").increment(1);
                second = again();
                patience += patience / 2;
                overdue = clock.sleep(patience);
            }
        }
    }
}

/// Never says anything.
fn nobody<'a, T>() -> BoxFuture<'a, Option<T>> {
    async {
        pending::<()>().await;
        None
    }
    .boxed()
}
