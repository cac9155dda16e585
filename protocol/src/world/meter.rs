//! Whose work is it? In a simulation all nodes share one thread, so what one of them costs is asked of the futures that it
//! runs: whatever is spawned while a metered future is polled is metered as well, with everything below it.
//!
//! ```text
//!   meter.enter(|| start a node) ── spawns ──> a future ── polled: time goes to the meter ── spawns ──> …
//! ```
//!
//! Without the feature `sim` nothing is measured and nothing is wrapped.

#[cfg(feature = "sim")]
pub use metered::{Meter, Metered, Work};

/// `work`, metered as the one who spawns it is.
#[cfg(not(feature = "sim"))]
pub fn inherit<F: Future>(work: F) -> F {
    work
}

/// `work`, metered as the one who spawns it is.
#[cfg(feature = "sim")]
pub fn inherit<F: Future>(work: F) -> Metered<F> {
    Metered::new(work)
}

/// Does what only a simulation does (a trace) on nobody's account.
#[cfg(not(feature = "sim"))]
pub fn exempt<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Does what only a simulation does (a trace) on nobody's account.
#[cfg(feature = "sim")]
pub fn exempt<T>(work: impl FnOnce() -> T) -> T {
    metered::exempt(work)
}

/// A frame of a control link was sent.
pub(crate) fn frame_sent(bytes: usize) {
    #[cfg(feature = "sim")]
    metered::count(|work| {
        (work.frames_sent, work.frame_bytes_sent) = plus(work.frames_sent, work.frame_bytes_sent, 1, bytes)
    });
    #[cfg(not(feature = "sim"))]
    let _ = bytes;
}

/// A message was sent that holds the tasks of several batches for one executor.
pub fn group_sent() {
    #[cfg(feature = "sim")]
    metered::count(|work| work.groups_sent += 1);
}

/// A frame of a control link was received.
pub(crate) fn frame_received(bytes: usize) {
    #[cfg(feature = "sim")]
    metered::count(|work| {
        (work.frames_received, work.frame_bytes_received) =
            plus(work.frames_received, work.frame_bytes_received, 1, bytes);
    });
    #[cfg(not(feature = "sim"))]
    let _ = bytes;
}

/// Datagrams were sent.
#[cfg(feature = "sim")]
pub(crate) fn datagrams_sent(count: usize, bytes: usize) {
    metered::count(|work| {
        (work.datagrams_sent, work.datagram_bytes_sent) =
            plus(work.datagrams_sent, work.datagram_bytes_sent, count, bytes);
    });
}

/// Datagrams were received.
#[cfg(feature = "sim")]
pub(crate) fn datagrams_received(count: usize, bytes: usize) {
    metered::count(|work| {
        (work.datagrams_received, work.datagram_bytes_received) =
            plus(work.datagrams_received, work.datagram_bytes_received, count, bytes);
    });
}

#[cfg(feature = "sim")]
fn plus(count: u64, bytes: u64, more: usize, more_bytes: usize) -> (u64, u64) {
    (count + more as u64, bytes + more_bytes as u64)
}

#[cfg(feature = "sim")]
mod metered {
    use crate::world::lock;
    use std::{
        cell::RefCell,
        pin::Pin,
        sync::{Arc, Mutex},
        task::{Context, Poll},
        time::{Duration, Instant},
    };

    thread_local! {
        static CURRENT: RefCell<Option<Meter>> = const { RefCell::new(None) };
    }

