//! Plumbing over QUIC: a control link from each executor to the driver, bulk streams between everybody.
//!
//! ```text
//!   executor                                        driver
//!   uplink ─ queue ─ ControlLink ═════════════ ControlLink ─ inbox
//!   orders <─────────┘   (one connection)          └── TellExecutors
//!   BulkServer  <════════════ fetch, store ════════ executors, driver
//! ```
//!
//! When the control connection breaks, both sides take the incarnation for dead: the driver at once, the executor by ending
//! itself; it comes back as the next one.

use super::{
    inbox::DriverInbox,
    plumbing::{Connected, Die, Order, Plumbing, Uplink},
};
use futures_util::future::BoxFuture;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tidemill_actors::{
    block_store::BlockStore,
    node::{LinkId, Links},
    scheduler::TellExecutors,
    seam::PayloadCodec,
    supervision::Address,
    transport::{BulkClient, BulkError, QuicTransport, StoreAnswer, keep_replica},
};
use tidemill_protocol::{
    endpoint::{
        self, CloseCode, ControlLink, EndpointConfig, LinkError, bulk,
        link::{LinkConfig, LinkSender},
    },
    id::{BlockId, DataKey, Member},
    message::{BulkReply, Hello, PeerInfo, Piece, ToDriver, ToExecutor},
    world::World,
};
use tokio::sync::mpsc;

/// Messages that may wait for the control link; beyond it the link is taken for dead.
const UPLINK_QUEUE_MAX: usize = 16_384;

/// How one executor's process is connected.
pub(crate) struct QuicPlumbing {
    pub(crate) world: World,
    pub(crate) endpoints: EndpointConfig,
    /// This node's address; its ports are chosen by the system.
    pub(crate) ip: IpAddr,
    /// Where the driver listens.
    pub(crate) driver: SocketAddr,
    pub(crate) codec: Arc<dyn PayloadCodec>,
    pub(crate) hello: Hello,
    pub(crate) lives: Mutex<BTreeMap<Member, ExecutorLife>>,
}

/// What one incarnation holds open.
pub(crate) struct ExecutorLife {
    transport: QuicTransport<Bulk>,
    bulk: quinn::Endpoint,
    control: quinn::Endpoint,
}

impl QuicPlumbing {
    fn lives(&self) -> MutexGuard<'_, BTreeMap<Member, ExecutorLife>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plumbing for QuicPlumbing {
    fn connect(
        &self,
        member: Member,
        store: &BlockStore,
        orders: Address<Order>,
        die: Address<Die>,
    ) -> Result<Connected, String> {
        let any_port = SocketAddr::new(self.ip, 0);
        let udp = &self.world.udp;
        let control = endpoint::control_endpoint(udp, any_port, &self.endpoints).map_err(|e| e.to_string())?;
        let bulk = endpoint::bulk_endpoint(udp, any_port, &self.endpoints).map_err(|e| e.to_string())?;
        let bulk_address = bulk.local_addr().map_err(|e| e.to_string())?;
        self.world.spawner.spawn(serve(bulk.clone(), store.clone(), self.codec.clone(), self.world.clone()));
        let (queue, queued) = mpsc::channel(UPLINK_QUEUE_MAX);
        let hello = Hello { member, ..self.hello.clone() };
        let link = talk(control.clone(), self.driver, hello, queued, orders);
        let lost = die.clone();
        self.world.spawner.spawn(async move {
            let reason = match link.await {
                Ok(()) => "the control link has ended".to_owned(),
                Err(error) => format!("the control link is lost: {error}"),
            };
            // Full or gone: it has been told.
            let _ = lost.tell_control(Die { reason });
        });
        let transport = QuicTransport::new(Bulk { endpoint: bulk.clone() }, self.codec.clone());
        self.lives().insert(member, ExecutorLife { transport: transport.clone(), bulk, control });
        Ok(Connected {
            uplink: Arc::new(QuicUplink { queue, die }),
            transport: Arc::new(transport),
            bulk_address: Some(bulk_address),
        })
    }

