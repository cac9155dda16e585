//! The simulated world: a whole cluster on one thread, under virtual time, with seeded faults.
//!
//! ```text
//!   SimWorld ── node(ip) ──▶ World of that node's current life: clock, sockets, files, slots
//!      │
//!      ├─ net()      delay, loss, duplication, reordering, cuts; TCP; counters
//!      ├─ kill(ip)   sockets cut, then everything of that life is dropped without a goodbye
//!      ├─ revive(ip) a new life: what the dead one still holds stays dead
//!      └─ trace()    a running hash of every datagram and of what the caller adds: equal for equal seeds
//! ```
//!
//! **Time** is tokio's paused clock: it stands still while anything can run and then jumps to the next timer. tokio
//! rounds deadlines up to whole milliseconds, so everything that waits wakes at whole milliseconds of virtual time. Delays
//! of the network are drawn in nanoseconds all the same: they decide the order of what becomes due in the same millisecond.
//! The clock is virtual only on the runtime's own thread: a world that is read from another thread sees real time.
//!
//! **What determinism asks of the code that runs here**: no other thread, `biased` in every `select!`, no order taken from
//! std's `HashMap`, `EndpointConfig::rng_seed` from the world's entropy, Ed25519 certificates made once (the length of other
//! signatures varies), and all actors on the one runtime.

mod clock;
mod files;
mod link;
mod net;
mod node;
mod socket;
mod spawner;
mod state;
mod stream;
mod tcp;
mod trace;

pub use files::SimDisk;
pub use link::{FaultCounts, Link};
pub use net::SimNet;
pub use tcp::TcpConnection;
pub use trace::Trace;

use super::{Clock, Entropy, Faults, Files, Spawner, Tcp, Udp, World, lock};
use node::{Life, Nodes};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{runtime, task::LocalSet, time::Instant};

/// 2026-01-01T00:00:00Z, where wall time begins unless configured otherwise.
pub const WALL_EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// What is called when a fault point is passed: the world, the node that passes it, and the point's name.
pub type SimFaultHook = Arc<dyn Fn(&SimWorld, IpAddr, &'static str) + Send + Sync>;

/// How a simulated world begins.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Every link of the network that is not set otherwise.
    pub link: Link,
    /// Wall time since the Unix epoch at the world's start.
    pub wall_epoch: Duration,
    /// How many entries of the trace are kept as text, to find the first difference of two runs.
    pub trace_lines: usize,
}

impl Default for SimConfig {
    fn default() -> Self {
        SimConfig { link: Link::default(), wall_epoch: WALL_EPOCH, trace_lines: 0 }
    }
}

/// A simulated world; a handle, cheap to clone.
#[derive(Clone)]
pub struct SimWorld(Arc<Shared>);

struct Shared {
    entropy: Entropy,
    wall_epoch: Duration,
    start: Instant,
    runtime: runtime::Handle,
    nodes: Nodes,
    net: SimNet,
    files: files::Store,
    trace: Trace,
    hook: Mutex<Option<SimFaultHook>>,
    passed: Mutex<BTreeMap<&'static str, u64>>,
}

impl SimWorld {
    /// A world whose every chance comes from `seed`.
    ///
    /// # Panics
    /// Outside a tokio runtime: the world lives on the current one, which is to be [`runtime()`] or its like.
    pub fn new(seed: u64, config: SimConfig) -> Self {
        let start = Instant::now();
        let entropy = Entropy::seeded(seed);
        let trace = Trace::new(start, config.trace_lines);
        SimWorld(Arc::new(Shared {
            entropy,
            wall_epoch: config.wall_epoch,
            start,
            runtime: runtime::Handle::current(),
            nodes: Nodes::default(),
            net: SimNet::new(entropy, config.link, trace.clone()),
            files: files::Store::default(),
            trace,
            hook: Mutex::default(),
            passed: Mutex::default(),
        }))
    }

    /// The world as the node at `ip` sees it in its current life (the first, unless it has been revived). Its sockets are
    /// bound to `ip`, its files are shared by all nodes. If the node is dead, so is this view: nothing runs, nothing is sent.
    pub fn node(&self, ip: IpAddr) -> World {
        let life = self.0.nodes.life(ip);
        let entropy = Entropy::seeded(self.0.entropy.seed(&format!("node {ip} life {}", life.number())));
        let network = self.0.net.of(life.clone());
        let (world, of_faults) = (self.clone(), life.clone());
        World {
            clock: Clock::new(clock::SimClock::new(self.0.start, self.0.wall_epoch, life.clone())),
            entropy,
            udp: Udp::new(network.clone()),
            tcp: Tcp::new(network),
            files: Files::new(self.0.files.of(life.clone())),
            spawner: Spawner::new(spawner::SimThreads::new(self.0.runtime.clone(), life)),
            faults: Faults::hooked(Arc::new(move |point| world.pass(&of_faults, point))),
        }
    }

    /// The network: its links, cuts, connections and counters.
    pub fn net(&self) -> &SimNet {
        &self.0.net
    }

    /// The running hash of what has happened.
    pub fn trace(&self) -> &Trace {
        &self.0.trace
    }

    /// Chance for the test itself; nobody in the world draws from these labels' generators unless told to.
    pub fn entropy(&self) -> Entropy {
        self.0.entropy
    }

    /// The files that all nodes share, seen from outside: alive whatever is killed.
    pub fn files(&self) -> Files {
        Files::new(self.0.files.of_nobody())
    }

    /// The disk of those files: its space and its damage.
    pub fn disk(&self) -> SimDisk {
        SimDisk::new(self.0.files.clone())
    }

