//! TCP of the simulated world: who listens, who connects, and how a connection is reset from outside. The bytes travel
//! in `stream`.

use super::{
    link::Route,
    net::SimNet,
    node::Life,
    stream::{Connection, Side, SimStream},
};
use crate::world::{ByteStream, TcpAcceptor, TcpListenerBox, lock};
use futures_util::future::{self, BoxFuture};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::sleep};

/// Connections that wait to be accepted before more are refused.
const BACKLOG: usize = 128;
/// A connect through a cut is tried again after this time …
const CONNECT_RETRY: Duration = Duration::from_secs(1);
/// … and this often, before it times out.
const CONNECT_TRIES: u32 = 20;

/// A TCP connection of the simulated network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpConnection {
    /// Names it for [`SimNet::cut_tcp`].
    pub id: u64,
    /// Who connected.
    pub client: SocketAddr,
    /// Who accepted.
    pub server: SocketAddr,
}

/// Where connections wait to be accepted.
pub(super) struct Line {
    id: u64,
    arrivals: mpsc::Sender<(SimStream, SocketAddr)>,
}

impl SimNet {
    /// The TCP connections of which at least one end is held, oldest first.
    pub fn tcp_connections(&self) -> Vec<TcpConnection> {
        let connections = lock(&self.0.state).live_connections();
        connections.iter().map(|connection| connection.names()).collect()
    }

    /// Resets a connection: both ends see `ConnectionReset`. False if there is none (any more) of that id.
    pub fn cut_tcp(&self, id: u64) -> bool {
        let connections = lock(&self.0.state).live_connections();
        let found = connections.iter().find(|connection| connection.names().id == id);
        found.is_some_and(|connection| self.reset(connection))
    }

    /// Resets `connection`; false if it was reset before.
    pub(super) fn reset(&self, connection: &Connection) -> bool {
        if !connection.reset() {
            return false;
        }
        lock(&self.0.state).counts.tcp_reset += 1;
        let TcpConnection { id, client, server } = connection.names();
        self.0.trace.event(&format!("tcp {id} {client} > {server} reset"));
        true
    }

    /// Opens a connection to `address` from the node of `life`.
    pub(super) async fn connect(self, life: Life, address: String) -> io::Result<Box<dyn ByteStream>> {
        let server = lock(&self.0.state).resolve(&address, life.ip())?;
        let (there, back) = ((life.ip(), server.ip()), (server.ip(), life.ip()));
        for _ in 0..CONNECT_TRIES {
            sleep(self.tcp_delay(there)).await;
            if self.is_held(there) || self.is_held(back) {
                sleep(CONNECT_RETRY).await;
                continue;
            }
            let stream = self.establish(&life, server)?;
            sleep(self.tcp_delay(back)).await;
            return Ok(Box::new(stream));
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, address))
    }

    /// Puts a connection in line at `server` and gives the client's end.
    fn establish(&self, life: &Life, server: SocketAddr) -> io::Result<SimStream> {
        let mut state = lock(&self.0.state);
        let client = state.choose_address(life, SocketAddr::new(life.ip(), 0))?;
        let arrivals = state.listeners.get(&server).map(|line| line.arrivals.clone());
        let id = state.new_id();
        let connection = Arc::new(Connection::new(TcpConnection { id, client, server }));
        state.connections.insert(id, Arc::downgrade(&connection));
        drop(state);

        let place = arrivals.as_ref().and_then(|arrivals| arrivals.try_reserve().ok());
        let Some(place) = place else {
            lock(&self.0.state).counts.tcp_refused += 1;
            self.0.trace.event(&format!("tcp {client} > {server} refused"));
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, server.to_string()));
        };
        self.0.trace.event(&format!("tcp {id} {client} > {server} open"));
        place.send((SimStream::new(self.clone(), connection.clone(), Side::Server), client));
        Ok(SimStream::new(self.clone(), connection, Side::Client))
    }

    /// Listens on `address`, a port of the node of `life`.
    pub(super) fn listen(&self, life: &Life, address: &str) -> io::Result<TcpListenerBox> {
        let (arrivals, queue) = mpsc::channel(BACKLOG);
        let mut state = lock(&self.0.state);
        let wanted = state.resolve(address, life.ip())?;
        let address = state.choose_address(life, wanted)?;
        if state.listeners.contains_key(&address) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, address.to_string()));
        }
        let id = state.new_id();
        state.listeners.insert(address, Line { id, arrivals });
        drop(state);
        Ok(Box::new(SimAcceptor { net: self.clone(), address, id, queue }))
    }

    fn unlisten(&self, address: SocketAddr, id: u64) {
        let mut state = lock(&self.0.state);
        // The address may have been taken again by the node's next life.
        if state.listeners.get(&address).is_some_and(|line| line.id == id) {
            state.listeners.remove(&address);
        }
    }

    /// Draws how long a piece of a stream takes.
    pub(super) fn tcp_delay(&self, route: Route) -> Duration {
        let mut state = lock(&self.0.state);
        let (link, way) = state.way(route);
        let link = link.clone();
        way.draw_tcp(&link)
    }

    /// Whether `route` is cut; counts it as a fault that struck.
    pub(super) fn is_held(&self, (from, to): Route) -> bool {
        let mut state = lock(&self.0.state);
        let is_cut = state.is_cut(from, to);
        state.counts.tcp_held += u64::from(is_cut);
        is_cut
    }
}

struct SimAcceptor {
    net: SimNet,
    address: SocketAddr,
    id: u64,
    queue: mpsc::Receiver<(SimStream, SocketAddr)>,
}

impl TcpAcceptor for SimAcceptor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn ByteStream>, SocketAddr)>> {
        Box::pin(async move {
            match self.queue.recv().await {
                Some((stream, from)) => Ok((Box::new(stream) as Box<dyn ByteStream>, from)),
                // The node has been killed: nobody is left to be told.
                None => future::pending().await,
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SimAcceptor {
    fn drop(&mut self) {
        self.net.unlisten(self.address, self.id);
    }
}
