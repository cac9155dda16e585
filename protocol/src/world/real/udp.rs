//! UDP in the form quinn takes, with an answer to errors that persist.
//!
//! quinn 0.11's own socket discards every receive error and tries again within the same poll: an error that persists
//! holds the thread for ever (repaired after 0.11 only). A wrapper around that socket would never see the error, so this
//! is a socket of our own over the same parts (tokio's readiness, quinn-udp's system calls). Its [`Gate`] tolerates a
//! few errors at once, then rests with growing pauses, and surfaces an error that outlasts them all, upon which quinn ends
//! the endpoint and its owner learns of it.

use crate::world::{lock, timer::Timer};
use futures_util::{future::BoxFuture, ready};
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};
use std::{
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{io::Interest, net::UdpSocket};

/// What is asked of the system for each direction; it grants what its limits allow (`net.core.rmem_max`, `wmem_max`). The
/// default of 208 KiB overflows as soon as two peers send blocks at once.
const BUFFER_BYTES: usize = 2 << 20;
/// Errors in a row that are passed over at once: single ones, such as a port reported closed, say nothing of the socket.
const ERRORS_IN_A_ROW: u32 = 8;
/// The first rest; each later one is twice as long, up to [`REST_MAX`].
const REST_FIRST: Duration = Duration::from_millis(10);
/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(1);
/// Rests in a row before the error is surfaced: about 6 seconds of nothing but errors.
const RESTS_IN_A_ROW: u32 = 12;

/// A UDP socket of the operating system.
pub(super) struct RealUdp {
    io: UdpSocket,
    state: UdpSocketState,
    gate: Mutex<Gate>,
    timer: Timer,
}

impl RealUdp {
    /// Takes over `socket`; must be called on the runtime that will drive it.
    pub(super) fn new(socket: std::net::UdpSocket, timer: Timer) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        for granted in [
            state.set_send_buffer_size((&socket).into(), BUFFER_BYTES),
            state.set_recv_buffer_size((&socket).into(), BUFFER_BYTES),
        ] {
            if let Err(error) = granted {
                tracing::warn!(%error, "a UDP buffer keeps its size");
            }
        }
        Ok(RealUdp { io: UdpSocket::from_std(socket)?, state, gate: Mutex::default(), timer })
    }
}

impl fmt::Debug for RealUdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealUdp").field("io", &self.io).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for RealUdp {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(WritePoller { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.io.try_io(Interest::WRITABLE, || self.state.send((&self.io).into(), transmit))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        lock(&self.gate).poll(
            cx,
            |cx| self.io.poll_recv_ready(cx),
            || self.io.try_io(Interest::READABLE, || self.state.recv((&self.io).into(), bufs, meta)),
            |rest| Box::pin(self.timer.sleep(rest)),
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// What the socket's errors have come to.
#[derive(Default)]
struct Gate {
    errors_in_a_row: u32,
    rests_in_a_row: u32,
    errors_total: u64,
    resting: Option<BoxFuture<'static, ()>>,
}

impl Gate {
    /// Receives by `receive` once `ready` says so, and rests by `rest` when errors persist.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut ready: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>,
        mut receive: impl FnMut() -> io::Result<usize>,
        rest: impl Fn(Duration) -> BoxFuture<'static, ()>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(resting) = &mut self.resting {
                ready!(resting.as_mut().poll(cx));
                self.resting = None;
            }
            ready!(ready(cx))?;
            match receive() {
                Ok(count) => {
                    self.clear();
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.clear(),
                Err(error) => match self.judge(&error) {
                    Verdict::TryAgain => {}
                    Verdict::Rest(pause) => self.resting = Some(rest(pause)),
                    Verdict::Surface => return Poll::Ready(Err(error)),
                },
            }
        }
    }

    fn clear(&mut self) {
        self.errors_in_a_row = 0;
        self.rests_in_a_row = 0;
    }

    fn judge(&mut self, error: &io::Error) -> Verdict {
        self.errors_total += 1;
        self.errors_in_a_row += 1;
        if self.errors_in_a_row < ERRORS_IN_A_ROW {
            return Verdict::TryAgain;
        }
        let total = self.errors_total;
        if self.rests_in_a_row == RESTS_IN_A_ROW {
            tracing::error!(%error, total, "UDP socket is lost: receiving has failed throughout all pauses");
            return Verdict::Surface;
        }
        let pause = REST_FIRST.saturating_mul(1 << self.rests_in_a_row).min(REST_MAX);
        if self.rests_in_a_row == 0 {
            tracing::warn!(%error, total, "UDP receive errors persist: pausing");
        }
        self.errors_in_a_row = 0;
        self.rests_in_a_row += 1;
        Verdict::Rest(pause)
    }
}

