//! Executors of other processes: one bulk stream for each request, over a cached connection for each peer. How frames
//! are cut is the endpoint's business; this file needs no more of it than [`BulkClient`].

use super::{
    FetchAnswer, FetchError, NotifyError, ReplicateError, Transport,
    again::{AGAIN_BYTES_MAX, insist},
};
use crate::seam::{Held, PayloadCodec};
use futures_util::future::{BoxFuture, Either, FutureExt, select};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidemill_protocol::{
    id::{BlockId, DataKey, Member, NodeId},
    message::{Notice, PeerInfo, Piece},
    world::Clock,
};
use tokio::sync::Notify;

/// How long one request may take, connecting included, before its peer counts as out of reach. For data that are fetched it is the
/// time without a piece of them: what is much over a slow link takes longer than this, and comes.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The client's side of bulk connections, as this transport needs it. Nothing here needs a deadline of its own.
pub trait BulkClient: Send + Sync + 'static {
    /// A connection to one peer; cloning shares it.
    type Connection: Clone + Send + Sync + 'static;

    /// Opens a connection to the bulk endpoint of `peer`.
    fn connect(
        &self,
        peer: Member,
        address: SocketAddr,
    ) -> BoxFuture<'static, Result<Self::Connection, BulkError>>;

    /// Whether the connection is still of use.
    fn is_open(&self, connection: &Self::Connection) -> bool;

    /// Asks for the pieces of `key`, with `credit` bytes kept ready for them (`None`: as many as it takes). Tells `heard` of each
    /// piece that has come.
    fn fetch(
        &self,
        connection: Self::Connection,
        key: DataKey,
        credit: Option<u64>,
        heard: Heard,
    ) -> BoxFuture<'static, Result<FetchAnswer, BulkError>>;

    /// Gives the peer a copy of `block`.
    fn store(
        &self,
        connection: Self::Connection,
        block: BlockId,
        pieces: Vec<Piece>,
    ) -> BoxFuture<'static, Result<StoreAnswer, BulkError>>;

    /// Gives the peer a notice; false if it is for another life of its node.
    fn notify(
        &self,
        connection: Self::Connection,
        notice: Notice,
    ) -> BoxFuture<'static, Result<bool, BulkError>>;
}

/// Where a client says that something of an answer has come.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<Notify>);

impl Heard {
    /// Something has come: the peer lives, and has the whole time for what follows.
    pub fn tell(&self) {
        self.0.notify_one();
    }
}

/// What a peer says to a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreAnswer {
    /// It is kept.
    Stored,
    /// There is no room.
    Full,
}

/// A request could not be carried out: connection lost, time-out, or an answer that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BulkError(pub String);

/// A transport over QUIC. Cloning it gives another handle to the same connections.
pub struct QuicTransport<B: BulkClient>(Arc<Shared<B>>);

impl<B: BulkClient> Clone for QuicTransport<B> {
    fn clone(&self) -> Self {
        QuicTransport(self.0.clone())
    }
}

struct Shared<B: BulkClient> {
    client: B,
    codec: Arc<dyn PayloadCodec>,
    clock: Clock,
    peers: Mutex<BTreeMap<NodeId, Peer<B>>>,
}

struct Peer<B: BulkClient> {
    info: PeerInfo,
    line: Arc<Line<B::Connection>>,
}

struct Line<C> {
    attempts: AtomicU64,
    // Held while connecting, so that many requests to a new peer open one connection.
    connection: tokio::sync::Mutex<Option<C>>,
}

type Route<C> = (Arc<Line<C>>, SocketAddr);

impl<C> Default for Line<C> {
    fn default() -> Self {
        Line { attempts: AtomicU64::new(0), connection: tokio::sync::Mutex::new(None) }
    }
}

impl<B: BulkClient> QuicTransport<B> {
    /// A transport without peers.
    pub fn new(client: B, codec: Arc<dyn PayloadCodec>, clock: Clock) -> Self {
        QuicTransport(Arc::new(Shared { client, codec, clock, peers: Mutex::default() }))
    }

    /// Takes the driver's list of live executors: connections to others are dropped.
    pub fn set_peers(&self, peers: Vec<PeerInfo>) {
        let mut known = self.0.peers();
        let mut before = std::mem::take(&mut *known);
        for info in peers {
            let line = match before.remove(&info.member.node) {
                Some(peer) if peer.info == info => peer.line,
                _ => Arc::default(),
            };
            known.insert(info.member.node, Peer { info, line });
        }
    }
}

