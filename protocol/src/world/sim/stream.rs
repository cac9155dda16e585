//! Byte streams of the simulated world: in memory, delayed but never lost, held up by cuts, reset from outside.
//!
//! ```text
//!   client ── pipe (pieces with the time of their arrival) ──▶ server      a Connection is a pair of pipes;
//!          ◀── pipe ────────────────────────────────────────               each end is a SimStream
//! ```

use super::{link::Route, net::SimNet, tcp::TcpConnection};
use crate::world::lock;
use bytes::{Buf, Bytes};
use futures_util::ready;
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
    time::{Instant, Sleep, sleep_until},
};

/// Bytes on the way in one direction before the writer has to wait.
const PIPE_BYTES: usize = 65_536;

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
        Pipe { route: (from.ip(), to.ip()), state: Mutex::default() }
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
    /// A new one, of these ends.
    pub(super) fn new(names: TcpConnection) -> Self {
        let TcpConnection { client, server, .. } = names;
        Connection { names, to_server: Pipe::new(client, server), to_client: Pipe::new(server, client) }
    }

    /// Its number and its ends.
    pub(super) fn names(&self) -> TcpConnection {
        self.names
    }

    /// Breaks both directions at once; false if they were broken before.
    pub(super) fn reset(&self) -> bool {
        if lock(&self.to_server.state).is_reset {
            return false;
        }
        for pipe in [&self.to_server, &self.to_client] {
            pipe.change(|state| {
                state.is_reset = true;
                state.pieces.clear();
            });
        }
        true
    }

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

/// Which end of a connection.
#[derive(Clone, Copy)]
pub(super) enum Side {
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
    /// The end of `connection` that is at `side`.
    pub(super) fn new(net: SimNet, connection: Arc<Connection>, side: Side) -> Self {
        SimStream { net, connection, side, timer: Box::pin(sleep_until(Instant::now())) }
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
            let own = match self.side {
                Side::Client => self.connection.names.client,
                Side::Server => self.connection.names.server,
            };
            if let Some(until) = self.net.paused_until(own.ip()) {
                self.timer.as_mut().reset(until);
                ready!(self.timer.as_mut().poll(cx));
                continue;
            }
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
        self.net.0.trace.event(&format!("tcp {id} {} > {} {length}", pipe.route.0, pipe.route.1));
        pipe.change(|state| {
            let due = state.due(delay);
            state.pieces.push_back((due, Bytes::copy_from_slice(&buf[..length])));
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