    /// What a node has done so far.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Work {
        /// How long its futures were polled, in the machine's time: the simulated network is in it, in place of system calls.
        pub busy: Duration,
        /// Frames of control links.
        pub frames_sent: u64,
        /// As above.
        pub frames_received: u64,
        /// The frames' bytes.
        pub frame_bytes_sent: u64,
        /// As above.
        pub frame_bytes_received: u64,
        /// Messages with the tasks of several batches, among the frames that were sent.
        pub groups_sent: u64,
        /// Datagrams of QUIC, with handshakes and acknowledgements.
        pub datagrams_sent: u64,
        /// As above.
        pub datagrams_received: u64,
        /// The datagrams' payload.
        pub datagram_bytes_sent: u64,
        /// As above.
        pub datagram_bytes_received: u64,
    }

    /// An account of work; a handle, cheap to clone.
    #[derive(Clone, Debug, Default)]
    pub struct Meter(Arc<Mutex<Work>>);

    impl Meter {
        /// What was done so far.
        pub fn work(&self) -> Work {
            *lock(&self.0)
        }

        /// Does `work` on this account. Inside itself it counts once.
        pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
            let seat = Seat::take(Some(self.clone()));
            if seat.is_within(self) {
                return work();
            }
            let start = now();
            let done = work();
            lock(&self.0).busy += start.elapsed();
            done
        }
    }

    /// Whose turn it was before; also after a panic.
    struct Seat(Option<Meter>);

    impl Seat {
        fn take(meter: Option<Meter>) -> Seat {
            Seat(CURRENT.with(|current| current.replace(meter)))
        }

        fn is_within(&self, meter: &Meter) -> bool {
            self.0.as_ref().is_some_and(|outer| Arc::ptr_eq(&outer.0, &meter.0))
        }
    }

    impl Drop for Seat {
        fn drop(&mut self) {
            CURRENT.with(|current| current.replace(self.0.take()));
        }
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "what work costs is the machine's time, which no simulation has"
    )]
    fn now() -> Instant {
        Instant::now()
    }

    pub(super) fn exempt<T>(work: impl FnOnce() -> T) -> T {
        let seat = Seat::take(None);
        let Some(meter) = seat.0.clone() else { return work() };
        let start = now();
        let done = work();
        let took = start.elapsed();
        let mut account = lock(&meter.0);
        // What surrounds it adds at least as much when it ends; in between an account of nothing yet cannot go below.
        account.busy = account.busy.saturating_sub(took);
        drop(account);
        done
    }

    pub(super) fn count(change: impl FnOnce(&mut Work)) {
        CURRENT.with(|current| {
            if let Some(meter) = &*current.borrow() {
                change(&mut lock(&meter.0));
            }
        });
    }

    /// See [`inherit`](super::inherit).
    pub struct Metered<F> {
        work: Pin<Box<F>>,
        meter: Option<Meter>,
    }

    impl<F> Metered<F> {
        pub(super) fn new(work: F) -> Self {
            Metered { work: Box::pin(work), meter: CURRENT.with(|current| current.borrow().clone()) }
        }
    }

    impl<F: Future> Future for Metered<F> {
        type Output = F::Output;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
            let Metered { work, meter } = &mut *self;
            match meter {
                Some(meter) => meter.enter(|| work.as_mut().poll(cx)),
                None => work.as_mut().poll(cx),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::world::meter::{exempt, frame_sent, inherit};

        #[test]
        fn what_a_metered_future_spawns_is_on_its_account_and_nothing_else() {
            let meter = Meter::default();
            let runtime = crate::world::sim::runtime();
            runtime.block_on(async {
                let child = meter.enter(|| {
                    tokio::spawn(inherit(async {
                        tokio::task::yield_now().await;
                        frame_sent(3);
                        tokio::spawn(inherit(async { frame_sent(4) })).await
                    }))
                });
                frame_sent(100);
                tokio::spawn(inherit(async { frame_sent(200) })).await.unwrap();
                child.await.unwrap().unwrap();
            });
            let work = meter.work();
            assert_eq!((work.frames_sent, work.frame_bytes_sent, work.frames_received), (2, 7, 0));
            assert!(work.busy > Duration::ZERO);
        }

        #[test]
        fn what_is_exempt_is_on_nobodys_account() {
            let meter = Meter::default();
            meter.enter(|| exempt(|| frame_sent(1)));
            assert_eq!(meter.work().frames_sent, 0);
            meter.enter(|| meter.enter(|| frame_sent(1)));
            assert_eq!(meter.work().frames_sent, 1);
        }
    }
}
