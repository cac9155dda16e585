//! QUIC endpoints with mutual TLS, and what runs on them.
//!
//! ```text
//!   control endpoint                              bulk endpoint (a socket of its own: control never queues behind data)
//!     connection, one for a pair of nodes           connection, one for a pair of nodes
//!       one unidirectional stream each way:           a bidirectional stream for a request:
//!       Hello, then messages ([`link`])               Fetch or Store, then the answer ([`bulk`])
//! ```
//!
//! TLS 1.3 with Ed25519 on both sides, no resumption, no 0-RTT, no migration; the ALPN name carries the protocol's version.
//! Whoever only connects has an endpoint that takes nothing from strangers ([`control_client`], [`bulk_client`]).
//!
//! An endpoint lives on the tokio runtime that it is made in. Every `select!` is `biased`, so that a simulation repeats.
//!
//! A peer that sends what is not the protocol loses its connection, with [`CloseCode::Rubbish`]; the error that says so
//! answers [`LinkError::is_rubbish`], and callers count it. Other connections do not notice.

pub mod bulk;
mod driven;
mod failure;
mod identity;
pub mod join;
pub mod link;
mod pack;
mod places;
pub mod request;
#[cfg(feature = "sim")]
mod test_identity;
mod transport;
mod window;

pub use failure::failed_handshake;
pub use identity::{ALPN, Identity, IdentityError, JOIN_ALPN, SERVER_NAME};
pub use link::{ControlLink, LinkError};
pub use places::{Place, Places};
#[cfg(feature = "sim")]
pub use test_identity::{
    expired_test_identity_of, foreign_test_identity_of, test_cluster, test_identity, test_identity_of,
};
pub use transport::{Mtu, Transport, TransportError};

use crate::world::{SeededRng, Udp};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, VarInt};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};

/// How often an endpoint that only connects may tell a stranger that it does not know a connection. It never helps: ports are new with
/// each process.
const CLIENT_RESET_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// What a node's endpoints are made of.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Who the node is, and whom it trusts.
    pub identity: Identity,
    /// Limits and times of control connections.
    pub control: Transport,
    /// Limits and times of bulk connections.
    pub bulk: Transport,
    /// What quinn's own chance (packet number gaps, and so datagrams) is drawn from; `None`: from the operating system.
    pub rng_seed: Option<u64>,
}

impl EndpointConfig {
    /// The usual limits.
    #[must_use]
    pub fn new(identity: Identity, rng_seed: Option<u64>) -> Self {
        EndpointConfig { identity, control: Transport::control(), bulk: Transport::bulk(), rng_seed }
    }
}

/// Why an endpoint could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The socket: the address is in use or not of this machine.
    #[error("cannot bind {address}: {cause}")]
    Bind {
        /// What was to be bound.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        cause: io::Error,
    },
    /// The identity does not make a TLS configuration.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A limit or time is out of QUIC's range.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// quinn could not start on the socket.
    #[error("cannot start the endpoint: {0}")]
    Start(#[source] io::Error),
}

/// Why a connection was closed by our side: the application error code of QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseCode {
    /// All is said.
    Done = 0,
    /// The peer sent what is not the protocol.
    Rubbish = 1,
    /// The peer is not wanted: another program, a dead incarnation, a lower epoch.
    Refused = 2,
    /// The peer will never be wanted as it is: of another program, without slots, under a wrong name.
    Foreign = 3,
}

impl From<CloseCode> for VarInt {
    fn from(code: CloseCode) -> VarInt {
        VarInt::from_u32(code as u32)
    }
}

/// The endpoint for control connections, listening on `address` and able to connect.
///
/// Must be called on the tokio runtime that will drive it.
///
/// # Errors
/// [`EndpointError`].
pub fn control_endpoint(
    udp: &Udp,
    address: SocketAddr,
    config: &EndpointConfig,
) -> Result<Endpoint, EndpointError> {
    endpoint(udp, address, &config.identity, &config.control, config.rng_seed)
}

/// The endpoint for bulk connections, listening on `address` and able to connect.
///
/// Must be called on the tokio runtime that will drive it.
///
/// # Errors
/// [`EndpointError`].
pub fn bulk_endpoint(
    udp: &Udp,
    address: SocketAddr,
    config: &EndpointConfig,
) -> Result<Endpoint, EndpointError> {
    endpoint(udp, address, &config.identity, &config.bulk, bulk_seed(config))
}

/// An endpoint for control connections that only connects: who comes gets no answer, and nothing is kept of it.
///
/// Must be called on the tokio runtime that will drive it.
///
/// # Errors
/// [`EndpointError`].
pub fn control_client(
    udp: &Udp,
    address: SocketAddr,
    config: &EndpointConfig,
) -> Result<Endpoint, EndpointError> {
    let tls = config.identity.client()?;
    client(udp, address, tls, &config.control, config.rng_seed)
}

