//! A simulated UDP socket in the form quinn takes. This file alone knows quinn 0.11's traits (0.12 changes them).

use super::{net::SimNet, node::Life};
use crate::world::{lock, meter};
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{EcnCodepoint, RecvMeta, Transmit},
};
use std::{
    collections::BTreeMap,
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};
use tokio::time::{Instant, Sleep, sleep_until};

/// How many datagrams a socket holds that are on their way or have not been read; the operating system's buffers hold
/// as many small ones.
const DATAGRAMS_MAX: usize = 4_096;

/// A datagram on its way.
pub(super) struct Parcel {
    pub(super) from: SocketAddr,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) bytes: Box<[u8]>,
}

/// What is on its way to a socket, in order of arrival.
pub(super) struct Mailbox {
    address: SocketAddr,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    parcels: BTreeMap<(Instant, u64), Parcel>,
    reader: Option<Waker>,
    closed: bool,
    broken: bool,
}

impl Mailbox {
    /// An empty one for the socket bound to `address`.
    pub(super) fn new(address: SocketAddr) -> Self {
        Mailbox { address, state: Mutex::default() }
    }

    /// The socket's address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the next datagram is dropped.
    pub(super) fn is_full(&self) -> bool {
        lock(&self.state).parcels.len() >= DATAGRAMS_MAX
    }

    /// Puts a datagram in that arrives at `key`.
    pub(super) fn put(&self, key: (Instant, u64), parcel: Parcel) {
        let mut state = lock(&self.state);
        if state.closed {
            return;
        }
        let is_first = state.parcels.first_key_value().is_none_or(|(first, _)| key < *first);
        state.parcels.insert(key, parcel);
        // A reader that waits for an earlier one has a timer for that.
        let reader = if is_first { state.reader.take() } else { None };
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    /// Lets every read fail from now on. False if it did before.
    pub(super) fn fail(&self) -> bool {
        let mut state = lock(&self.state);
        let was_sound = !std::mem::replace(&mut state.broken, true);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        was_sound
    }

    /// Ends all traffic: the reader is left waiting, as a dead process reads nothing.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.parcels.clear();
    }
}

/// A socket bound to an address of the simulated network.
pub(super) struct SimSocket {
    net: SimNet,
    life: Life,
    mailbox: Arc<Mailbox>,
    timer: Mutex<Pin<Box<Sleep>>>,
}

impl SimSocket {
    /// A socket of `life` that reads from `mailbox`.
    pub(super) fn new(net: SimNet, life: Life, mailbox: Arc<Mailbox>) -> Self {
        SimSocket { net, life, mailbox, timer: Mutex::new(Box::pin(sleep_until(Instant::now()))) }
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        self.net.unbind(&self.mailbox);
    }
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimSocket").field("address", &self.mailbox.address).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for SimSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let (bytes, segment) = (transmit.contents.len(), transmit.segment_size);
        meter::datagrams_sent(segment.map_or(1, |segment| bytes.div_ceil(segment.max(1))), bytes);
        self.net.send(&self.life, self.mailbox.address, transmit);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(until) = self.life.paused_until() {
                let mut timer = lock(&self.timer);
                timer.as_mut().reset(until);
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                continue;
            }
            let mut state = lock(&self.mailbox.state);
            if state.broken {
                return Poll::Ready(Err(io::Error::other("the network device is gone")));
            }
            let now = Instant::now();
            let mut count = 0;
            for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()) {
                let Some(first) = state.parcels.first_entry().filter(|first| first.key().0 <= now) else {
                    break;
                };
                *meta = read(&first.remove(), self.mailbox.address, buf);
                count += 1;
            }
            if count > 0 {
                meter::datagrams_received(count, meta[..count].iter().map(|meta| meta.len).sum());
                return Poll::Ready(Ok(count));
            }
            state.reader = Some(cx.waker().clone());
            let Some(((due, _), _)) = state.parcels.first_key_value() else {
                return Poll::Pending;
            };
            let due = *due;
            drop(state);
            let mut timer = lock(&self.timer);
            timer.as_mut().reset(due);
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.mailbox.address)
    }

    /// No: links drop what is too long, so MTU discovery works as on a real network.
    fn may_fragment(&self) -> bool {
        false
    }
}

/// Copies a datagram to where quinn wants it; what does not fit is cut off, as by the operating system.
fn read(parcel: &Parcel, to: SocketAddr, buf: &mut [u8]) -> RecvMeta {
    let length = parcel.bytes.len().min(buf.len());
    buf[..length].copy_from_slice(&parcel.bytes[..length]);
    RecvMeta { addr: parcel.from, len: length, stride: length, ecn: parcel.ecn, dst_ip: Some(to.ip()) }
}

/// A simulated socket can always be written to: what is too much is lost, not delayed.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
