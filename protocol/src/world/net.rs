//! Sockets: UDP in the form quinn takes, TCP as plain byte streams.

use futures_util::future::BoxFuture;
use quinn::AsyncUdpSocket;
use std::{io, net::SocketAddr, sync::Arc};
use tokio::io::{AsyncRead, AsyncWrite};

/// A TCP connection, or its simulated likeness.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A bound TCP listener.
pub trait TcpAcceptor: Send + Sync {
    /// The next connection and who made it.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn ByteStream>, SocketAddr)>>;
    /// The address that was bound (with the port that was chosen for port 0).
    fn local_addr(&self) -> SocketAddr;
}

/// A boxed [`TcpAcceptor`].
pub type TcpListenerBox = Box<dyn TcpAcceptor>;

/// What a world's network is made of.
pub trait Network: Send + Sync {
    /// Binds a UDP socket.
    fn bind_udp(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;
    /// Opens a TCP connection to `host:port`.
    fn connect_tcp(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>>;
    /// Listens on `host:port`.
    fn listen_tcp(&self, address: String) -> BoxFuture<'static, io::Result<TcpListenerBox>>;
}

/// UDP sockets of a world.
#[derive(Clone)]
pub struct Udp(Arc<dyn Network>);

impl Udp {
    /// Sockets of `network`.
    pub fn new(network: Arc<dyn Network>) -> Self {
        Udp(network)
    }

    /// Binds a socket; must be called on the runtime that will drive it.
    pub fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.0.bind_udp(address)
    }
}

/// TCP connections of a world.
#[derive(Clone)]
pub struct Tcp(Arc<dyn Network>);

impl Tcp {
    /// Connections of `network`.
    pub fn new(network: Arc<dyn Network>) -> Self {
        Tcp(network)
    }

    /// Opens a connection to `host:port`.
    pub fn connect(&self, address: impl Into<String>) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        self.0.connect_tcp(address.into())
    }

    /// Listens on `host:port` (port 0: any free one).
    pub fn listen(&self, address: impl Into<String>) -> BoxFuture<'static, io::Result<TcpListenerBox>> {
        self.0.listen_tcp(address.into())
    }
}
