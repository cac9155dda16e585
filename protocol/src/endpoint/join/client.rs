//! The joiner's side: trusts the hash in its token, and nothing else.

use crate::codec::{self, Limits};
use crate::endpoint::identity::{joiner, provider};
use crate::endpoint::{
    CloseCode, ConnectError, EndpointError, Identity, IdentityError, Transport, client, close,
};
use crate::id::NodeId;
use crate::identity::{
    CertificateError, ClusterName, Granted, KeyPair, NameError, PeerName, Role, Token, authority_cluster,
    equal_in_constant_time, sha256,
};
use crate::message::{CertificateBytes, JOIN_BYTES_MAX, JoinRefusal, JoinReply, JoinRequest};
use crate::world::World;
use quinn::{Connection, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{
    CertificateError as Bad, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// What TLS is told as the server's name before the cluster is known.
const ANY_DRIVER: &str = "driver.tidemill";
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(250);
/// Between two attempts to renew, of a certificate that has that long.
const RENEWAL_PAUSE: Duration = Duration::from_secs(60);
/// How long renewing may take.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(30);

/// A place in a cluster.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Certificate and key, which never left this machine.
    pub identity: Identity,
    /// Which cluster.
    pub cluster: ClusterName,
    /// The executor numbers of this machine.
    pub nodes: Vec<NodeId>,
}

/// Why a machine did not join, or its certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No endpoint on this machine.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No key.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// This machine's certificate does not say who it is.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Whoever answers is of another cluster, or stands between. The secret was not sent.
    #[error("{0} is not the cluster of this join token: check the address; the token was not shown to it")]
    WrongAuthority(SocketAddr),
    /// The token's cluster, but not its driver. The secret was not sent.
    #[error(
        "{0} is of the right cluster but is not its driver: check the address; the token was not shown to it"
    )]
    NotTheDriver(SocketAddr),
    /// Nobody has answered in time. The secret was not sent.
    #[error("cannot reach the driver at {address}: {cause}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// The last attempt's end.
        #[source]
        cause: ConnectError,
    },
    /// One of the two will not speak with the other, however often it comes. The secret was not sent.
    #[error("cannot join by way of {address}: {remedy} ({cause})")]
    Tls {
        /// Where.
        address: SocketAddr,
        /// What to do about it.
        remedy: &'static str,
        /// The alert.
        #[source]
        cause: quinn::ConnectionError,
    },
    /// The connection was lost after the request was sent.
    #[error(
        "the driver's answer was lost ({0}): the join token may be used up; make another one with `tidemill ca token`"
    )]
    AnswerLost(String),
    /// The answer is none.
    #[error("the driver's answer cannot be used: {0}")]
    BadReply(String),
    /// A renewed certificate could not be kept, so the old one goes on.
    #[error("the new certificate cannot be saved: {0}")]
    NotSaved(String),
    /// The driver says no.
    #[error(transparent)]
    Refused(#[from] JoinRefusal),
}

/// Joins the cluster of `token` by way of its driver's join endpoint at `server`, from a socket bound to `local` (port 0).
/// Tries again for as long as `patience` until the request is sent, and once only from then on.
///
/// # Errors
/// [`JoinError`].
pub async fn join(
    world: &World,
    local: SocketAddr,
    server: SocketAddr,
    token: &Token,
    nodes: Option<u16>,
    patience: Duration,
) -> Result<Joined, JoinError> {
    let pinned = Arc::new(Pinned { hash: token.authority, seen: Mutex::default() });
    let tls = joiner(pinned.clone(), world.clock.clone()).map_err(EndpointError::from)?;
    let endpoint = client_of(world, local, tls)?;
    let connected =
        connect(world, &endpoint, server, ANY_DRIVER, patience, || pinned.verdict(server)).await?;
    let key = KeyPair::generate()?;
    let request = JoinRequest::Join { secret: token.secret.clone(), public_key: key.public(), nodes };
    let reply = ask(&endpoint, &connected, &request).await?;
    let authority = pinned.authority().ok_or(JoinError::WrongAuthority(server))?;
    accept(world, reply, &key, authority)
}

