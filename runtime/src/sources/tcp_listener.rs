//! Plain lines from anybody who connects: we listen. The losses are those of [`super::tcp_client`].

use crate::data::Text;
use crate::sources::{Outlet, ReceiverStart, SourceError, tcp_client::read_lines};
use std::sync::Arc;
use tidemill_protocol::world::World;
use tokio::sync::Semaphore;

/// Connections that one listener serves at once; further ones wait in the operating system's queue.
const CONNECTIONS_MAX: usize = 1_024;

/// What a listening line source is told.
#[derive(Clone, Debug)]
pub(crate) struct TcpListenerLines {
    /// `host:port` to listen on.
    pub(crate) address: String,
    /// Longer lines are dropped and counted.
    pub(crate) line_bytes_max: usize,
}

impl TcpListenerLines {
    /// Whether the address can be bound, asked once at start; a listener that loses its port later tries again for ever.
    pub(crate) async fn preflight(self, world: World) -> Result<(), String> {
        let TcpListenerLines { address, .. } = self;
        let taken =
            |error| format!("cannot listen on {address}: {error}; choose another port, or stop who holds it");
        world.tcp.listen(address.clone()).await.map(drop).map_err(taken)
    }

    /// Serves connections until the receiver is stopped.
    ///
    /// # Errors
    /// The address cannot be bound; the receiver is started again, with backoff.
    pub(crate) async fn run(
        self,
        _start: ReceiverStart,
        world: World,
        out: Outlet<Text>,
    ) -> Result<(), SourceError> {
        let mut listener = world.tcp.listen(self.address.clone()).await.map_err(|error| {
            SourceError(format!(
                "cannot listen on {}: {error}; is another process on this port?",
                self.address
            ))
        })?;
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
            let accepted = tokio::select! {
                biased;
                () = out.closed() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _peer)) = accepted else {
                // Out of file descriptors, most likely: wait a moment instead of spinning.
                world.clock.sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            let (out, limit) = (out.clone(), self.line_bytes_max);
            world.spawner.spawn(async move {
                if read_lines(stream, limit, &out).await.is_ok() {
                    out.report("lost_connection", 1);
                }
                drop(place);
            });
        }
    }
}
