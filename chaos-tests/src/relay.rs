//! A UDP relay in user space, for tests with real processes: it stands between a server's address and its peers, and loses, delays,
//! doubles and reorders what passes, or cuts it off on order. What becomes of a datagram is drawn from a seed; when it arrives is
//! up to the machine.
//!
//! ```text
//!   peer ──┐                                 ┌── a socket for each peer ──┐
//!   peer ──┼──> listen ── lots, cuts, delay ─┤                            ├──> to
//!   peer ──┘      <──────── lots, cuts, delay ─── what the server answers ─┘
//! ```

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};
use tidemill_protocol::world::{Entropy, SeededRng};
use tokio::{
    net::UdpSocket,
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
};

/// Peers that are served; datagrams of others are dropped.
pub const PEERS_MAX: usize = 1_024;
/// Datagrams that wait for their delay; more are dropped.
pub const WAITING_MAX: usize = 16_384;
/// The longest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// How long a socket rests that cannot read, as when the server's port is closed for a while.
const REST: Duration = Duration::from_millis(5);

/// What a relay does.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Where peers send to; port 0: a free one.
    pub listen: SocketAddr,
    /// The server.
    pub to: SocketAddr,
    /// The share of datagrams that is lost, each way (0.0 to 1.0).
    pub loss: f64,
    /// The share that arrives twice.
    pub duplicate: f64,
    /// The shortest time that a datagram takes.
    pub delay: Duration,
    /// How much longer it may take; drawn for each alone, so that they overtake each other.
    pub jitter: Duration,
    /// What the lots are drawn from.
    pub seed: u64,
}

impl RelayConfig {
    /// A relay that changes nothing.
    pub fn sound(listen: SocketAddr, to: SocketAddr) -> Self {
        let zero = Duration::ZERO;
        RelayConfig { listen, to, loss: 0.0, duplicate: 0.0, delay: zero, jitter: zero, seed: 0 }
    }
}

/// Which directions are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    /// None.
    Healed = 0,
    /// What peers send.
    ToServer = 1,
    /// What the server sends.
    ToPeers = 2,
    /// Both.
    Both = 3,
}

/// What a relay has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayCounts {
    /// Datagrams passed on, the second copies included.
    pub forwarded: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Passed on twice.
    pub duplicated: u64,
    /// Passed on before one that came earlier in the same direction of the same peer.
    pub reordered: u64,
    /// Swallowed by a cut.
    pub cut: u64,
    /// Dropped as there were too many peers, too many waited, or the system would not send.
    pub refused: u64,
}

#[derive(Default)]
struct Counts {
    forwarded: AtomicU64,
    lost: AtomicU64,
    duplicated: AtomicU64,
    reordered: AtomicU64,
    cut: AtomicU64,
    refused: AtomicU64,
}

/// A relay that runs, until it is dropped.
pub struct Relay {
    handle: RelayHandle,
    address: SocketAddr,
    work: AbortHandle,
}

/// Orders and counts of a relay, from wherever they are wanted; it does not keep the relay running.
#[derive(Clone)]
pub struct RelayHandle(Arc<Shared>);

impl RelayHandle {
    /// Cuts these directions, and heals the others.
    pub fn cut(&self, cut: Cut) {
        self.0.cut.store(cut as u8, Ordering::Relaxed);
    }

    /// Loses this share of what comes from now on, each way.
    pub fn lose(&self, share: f64) {
        self.0.loss.store(share.to_bits(), Ordering::Relaxed);
    }

    /// What has been done so far.
    pub fn counts(&self) -> RelayCounts {
        let counts = &self.0.counts;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RelayCounts {
            forwarded: of(&counts.forwarded),
            lost: of(&counts.lost),
            duplicated: of(&counts.duplicated),
            reordered: of(&counts.reordered),
            cut: of(&counts.cut),
            refused: of(&counts.refused),
        }
    }
}

impl std::ops::Deref for Relay {
    type Target = RelayHandle;
    fn deref(&self) -> &RelayHandle {
        &self.handle
    }
}

struct Shared {
    config: RelayConfig,
    counts: Counts,
    cut: AtomicU8,
    /// The bits of the share that is lost.
    loss: AtomicU64,
    waiting: Arc<Semaphore>,
}

