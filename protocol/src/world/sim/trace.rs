//! What happened, as a running hash: two runs from one seed have to agree in it, so that a failing seed fails again. Contents
//! of datagrams are ciphertext under keys from the operating system, so only their lengths go in.

use crate::world::lock;
use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A running hash of (virtual time, what) of each event; a handle, cheap to clone.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<State>>);

struct State {
    start: Instant,
    hash: u64,
    entries: u64,
    datagrams: u64,
    lines: Vec<String>,
    lines_max: usize,
}

impl Trace {
    /// An empty trace of a world that began at `start`, which keeps its first `lines_max` entries as text.
    pub(super) fn new(start: Instant, lines_max: usize) -> Self {
        let state = State { start, hash: 0, entries: 0, datagrams: 0, lines: Vec::new(), lines_max };
        Trace(Arc::new(Mutex::new(state)))
    }

    /// Adds something that happened now, such as an action of a core.
    pub fn event(&self, what: &str) {
        self.add(what.as_bytes(), &what);
    }

    /// Adds numbers that say what happened now; cheaper than text.
    pub fn numbers(&self, what: &[u64]) {
        let bytes: Vec<u8> = what.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.add(&bytes, &format_args!("{what:?}"));
    }

    /// The hash of all that has been added, in order.
    pub fn hash(&self) -> u64 {
        lock(&self.0).hash
    }

    /// How many events and datagrams there have been.
    pub fn entries(&self) -> u64 {
        lock(&self.0).entries
    }

    /// How many datagrams have been sent, whatever became of them.
    pub fn datagrams(&self) -> u64 {
        lock(&self.0).datagrams
    }

    /// The first entries, one line each: `nanoseconds what`. As many as
    /// [`SimConfig::trace_lines`](super::SimConfig::trace_lines).
    pub fn lines(&self) -> Vec<String> {
        lock(&self.0).lines.clone()
    }

    /// Adds a datagram of `length` bytes and what becomes of it.
    pub(super) fn datagram(&self, from: SocketAddr, to: SocketAddr, length: usize, verdict: &str) {
        lock(&self.0).datagrams += 1;
        let line = format!("{from} > {to} {length} {verdict}");
        self.add(line.as_bytes(), &line);
    }

    fn add(&self, bytes: &[u8], line: &dyn fmt::Display) {
        let state = &mut *lock(&self.0);
        let now = u64::try_from(state.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let timed = xxh3_64_with_seed(&now.to_le_bytes(), state.hash);
        state.hash = xxh3_64_with_seed(bytes, timed);
        state.entries += 1;
        if state.lines.len() < state.lines_max {
            state.lines.push(format!("{now} {line}"));
        }
    }
}
