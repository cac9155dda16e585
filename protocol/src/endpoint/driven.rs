//! What drives endpoints: tokio, with each task on the account of whoever starts it. This file and the sockets know quinn
//! 0.11's traits.

use crate::world::meter;
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use std::{future::Future, io, net::UdpSocket, pin::Pin, sync::Arc, time::Instant};

/// tokio's runtime that an endpoint is made in.
#[derive(Debug)]
pub(super) struct Driven;

impl Runtime for Driven {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(Box::pin(meter::inherit(work)));
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}