impl Relay {
    /// Starts a relay on the present tokio runtime.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn start(config: RelayConfig) -> io::Result<Relay> {
        let front = Arc::new(UdpSocket::bind(config.listen).await?);
        let address = front.local_addr()?;
        let shared = Arc::new(Shared {
            loss: AtomicU64::new(config.loss.to_bits()),
            config,
            counts: Counts::default(),
            cut: AtomicU8::new(Cut::Healed as u8),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        });
        let work = tokio::spawn(serve(front, shared.clone())).abort_handle();
        Ok(Relay { handle: RelayHandle(shared), address, work })
    }

    /// Where peers send to.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// For orders from elsewhere.
    pub fn handle(&self) -> RelayHandle {
        self.handle.clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// One direction of one peer.
struct Way {
    shared: Arc<Shared>,
    cut: Cut,
    rng: Mutex<SeededRng>,
    /// Numbers of datagrams: the next one, and the highest that was passed on.
    next: AtomicU64,
    passed: AtomicU64,
}

impl Way {
    fn new(shared: &Arc<Shared>, cut: Cut, peer: u64) -> Arc<Way> {
        let entropy = Entropy::seeded(shared.config.seed);
        let rng = Mutex::new(entropy.rng(&format!("peer {peer} {cut:?}")));
        let (next, passed) = (AtomicU64::new(1), AtomicU64::new(0));
        Arc::new(Way { shared: shared.clone(), cut, rng, next, passed })
    }

    fn rng(&self) -> MutexGuard<'_, SeededRng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, which: impl Fn(&Counts) -> &AtomicU64) {
        which(&self.shared.counts).fetch_add(1, Ordering::Relaxed);
    }

    /// Draws for a datagram: the delay of each copy. Always the same number of draws.
    fn draw(&self) -> Vec<Duration> {
        let config = &self.shared.config;
        let loss = f64::from_bits(self.shared.loss.load(Ordering::Relaxed));
        let mut rng = self.rng();
        let (is_lost, is_doubled) = (rng.chance(loss), rng.chance(config.duplicate));
        let mut delay = || config.delay + config.jitter.mul_f64(rng.unit());
        let delays = [delay(), delay()];
        drop(rng);
        if self.shared.cut.load(Ordering::Relaxed) & self.cut as u8 != 0 {
            self.count(|counts| &counts.cut);
            return Vec::new();
        }
        if is_lost {
            self.count(|counts| &counts.lost);
            return Vec::new();
        }
        if is_doubled {
            self.count(|counts| &counts.duplicated);
        }
        delays[..if is_doubled { 2 } else { 1 }].to_vec()
    }

    /// Does with a datagram what the lots say.
    fn forward(self: &Arc<Self>, bytes: &[u8], through: &Arc<UdpSocket>, to: SocketAddr) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        for delay in self.draw() {
            let Ok(permit) = self.shared.waiting.clone().try_acquire_owned() else {
                self.count(|counts| &counts.refused);
                continue;
            };
            let (way, bytes, through) = (self.clone(), bytes.to_vec(), through.clone());
            tokio::spawn(async move {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                way.pass_on(number, through.send_to(&bytes, to).await.is_ok());
                drop(permit);
            });
        }
    }

    fn pass_on(&self, number: u64, is_sent: bool) {
        if !is_sent {
            return self.count(|counts| &counts.refused);
        }
        self.count(|counts| &counts.forwarded);
        if self.passed.fetch_max(number, Ordering::Relaxed) > number {
            self.count(|counts| &counts.reordered);
        }
    }
}

/// A peer: what it sends goes out through a socket of its own, so that the server tells peers apart.
struct Peer {
    socket: Arc<UdpSocket>,
    way: Arc<Way>,
}

async fn serve(front: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut peers: BTreeMap<SocketAddr, Peer> = BTreeMap::new();
    // Dropped, and so aborted, with this future.
    let mut answers = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let Ok((length, from)) = front.recv_from(&mut buffer).await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        if !peers.contains_key(&from) {
            let number = peers.len() as u64;
            let socket = if peers.len() < PEERS_MAX { open(shared.config.to).await } else { None };
            let Some(socket) = socket else {
                shared.counts.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let back = Way::new(&shared, Cut::ToPeers, number);
            answers.spawn(answer(socket.clone(), front.clone(), from, back));
            peers.insert(from, Peer { socket, way: Way::new(&shared, Cut::ToServer, number) });
        }
        if let Some(peer) = peers.get(&from) {
            peer.way.forward(&buffer[..length], &peer.socket, shared.config.to);
        }
    }
}

/// A socket that reaches the server.
async fn open(to: SocketAddr) -> Option<Arc<UdpSocket>> {
    let any = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    UdpSocket::bind(SocketAddr::new(any, 0)).await.ok().map(Arc::new)
}

async fn answer(socket: Arc<UdpSocket>, front: Arc<UdpSocket>, peer: SocketAddr, way: Arc<Way>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) if from == way.shared.config.to => {
                way.forward(&buffer[..length], &front, peer)
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}