/// A new certificate with the names of `identity` and a new key, from the driver's join endpoint at `server`.
///
/// # Errors
/// [`JoinError`].
pub async fn renew(
    world: &World,
    local: SocketAddr,
    server: SocketAddr,
    identity: &Identity,
    patience: Duration,
) -> Result<Joined, JoinError> {
    let tls = identity.join_client().map_err(EndpointError::from)?;
    let endpoint = client_of(world, local, tls)?;
    let driver = identity.name()?.cluster.driver();
    let connected = connect(world, &endpoint, server, &driver, patience, || None).await?;
    let key = KeyPair::generate()?;
    let reply = ask(&endpoint, &connected, &JoinRequest::Renew { public_key: key.public() }).await?;
    accept(world, reply, &key, identity.authority().to_vec())
}

/// Where and how a certificate is renewed.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// What to bind (port 0).
    pub local: SocketAddr,
    /// The driver's join endpoint.
    pub server: SocketAddr,
}

/// Renews `identity` in place when two thirds of its certificate's life are over, again and again. `save` keeps the new one
/// where the next start finds it; only then is it shown to others. `tell` hears of each attempt. After each the next waits for
/// a minute, or a tenth of the certificate's life if that is less. Ends when the certificate cannot be read, which one that TLS
/// takes always can.
pub async fn renew_when_due(
    world: &World,
    renewal: &Renewal,
    identity: &Identity,
    mut save: impl FnMut(&Joined) -> Result<(), String>,
    mut tell: impl FnMut(Result<&Joined, &JoinError>),
) {
    while let Ok(facts) = identity.facts() {
        let wait = facts.renew_at().saturating_sub(world.clock.wall());
        if !wait.is_zero() {
            // In small steps: the wall clock may be set meanwhile.
            world.clock.sleep(wait.min(RENEWAL_PAUSE)).await;
            continue;
        }
        let renewed = renew(world, renewal.local, renewal.server, identity, RENEWAL_PATIENCE).await;
        let replaced = renewed.and_then(|joined| {
            save(&joined).map_err(JoinError::NotSaved)?;
            identity.replace(&joined.identity).map_err(|error| JoinError::BadReply(error.to_string()))?;
            Ok(joined)
        });
        tell(replaced.as_ref());
        // Also after a good end: where clocks differ by much, the new one may be due at once.
        let life = facts.valid_until.saturating_sub(facts.valid_from);
        world.clock.sleep(RENEWAL_PAUSE.min(life / 10)).await;
    }
}

fn client_of(
    world: &World,
    local: SocketAddr,
    tls: Arc<QuicClientConfig>,
) -> Result<Endpoint, EndpointError> {
    client(&world.udp, local, tls, &Transport::join(), Some(world.entropy.seed("join")))
}

/// A connection, tried for until `patience` is over or `verdict` says that more attempts are in vain.
async fn connect(
    world: &World,
    endpoint: &Endpoint,
    address: SocketAddr,
    expected: &str,
    patience: Duration,
    verdict: impl Fn() -> Option<JoinError>,
) -> Result<Connection, JoinError> {
    let until = world.clock.now() + patience;
    loop {
        let cause = match crate::endpoint::connect_to(endpoint, address, expected).await {
            Ok(connection) => return Ok(connection),
            Err(cause) => cause,
        };
        if let Some(final_word) = verdict() {
            return Err(final_word);
        }
        let cause = match cause {
            ConnectError::Connection(cause) => match alert(&cause) {
                Some(alert) => return Err(JoinError::Tls { address, remedy: remedy(alert), cause }),
                None => ConnectError::Connection(cause),
            },
            other => other,
        };
        if !matches!(cause, ConnectError::Connection(_)) || world.clock.now() + PAUSE >= until {
            return Err(JoinError::Connect { address, cause });
        }
        world.clock.sleep(PAUSE).await;
    }
}

/// The alert (RFC 8446, section 6) with which TLS has refused: then the next attempt ends so too. QUIC adds 0x100 to it (RFC 9001,
/// section 4.8).
fn alert(error: &quinn::ConnectionError) -> Option<u64> {
    let code = match error {
        quinn::ConnectionError::TransportError(error) => u64::from(error.code),
        quinn::ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
        _ => return None,
    };
    code.checked_sub(0x100).filter(|alert| *alert < 0x100)
}