    /// Kills the node at `ip` as a power cut would: first its sockets are cut (datagrams on their way still arrive,
    /// later ones do not leave; TCP peers see a reset), then its spawned work is dropped and its slots' jobs are forgotten.
    /// Gives false if it was dead already. Futures that were not spawned through the node's spawner (actors, quinn's
    /// drivers) live on with dead sockets until their owner drops them.
    pub fn kill(&self, ip: IpAddr) -> bool {
        let Some(work) = self.0.nodes.kill(ip) else {
            return false;
        };
        self.0.trace.event(&format!("kill {ip}"));
        self.0.net.pause(ip, None);
        self.0.net.cut_off(ip);
        work.into_iter().for_each(|work| work.abort());
        true
    }

    /// Gives the node at `ip` a new life, after killing the present one if there is one.
    pub fn revive(&self, ip: IpAddr) -> World {
        self.kill(ip);
        self.0.nodes.revive(ip);
        self.0.trace.event(&format!("revive {ip}"));
        self.node(ip)
    }

    /// Whether the node at `ip` is alive; a node that nobody has asked for yet counts as alive.
    pub fn is_alive(&self, ip: IpAddr) -> bool {
        self.0.nodes.life(ip).is_alive()
    }

    /// Makes the slots of the node at `ip` take `factor` times the cost of a job, in this life and the next ones.
    ///
    /// # Panics
    /// If `factor` is negative or not finite.
    pub fn set_slowdown(&self, ip: IpAddr, factor: f64) {
        assert!(factor.is_finite() && factor >= 0.0, "a slowdown of {factor}");
        self.0.nodes.change(ip, |node| node.slowdown = factor);
    }

    /// How many jobs of the node at `ip` a slowdown has changed, in all its lives.
    pub fn slowed(&self, ip: IpAddr) -> u64 {
        self.0.nodes.change(ip, |node| node.slowed)
    }

    /// Lets the node at `ip` stand still for this long, as SIGSTOP does: its waits and its slots' jobs end late, it reads nothing,
    /// and what it would send leaves when it goes on. Then it goes on as if nothing had been. A kill ends it. (quinn's own timers
    /// are not the node's: a connection that is silent for longer than its idle timeout is lost meanwhile, and the node finds it
    /// lost when it goes on, as a stopped process does.)
    pub fn pause(&self, ip: IpAddr, lasts: Duration) {
        let until = Instant::now() + lasts;
        self.0.trace.event(&format!("pause {ip} {}", lasts.as_millis()));
        self.0.nodes.pause(ip, until);
        self.0.net.pause(ip, Some(until));
    }

    /// Lets the node at `ip` write this many more bytes into files, in this life and the next ones; none: as many as it likes.
    pub fn set_disk_free(&self, ip: IpAddr, bytes: Option<u64>) {
        self.0.nodes.change(ip, |node| node.disk_free = bytes);
    }

    /// How many writes of the node at `ip` found no room, in all its lives.
    pub fn disk_refused(&self, ip: IpAddr) -> u64 {
        self.0.nodes.change(ip, |node| node.disk_refused)
    }

    /// Sets how many milliseconds the wall clock of the node at `ip` is ahead (negative: behind). May jump.
    pub fn set_wall_offset_ms(&self, ip: IpAddr, offset_ms: i64) {
        self.0.nodes.change(ip, |node| node.wall_offset_ms = offset_ms);
    }

    /// Calls `hook` whenever a living node passes a fault point; replaces the hook before. The hook may kill the node that
    /// passes (what runs at the moment still runs to its next `await`, or to the end of its job) or panic in its name.
    pub fn set_fault_hook(&self, hook: impl Fn(&SimWorld, IpAddr, &'static str) + Send + Sync + 'static) {
        *lock(&self.0.hook) = Some(Arc::new(hook));
    }

    /// How often living nodes have passed the fault point `name`.
    pub fn passed(&self, name: &str) -> u64 {
        lock(&self.0.passed).get(name).copied().unwrap_or(0)
    }

    fn pass(&self, life: &Life, point: &'static str) {
        if !life.is_alive() {
            return;
        }
        *lock(&self.0.passed).entry(point).or_default() += 1;
        // Called unlocked: it may kill, panic, or set another hook.
        let hook = lock(&self.0.hook).clone();
        if let Some(hook) = hook {
            hook(self, life.ip(), point);
        }
    }
}

/// A runtime of one thread whose clock is virtual. For actors: `actix::System::with_tokio_rt(sim::runtime)`.
///
/// # Panics
/// If the runtime cannot be built; one without system resources always can.
pub fn runtime() -> runtime::Runtime {
    let builder = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    builder.expect("a current-thread runtime without I/O asks nothing of the system")
}

/// Runs `scenario` in a world of its own, from `seed`, on a [`runtime()`] of its own, inside a `LocalSet`; gives its result.
///
/// ```
/// use std::time::Duration;
/// use tidemill_protocol::world::sim;
///
/// let waited = sim::run(7, sim::SimConfig::default(), async |sim| {
///     let world = sim.node([10, 0, 0, 1].into());
///     world.clock.sleep(Duration::from_secs(3_600)).await;
///     world.clock.now()
/// });
/// assert_eq!(waited.0, 3_600_000_000_000);
/// ```
pub fn run<T>(seed: u64, config: SimConfig, scenario: impl AsyncFnOnce(SimWorld) -> T) -> T {
    LocalSet::new().block_on(&runtime(), async move { scenario(SimWorld::new(seed, config)).await })
}
