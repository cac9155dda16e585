//! The gate before an endpoint: whose handshake is begun, how many are under way, how many connections one holder of a
//! certificate has, and what is said of those who are refused.
//!
//! | handshakes under way: all, and of this machine | a peer whose address is not proven | one whose address is |
//! |---|---|---|
//! | fewer than [`UNPROVEN_MAX`] and [`UNPROVEN_OF_ONE_MAX`] | let in | let in |
//! | fewer than [`HANDSHAKES_MAX`] and [`HANDSHAKES_OF_ONE_MAX`] | a Retry, and forgotten | let in |
//! | more | a Retry, and forgotten | refused |
//!
//! Whoever is refused is counted, and told of in one line of each kind within [`SAY_EVERY`].

use quinn::{ConnectionError, Incoming};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidemill_protocol::{
    endpoint::{self, CloseCode, LinkError, Place, Places},
    identity::{PeerName, Refused, RoleKind},
    time::Time,
    world::Clock,
};

/// From so many handshakes under way on, addresses are to be proven first: a cluster that starts stays below.
const UNPROVEN_MAX: usize = 64;
/// The same for one machine: whoever comes in its name without being it takes no more of its places.
const UNPROVEN_OF_ONE_MAX: usize = 16;
/// More handshakes than these are not begun: some 16 MiB. Those of a cluster whose machines all call one at the same moment are
/// begun.
pub(super) const HANDSHAKES_MAX: usize = 512;
/// Nor more than these of one machine, so that one alone does not keep the others out.
const HANDSHAKES_OF_ONE_MAX: usize = 64;
/// How long a handshake may take, however slowly its peer goes on.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How many connections the holder of one certificate has at once: those of a machine's 32 executors, four times.
pub(super) const CONNECTIONS_OF_ONE_MAX: usize = 128;
/// The same for a certificate of people: who looks or changes things does so by one connection at a time.
pub(super) const CONNECTIONS_OF_PEOPLE_MAX: usize = 8;
/// How often one kind of refusal is told.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// The gate of an endpoint; clones share it.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Inner>);

struct Inner {
    /// Of which endpoint.
    port: &'static str,
    clock: Clock,
    under_way: Places,
    /// How many connections there are of each name that certificates have; those who have none are not kept.
    held: Mutex<BTreeMap<String, usize>>,
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

/// Room for one connection of a holder of a certificate, until it is dropped.
pub(crate) struct Room {
    gate: Gate,
    holder: String,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut held = self.gate.held();
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

impl Gate {
    /// The gate of the endpoint that is called `port` in the log.
    pub(crate) fn new(port: &'static str, clock: Clock) -> Self {
        let (under_way, held, said) = (Places::default(), Mutex::default(), Mutex::default());
        Gate(Arc::new(Inner { port, clock, under_way, held, said }))
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this peer's handshake may begin; one that may not is answered.
    pub(crate) fn look(&self, incoming: Incoming) -> Option<Entering> {
        let peer = incoming.remote_address();
        let (all, own) = self.0.under_way.count(peer.ip());
        let is_proven = incoming.remote_address_validated();
        if (all >= UNPROVEN_MAX || own >= UNPROVEN_OF_ONE_MAX) && !is_proven {
            metrics::counter!("tidemill_handshakes_retried_total").increment(1);
            // One that cannot be asked to prove its address is refused by being dropped.
            let _ = incoming.retry();
            return None;
        }
        if all >= HANDSHAKES_MAX || own >= HANDSHAKES_OF_ONE_MAX {
            let kind = if all >= HANDSHAKES_MAX {
                "too many handshakes at once"
            } else {
                "too many handshakes at once from one machine"
            };
            self.say(kind, peer, None);
            incoming.refuse();
            return None;
        }
        Some(Entering { incoming, _place: self.0.under_way.take(peer.ip()) })
    }

    /// The connection, if the handshake comes to an end.
    pub(crate) async fn handshake(&self, entering: Entering) -> Option<quinn::Connection> {
        let peer = entering.incoming.remote_address();
        let shaken = self.within(HANDSHAKE_WITHIN, entering.incoming).await;
        match shaken.unwrap_or(Err(ConnectionError::TimedOut)) {
            Ok(connection) => Some(connection),
            Err(error) => {
                metrics::counter!("tidemill_handshakes_failed_total").increment(1);
                self.say(endpoint::failed_handshake(&error), peer, None);
                None
            }
        }
    }

    /// What comes of `work`, if it ends in this time.
    pub(super) async fn within<T>(&self, time: Duration, work: impl IntoFuture<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work.into_future() => Some(done),
            () = self.0.clock.sleep(time) => None,
        }
    }

    /// Room for a connection of this peer, who has been admitted; none if its certificate's holder has enough of them: then it is
    /// closed.
    pub(crate) fn hold(&self, connection: &quinn::Connection, peer: &PeerName) -> Option<Room> {
        let holder = peer.to_string();
        let most = match peer.role.kind() {
            RoleKind::Operator | RoleKind::Observer => CONNECTIONS_OF_PEOPLE_MAX,
            RoleKind::Driver | RoleKind::Node => CONNECTIONS_OF_ONE_MAX,
        };
        {
            let mut held = self.held();
            let count = held.entry(holder.clone()).or_default();
            if *count < most {
                *count += 1;
                return Some(Room { gate: self.clone(), holder });
            }
        }
        let reason = format!("{holder} has {most} connections, which is the limit");
        self.refuse(connection, CloseCode::Refused, "too many connections of one certificate", &reason);
        None
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
        self.refuse(connection, CloseCode::Foreign, kind, reason);
    }

    fn refuse(&self, connection: &quinn::Connection, code: CloseCode, kind: &'static str, reason: &str) {
        metrics::counter!("tidemill_peers_refused_total").increment(1);
        self.say(kind, connection.remote_address(), Some(reason));
        endpoint::close(connection, code, reason);
    }

    /// Counts a peer that broke the protocol, or came and said nothing; any other end of a connection is none of the gate's business.
    pub(crate) fn note_rubbish(&self, connection: &quinn::Connection, error: &LinkError) {
        let kind = match error {
            error if error.is_rubbish() => {
                metrics::counter!("tidemill_frames_refused_total").increment(1);
                "what is not the protocol"
            }
            LinkError::Late(_) => "a peer that says nothing",
            _ => return,
        };
        self.say(kind, connection.remote_address(), Some(&error.to_string()));
    }

    fn say(&self, kind: &'static str, peer: SocketAddr, reason: Option<&str>) {
        turned_away(self.0.port, kind, 1);
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

/// Counts peers of one kind that were turned away at a port.
pub(crate) fn turned_away(port: &'static str, kind: &'static str, count: u64) {
    metrics::counter!("tidemill_turned_away_total", "port" => port, "kind" => kind).increment(count);
}