    fn peers(&self, member: Member, peers: &[PeerInfo]) {
        if let Some(life) = self.lives().get(&member) {
            life.transport.set_peers(peers.to_vec());
        }
    }

    fn disconnect(&self, member: Member) {
        if let Some(life) = self.lives().remove(&member) {
            life.transport.set_peers(Vec::new());
            life.control.close(CloseCode::Done.into(), b"this incarnation has ended");
            life.bulk.close(CloseCode::Done.into(), b"this incarnation has ended");
        }
    }
}

/// Queues what an executor says.
struct QuicUplink {
    queue: mpsc::Sender<ToDriver>,
    die: Address<Die>,
}

impl Uplink for QuicUplink {
    fn tell(&self, message: ToDriver) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(message) {
            let reason = "the driver does not read what this executor says".to_owned();
            let _ = self.die.tell_control(Die { reason });
        }
    }
}

/// The executor's end of the control link, until it breaks.
async fn talk(
    control: quinn::Endpoint,
    driver: SocketAddr,
    hello: Hello,
    mut queued: mpsc::Receiver<ToDriver>,
    orders: Address<Order>,
) -> Result<(), String> {
    let connection = endpoint::connect(&control, driver).await.map_err(|e| e.to_string())?;
    let link = ControlLink::<ToDriver, ToExecutor>::open(connection, &hello, &LinkConfig::default());
    let mut link = link.await.map_err(|e| e.to_string())?;
    loop {
        tokio::select! {
            biased;
            order = link.receiver.recv() => {
                let order = order.map_err(|e| e.to_string())?;
                orders.tell_control(Order(order)).map_err(|e| e.to_string())?;
            }
            message = queued.recv() => match message {
                Some(message) => link.sender.send(&message).await.map_err(|e| e.to_string())?,
                None => return Ok(()),
            },
        }
    }
}

/// Serves blocks and outputs to everybody who has a certificate of the cluster.
async fn serve(endpoint: quinn::Endpoint, store: BlockStore, codec: Arc<dyn PayloadCodec>, world: World) {
    let served: Arc<dyn bulk::BulkHandler> = Arc::new(Served { store, codec });
    while let Some(incoming) = endpoint.accept().await {
        let served = served.clone();
        world.spawner.spawn(async move {
            if let Ok(connection) = incoming.await {
                let ended = bulk::serve_bulk(connection, served).await;
                count_rubbish(&ended);
            }
        });
    }
}

fn count_rubbish(error: &LinkError) {
    if error.is_rubbish() {
        tracing::warn!(%error, "a peer was cut off");
        metrics::counter!("tidemill_frames_refused_total").increment(1);
    }
}

struct Served {
    store: BlockStore,
    codec: Arc<dyn PayloadCodec>,
}

impl bulk::BulkHandler for Served {
    fn fetch(&self, key: DataKey) -> BoxFuture<'_, Option<Vec<Piece>>> {
        let found = self.store.get(key).and_then(|held| match held.encode() {
            Ok(pieces) => Some(pieces),
            Err(error) => {
                tracing::error!(%key, %error, "cannot be sent");
                None
            }
        });
        Box::pin(async move { found })
    }

    fn store(&self, block: BlockId, pieces: Vec<Piece>) -> BoxFuture<'_, bulk::StoreOutcome> {
        let kept = keep_replica(&self.store, &*self.codec, block, &pieces);
        let outcome = match kept {
            Ok(BulkReply::Stored) => bulk::StoreOutcome::Stored,
            Ok(_) => bulk::StoreOutcome::Full,
            Err(error) => {
                tracing::error!(%block, %error, "a copy cannot be read");
                bulk::StoreOutcome::Full
            }
        };
        Box::pin(async move { outcome })
    }
}

/// The client's side of bulk connections.
pub(crate) struct Bulk {
    pub(crate) endpoint: quinn::Endpoint,
}

impl BulkClient for Bulk {
    type Connection = quinn::Connection;

