//! The driver's side of joining.

use super::counts::JoinCounts;
use super::entrance::Entrance;
use crate::codec::{self, Limits};
use crate::endpoint::{CloseCode, EndpointError, Identity, Transport, close, failed_handshake, start};
use crate::identity::{Authority, AuthorityError, DenyList, PeerName, Role, TokenRefused};
use crate::message::{CertificateBytes, JOIN_BYTES_MAX, JoinRefusal, JoinReply, JoinRequest};
use crate::world::{Udp, World};
use quinn::{Connection, Endpoint, Incoming};
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::task::JoinSet;

/// How often the driver looks at its own certificate.
const DRIVER_LOOKS: Duration = Duration::from_secs(60);

/// What a join endpoint takes, of all machines together; one machine has no more than a quarter of each.
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

/// Whoever answers joiners: the authority, and what its answers need.
#[derive(Clone)]
pub struct JoinDesk {
    /// Gives certificates.
    pub authority: Authority,
    /// Whose certificates are not renewed.
    pub denied: DenyList,
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
    pub fn new(authority: Authority, denied: DenyList, lifetime: Duration, world: World) -> Self {
        JoinDesk { authority, denied, lifetime, world, counts: Arc::default() }
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
    let mut entrance = Entrance::new(limits.clone(), desk.world.clock.now());
    loop {
        let incoming = tokio::select! {
            biased;
            Some(_) = under_way.join_next() => continue,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        if !incoming.remote_address_validated() {
            // A flood from invented addresses ends here; it does not use up anybody's rate either.
            desk.counts.unproven.fetch_add(1, Relaxed);
            let _ = incoming.retry();
            continue;
        }
        let peer = incoming.remote_address();
        match entrance.enter(peer.ip(), desk.world.clock.now()) {
            Err(kind) => {
                desk.counts.turn_away(kind, peer);
                incoming.refuse();
            }
            Ok(place) => {
                let (desk, deadline) = (desk.clone(), limits.deadline);
                under_way.spawn(async move {
                    let _place = place;
                    match tokio::time::timeout(deadline, serve_one(incoming, &desk)).await {
                        // The connection must live until the joiner has everything; it closes then.
                        Ok(Ok(answered)) => drop(tokio::time::timeout(deadline, answered.closed()).await),
                        Ok(Err(kind)) => desk.counts.fail(kind, peer),
                        Err(_) => desk.counts.fail("a joiner that took too long", peer),
                    }
                });
            }
        }
    }
}

/// One joiner, to its answer; the kind of its failure if it does not get as far.
async fn serve_one(incoming: Incoming, desk: &JoinDesk) -> Result<Connection, &'static str> {
    const SILENT: &str = "a joiner that asks nothing";
    const GONE: &str = "a joiner that does not wait for the answer";
    let peer = incoming.remote_address();
    let connecting = incoming.accept().map_err(|error| failed_handshake(&error))?;
    let connection = connecting.await.map_err(|error| failed_handshake(&error))?;
    let (mut send, mut recv) = connection.accept_bi().await.map_err(|_| SILENT)?;
    let request = recv.read_to_end(JOIN_BYTES_MAX).await.ok();
    let Some(request) = request.and_then(|bytes| codec::decode(&bytes, &Limits::JOIN).ok()) else {
        close(&connection, CloseCode::Rubbish, "not the protocol");
        return Err("what is not a request");
    };
    let reply = desk.answer(request, PeerName::of_connection(&connection).ok()).await;
    match &reply {
        JoinReply::Joined { .. } => _ = desk.counts.granted.fetch_add(1, Relaxed),
        JoinReply::Refused(refusal) => desk.counts.refuse(refusal, peer),
    }
    // An answer of ours always fits.
    let answer = codec::encode(&reply).map_err(|_| GONE)?;
    send.write_all(&answer).await.map_err(|_| GONE)?;
    send.finish().map_err(|_| GONE)?;
    Ok(connection)
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
