//! The gate before an endpoint: whose handshake is begun, how many are under way, and what is said of those who are refused.
//!
//! | handshakes under way | a peer whose address is not proven | one whose address is |
//! |---|---|---|
//! | fewer than [`UNPROVEN_MAX`] | let in | let in |
//! | fewer than [`HANDSHAKES_MAX`] | a Retry, and forgotten | let in |
//! | more | a Retry, and forgotten | refused |
//!
//! Whoever is refused is counted, and told of in one line of each kind within [`SAY_EVERY`].

use quinn::{ConnectionError, Incoming};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tidemill_protocol::{
    endpoint::{self, CloseCode},
    identity::Refused,
    time::Time,
    world::Clock,
};

/// From so many handshakes under way on, addresses are to be proven first: a cluster that starts stays below.
const UNPROVEN_MAX: usize = 64;
/// More handshakes than these are not begun: a few MiB.
const HANDSHAKES_MAX: usize = 128;
/// How long a handshake may take, however slowly its peer goes on.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How often one kind of refusal is told.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// The gate of an endpoint; clones share it.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Inner>);

struct Inner {
    /// Of which endpoint.
    port: &'static str,
    clock: Clock,
    under_way: AtomicUsize,
    said: Mutex<BTreeMap<&'static str, Said>>,
}

/// When a kind of refusal was told last, and how many there were since.
struct Said {
    at: Time,
    since: u64,
}

/// A peer whose handshake may begin.
pub(crate) struct Entering {
    incoming: Incoming,
    _place: Place,
}

/// One of the handshakes under way.
struct Place(Gate);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// The gate of the endpoint that is called `port` in the log.
    pub(crate) fn new(port: &'static str, clock: Clock) -> Self {
        Gate(Arc::new(Inner { port, clock, under_way: AtomicUsize::new(0), said: Mutex::default() }))
    }

    /// Whether this peer's handshake may begin; one that may not is answered.
    pub(crate) fn look(&self, incoming: Incoming) -> Option<Entering> {
        let under_way = self.0.under_way.load(Ordering::Relaxed);
        let is_proven = incoming.remote_address_validated();
        if under_way >= UNPROVEN_MAX && !is_proven {
            metrics::counter!("tidemill_handshakes_retried_total").increment(1);
            // One that cannot be asked to prove its address is refused by being dropped.
            let _ = incoming.retry();
            return None;
        }
        if under_way >= HANDSHAKES_MAX {
            self.say("too many handshakes at once", incoming.remote_address(), None);
            incoming.refuse();
            return None;
        }
        self.0.under_way.fetch_add(1, Ordering::Relaxed);
        Some(Entering { incoming, _place: Place(self.clone()) })
    }

    /// The connection, if the handshake comes to an end.
    pub(crate) async fn handshake(&self, entering: Entering) -> Option<quinn::Connection> {
        let peer = entering.incoming.remote_address();
        let shaken = tokio::select! {
            biased;
            shaken = entering.incoming => shaken,
            () = self.0.clock.sleep(HANDSHAKE_WITHIN) => Err(ConnectionError::TimedOut),
        };
        match shaken {
            Ok(connection) => Some(connection),
            Err(error) => {
                metrics::counter!("tidemill_handshakes_failed_total").increment(1);
                self.say(kind(&error), peer, None);
                None
            }
        }
    }

    /// Closes the connection of a peer whose certificate is none that may come here.
    pub(crate) fn turn_away(&self, connection: &quinn::Connection, refused: &Refused) {
        let kind = match refused {
            Refused::Name(_) => "a certificate without a name",
            Refused::Role { .. } => "a role that has no business here",
            Refused::Denied(_) => "a denied node",
        };
        self.shut_out(connection, kind, &refused.to_string());
    }

    /// Closes the connection of a peer that will not be wanted however often it comes.
    pub(crate) fn shut_out(&self, connection: &quinn::Connection, kind: &'static str, reason: &str) {
        metrics::counter!("tidemill_peers_refused_total").increment(1);
        self.say(kind, connection.remote_address(), Some(reason));
        endpoint::close(connection, CloseCode::Foreign, reason);
    }

    fn say(&self, kind: &'static str, peer: SocketAddr, reason: Option<&str>) {
        let now = self.0.clock.now();
        let since = {
            let mut said = self.0.said.lock().unwrap_or_else(PoisonError::into_inner);
            match said.get_mut(kind) {
                Some(last) if now.since(last.at) < SAY_EVERY => {
                    last.since += 1;
                    return;
                }
                Some(last) => {
                    last.at = now;
                    std::mem::take(&mut last.since)
                }
                None => {
                    said.insert(kind, Said { at: now, since: 0 });
                    0
                }
            }
        };
        let (port, reason) = (self.0.port, reason.unwrap_or(kind));
        tracing::warn!(port, kind, %peer, reason, unsaid = since, "a peer was turned away");
    }
}

/// What a failed handshake is called: nothing of what the peer says is in it.
fn kind(error: &ConnectionError) -> &'static str {
    let code = match error {
        ConnectionError::TransportError(error) => error.code,
        ConnectionError::ConnectionClosed(close) => close.error_code,
        ConnectionError::TimedOut => return "a handshake that was not finished",
        ConnectionError::VersionMismatch => return "another version of QUIC",
        _ => return "a connection that was ended in its handshake",
    };
    // RFC 9001, 4.8: 0x100 and the alert of TLS (RFC 8446, 6).
    match u64::from(code) {
        0x12d => "a certificate that has expired",
        0x130 => "a certificate of another authority",
        0x174 => "no certificate",
        0x178 => "another version of the protocol",
        0x100..=0x1ff => "a handshake that TLS refuses",
        _ => "a handshake that breaks the protocol",
    }
}
