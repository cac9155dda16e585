//! Received sources: a supervised receiver on an executor reads them and cuts blocks. Lines over TCP come with the library;
//! a user's own implement [`Receiver`].

use super::{Outlet, lines::LINE_BYTES_LIMIT, numbered, tcp_client, tcp_listener};
pub use tidemill_actors::seam::{SourceError, StorageLevel};

use crate::{
    context::StreamContext,
    data::{Data, Text},
    dstream::DStream,
    graph::{GraphError, ReceivedSource, Source, SourceSpec},
};
use futures_util::future::{BoxFuture, ready};
use std::sync::Arc;
use tidemill_actors::{receiver::BlockSink, seam::StreamKind};
use tidemill_protocol::{
    id::{Position, ReceiverId},
    world::World,
};

/// The longest line that is taken, unless a stream's options say otherwise.
pub const LINE_BYTES_MAX: usize = 1 << 20;

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
/// use tidemill::sources::{Outlet, Receiver, ReceiverStart, SourceError};
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

/// A user's receiver, as the graph takes it.
struct UserReceiver<R>(Arc<R>);

impl<R: Receiver> ReceivedSource for UserReceiver<R> {
    fn receive(
        &self,
        receiver: ReceiverId,
        resume_after: Option<Position>,
        sink: BlockSink,
        _world: &World,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        let user = self.0.clone();
        let start = ReceiverStart { receiver, resume_after };
        Box::pin(async move { user.run(start, Outlet::new(sink)).await })
    }
}

/// The line sources that come with the library.
enum LineSource {
    Client(tcp_client::TcpLines),
    Listener(tcp_listener::TcpListenerLines),
    Numbered(numbered::NumberedLines),
}

impl ReceivedSource for LineSource {
    fn receive(
        &self,
        receiver: ReceiverId,
        resume_after: Option<Position>,
        sink: BlockSink,
        world: &World,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        let (out, world) = (Outlet::<Text>::new(sink), world.clone());
        let start = ReceiverStart { receiver, resume_after };
        match self {
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

    fn preflight(&self, world: &World) -> BoxFuture<'static, Result<(), String>> {
        match self {
            LineSource::Listener(source) => Box::pin(source.clone().preflight(world.clone())),
            LineSource::Client(_) | LineSource::Numbered(_) => Box::pin(ready(Ok(()))),
        }
    }
}

impl LineSource {
    /// Why one receiver has to read it, with the remedy.
    fn only_one(&self) -> Option<&'static str> {
        match self {
            LineSource::Client(_) => None,
            LineSource::Listener(_) => Some(
                "only one can listen on an address; set receivers to 1, and unite one stream for each address",
            ),
            LineSource::Numbered(_) => Some(
                "each would be sent every line; set receivers to 1, and unite one stream for each sender",
            ),
        }
    }
}

/// How a received stream is declared: its name, how many read it, when its blocks are safe.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// The user's name for the stream, unique. Default: its address or type.
    pub name: Option<String>,
    /// How many receivers read it in parallel, at least 1. Default 1; numbered lines and listeners take no more, because each
    /// receiver would be sent every line, or want the port.
    pub receivers: u16,
    /// When a block is safe. Default: in the memory of two executors.
    pub storage: StorageLevel,
    /// Longer lines are refused. Default 1 MiB, at most 8 MiB less some 1 KiB: longer ones cannot cross machines.
    pub line_bytes_max: usize,
}

impl Default for StreamOptions {
    fn default() -> Self {
        StreamOptions {
            name: None,
            receivers: 1,
            storage: StorageLevel::Replicated,
            line_bytes_max: LINE_BYTES_MAX,
        }
    }
}

impl StreamContext {
    /// Lines of a TCP server at `host:port`. Reconnects for ever, with backoff. *Unacknowledged*: what stood between the
    /// server and a block held by two executors is lost when this process dies.
    pub fn tcp_lines(&self, address: impl Into<String>) -> DStream<Text> {
        self.tcp_lines_with(address, StreamOptions::default())
    }

    /// As [`tcp_lines`](Self::tcp_lines), with options.
    pub fn tcp_lines_with(&self, address: impl Into<String>, options: StreamOptions) -> DStream<Text> {
        let (address, line_bytes_max) = (address.into(), options.line_bytes_max);
        let source = tcp_client::TcpLines { address: address.clone(), line_bytes_max };
        self.lines(LineSource::Client(source), StreamKind::Unacknowledged, address, options)
    }

    /// Lines of everybody who connects to `host:port`, where we listen. *Unacknowledged*, as [`tcp_lines`](Self::tcp_lines).
    pub fn tcp_listen(&self, address: impl Into<String>) -> DStream<Text> {
        self.tcp_listen_with(address, StreamOptions::default())
    }

    /// As [`tcp_listen`](Self::tcp_listen), with options.
    pub fn tcp_listen_with(&self, address: impl Into<String>, options: StreamOptions) -> DStream<Text> {
        let (address, line_bytes_max) = (address.into(), options.line_bytes_max);
        let source = tcp_listener::TcpListenerLines { address: address.clone(), line_bytes_max };
        self.lines(LineSource::Listener(source), StreamKind::Unacknowledged, address, options)
    }

    /// Numbered lines of a TCP sender at `host:port` that repeats what was not acknowledged: *acknowledged*, exactly once
    /// while two executors hold each block. docs/PROTOCOL.md describes what the sender says.
    pub fn numbered_lines(&self, address: impl Into<String>) -> DStream<Text> {
        self.numbered_lines_with(address, StreamOptions::default())
    }

    /// As [`numbered_lines`](Self::numbered_lines), with options.
    pub fn numbered_lines_with(&self, address: impl Into<String>, options: StreamOptions) -> DStream<Text> {
        let (address, line_bytes_max) = (address.into(), options.line_bytes_max);
        let source = numbered::NumberedLines { address: address.clone(), line_bytes_max };
        self.lines(LineSource::Numbered(source), StreamKind::Acknowledged, address, options)
    }

    /// Records of a user's own [`Receiver`].
    pub fn receiver_stream<R: Receiver>(&self, receiver: R, options: StreamOptions) -> DStream<R::Record> {
        let kind =
            if receiver.acknowledges() { StreamKind::Acknowledged } else { StreamKind::Unacknowledged };
        let name = options.name.clone().unwrap_or_else(|| std::any::type_name::<R>().to_owned());
        let source = Source::Received(Arc::new(UserReceiver(Arc::new(receiver))));
        let (receivers, storage) = (options.receivers, options.storage);
        self.register_source(SourceSpec { name, kind, receivers, storage, source })
    }

    fn lines(
        &self,
        source: LineSource,
        kind: StreamKind,
        address: String,
        options: StreamOptions,
    ) -> DStream<Text> {
        let StreamOptions { name, receivers, storage, line_bytes_max } = options;
        let name = name.unwrap_or(address);
        if line_bytes_max > LINE_BYTES_LIMIT {
            self.graph.refuse(GraphError::LineLimit { stream: name.clone(), asked: line_bytes_max });
        }
        if let Some(remedy) = source.only_one().filter(|_| receivers > 1) {
            self.graph.refuse(GraphError::Receivers { stream: name.clone(), asked: receivers, remedy });
        }
        let source = Source::Received(Arc::new(source));
        self.register_source(SourceSpec { name, kind, receivers, storage, source })
    }
}
