//! The driver's side of joining.

use super::LIMITS;
use crate::codec;
use crate::endpoint::{CloseCode, EndpointError, Identity, Transport, close, start};
use crate::identity::{Authority, AuthorityError, DenyList, PeerName, Role, TokenRefused};
use crate::message::{CertificateBytes, JOIN_BYTES_MAX, JoinRefusal, JoinReply, JoinRequest};
use crate::time::Time;
use crate::world::{Udp, World};
use quinn::{Connection, Endpoint, Incoming};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// How often the driver looks at its own certificate.
const DRIVER_LOOKS: Duration = Duration::from_secs(60);

/// What a join endpoint takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinLimits {
    /// Attempts per second in the long run, of all peers whose address is proven.
    pub attempts_per_s: u32,
    /// Attempts at once after a quiet time.
    pub attempts_burst: u32,
    /// How many may be under way; more are refused.
    pub connections_max: usize,
    /// How long one may take, from its handshake to its end.
    pub deadline: Duration,
}

impl Default for JoinLimits {
    /// 20 a second, 40 at once, 16 under way, 5 s each.
    fn default() -> Self {
        JoinLimits {
            attempts_per_s: 20,
            attempts_burst: 40,
            connections_max: 16,
            deadline: Duration::from_secs(5),
        }
    }
}

/// What has come to a join endpoint; each number only grows.
#[derive(Debug, Default)]
pub struct JoinCounts {
    /// Initial packets from addresses that were not proven: answered by a Retry, and forgotten.
    pub unproven: AtomicU64,
    /// Attempts beyond the rate or the number that may be under way.
    pub turned_away: AtomicU64,
    /// Handshakes and requests that failed, were late, or were not the protocol.
    pub failed: AtomicU64,
    /// Requests that were understood and refused.
    pub refused: AtomicU64,
    /// Certificates given.
    pub granted: AtomicU64,
}

/// Whoever answers joiners: the authority, and what its answers need.
#[derive(Clone)]
pub struct JoinDesk {
    /// Gives certificates.
    pub authority: Authority,
    /// Whose certificates are not renewed.
    pub denied: DenyList,
    /// Where the driver's control endpoint is, as nodes see it.
    pub control: SocketAddr,
    /// How long certificates of nodes are valid.
    pub lifetime: Duration,
    /// Clock, thread for the authority's files, and the fault point `join.recorded`.
    pub world: World,
    /// What has come.
    pub counts: Arc<JoinCounts>,
}

impl JoinDesk {
    /// A desk with nothing counted yet.
    #[must_use]
    pub fn new(
        authority: Authority,
        denied: DenyList,
        control: SocketAddr,
        lifetime: Duration,
        world: World,
    ) -> Self {
        JoinDesk { authority, denied, control, lifetime, world, counts: Arc::default() }
    }

    /// The answer to a request on a connection whose peer has shown this name. The authority's files are written on the
    /// world's blocking thread.
    pub async fn answer(&self, request: JoinRequest, peer: Option<PeerName>) -> JoinReply {
        let desk = self.clone();
        let answered = self.world.spawner.blocking(move || desk.decide(request, peer)).await;
        answered.unwrap_or(Err(JoinRefusal::Broken)).unwrap_or_else(JoinReply::Refused)
    }

    fn decide(&self, request: JoinRequest, peer: Option<PeerName>) -> Result<JoinReply, JoinRefusal> {
        let now = self.world.clock.wall();
        let (nodes, public_key) = match request {
            JoinRequest::Join { secret, public_key, nodes } => {
                let nodes = self.authority.redeem(now, &secret, nodes).map_err(refusal)?;
                // The token is used from here on, whatever becomes of the answer.
                self.world.faults.at("join.recorded");
                (nodes, public_key)
            }
            JoinRequest::Renew { public_key } => {
                let role = peer.ok_or(JoinRefusal::NoCertificate)?.role;
                if let Some(node) = self.denied.denies(&role) {
                    return Err(JoinRefusal::Denied(node));
                }
                let Role::Node(nodes) = role else { return Err(JoinRefusal::NoCertificate) };
                (nodes.into_iter().collect(), public_key)
            }
        };
        let granted = self.authority.grant(now, nodes, public_key, self.lifetime).map_err(refusal)?;
        Ok(JoinReply::Joined {
            chain: granted.chain.into_iter().map(CertificateBytes).collect(),
            cluster: self.authority.cluster().to_string(),
            nodes: granted.nodes,
            control: self.control,
        })
    }
}

fn refusal(error: AuthorityError) -> JoinRefusal {
    match error {
        AuthorityError::Token(TokenRefused::Unknown) => JoinRefusal::Unknown,
        AuthorityError::Token(TokenRefused::Expired) => JoinRefusal::Expired,
        AuthorityError::Token(TokenRefused::Used) => JoinRefusal::Used,
        AuthorityError::Token(TokenRefused::TooMany(most)) => JoinRefusal::TooMany(most),
        broken => {
            tracing::error!(%broken, "the authority cannot give a certificate");
            JoinRefusal::Broken
        }
    }
}

