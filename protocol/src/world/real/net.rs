//! Sockets of the real world, on tokio. They belong to the runtime on which they are made.

use super::udp::RealUdp;
use crate::world::{ByteStream, Network, TcpAcceptor, TcpListenerBox, timer::Timer};
use futures_util::future::BoxFuture;
use quinn::AsyncUdpSocket;
use socket2::{SockRef, TcpKeepalive};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::{TcpListener, TcpStream};

/// A TCP peer is asked after this much silence …
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
/// … then this often …
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// … and given up after so many questions without an answer.
const KEEPALIVE_PROBES: u32 = 4;

/// The operating system's network.
pub(super) struct RealNetwork {
    timer: Timer,
}

impl RealNetwork {
    /// A network whose sockets rest on `timer` when they fail.
    pub(super) fn new(timer: Timer) -> Self {
        RealNetwork { timer }
    }
}

impl Network for RealNetwork {
    fn bind_udp(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = std::net::UdpSocket::bind(address)?;
        Ok(Arc::new(RealUdp::new(socket, self.timer.clone())?))
    }

    fn connect_tcp(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        Box::pin(async move { Ok(Box::new(connect(&address).await?) as Box<dyn ByteStream>) })
    }

    fn listen_tcp(&self, address: String) -> BoxFuture<'static, io::Result<TcpListenerBox>> {
        Box::pin(async move { Ok(Box::new(RealAcceptor::bind(&address).await?) as TcpListenerBox) })
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    tune(&stream)?;
    Ok(stream)
}

/// Small writes leave at once, and a peer that has lost its power is noticed within half a minute, though nothing is sent.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    SockRef::from(stream).set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))
}

struct RealAcceptor {
    listener: TcpListener,
    address: SocketAddr,
}

impl RealAcceptor {
    async fn bind(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(RealAcceptor { listener, address })
    }

    async fn next(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, from) = self.listener.accept().await?;
        // Refused only for a connection that has ended already; its first read will tell. It is no fault of the listener.
        let _ = tune(&stream);
        Ok((stream, from))
    }
}

impl TcpAcceptor for RealAcceptor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn ByteStream>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = self.next().await?;
            Ok((Box::new(stream) as Box<dyn ByteStream>, from))
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_ends_of_a_connection_ask_a_silent_peer_and_send_at_once() {
        let acceptor = RealAcceptor::bind("127.0.0.1:0").await.unwrap();
        let address = acceptor.local_addr().to_string();
        let (connected, accepted) = tokio::join!(connect(&address), acceptor.next());
        for (end, stream) in [("connected", connected.unwrap()), ("accepted", accepted.unwrap().0)] {
            let socket = SockRef::from(&stream);
            assert!(socket.keepalive().unwrap(), "{end}");
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(10), "{end}");
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(5), "{end}");
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4, "{end}");
            assert!(stream.nodelay().unwrap(), "{end}");
        }
    }
}
