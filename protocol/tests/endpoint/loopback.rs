//! Endpoints on this machine's real loopback interface, and the pinned identities.

use futures_util::future::BoxFuture;
use quinn::{AsyncUdpSocket, Connection, Endpoint, Runtime, TokioRuntime};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tidemill_protocol::endpoint::{
    EndpointConfig, Identity, bulk_endpoint, connect, control_endpoint, test_identity,
};
use tidemill_protocol::world::{ByteStream, Network, TcpListenerBox, Udp};

/// A network that only has UDP.
struct Loopback;

impl Network for Loopback {
    fn bind_udp(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(std::net::UdpSocket::bind(address)?)
    }
    fn connect_tcp(&self, _: String) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
    fn listen_tcp(&self, _: String) -> BoxFuture<'static, io::Result<TcpListenerBox>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

pub fn udp() -> Udp {
    Udp::new(Arc::new(Loopback))
}

pub fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// The node of another cluster, which trusts `authority`.
pub fn foreign_identity(authority: &[u8]) -> Identity {
    let chain = vec![include_bytes!("../../testdata/foreign-node.der").to_vec()];
    let key = include_bytes!("../../testdata/foreign-node.key.der").to_vec();
    Identity::from_der(chain, key, authority.to_vec()).unwrap()
}

pub const TEST_AUTHORITY: &[u8] = include_bytes!("../../testdata/test-ca.der");
pub const FOREIGN_AUTHORITY: &[u8] = include_bytes!("../../testdata/foreign-ca.der");

/// A control endpoint of `identity` on a free port.
pub fn control(identity: Identity) -> Endpoint {
    control_endpoint(&udp(), any_port(), &EndpointConfig::new(identity, None)).unwrap()
}

/// A bulk endpoint of the test identity on a free port.
pub fn bulk() -> Endpoint {
    bulk_endpoint(&udp(), any_port(), &EndpointConfig::new(test_identity(), None)).unwrap()
}

/// `work`, which must end: the deadline is for a test that hangs.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("done within 30 s")
}

/// Both ends of a new connection from `from` to `to`.
pub async fn pair(from: &Endpoint, to: &Endpoint) -> (Connection, Connection) {
    let address = to.local_addr().unwrap();
    let accepting = async { to.accept().await.unwrap().await.unwrap() };
    let (near, far) = within(async { tokio::join!(connect(from, address), accepting) }).await;
    (near.unwrap(), far)
}