fn remedy(alert: u64) -> &'static str {
    match alert {
        // certificate_expired, which is said as well of one that is not valid yet.
        45 => "a certificate is not valid at this time: check the clocks of both machines",
        // no_application_protocol
        120 => {
            "no driver of this release answers there: check the address, and run the same release on all machines"
        }
        _ => "TLS has refused: check that the address is that of the cluster's driver",
    }
}

async fn ask(
    endpoint: &Endpoint,
    connection: &Connection,
    request: &JoinRequest,
) -> Result<JoinReply, JoinError> {
    let bad = |cause: codec::CodecError| JoinError::BadReply(cause.to_string());
    let bytes = codec::encode(request).map_err(bad)?;
    let exchange = async {
        let (mut send, mut recv) = connection.open_bi().await.map_err(|e| e.to_string())?;
        send.write_all(&bytes).await.map_err(|e| e.to_string())?;
        send.finish().map_err(|e| e.to_string())?;
        recv.read_to_end(JOIN_BYTES_MAX).await.map_err(|e| e.to_string())
    };
    let answer = exchange.await;
    close(connection, CloseCode::Done, "");
    endpoint.wait_idle().await;
    codec::decode(&answer.map_err(JoinError::AnswerLost)?, &Limits::JOIN).map_err(bad)
}

/// Checks that the reply is what was asked for, against the authority that the server has proven.
fn accept(world: &World, reply: JoinReply, key: &KeyPair, authority: Vec<u8>) -> Result<Joined, JoinError> {
    let bad = |cause: &dyn fmt::Display| JoinError::BadReply(cause.to_string());
    let (granted, cluster) = match reply {
        JoinReply::Refused(refusal) => return Err(refusal.into()),
        JoinReply::Joined { chain, cluster, nodes } => {
            let chain = chain.into_iter().map(|CertificateBytes(der)| der).collect();
            (Granted { chain, nodes }, cluster)
        }
    };
    let cluster: ClusterName = cluster.parse().map_err(|cause| bad(&cause))?;
    let own = granted.chain.into_iter().next().ok_or_else(|| bad(&IdentityError::NoCertificate))?;
    let named = PeerName::of_certificate(&own).map_err(|cause| bad(&cause))?;
    let wanted = PeerName { cluster, role: Role::Node(granted.nodes.iter().copied().collect()) };
    if named != wanted {
        return Err(bad(&format_args!("the certificate is for {named}, not for {wanted}")));
    }
    let identity = Identity::from_der(vec![own], key.to_pkcs8(), authority).map_err(|cause| bad(&cause))?;
    let identity = identity.with_clock(world.clock.clone());
    Ok(Joined { identity, cluster: wanted.cluster, nodes: granted.nodes })
}

/// Trusts a server whose chain ends in the authority of the token and that is the driver of that authority's cluster.
struct Pinned {
    hash: [u8; 32],
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    authority: Option<Vec<u8>>,
    strange: bool,
    not_the_driver: bool,
}

impl Pinned {
    fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn authority(&self) -> Option<Vec<u8>> {
        self.seen(|seen| seen.authority.clone())
    }

    fn verdict(&self, server: SocketAddr) -> Option<JoinError> {
        self.seen(|seen| match (seen.strange, seen.not_the_driver) {
            (true, _) => Some(JoinError::WrongAuthority(server)),
            (_, true) => Some(JoinError::NotTheDriver(server)),
            _ => None,
        })
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ours =
            |certificate: &&CertificateDer<'_>| equal_in_constant_time(&sha256(certificate), &self.hash);
        let Some(authority) = intermediates.iter().find(ours) else {
            self.seen(|seen| seen.strange = true);
            return Err(Error::InvalidCertificate(Bad::UnknownIssuer));
        };
        let cluster = authority_cluster(authority).map_err(|cause| Error::General(cause.to_string()))?;
        let driver = ServerName::try_from(cluster.driver()).map_err(|e| Error::General(e.to_string()))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()))
            .build()
            .map_err(|cause| Error::General(cause.to_string()))?;
        let verified = verifier.verify_server_cert(end_entity, intermediates, &driver, ocsp_response, now);
        self.seen(|seen| match &verified {
            Ok(_) => seen.authority = Some(authority.to_vec()),
            Err(Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. })) => {
                seen.not_the_driver = true;
            }
            Err(Error::InvalidCertificate(Bad::BadSignature | Bad::UnknownIssuer)) => seen.strange = true,
            Err(_) => {}
        });
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
