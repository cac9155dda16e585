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

mod bulk;
mod gate;
mod links;

use bulk::Callers;
pub(crate) use bulk::{Bulk, serve};
pub(crate) use gate::{Gate, turned_away};
pub(crate) use links::{Answers, Door, QuicLinks};

use super::{
    lane::Lanes,
    plumbing::{Connected, Die, End, Hears, Order, Plumbing, Uplink},
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
    block_store::BlockStore, seam::PayloadCodec, supervision::Address, transport::QuicTransport,
};
use tidemill_protocol::{
    endpoint::{self, CloseCode, ConnectError, ControlLink, EndpointConfig, LinkError, link::LinkConfig},
    id::{Epoch, Member, NodeId, ProgramId},
    identity::{ClusterName, DenyList},
    message::{Hello, PeerInfo, ToDriver, ToExecutor},
    world::World,
};
use tokio::{runtime::Handle, sync::mpsc};

/// Messages that may wait for the control link; beyond it the link is taken for dead.
const UPLINK_QUEUE_MAX: usize = 16_384;

/// How one executor's process is connected.
pub(crate) struct QuicPlumbing {
    pub(crate) world: World,
    pub(crate) lanes: Lanes,
    /// Whether quinn's own chance comes from the world's entropy; if not, from the operating system.
    pub(crate) is_seeded: bool,
    pub(crate) endpoints: EndpointConfig,
    /// This node's address; its ports are chosen by the system.
    pub(crate) ip: IpAddr,
    /// Where the driver listens.
    pub(crate) driver: SocketAddr,
    /// What its certificate, and those of other executors, must be of.
    pub(crate) cluster: ClusterName,
    pub(crate) codec: Arc<dyn PayloadCodec>,
    pub(crate) program: ProgramId,
    /// Whom this process does not serve, as far as the driver has told it.
    pub(crate) denied: DenyList,
    pub(crate) lives: Mutex<BTreeMap<Member, ExecutorLife>>,
    /// How the first link to the driver ended.
    pub(crate) lost: Arc<Mutex<Option<Lost>>>,
}

/// What one incarnation holds open.
pub(crate) struct ExecutorLife {
    alive: Arc<AtomicBool>,
    #[cfg(feature = "sim")]
    store: BlockStore,
    transport: QuicTransport<Bulk>,
    /// Those who fetch here.
    callers: Callers,
    bulk: quinn::Endpoint,
    control: quinn::Endpoint,
}

impl QuicPlumbing {
    fn lives(&self) -> MutexGuard<'_, BTreeMap<Member, ExecutorLife>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "sim")]
    /// The bytes that the present incarnation holds, and the most that it held; none between two incarnations.
    pub(crate) fn store_bytes(&self) -> Option<(u64, u64)> {
        let lives = self.lives();
        lives.values().next_back().map(|life| (life.store.bytes(), life.store.bytes_high_water()))
    }

    /// The endpoints of the present incarnation.
    pub(crate) fn endpoints(&self) -> Vec<quinn::Endpoint> {
        self.lives().values().flat_map(|life| [life.control.clone(), life.bulk.clone()]).collect()
    }

    #[cfg(feature = "sim")]
    /// The bytes that the present incarnation has on disk, and all that ever went there.
    pub(crate) fn spilled_bytes(&self) -> Option<(u64, u64)> {
        self.lives().values().next_back().map(|life| life.store.spilled_bytes())
    }