/// The endpoint for joiners, listening on `address`; shows `identity`, the driver's, with its authority.
///
/// Must be called on the tokio runtime that will drive it.
///
/// # Errors
/// [`EndpointError`].
pub fn join_endpoint(
    udp: &Udp,
    address: SocketAddr,
    identity: &Identity,
    rng_seed: Option<u64>,
) -> Result<Endpoint, EndpointError> {
    start(udp, address, &Transport::join(), Some(identity.join_server()?), rng_seed)
}

/// Serves joiners until the endpoint is closed. Dropping the future abandons those that are under way.
pub async fn serve_join(endpoint: Endpoint, desk: JoinDesk, limits: JoinLimits) {
    let mut under_way = JoinSet::new();
    let mut bucket = Bucket::full(&limits, desk.world.clock.now());
    loop {
        let incoming = tokio::select! {
            biased;
            Some(_) = under_way.join_next() => continue,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        if !incoming.remote_address_validated() {
            // A flood from invented addresses ends here; it does not use up the bucket either.
            desk.counts.unproven.fetch_add(1, Relaxed);
            let _ = incoming.retry();
        } else if under_way.len() >= limits.connections_max || !bucket.take(desk.world.clock.now()) {
            desk.counts.turned_away.fetch_add(1, Relaxed);
            incoming.refuse();
        } else {
            let (desk, deadline) = (desk.clone(), limits.deadline);
            under_way.spawn(async move {
                match tokio::time::timeout(deadline, serve_one(incoming, &desk)).await {
                    // The connection must live until the joiner has everything; it closes then.
                    Ok(Some(answered)) => drop(tokio::time::timeout(deadline, answered.closed()).await),
                    Ok(None) | Err(_) => drop(desk.counts.failed.fetch_add(1, Relaxed)),
                }
            });
        }
    }
}

/// One joiner, to its answer; `None` if it does not get as far.
async fn serve_one(incoming: Incoming, desk: &JoinDesk) -> Option<Connection> {
    let connection = incoming.accept().ok()?.await.ok()?;
    let (mut send, mut recv) = connection.accept_bi().await.ok()?;
    let request = recv.read_to_end(JOIN_BYTES_MAX).await.ok();
    let Some(request) = request.and_then(|bytes| codec::decode(&bytes, &LIMITS).ok()) else {
        close(&connection, CloseCode::Rubbish, "not the protocol");
        return None;
    };
    let reply = desk.answer(request, PeerName::of_connection(&connection).ok()).await;
    let count =
        if matches!(reply, JoinReply::Joined { .. }) { &desk.counts.granted } else { &desk.counts.refused };
    count.fetch_add(1, Relaxed);
    send.write_all(&codec::encode(&reply).ok()?).await.ok()?;
    send.finish().ok()?;
    Some(connection)
}

/// Renews the driver's own certificate in place when two thirds of its life are over, from the authority's folder beside it,
/// by one that is valid for `lifetime`; tries again after a minute, or a tenth of `lifetime`, when that fails. `tell` hears of
/// each attempt. Never ends.
pub async fn renew_driver_when_due(
    world: &World,
    authority: &Authority,
    identity: &Identity,
    lifetime: Duration,
    mut tell: impl FnMut(Result<(), AuthorityError>),
) {
    let pause = DRIVER_LOOKS.min(lifetime / 10);
    loop {
        world.clock.sleep(pause).await;
        let now = world.clock.wall();
        if identity.facts().is_ok_and(|facts| now < facts.renew_at()) {
            continue;
        }
        let (of_files, identity) = (authority.clone(), identity.clone());
        let renewing = world.spawner.blocking(move || {
            let renewed = of_files.renew_driver(now, lifetime)?;
            Ok(identity.replace(&renewed)?)
        });
        if let Some(renewed) = renewing.await {
            tell(renewed);
        }
    }
}

/// A token bucket, in thousandths of an attempt.
struct Bucket {
    milli: u64,
    milli_max: u64,
    per_s: u64,
    filled_at: Time,
}

impl Bucket {
    fn full(limits: &JoinLimits, now: Time) -> Self {
        let milli_max = u64::from(limits.attempts_burst) * 1_000;
        Bucket { milli: milli_max, milli_max, per_s: u64::from(limits.attempts_per_s), filled_at: now }
    }

    fn take(&mut self, now: Time) -> bool {
        let waited_ms = u64::try_from(now.since(self.filled_at).as_millis()).unwrap_or(u64::MAX);
        self.filled_at = self.filled_at + Duration::from_millis(waited_ms);
        self.milli = self.milli.saturating_add(waited_ms.saturating_mul(self.per_s)).min(self.milli_max);
        let enough = self.milli >= 1_000;
        if enough {
            self.milli -= 1_000;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_gives_its_burst_and_then_its_rate() {
        let limits = JoinLimits { attempts_per_s: 4, attempts_burst: 3, ..JoinLimits::default() };
        let mut bucket = Bucket::full(&limits, Time::ZERO);
        let mut taken = |ms| (0..10).filter(|_| bucket.take(Time::ZERO + Duration::from_millis(ms))).count();
        assert_eq!([taken(0), taken(249), taken(250), taken(500), taken(60_000)], [3, 0, 1, 1, 3]);
    }
}
