//! The feeder: a TCP server that sends numbered lines at a rate until a time is over, and repeats what the receiver has not told to
//! be safe. It stands for any sender that keeps its data until it is acknowledged.
//!
//! ```text
//!   receiver -> feeder    RESUME <last line held>  or  RESUME -      first, on every connection
//!                         SAFE <line>                                all up to this one is safe
//!   feeder -> receiver    <line>\t<text>                             lines count from 0
//!                         END                                        no more lines come
//! ```
//!
//! The newest connection wins: the one before it belongs to a receiver that is gone without a word. One that asks for lines which
//! its successor has told to be safe is a receiver that was declared dead and does not know: it is turned away. A receiver that closes its
//! side and stops gets what was begun, so that its successor need not ask for it. Lines are `lines[number % len]`, so
//! only numbers are kept, however much is in flight.

use super::ledger::{Ledger, LedgerError, Step};
use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tidemill_protocol::{
    time::Time,
    world::{ByteStream, Clock, TcpListenerBox},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

/// How long the feeder sleeps when no line is due.
const TICK: Duration = Duration::from_millis(2);
/// The longest line that a receiver may send.
const REQUEST_BYTES_MAX: usize = 64;
/// How long the feeder waits for the receiver to close, once everything is safe.
const FAREWELL: Duration = Duration::from_secs(1);

/// What to feed.
#[derive(Clone, Debug)]
pub struct FeedPlan {
    /// The lines, sent again and again; without newlines, and at least one.
    pub lines: Vec<&'static str>,
    /// How many lines are due in a second.
    pub rate_lines_per_s: u64,
    /// How long, from the first connection on.
    pub duration: Duration,
}

/// The feed ended before everything was safe.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The listener failed; nobody can connect any more.
    #[error("the feeder cannot accept connections any more: {0}")]
    Accept(io::Error),
    /// The receiver's words are none of the protocol.
    #[error("the receiver sent what is neither RESUME nor SAFE: {0:?}")]
    Request(String),
    /// The receiver asks for what cannot be.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What was fed, readable while it goes on.
#[derive(Debug, Default)]
pub struct FeedGauge {
    written: AtomicU64,
    safe: AtomicU64,
    repeated: AtomicU64,
    connections: AtomicU64,
    turned_away: AtomicU64,
}

impl FeedGauge {
    /// How many different lines were given to the network: lines `0..written`.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// How many of them the receiver has told to be safe.
    pub fn safe(&self) -> u64 {
        self.safe.load(Ordering::Relaxed)
    }

    /// How many lines were sent once more.
    pub fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many of them asked for lines that are forgotten, because another had told that they are safe.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }
}

/// Ends a feed before its time; clones share it.
#[derive(Clone, Debug, Default)]
pub struct FeedStop(Arc<AtomicBool>);

impl FeedStop {
    /// No more lines are due from now on: the feed ends when all that were written are safe.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A feeder that listens.
pub struct Feeder {
    listener: TcpListenerBox,
    clock: Clock,
    gauge: Arc<FeedGauge>,
    stop: FeedStop,
}

/// A connection: its two halves, and what was read of a request that is not complete.
struct Peer {
    reader: ReadHalf<Box<dyn ByteStream>>,
    writer: WriteHalf<Box<dyn ByteStream>>,
    unread: Vec<u8>,
    /// Bytes to be sent, and how many of them are.
    outgoing: Vec<u8>,
    sent: usize,
    resumed: bool,
}

impl Feeder {
    /// A feeder on a listener of a world, such as `world.tcp.listen("127.0.0.1:0").await?`.
    pub fn new(listener: TcpListenerBox, clock: Clock) -> Self {
        Feeder { listener, clock, gauge: Arc::default(), stop: FeedStop::default() }
    }

    /// Where receivers connect.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// The figures of the feed, to be read while it runs.
    pub fn gauge(&self) -> Arc<FeedGauge> {
        self.gauge.clone()
    }

    /// What ends the feed before its time.
    pub fn stopper(&self) -> FeedStop {
        self.stop.clone()
    }

    /// Feeds until the duration is over and everything written is safe. Gives the number of different lines written: it were
    /// lines `0..n`.
    ///
    /// # Errors
    /// If the listener fails, or the receiver breaks the protocol. A lost connection is no error, the next one goes on.
    ///
    /// # Panics
    /// If the plan has no lines.
    pub async fn run(mut self, plan: FeedPlan) -> Result<u64, FeedError> {
        assert!(!plan.lines.is_empty(), "a feed needs at least one line");
        let mut ledger = Ledger::new(plan.rate_lines_per_s, plan.duration);
        let mut began: Option<Time> = None;
        let mut peer = Peer::new(self.accept().await?);
        loop {
            let elapsed = began.map_or(Duration::ZERO, |began| self.clock.now().since(began));
            if self.stop.0.load(Ordering::Relaxed) {
                ledger.end_at(elapsed);
            }
            if peer.resumed && peer.is_flushed() {
                let step = ledger.next(elapsed);
                if step == Step::Done {
                    self.show(&ledger);
                    self.say_goodbye(peer).await;
                    return Ok(ledger.written());
                }
                ledger.begin(&step);
                peer.prepare(&step, &plan.lines);
                self.show(&ledger);
            }
            let waits_for_due = peer.resumed && peer.is_flushed() && ledger.next(elapsed) == Step::WaitForDue;
            let mut bytes = [0; 4096];
            let lost = tokio::select! {
                biased;
                next = self.listener.accept() => {
                    peer = Peer::new(next.map_err(FeedError::Accept)?.0);
                    self.gauge.connections.fetch_add(1, Ordering::Relaxed);
                    false
                }
                read = peer.reader.read(&mut bytes) => match read {
                    Ok(0) => {
                        self.finish(&mut peer).await;
                        true
                    }
                    Err(_) => true,
                    Ok(count) => {
                        peer.unread.extend_from_slice(&bytes[..count]);
                        let is_dead = self.is_dead(peer.obey(&mut ledger))?;
                        if peer.resumed && began.is_none() {
                            began = Some(self.clock.now());
                        }
                        is_dead
                    }
                },
                write = peer.writer.write(&peer.outgoing[peer.sent..]), if !peer.is_flushed() => match write {
                    Ok(0) | Err(_) => true,
                    Ok(count) => {
                        peer.sent += count;
                        false
                    }
                },
                () = self.clock.sleep(TICK), if waits_for_due => false,
            };
            if lost {
                // Closed before the next one comes: who is turned away must hear of it.
                drop(peer);
                peer = Peer::new(self.accept().await?);
            }
        }
    }

