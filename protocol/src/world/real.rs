//! The real world: the system's clocks, randomness, sockets, files and threads.
//!
//! ```text
//!   clock     Instant and SystemTime; waits on the timer thread (0.1 ms, where tokio has 1 ms)
//!   entropy   one seed, from the system unless given
//!   udp, tcp  tokio's sockets; UDP through `udp`, which outlives quinn's habit of spinning on errors
//!   files     std::fs, whole files, written durably
//!   spawner   a multi-thread runtime `tidemill-user` (or the caller's), its blocking pool, a thread per slot
//! ```

mod files;
mod net;
mod scratch;
mod spawner;
mod udp;

use super::{Clock, ClockSource, Entropy, Faults, Files, Spawner, Tcp, Udp, World, timer::Timer};
use crate::time::Time;
use futures_util::future::BoxFuture;
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::runtime::Handle;

impl World {
    /// The real world, its chance seeded by the operating system.
    pub fn real() -> World {
        assemble(system_seed(), spawner::Threads::own())
    }

    /// The real world with the given seed: the draws repeat from run to run, timing does not.
    pub fn real_seeded(seed: u64) -> World {
        assemble(seed, spawner::Threads::own())
    }

    /// The real world whose asynchronous and blocking work runs on the caller's runtime. It is the caller who keeps that
    /// runtime alive; work given after its end is dropped.
    pub fn real_on(runtime: Handle) -> World {
        assemble(system_seed(), spawner::Threads::given(runtime))
    }
}

fn assemble(seed: u64, threads: spawner::Threads) -> World {
    let timer = Timer::new();
    let network = Arc::new(net::RealNetwork::new(timer.clone()));
    World {
        clock: Clock::new(RealClock { timer }),
        entropy: Entropy::seeded(seed),
        udp: Udp::new(network.clone()),
        tcp: Tcp::new(network),
        files: Files::new(files::RealFiles::new(system_seed())),
        spawner: Spawner::new(threads),
        faults: Faults::default(),
    }
}

/// 64 bits from the operating system, by way of the keys that std draws for its hash maps.
fn system_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

struct RealClock {
    timer: Timer,
}

impl ClockSource for RealClock {
    fn now(&self) -> Time {
        self.timer.now()
    }

    fn wall(&self) -> Duration {
        #[allow(clippy::disallowed_methods, reason = "the one place where wall time enters the program")]
        let now = SystemTime::now();
        now.duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
        Box::pin(self.timer.sleep_until(deadline))
    }
}