    #[cfg(feature = "sim")]
    /// The most that the present incarnation may hold in memory.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        self.lives().values().next_back().map(|life| life.store.budget().limit())
    }

    #[cfg(feature = "sim")]
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
        Hears { orders, ear, die }: Hears,
    ) -> Result<Connected, String> {
        let any_port = SocketAddr::new(self.ip, 0);
        let udp = &self.world.udp;
        let seed = || self.world.entropy.seed(&format!("quic {}", member.incarnation));
        let endpoints = EndpointConfig { rng_seed: self.is_seeded.then(seed), ..self.endpoints.clone() };
        let control = self.lanes.control.make(|| endpoint::control_client(udp, any_port, &endpoints));
        let control = control.map_err(|e| e.to_string())?;
        let bulk = self.lanes.bulk.make(|| endpoint::bulk_endpoint(udp, any_port, &endpoints));
        let bulk = bulk.map_err(|e| e.to_string())?;
        let bulk_address = bulk.local_addr().map_err(|e| e.to_string())?;
        let lane = self.lanes.bulk.clone();
        let callers = Callers::default();
        let gate = Gate::new("bulk", self.world.clock.clone());
        let served =
            bulk::Serves { store: store.clone(), codec: self.codec.clone(), hears: Some((member, ear)) };
        self.lanes.bulk.spawn(bulk::serve_callers(
            bulk.clone(),
            served,
            lane.clone(),
            (gate, callers.clone(), self.denied.clone()),
        ));
        let alive = Arc::new(AtomicBool::new(true));
        let (queue, queued) = mpsc::channel(UPLINK_QUEUE_MAX);
        let hello = Hello { member, epoch: Epoch(0), program: self.program };
        let die = OfThisLife { alive: alive.clone(), die };
        let driver = (self.driver, self.cluster.driver());
        let link = talk(control.clone(), driver, hello, queued, orders);
        let lost = die.clone();
        let remembered = self.lost.clone();
        self.lanes.control.spawn(async move {
            let reason = match link.await {
                Ok(()) => "the control link has ended".to_owned(),
                Err(error) => {
                    let reason = error.to_string();
                    remembered.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    reason
                }
            };
            lost.end(reason);
        });
        let client = Bulk { endpoint: bulk.clone(), lane, cluster: self.cluster.clone() };
        let transport = QuicTransport::new(client, self.codec.clone(), self.world.clock.clone());
        let life = ExecutorLife {
            alive,
            #[cfg(feature = "sim")]
            store: store.clone(),
            transport: transport.clone(),
            callers,
            bulk,
            control,
        };
        self.lives().insert(member, life);
        Ok(Connected {
            uplink: Arc::new(QuicUplink { queue, die }),
            transport: Arc::new(transport),
            bulk_address: Some(bulk_address),
        })
    }

    fn bulk(&self) -> Handle {
        self.lanes.bulk.handle()
    }

    fn peers(&self, member: Member, peers: &[PeerInfo]) {
        if let Some(life) = self.lives().get(&member) {
            life.transport.set_peers(peers.to_vec());
            life.callers.keep_only(peers);
        }
    }

    fn denied(&self, member: Member, nodes: &[NodeId]) {
        let new = self.denied.add(nodes.iter().copied());
        if !new.is_empty() {
            tracing::warn!(nodes = ?new, "nodes are denied");
        }
        if let Some(life) = self.lives().get(&member) {
            life.callers.cut(&self.denied);
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

/// Why a control link is no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// The other side will not have us, however often we come: its words.
    #[error("the driver refuses this executor: {0}")]
    Refused(String),
    /// The other side will not have us as things stand, which may change: its words.
    #[error("the driver refuses this executor for now: {0}")]
    NotNow(String),
    /// It is gone; another attempt may go better.
    #[error("the control link is lost: {0}")]
    Broken(String),
}

impl Lost {
    pub(crate) fn broken(error: impl std::fmt::Display) -> Self {
        Lost::Broken(error.to_string())
    }

    /// Who was let in and is sent away for now was cut off, and not refused.
    fn by_one_that_was_let_in(self) -> Self {
        match self {
            Lost::NotNow(reason) => Lost::Broken(reason),
            other => other,
        }
    }
}

impl From<quinn::ConnectionError> for Lost {
    fn from(error: quinn::ConnectionError) -> Self {
        use quinn::ConnectionError::{ApplicationClosed, ConnectionClosed, TransportError};
        // RFC 9001, 4.8: the alerts of TLS. Whose certificate is refused now is refused in a second, too.
        let is_tls = |code: quinn::TransportErrorCode| (0x100..0x200).contains(&u64::from(code));
        match error {
            ApplicationClosed(close) if close.error_code == CloseCode::Foreign.into() => {
                Lost::Refused(String::from_utf8_lossy(&close.reason).into_owned())
            }
            ApplicationClosed(close) if close.error_code == CloseCode::Refused.into() => {
                Lost::NotNow(String::from_utf8_lossy(&close.reason).into_owned())
            }
            TransportError(error) if is_tls(error.code) => {
                let remedy = remedy(error.code, "its certificate is not of our cluster");
                Lost::Refused(format!("{remedy} ({error})"))
            }
            ConnectionClosed(close) if is_tls(close.error_code) => {
                let remedy = remedy(close.error_code, "it refuses our certificate");
                Lost::Refused(format!("{remedy} ({close})"))
            }
            other => Lost::broken(other),
        }
    }
}

/// What to do about an alert of TLS (RFC 9001, 4.8: 0x100 and the alert of RFC 8446, 6).
fn remedy(code: quinn::TransportErrorCode, otherwise: &str) -> String {
    match u64::from(code) {
        0x12d => "a certificate has expired: check the clocks of both machines; a node that was away for longer than its \
                  certificate lives joins again, with a new token and in a new folder"
            .to_owned(),
        0x178 => "the other side speaks another version of the protocol: run the same release on all machines".to_owned(),
        _ => format!("{otherwise}: check that both were made by the same authority"),
    }
}

impl From<ConnectError> for Lost {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Connection(error) => error.into(),
            other => Lost::broken(other),
        }
    }
}

