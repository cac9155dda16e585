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
    bulk::{Bulk, count_refused, count_rubbish, in_words, serve},
    inbox::DriverInbox,
    plumbing::{Connected, Die, End, Order, Plumbing, Uplink},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tidemill_actors::{
    block_store::BlockStore,
    node::{LinkId, Links},
    scheduler::TellExecutors,
    seam::PayloadCodec,
    supervision::Address,
    transport::QuicTransport,
};
use tidemill_protocol::{
    endpoint::{
        self, CloseCode, ControlLink, EndpointConfig,
        link::{LinkConfig, LinkSender},
    },
    id::{Epoch, Member, ProgramId},
    message::{Hello, PeerInfo, ToDriver, ToExecutor},
    world::World,
};
use tokio::sync::mpsc;

/// Messages that may wait for the control link; beyond it the link is taken for dead.
const UPLINK_QUEUE_MAX: usize = 16_384;

/// How one executor's process is connected.
pub(crate) struct QuicPlumbing {
    pub(crate) world: World,
    /// Whether quinn's own chance comes from the world's entropy; if not, from the operating system.
    pub(crate) is_seeded: bool,
    pub(crate) endpoints: EndpointConfig,
    /// This node's address; its ports are chosen by the system.
    pub(crate) ip: IpAddr,
    /// Where the driver listens.
    pub(crate) driver: SocketAddr,
    pub(crate) codec: Arc<dyn PayloadCodec>,
    pub(crate) program: ProgramId,
    pub(crate) lives: Mutex<BTreeMap<Member, ExecutorLife>>,
}

/// What one incarnation holds open.
pub(crate) struct ExecutorLife {
    alive: Arc<AtomicBool>,
    store: BlockStore,
    transport: QuicTransport<Bulk>,
    bulk: quinn::Endpoint,
    control: quinn::Endpoint,
}

impl QuicPlumbing {
    fn lives(&self) -> MutexGuard<'_, BTreeMap<Member, ExecutorLife>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes that the present incarnation holds, and the most that it held; none between two incarnations.
    pub(crate) fn store_bytes(&self) -> Option<(u64, u64)> {
        let lives = self.lives();
        lives.values().next_back().map(|life| (life.store.bytes(), life.store.bytes_high_water()))
    }

    /// The bytes that the present incarnation has on disk, and all that ever went there.
    pub(crate) fn spilled_bytes(&self) -> Option<(u64, u64)> {
        self.lives().values().next_back().map(|life| life.store.spilled_bytes())
    }

    /// The most that the present incarnation may hold in memory.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        self.lives().values().next_back().map(|life| life.store.budget().limit())
    }

    /// The present incarnation, if there is one.
    pub(crate) fn member(&self) -> Option<Member> {
        self.lives().keys().next_back().copied()
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
        let seed = || self.world.entropy.seed(&format!("quic {}", member.incarnation));
        let endpoints = EndpointConfig { rng_seed: self.is_seeded.then(seed), ..self.endpoints.clone() };
        let control = endpoint::control_endpoint(udp, any_port, &endpoints).map_err(|e| e.to_string())?;
        let bulk = endpoint::bulk_endpoint(udp, any_port, &endpoints).map_err(|e| e.to_string())?;
        let bulk_address = bulk.local_addr().map_err(|e| e.to_string())?;
        self.world.spawner.spawn(serve(bulk.clone(), store.clone(), self.codec.clone(), self.world.clone()));
        let alive = Arc::new(AtomicBool::new(true));
        let (queue, queued) = mpsc::channel(UPLINK_QUEUE_MAX);
        let hello = Hello { member, epoch: Epoch(0), program: self.program };
        let die = OfThisLife { alive: alive.clone(), die };
        let link = talk(control.clone(), self.driver, hello, queued, orders);
        let lost = die.clone();
        self.world.spawner.spawn(async move {
            lost.end(match link.await {
                Ok(()) => "the control link has ended".to_owned(),
                Err(error) => format!("the control link is lost: {error}"),
            });
        });
        let client = Bulk { endpoint: bulk.clone() };
        let transport = QuicTransport::new(client, self.codec.clone(), self.world.clock.clone());
        let life = ExecutorLife { alive, store: store.clone(), transport: transport.clone(), bulk, control };
        self.lives().insert(member, life);
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
        let life = self.lives().remove(&member);
        if let Some(life) = life {
            life.alive.store(false, Ordering::SeqCst);
            life.transport.set_peers(Vec::new());
            life.control.close(CloseCode::Done.into(), b"this incarnation has ended");
            life.bulk.close(CloseCode::Done.into(), b"this incarnation has ended");
        }
    }
}

/// Ends the incarnation that it was made for, and no later one: the agent's address outlives incarnations.
#[derive(Clone)]
struct OfThisLife {
    alive: Arc<AtomicBool>,
    die: Address<Die>,
}

impl OfThisLife {
    fn end(&self, reason: String) {
        if self.alive.swap(false, Ordering::SeqCst) {
            self.die.end(reason);
        }
    }
}

/// Queues what an executor says.
struct QuicUplink {
    queue: mpsc::Sender<ToDriver>,
    die: OfThisLife,
}

impl Uplink for QuicUplink {
    fn tell(&self, message: ToDriver) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(message) {
            self.die.end("the driver does not read what this executor says".to_owned());
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
    let config = LinkConfig::default();
    let link = ControlLink::<ToDriver, ToExecutor>::open(connection, &hello, &config).await;
    let mut link = link.map_err(|e| in_words(&e))?;
    loop {
        tokio::select! {
            biased;
            order = link.receiver.recv() => {
                let order = order.map_err(|e| in_words(&e))?;
                orders.tell_control(Order { to: hello.member, message: order }).map_err(|e| e.to_string())?;
            }
            message = queued.recv() => match message {
                Some(message) => link.sender.send(&message).await.map_err(|e| e.to_string())?,
                None => return Ok(()),
            },
        }
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
    pub(crate) async fn accept(
        self,
        endpoint: quinn::Endpoint,
        hello: Hello,
        inbox: Arc<DriverInbox>,
        world: World,
    ) {
        while let Some(incoming) = endpoint.accept().await {
            let (links, hello, inbox) = (self.clone(), hello.clone(), inbox.clone());
            world.spawner.spawn(async move {
                let connection = match incoming.await {
                    Ok(connection) => connection,
                    Err(error) => return count_refused(&error),
                };
                let link =
                    ControlLink::<ToExecutor, ToDriver>::open(connection, &hello, &LinkConfig::default())
                        .await;
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

#[cfg(test)]
mod tests;
