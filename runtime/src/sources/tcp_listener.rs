//! Plain lines from anybody who connects: we listen. The losses are those of [`super::tcp_client`].

use crate::data::Text;
use crate::sources::{Outlet, ReceiverStart, SourceError, tcp_client::read_lines};
use std::sync::Arc;
use tidemill_protocol::world::World;
use tokio::sync::Semaphore;

/// Connections that one listener serves at once; further ones wait in the operating system's queue.
const CONNECTIONS_MAX: u32 = 1_024;

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
        let taken = |error| {
            format!(
                "cannot listen on {address}: {error}; choose another port, or stop the process that uses it"
            )
        };
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
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
            let accepted = tokio::select! {
                biased;
                () = out.closed() => None,
                accepted = listener.accept() => Some(accepted),
            };
            let Some(accepted) = accepted else {
                drop(place);
                // What the connections have read goes into the last block, which is closed when this returns.
                let _ = places.acquire_many(CONNECTIONS_MAX).await;
                return Ok(());
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

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::sources::rig::{Rig, in_virtual_time};
    use tidemill_actors::receiver::{ReceiverAction as Action, SourceEnd};
    use tidemill_protocol::id::{Incarnation, ReceiverId, ReceiverIndex, StreamId};
    use tokio::io::AsyncWriteExt;

    #[test]
    fn what_the_connections_have_read_when_the_receiver_is_told_to_stop_is_in_its_last_block() {
        in_virtual_time(async |world| {
            let receiver =
                ReceiverId { stream: StreamId(0), index: ReceiverIndex(0), incarnation: Incarnation(0) };
            let start = ReceiverStart { receiver, resume_after: None };
            let (address, its) = ("10.0.0.1:7000".to_owned(), world.clone());
            let source = TcpListenerLines { address: address.clone(), line_bytes_max: 100 };
            let (_nobody, unused) = tokio::io::duplex(1);
            let mut rig = Rig::new(&world, unused, async move |_, out| source.run(start, its, out).await);
            rig.perform(Action::SetRate { records_per_s_max: 0 });
            rig.perform(Action::RunSource);
            rig.settle().await;
            let mut senders = Vec::new();
            for line in ["one\n", "two\n"] {
                let mut sender = world.tcp.connect(address.clone()).await.expect("it listens");
                sender.write_all(line.as_bytes()).await.expect("connected");
                senders.push(sender);
                // Longer than the way takes.
                world.clock.sleep(std::time::Duration::from_secs(1)).await;
            }
            rig.perform(Action::CloseSink);
            assert_eq!(rig.end().await, SourceEnd::Returned);
            rig.perform(Action::CloseBlock);
            let mut lines = rig.lines();
            lines.sort();
            assert_eq!(lines, ["one", "two"]);
        });
    }
}