/// An endpoint for bulk connections that only connects, as [`control_client`].
///
/// Must be called on the tokio runtime that will drive it.
///
/// # Errors
/// [`EndpointError`].
pub fn bulk_client(
    udp: &Udp,
    address: SocketAddr,
    config: &EndpointConfig,
) -> Result<Endpoint, EndpointError> {
    let tls = config.identity.client()?;
    client(udp, address, tls, &config.bulk, bulk_seed(config))
}

/// Another seed than the control endpoint's, so that the two do not draw the same numbers.
fn bulk_seed(config: &EndpointConfig) -> Option<u64> {
    config.rng_seed.map(|seed| seed ^ u64::from(u32::MAX))
}

fn endpoint(
    udp: &Udp,
    address: SocketAddr,
    identity: &Identity,
    transport: &Transport,
    rng_seed: Option<u64>,
) -> Result<Endpoint, EndpointError> {
    let client = identity.client()?;
    let mut endpoint = start(udp, address, transport, Some(identity.server()?), rng_seed)?;
    endpoint.set_default_client_config(client_config(client, transport)?);
    Ok(endpoint)
}

/// An endpoint that only connects, with this TLS.
fn client(
    udp: &Udp,
    address: SocketAddr,
    tls: Arc<QuicClientConfig>,
    transport: &Transport,
    rng_seed: Option<u64>,
) -> Result<Endpoint, EndpointError> {
    let mut endpoint = start(udp, address, transport, None, rng_seed)?;
    endpoint.set_default_client_config(client_config(tls, transport)?);
    Ok(endpoint)
}

/// An endpoint with these limits; without `server` it only connects.
fn start(
    udp: &Udp,
    address: SocketAddr,
    transport: &Transport,
    server: Option<Arc<QuicServerConfig>>,
    rng_seed: Option<u64>,
) -> Result<Endpoint, EndpointError> {
    let mut endpoint_config = quinn::EndpointConfig::default();
    endpoint_config.rng_seed(rng_seed.map(spread));
    transport.apply_to_endpoint(&mut endpoint_config)?;
    if server.is_none() {
        endpoint_config.min_reset_interval(CLIENT_RESET_EVERY);
    }
    let quic = Arc::new(transport.to_quinn()?);
    let server = server.map(|tls| {
        let mut server = quinn::ServerConfig::with_crypto(tls);
        server.transport_config(quic).migration(false);
        transport.apply_to_server(&mut server);
        server
    });
    let socket = udp.bind(address).map_err(|cause| EndpointError::Bind { address, cause })?;
    Endpoint::new_with_abstract_socket(endpoint_config, server, socket, Arc::new(driven::Driven))
        .map_err(EndpointError::Start)
}

fn client_config(
    tls: Arc<QuicClientConfig>,
    transport: &Transport,
) -> Result<quinn::ClientConfig, EndpointError> {
    let mut client = quinn::ClientConfig::new(tls);
    client.transport_config(Arc::new(transport.to_quinn_for_calls()?));
    Ok(client)
}

/// quinn takes 32 bytes.
fn spread(seed: u64) -> [u8; 32] {
    let mut rng = SeededRng::new(seed);
    let mut bytes = [0; 32];
    for part in bytes.chunks_exact_mut(8) {
        part.copy_from_slice(&rng.next_u64().to_le_bytes());
    }
    bytes
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address or the endpoint cannot be used.
    #[error(transparent)]
    Start(#[from] quinn::ConnectError),
    /// The peer did not answer in time, or one side refused the other's certificate.
    #[error(transparent)]
    Connection(#[from] quinn::ConnectionError),
}

/// Connects to the peer at `address`, whose certificate must be of our authority and have the name `expected`:
/// [`ClusterName::driver`](crate::identity::ClusterName::driver) or [`node`](crate::identity::ClusterName::node). So TLS
/// checks role and node on this side; the server checks ours with [`admit`](crate::identity::admit).
///
/// With TLS 1.3 this can complete before the peer has judged *our* certificate: a refusal then ends the connection at its
/// first use.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect_to(
    endpoint: &Endpoint,
    address: SocketAddr,
    expected: &str,
) -> Result<Connection, ConnectError> {
    Ok(endpoint.connect(address, expected)?.await?)
}

/// As [`connect_to`] with the one name of `test_identity`, which every node of a simulation may share.
///
/// With TLS 1.3 this can complete before the peer has judged *our* certificate: a refusal then ends the connection at its
/// first use.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(endpoint: &Endpoint, address: SocketAddr) -> Result<Connection, ConnectError> {
    connect_to(endpoint, address, SERVER_NAME).await
}

/// Closes a connection.
pub fn close(connection: &Connection, code: CloseCode, reason: &str) {
    connection.close(code.into(), reason.as_bytes());
}
