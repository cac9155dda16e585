//! The world a node lives in: everything that waits, talks, reads, starts something or draws lots takes it from here.
//!
//! ```text
//!                 World
//!   clock   entropy   udp   tcp   files   spawner   faults
//!     |        |       |     |      |        |         |
//!   real:   OS clock, OS randomness, sockets, threads, no faults
//!   sim:    tokio's paused clock, one seed, an in-memory network, one thread, seeded faults   (feature `sim`)
//! ```
//!
//! A `World` is a handful of shared handles: cloning it is cheap, and every part may be used from any thread.

mod clock;
mod entropy;
mod faults;
mod files;
pub mod meter;
mod net;
mod real;
#[cfg(feature = "sim")]
pub mod sim;
mod spawner;
mod timer;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use clock::{Clock, ClockSource};
pub use entropy::{Entropy, SeededRng};
pub use faults::{FaultHook, Faults};
pub use files::{FileSystem, Files, ScratchFolder};
pub use net::{ByteStream, Network, Tcp, TcpAcceptor, TcpListenerBox, Udp};
pub use spawner::{Job, SLOT_QUEUE, Slot, SlotThread, Spawner, SpawnerSource};

/// Where a node takes time, chance, sockets, files and threads from.
#[derive(Clone)]
pub struct World {
    /// Monotonic and wall time.
    pub clock: Clock,
    /// Seeds, derived from one.
    pub entropy: Entropy,
    /// UDP sockets, in the form that quinn takes.
    pub udp: Udp,
    /// TCP connections of sources and sinks.
    pub tcp: Tcp,
    /// Files of sources and sinks.
    pub files: Files,
    /// Threads: asynchronous work, blocking work and task slots.
    pub spawner: Spawner,
    /// Named points at which a test may strike.
    pub faults: Faults,
}

/// Locks, also after a panic elsewhere: every critical section in this module leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
