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
        Box::pin(async move {
            let stream = TcpStream::connect(&address).await?;
            tune(&stream)?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }

    fn listen_tcp(&self, address: String) -> BoxFuture<'static, io::Result<TcpListenerBox>> {
        Box::pin(async move {
            let listener = TcpListener::bind(&address).await?;
            let address = listener.local_addr()?;
            Ok(Box::new(RealAcceptor { listener, address }) as TcpListenerBox)
        })
    }
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

impl TcpAcceptor for RealAcceptor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn ByteStream>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = self.listener.accept().await?;
            // Refused only for a connection that has ended already; its first read will tell. It is no fault of the listener.
            let _ = tune(&stream);
            Ok((Box::new(stream) as Box<dyn ByteStream>, from))
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}