impl<B: BulkClient> Shared<B> {
    fn peers(&self) -> MutexGuard<'_, BTreeMap<NodeId, Peer<B>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line_to(&self, member: Member) -> Result<Route<B::Connection>, BulkError> {
        let peers = self.peers();
        let peer = peers.get(&member.node).filter(|peer| peer.info.member == member);
        let peer = peer.ok_or_else(|| BulkError("it is not among the living executors".into()))?;
        let address = peer.info.bulk_address.ok_or_else(|| BulkError("it serves no bulk data".into()))?;
        Ok((peer.line.clone(), address))
    }

    async fn connection_to(&self, member: Member) -> Result<B::Connection, BulkError> {
        let (line, address) = self.line_to(member)?;
        let attempts = line.attempts.load(Ordering::Acquire);
        let mut cached = line.connection.lock().await;
        if let Some(connection) = cached.as_ref().filter(|connection| self.client.is_open(connection)) {
            return Ok(connection.clone());
        }
        // Who waited for another's attempt shares its failure: one time-out, not as many as there are requests.
        if line.attempts.load(Ordering::Acquire) != attempts {
            return Err(BulkError("connecting to it has just failed".into()));
        }
        *cached = None;
        let connected = self.client.connect(member, address).await;
        line.attempts.fetch_add(1, Ordering::AcqRel);
        let connection = connected?;
        *cached = Some(connection.clone());
        Ok(connection)
    }

    /// A peer whose connection lives but who does not answer must not hold a task for ever.
    async fn in_time<T>(&self, answer: impl Future<Output = Result<T, BulkError>>) -> Result<T, BulkError> {
        match select(pin!(answer), self.clock.sleep(REQUEST_TIMEOUT)).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(BulkError(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()))),
        }
    }

    /// As [`in_time`](Self::in_time), where the time begins anew with whatever is heard.
    async fn while_heard<T>(
        &self,
        heard: &Heard,
        answer: impl Future<Output = Result<T, BulkError>>,
    ) -> Result<T, BulkError> {
        let (mut answer, mut missing) = (pin!(answer), "no answer");
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                () = heard.0.notified() => missing = "nothing more",
                () = self.clock.sleep(REQUEST_TIMEOUT) => {
                    return Err(BulkError(format!("{missing} within {} s", REQUEST_TIMEOUT.as_secs())));
                }
            }
        }
    }

    async fn fetch(&self, from: Member, key: DataKey, credit: Option<u64>) -> Result<Held, FetchError> {
        let gone = |error: BulkError| FetchError::Gone { peer: from, reason: error.0 };
        let heard = Heard::default();
        let ask = async |credit| {
            self.client.fetch(self.connection_to(from).await?, key, credit, heard.clone()).await
        };
        let again = || {
            let little = credit.map_or(AGAIN_BYTES_MAX, |credit| credit.min(AGAIN_BYTES_MAX));
            let answers_first = credit == Some(little);
            let asked = async move {
                let answer = ask(Some(little)).await;
                let is_more = matches!(answer, Ok(FetchAnswer::Needs(_)));
                (answers_first || !is_more).then_some(answer)
            };
            asked.boxed()
        };
        match self.while_heard(&heard, insist(&self.clock, ask(credit), again)).await.map_err(gone)? {
            FetchAnswer::Found(pieces) => Ok(Held::decode(&*self.codec, &pieces)?),
            FetchAnswer::NotHere => Err(FetchError::NotHere { from, key }),
            FetchAnswer::Needs(bytes) => Err(FetchError::NeedsCredit { from, key, bytes }),
            FetchAnswer::Unsendable(reason) => Err(FetchError::Unsendable { from, key, reason }),
        }
    }

    async fn notify(&self, notice: Notice) -> Result<(), NotifyError> {
        let to = notice.to;
        // Who has heard a notice without the outputs in it fetches them; who hears it twice heeds the first.
        let brought =
            if notice.bytes_brought() <= AGAIN_BYTES_MAX { notice.brought.clone() } else { Vec::new() };
        let little = Notice { outputs: notice.outputs.clone(), brought, ..notice };
        let tell = async |notice| self.client.notify(self.connection_to(to).await?, notice).await;
        let again = || tell(little.clone()).map(Some).boxed();
        match self.in_time(insist(&self.clock, tell(notice), again)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(NotifyError { to, reason: "another life of the node answers".into() }),
            Err(error) => Err(NotifyError { to, reason: error.0 }),
        }
    }

    async fn replicate(&self, to: Member, block: BlockId, held: Held) -> Result<(), ReplicateError> {
        let gone = |error: BulkError| ReplicateError::Gone { peer: to, reason: error.0 };
        let pieces = held.encode()?;
        let give = async { self.client.store(self.connection_to(to).await?, block, pieces).await };
        // A copy is not sent twice. A question that needs no room tells both sides what of it is lost, and its answer is nobody's business.
        let nudge = || {
            let ask = async {
                let connection = self.connection_to(to).await.ok()?;
                let _ = self.client.fetch(connection, DataKey::Block(block), Some(0), Heard::default()).await;
                None
            };
            ask.boxed()
        };
        match self.in_time(insist(&self.clock, give, nudge)).await.map_err(gone)? {
            StoreAnswer::Stored => Ok(()),
            StoreAnswer::Full => Err(ReplicateError::Full { peer: to }),
        }
    }
}

impl<B: BulkClient> Transport for QuicTransport<B> {
    fn fetch(&self, from: Member, key: DataKey) -> BoxFuture<'static, Result<Held, FetchError>> {
        let shared = self.0.clone();
        async move { shared.fetch(from, key, None).await }.boxed()
    }

    fn fetch_within(
        &self,
        from: Member,
        key: DataKey,
        credit: u64,
    ) -> BoxFuture<'static, Result<Held, FetchError>> {
        let shared = self.0.clone();
        async move { shared.fetch(from, key, Some(credit)).await }.boxed()
    }

    fn replicate(
        &self,
        to: Member,
        block: BlockId,
        held: Held,
    ) -> BoxFuture<'static, Result<(), ReplicateError>> {
        let shared = self.0.clone();
        async move { shared.replicate(to, block, held).await }.boxed()
    }

    fn notify(&self, notice: Notice) -> BoxFuture<'static, Result<(), NotifyError>> {
        let shared = self.0.clone();
        async move { shared.notify(notice).await }.boxed()
    }
}
