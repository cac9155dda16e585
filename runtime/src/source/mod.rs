//! Sources: where records come from. Four kinds, by what happens when the one who reads them dies.
//!
//! | kind | here | when the reader dies | promise |
//! |---|---|---|---|
//! | planned | files, generator, queue | tasks read the range again | exactly once |
//! | acknowledged | numbered lines, users' receivers with positions | the sender repeats what was not acknowledged | exactly once while *safe* holds |
//! | unacknowledged | plain TCP lines, users' receivers without positions | what stood between sender and a safe block is gone | at most once there; losses are counted |
//!
//! Received sources implement [`Receiver`]: ours do, and users' own do by the same trait.

mod backoff;
pub(crate) mod lines;
pub(crate) mod numbered;
mod outlet;
pub(crate) mod tcp_client;
pub(crate) mod tcp_listener;

pub use outlet::{Outlet, OutletClosed};
pub use tidemill_actors::seam::{SourceError, StorageLevel};

use crate::data::{Data, Text};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tidemill_actors::receiver::BlockSink;
use tidemill_protocol::{
    id::{DatasetId, Position, ReceiverId},
    world::World,
};

/// What one life of a receiver starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverStart {
    /// Which receiver of which stream, and which of its lives.
    pub receiver: ReceiverId,
    /// The last position that is safe: go on after it. `None`: from the beginning (always `None` without positions).
    pub resume_after: Option<Position>,
}

/// A user's own source: reads the outside world and pushes records.
///
/// A supervised actor on an executor runs it; when it fails, panics, or its executor dies, a new life is started with
/// backoff, from the last safe position.
///
/// ```
/// use tidemill::source::{Outlet, Receiver, ReceiverStart, SourceError};
///
/// /// Counts to a number.
/// struct Counter(u64);
///
/// impl Receiver for Counter {
///     type Record = u64;
///     async fn run(&self, _start: ReceiverStart, out: Outlet<u64>) -> Result<(), SourceError> {
///         for n in 0..self.0 {
///             if out.push(vec![n]).await.is_err() {
///                 break; // we are being stopped
///             }
///         }
///         Ok(()) // there are no more records
///     }
/// }
/// ```
pub trait Receiver: Send + Sync + 'static {
    /// What it reads.
    type Record: Data;

    /// Whether its sender repeats what was not acknowledged: then every push carries positions
    /// ([`Outlet::push_at`]), and only what [`Outlet::safe`] says may be acknowledged.
    fn acknowledges(&self) -> bool {
        false
    }

    /// Reads until there is no more (`Ok`), until [`Outlet::push`] says that it is being stopped (`Ok`), or until it cannot
    /// go on.
    ///
    /// # Errors
    /// [`SourceError`] says in words why it cannot go on; it is started again, with backoff.
    fn run(
        &self,
        start: ReceiverStart,
        out: Outlet<Self::Record>,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;
}

/// A received source with its record type erased.
pub(crate) trait Received: Send + Sync {
    fn run(
        self: Arc<Self>,
        start: ReceiverStart,
        world: World,
        sink: BlockSink,
        dataset: DatasetId,
    ) -> BoxFuture<'static, Result<(), SourceError>>;
}

/// A user's receiver, erased.
pub(crate) struct UserReceiver<R>(pub(crate) R);

impl<R: Receiver> Received for UserReceiver<R> {
    fn run(
        self: Arc<Self>,
        start: ReceiverStart,
        _world: World,
        sink: BlockSink,
        dataset: DatasetId,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        Box::pin(async move { self.0.run(start, Outlet::new(sink, dataset)).await })
    }
}

/// The line sources that come with the library.
pub(crate) enum LineSource {
    Client(tcp_client::TcpLines),
    Listener(tcp_listener::TcpListenerLines),
    Numbered(numbered::NumberedLines),
}

impl Received for LineSource {
    fn run(
        self: Arc<Self>,
        start: ReceiverStart,
        world: World,
        sink: BlockSink,
        dataset: DatasetId,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        let out: Outlet<Text> = Outlet::new(sink, dataset);
        match &*self {
            LineSource::Client(source) => {
                let run = source.clone().run(start, world, out);
                Box::pin(async move {
                    run.await;
                    Ok(())
                })
            }
            LineSource::Listener(source) => Box::pin(source.clone().run(start, world, out)),
            LineSource::Numbered(source) => Box::pin(source.clone().run(start, world, out)),
        }
    }
}