enum Verdict {
    TryAgain,
    Rest(Duration),
    Surface,
}

/// Waits until a socket is writable. Each connection has its own, and tokio's `poll_send_ready` remembers only one task;
/// so each holds a `writable` future of its own.
struct WritePoller {
    socket: Arc<RealUdp>,
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl fmt::Debug for WritePoller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WritePoller").finish_non_exhaustive()
    }
}

impl UdpPoller for WritePoller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let waiting = this.waiting.get_or_insert_with(|| {
            let socket = Arc::clone(&this.socket);
            Box::pin(async move { socket.io.writable().await })
        });
        let result = ready!(waiting.as_mut().poll(cx));
        this.waiting = None;
        Poll::Ready(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, future, task::Waker};

    /// Polls a gate over a socket that answers `outcomes` in turn (`None` = an error) and then would block; gives the
    /// result and the rests taken. Rests end at once.
    fn poll(gate: &mut Gate, outcomes: &[Option<usize>]) -> (Poll<io::Result<usize>>, Vec<Duration>) {
        let mut outcomes = outcomes.iter();
        let drained = RefCell::new(false);
        let rests = RefCell::new(Vec::new());
        let result = gate.poll(
            &mut Context::from_waker(Waker::noop()),
            |_| {
                if *drained.borrow() { Poll::Pending } else { Poll::Ready(Ok(())) }
            },
            || match outcomes.next() {
                Some(Some(count)) => Ok(*count),
                Some(None) => Err(io::Error::other("broken")),
                None => {
                    *drained.borrow_mut() = true;
                    Err(io::ErrorKind::WouldBlock.into())
                }
            },
            |pause| {
                rests.borrow_mut().push(pause);
                Box::pin(future::ready(()))
            },
        );
        (result, rests.into_inner())
    }

    #[test]
    fn single_errors_are_passed_over() {
        let mut gate = Gate::default();
        let (result, rests) = poll(&mut gate, &[None, None, Some(3)]);
        assert!(matches!(result, Poll::Ready(Ok(3))));
        assert!(rests.is_empty());
        // A socket that would block is sound: errors before and after that do not add up.
        for _ in 0..20 {
            let (result, rests) = poll(&mut gate, &[None; 7]);
            assert!(result.is_pending());
            assert!(rests.is_empty());
        }
        assert_eq!(gate.errors_total, 142);
    }

    #[test]
    fn errors_that_persist_make_it_rest_longer_and_longer() {
        let mut gate = Gate::default();
        let (result, rests) = poll(&mut gate, &[None; 8 * 9]);
        assert!(result.is_pending());
        let expected = [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000].map(Duration::from_millis);
        assert_eq!(rests, expected);
    }

    #[test]
    fn errors_that_outlast_all_rests_are_surfaced() {
        let (result, rests) = poll(&mut Gate::default(), &[None; 1_000]);
        assert!(matches!(result, Poll::Ready(Err(error)) if error.to_string() == "broken"));
        assert_eq!(rests.len(), 12);
    }

    #[test]
    fn while_it_rests_the_socket_is_left_alone() {
        let mut gate = Gate::default();
        let mut calls = 0;
        for _ in 0..3 {
            let result = gate.poll(
                &mut Context::from_waker(Waker::noop()),
                |_| Poll::Ready(Ok(())),
                || {
                    calls += 1;
                    Err(io::Error::other("broken"))
                },
                |_| Box::pin(future::pending()),
            );
            assert!(result.is_pending());
        }
        assert_eq!(calls, 8, "one run of errors, then silence");
    }
}
