//! TCP of the simulated world: byte streams in memory that are delayed but lose nothing, are held up by cuts, and can
//! be reset from outside.
//!
//! ```text
//!   client ── pipe (pieces with the time of their arrival) ──▶ server      a Connection is a pair of pipes;
//!          ◀── pipe ────────────────────────────────────────               each end is a SimStream
//! ```

use super::{link::Route, net::SimNet, node::Life};
use crate::world::{ByteStream, TcpAcceptor, TcpListenerBox, lock};
use bytes::{Buf, Bytes};
use futures_util::{
    future::{self, BoxFuture},
    ready,
};
use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
    time::{Instant, Sleep, sleep, sleep_until},
};

/// Bytes on the way in one direction before the writer has to wait.
const PIPE_BYTES: usize = 65_536;
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

/// Both directions of a connection.
pub(super) struct Connection {
    names: TcpConnection,
    to_server: Pipe,
    to_client: Pipe,
}

struct Pipe {
    route: Route,
    state: Mutex<PipeState>,
}

#[derive(Default)]
struct PipeState {
    pieces: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    latest_due: Option<Instant>,
    /// When the writer's end of stream arrives.
    end: Option<Instant>,
    is_reset: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new(from: SocketAddr, to: SocketAddr) -> Self {
        Pipe {
            route: (from.ip(), to.ip()),
            state: Mutex::default(),
        }
    }

    /// Changes the state and wakes both ends.
    fn change(&self, change: impl FnOnce(&mut PipeState)) {
        let mut state = lock(&self.state);
        change(&mut state);
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl PipeState {
    /// When something arrives that is sent now and takes `delay`: never before what was sent earlier.
    fn due(&mut self, delay: Duration) -> Instant {
        let due = (Instant::now() + delay).max(self.latest_due.unwrap_or_else(Instant::now));
        self.latest_due = Some(due);
        due
    }
}

impl Connection {
    /// Whether one of the ends is at `ip`.
    pub(super) fn has_end_at(&self, ip: IpAddr) -> bool {
        self.names.client.ip() == ip || self.names.server.ip() == ip
    }

    /// Has both readers look again, after a cut was mended.
    pub(super) fn wake_readers(&self) {
        self.to_server.change(|_| ());
        self.to_client.change(|_| ());
    }
}

impl SimNet {
    /// The TCP connections of which at least one end is held, oldest first.
    pub fn tcp_connections(&self) -> Vec<TcpConnection> {
        let connections = lock(&self.0.state).live_connections();
        connections.iter().map(|connection| connection.names).collect()
    }

    /// Resets a connection: both ends see `ConnectionReset`. False if there is none (any more) of that id.
    pub fn cut_tcp(&self, id: u64) -> bool {
        let connections = lock(&self.0.state).live_connections();
        let found = connections.iter().find(|connection| connection.names.id == id);
        found.is_some_and(|connection| self.reset(connection))
    }

    /// Resets `connection`; false if it was reset before.
    pub(super) fn reset(&self, connection: &Connection) -> bool {
        if lock(&connection.to_server.state).is_reset {
            return false;
        }
        for pipe in [&connection.to_server, &connection.to_client] {
            pipe.change(|state| {
                state.is_reset = true;
                state.pieces.clear();
            });
        }
        lock(&self.0.state).counts.tcp_reset += 1;
        let TcpConnection { id, client, server } = connection.names;
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
        let connection = Arc::new(Connection {
            names: TcpConnection { id, client, server },
            to_server: Pipe::new(client, server),
            to_client: Pipe::new(server, client),
        });
        state.connections.insert(id, Arc::downgrade(&connection));
        drop(state);

        let place = arrivals.as_ref().and_then(|arrivals| arrivals.try_reserve().ok());
        let Some(place) = place else {
            lock(&self.0.state).counts.tcp_refused += 1;
            self.0.trace.event(&format!("tcp {client} > {server} refused"));
            return Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                server.to_string(),
            ));
        };
        self.0.trace.event(&format!("tcp {id} {client} > {server} open"));
        place.send((
            SimStream::new(self.clone(), connection.clone(), Side::Server),
            client,
        ));
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
        Ok(Box::new(SimAcceptor {
            net: self.clone(),
            address,
            id,
            queue,
        }))
    }