    fn connect(
        &self,
        _peer: Member,
        address: SocketAddr,
    ) -> BoxFuture<'static, Result<quinn::Connection, BulkError>> {
        let endpoint = self.endpoint.clone();
        Box::pin(async move { endpoint::connect(&endpoint, address).await.map_err(|e| BulkError(e.to_string())) })
    }

    fn is_open(&self, connection: &quinn::Connection) -> bool {
        connection.close_reason().is_none()
    }

    fn fetch(
        &self,
        connection: quinn::Connection,
        key: DataKey,
    ) -> BoxFuture<'static, Result<Option<Vec<Piece>>, BulkError>> {
        Box::pin(async move { bulk::fetch(&connection, key).await.map_err(|e| BulkError(e.to_string())) })
    }

    fn store(
        &self,
        connection: quinn::Connection,
        block: BlockId,
        pieces: Vec<Piece>,
    ) -> BoxFuture<'static, Result<StoreAnswer, BulkError>> {
        Box::pin(async move {
            match bulk::store(&connection, block, pieces).await {
                Ok(bulk::StoreOutcome::Stored) => Ok(StoreAnswer::Stored),
                Ok(bulk::StoreOutcome::Full) => Ok(StoreAnswer::Full),
                Err(error) => Err(BulkError(error.to_string())),
            }
        })
    }
}

/// The driver's links to executors.
#[derive(Clone, Default)]
pub(crate) struct QuicLinks(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    open: BTreeMap<LinkId, (LinkSender<ToExecutor>, quinn::Connection)>,
    /// Those whom membership has admitted.
    bound: BTreeMap<Member, LinkId>,
}

impl QuicLinks {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes links on `endpoint` until it is closed.
    pub(crate) async fn accept(self, endpoint: quinn::Endpoint, hello: Hello, inbox: Arc<DriverInbox>, world: World) {
        while let Some(incoming) = endpoint.accept().await {
            let (links, hello, inbox) = (self.clone(), hello.clone(), inbox.clone());
            world.spawner.spawn(async move {
                let Ok(connection) = incoming.await else { return };
                let link = ControlLink::<ToExecutor, ToDriver>::open(connection, &hello, &LinkConfig::default()).await;
                match link {
                    Ok(link) => links.listen(link, inbox).await,
                    Err(error) => count_rubbish(&error),
                }
            });
        }
    }

    async fn listen(self, mut link: ControlLink<ToExecutor, ToDriver>, inbox: Arc<DriverInbox>) {
        let (id, from) = (inbox.new_link(), link.peer.member);
        let connection = link.receiver.connection().clone();
        self.lines().open.insert(id, (link.sender.clone(), connection));
        let error = loop {
            match link.receiver.recv().await {
                Ok(message) => inbox.deliver(id, from, message),
                Err(error) => break error,
            }
        };
        count_rubbish(&error);
        self.forget(id);
        inbox.lost(id);
    }

    fn forget(&self, link: LinkId) -> Option<quinn::Connection> {
        let mut lines = self.lines();
        lines.bound.retain(|_, bound| *bound != link);
        lines.open.remove(&link).map(|(_, connection)| connection)
    }

    fn send(&self, to: Member, message: ToExecutor) {
        let found = {
            let lines = self.lines();
            lines.bound.get(&to).and_then(|link| Some((*link, lines.open.get(link)?.0.clone())))
        };
        let Some((link, sender)) = found else { return };
        let sent = message.pages().map_err(|error| error.to_string()).and_then(|pages| {
            pages.iter().try_for_each(|page| sender.try_send(page).map_err(|error| error.to_string()))
        });
        if let Err(error) = sent {
            tracing::error!(executor = %to, %error, "an executor does not take its orders: it is cut off");
            Links::close(self, link, "orders cannot be delivered");
        }
    }
}

impl TellExecutors for QuicLinks {
    fn tell(&self, to: Member, message: ToExecutor) {
        self.send(to, message);
    }
}

impl Links for QuicLinks {
    fn bind(&self, member: Member, link: LinkId) {
        self.lines().bound.insert(member, link);
    }

    fn tell(&self, to: Member, message: ToExecutor) {
        self.send(to, message);
    }

    fn close(&self, link: LinkId, reason: &str) {
        if let Some(connection) = self.forget(link) {
            endpoint::close(&connection, CloseCode::Refused, reason);
        }
    }
}