/// The executor's end of the control link, until it breaks.
async fn talk(
    control: quinn::Endpoint,
    (address, name): (SocketAddr, String),
    hello: Hello,
    queued: mpsc::Receiver<ToDriver>,
    orders: Address<Order>,
) -> Result<(), Lost> {
    let connection = endpoint::connect_to(&control, address, &name).await?;
    let mut is_let_in = false;
    let ended = exchange(connection.clone(), hello, queued, orders, &mut is_let_in).await;
    // The connection's own end says more than the link's: with it comes the driver's reason.
    let lost = |error| connection.close_reason().map_or(Lost::Broken(error), Lost::from);
    ended.map_err(|error| if is_let_in { lost(error).by_one_that_was_let_in() } else { lost(error) })
}

async fn exchange(
    connection: quinn::Connection,
    hello: Hello,
    mut queued: mpsc::Receiver<ToDriver>,
    orders: Address<Order>,
    is_let_in: &mut bool,
) -> Result<(), String> {
    let config = LinkConfig::default();
    let link = ControlLink::<ToDriver, ToExecutor>::open(connection, &hello, &config).await;
    let mut link = link.map_err(|e| in_words(&e))?;
    loop {
        tokio::select! {
            biased;
            order = link.receiver.recv() => {
                let order = order.map_err(|e| in_words(&e))?;
                *is_let_in |= matches!(order, ToExecutor::Welcome { .. });
                orders.tell_control(Order { to: hello.member, message: order }).map_err(|e| e.to_string())?;
            }
            message = queued.recv() => match message {
                Some(message) => link.sender.send(&message).await.map_err(|e| e.to_string())?,
                None => return Ok(()),
            },
        }
    }
}

fn count_rubbish(error: &LinkError) {
    if error.is_rubbish() {
        tracing::warn!(%error, "a peer was cut off");
        metrics::counter!("tidemill_frames_refused_total").increment(1);
    }
}

/// The error's text; a peer that broke the protocol is counted.
fn in_words(error: &LinkError) -> String {
    count_rubbish(error);
    error.to_string()
}

#[cfg(test)]
mod tests;