    /// Whether a peer, by what came of its words, is a receiver whose successor is further already.
    fn is_dead(&self, obeyed: Result<(), FeedError>) -> Result<bool, FeedError> {
        match obeyed {
            Err(FeedError::Ledger(LedgerError::Forgotten { .. })) => {
                self.gauge.turned_away.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            obeyed => obeyed.map(|()| false),
        }
    }

    async fn accept(&mut self) -> Result<Box<dyn ByteStream>, FeedError> {
        let (stream, _) = self.listener.accept().await.map_err(FeedError::Accept)?;
        self.gauge.connections.fetch_add(1, Ordering::Relaxed);
        Ok(stream)
    }

    fn show(&self, ledger: &Ledger) {
        self.gauge.written.store(ledger.written(), Ordering::Relaxed);
        self.gauge.safe.store(ledger.safe(), Ordering::Relaxed);
        self.gauge.repeated.store(ledger.repeated(), Ordering::Relaxed);
    }

    /// The receiver has closed its side and may still read: it gets what is laid out for it.
    async fn finish(&self, peer: &mut Peer) {
        tokio::select! {
            biased;
            _ = peer.writer.write_all(&peer.outgoing[peer.sent..]) => {}
            () = self.clock.sleep(FAREWELL) => {}
        }
    }

    /// Closes our side and reads until the receiver has closed its own: a socket that is dropped with unread bytes resets the
    /// connection, and the last words would be lost.
    async fn say_goodbye(&self, mut peer: Peer) {
        let farewell = async {
            let _ = peer.writer.shutdown().await;
            let mut bytes = [0; 4096];
            while matches!(peer.reader.read(&mut bytes).await, Ok(1..)) {}
        };
        tokio::select! {
            biased;
            () = farewell => {}
            () = self.clock.sleep(FAREWELL) => {}
        }
    }
}

impl Peer {
    fn new(stream: Box<dyn ByteStream>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Peer { reader, writer, unread: Vec::new(), outgoing: Vec::new(), sent: 0, resumed: false }
    }

    fn is_flushed(&self) -> bool {
        self.sent == self.outgoing.len()
    }

    /// Lays out the bytes of a step.
    fn prepare(&mut self, step: &Step, lines: &[&str]) {
        self.sent = 0;
        self.outgoing.clear();
        match step {
            Step::Lines(numbers) => {
                for number in numbers.clone() {
                    let text = lines[usize::try_from(number % lines.len() as u64).expect("below a length")];
                    writeln!(self.outgoing, "{number}\t{text}").expect("memory takes everything");
                }
            }
            Step::End => self.outgoing.extend_from_slice(b"END\n"),
            Step::WaitForDue | Step::WaitForSafe | Step::Done => {}
        }
    }

    /// Enters all complete requests into the books.
    fn obey(&mut self, ledger: &mut Ledger) -> Result<(), FeedError> {
        while let Some(newline) = self.unread.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=newline).collect();
            let request = Request::parse(&line[..newline]).ok_or_else(|| not_a_request(&line))?;
            match (request, self.resumed) {
                (Request::Resume(after), false) => {
                    ledger.resume(after)?;
                    self.resumed = true;
                }
                (Request::Safe(line), true) => ledger.acknowledge(line)?,
                _ => return Err(not_a_request(&line)),
            }
        }
        if self.unread.len() > REQUEST_BYTES_MAX { Err(not_a_request(&self.unread)) } else { Ok(()) }
    }
}

fn not_a_request(line: &[u8]) -> FeedError {
    FeedError::Request(
        String::from_utf8_lossy(&line[..line.len().min(REQUEST_BYTES_MAX)]).trim_end().to_string(),
    )
}

/// A line from the receiver.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Resume(Option<u64>),
    Safe(u64),
}

impl Request {
    fn parse(line: &[u8]) -> Option<Self> {
        let (word, argument) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        match (word, argument) {
            ("RESUME", "-") => Some(Request::Resume(None)),
            ("RESUME", line) => line.parse().ok().map(|line| Request::Resume(Some(line))),
            ("SAFE", line) => line.parse().ok().map(Request::Safe),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