    fn unlisten(&self, address: SocketAddr, id: u64) {
        let mut state = lock(&self.0.state);
        // The address may have been taken again by the node's next life.
        if state.listeners.get(&address).is_some_and(|line| line.id == id) {
            state.listeners.remove(&address);
        }
    }

    fn tcp_delay(&self, route: Route) -> Duration {
        let mut state = lock(&self.0.state);
        let (link, way) = state.way(route);
        let link = link.clone();
        way.draw_tcp(&link)
    }

    /// Whether `route` is cut; counts it as a fault that struck.
    fn is_held(&self, (from, to): Route) -> bool {
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

#[derive(Clone, Copy)]
enum Side {
    Client,
    Server,
}

/// One end of a connection; dropping it ends the stream as a close does.
pub(super) struct SimStream {
    net: SimNet,
    connection: Arc<Connection>,
    side: Side,
    timer: Pin<Box<Sleep>>,
}

impl SimStream {
    fn new(net: SimNet, connection: Arc<Connection>, side: Side) -> Self {
        SimStream {
            net,
            connection,
            side,
            timer: Box::pin(sleep_until(Instant::now())),
        }
    }

    fn reads(&self) -> &Pipe {
        match self.side {
            Side::Client => &self.connection.to_client,
            Side::Server => &self.connection.to_server,
        }
    }

    fn writes(&self) -> &Pipe {
        match self.side {
            Side::Client => &self.connection.to_server,
            Side::Server => &self.connection.to_client,
        }
    }

    fn end_writing(&self) {
        let pipe = self.writes();
        let delay = self.net.tcp_delay(pipe.route);
        pipe.change(|state| {
            if state.end.is_none() {
                state.end = Some(state.due(delay));
            }
        });
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let pipe = self.reads();
            let mut state = lock(&pipe.state);
            if state.is_reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            state.reader = Some(cx.waker().clone());
            let Some(due) = state.pieces.front().map(|piece| piece.0).or(state.end) else {
                return Poll::Pending;
            };
            drop(state);
            if due > Instant::now() {
                self.timer.as_mut().reset(due);
                ready!(self.timer.as_mut().poll(cx));
                continue;
            }
            if self.net.is_held(pipe.route) {
                return Poll::Pending;
            }
            let mut state = lock(&pipe.state);
            if let Some((_, piece)) = state.pieces.front_mut() {
                let length = piece.remaining().min(buf.remaining());
                buf.put_slice(&piece.split_to(length));
                if piece.is_empty() {
                    state.pieces.pop_front();
                }
                state.bytes -= length;
                let writer = state.writer.take();
                drop(state);
                writer.into_iter().for_each(Waker::wake);
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let pipe = self.writes();
        let mut state = lock(&pipe.state);
        if state.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if state.end.is_some() || state.reader_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if buf.is_empty() {
            // An empty piece would look like the end of the stream.
            return Poll::Ready(Ok(0));
        }
        let length = buf.len().min(PIPE_BYTES - state.bytes);
        if length == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        let delay = self.net.tcp_delay(pipe.route);
        let TcpConnection { id, .. } = self.connection.names;
        self.net
            .0
            .trace
            .event(&format!("tcp {id} {} > {} {length}", pipe.route.0, pipe.route.1));
        pipe.change(|state| {
            let due = state.due(delay);
            state
                .pieces
                .push_back((due, Bytes::copy_from_slice(&buf[..length])));
            state.bytes += length;
        });
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end_writing();
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.end_writing();
        self.reads().change(|state| state.reader_gone = true);
    }
}
