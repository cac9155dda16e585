//! Plain lines from a TCP server: we connect, it sends, nothing is ever acknowledged.
//!
//! **What can be lost.** The lines that have left the sender and stand in no safe block when this process dies: those in the
//! sockets' buffers, in the open block (one block interval) and in blocks not yet copied to a second executor. A line is
//! never processed twice. Where that is too much, use numbered lines ([`super::numbered`]).

use crate::data::Text;
use crate::sources::{Outlet, OutletClosed, ReceiverStart, backoff::Backoff, lines::LineSplitter};
use std::io;
use tidemill_protocol::world::{ByteStream, World};
use tokio::io::AsyncReadExt;

/// Bytes that one read takes at most.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// What a TCP line source is told.
#[derive(Clone, Debug)]
pub(crate) struct TcpLines {
    /// `host:port` of the server.
    pub(crate) address: String,
    /// Longer lines are dropped and counted.
    pub(crate) line_bytes_max: usize,
}

impl TcpLines {
    /// Reads until the receiver is stopped; reconnects for ever.
    pub(crate) async fn run(self, start: ReceiverStart, world: World, out: Outlet<Text>) {
        let label = format!("tcp-lines-{}", start.receiver);
        let mut backoff = Backoff::new(world.entropy.rng(&label));
        let mut connections = 0u64;
        loop {
            let connected = tokio::select! {
                biased;
                () = out.closed() => return,
                connected = world.tcp.connect(self.address.clone()) => connected,
            };
            if let Ok(stream) = connected {
                out.report("reconnect", u64::from(connections > 0));
                connections += 1;
                match read_lines(stream, self.line_bytes_max, &out).await {
                    Err(OutletClosed) => return,
                    Ok(brought_something) if brought_something => backoff.reset(),
                    Ok(_) => {}
                }
                out.report("lost_connection", 1);
            } else {
                out.report("connect_failed", 1);
            }
            tokio::select! {
                biased;
                () = out.closed() => return,
                () = world.clock.sleep(backoff.next()) => {}
            }
        }
    }
}

/// Reads one connection to its end; whether it brought any line.
pub(crate) async fn read_lines(
    mut stream: Box<dyn ByteStream>,
    line_bytes_max: usize,
    out: &Outlet<Text>,
) -> Result<bool, OutletClosed> {
    let mut splitter = LineSplitter::new(line_bytes_max);
    let mut buffer = vec![0; READ_BYTES];
    let mut brought_something = false;
    loop {
        let read: io::Result<usize> = tokio::select! {
            biased;
            () = out.closed() => return Err(OutletClosed),
            read = stream.read(&mut buffer) => read,
        };
        let Some(length) = read.ok().filter(|&n| n > 0) else {
            out.report("cut_line", u64::from(splitter.finish()));
            return Ok(brought_something);
        };
        let lines = splitter.push(&buffer[..length]);
        brought_something |= !lines.is_empty();
        // Nobody sends them again: what has been read is kept, also when the receiver is told to stop meanwhile.
        out.push_lines_always(lines, None).await?;
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::sources::rig::{Rig, in_virtual_time};
    use tidemill_actors::receiver::{ReceiverAction as Action, SourceEnd};
    use tokio::io::AsyncWriteExt;

    #[test]
    fn lines_that_were_read_when_the_receiver_is_told_to_stop_are_in_its_last_block() {
        in_virtual_time(async |world| {
            let (mut sender, stream) = tokio::io::duplex(1_024);
            let mut rig = Rig::new(&world, stream, async |stream, out| {
                assert_eq!(read_lines(stream, 100, &out).await, Err(OutletClosed));
                Ok(())
            });
            rig.perform(Action::SetRate { records_per_s_max: 0 });
            rig.perform(Action::RunSource);
            sender.write_all(b"one\ntwo\nthr").await.expect("there is room");
            rig.settle().await;
            rig.perform(Action::CloseBlock);
            assert_eq!(rig.lines(), [""; 0], "nothing is permitted yet");
            rig.perform(Action::CloseSink);
            assert_eq!(rig.end().await, SourceEnd::Returned);
            rig.perform(Action::CloseBlock);
            assert_eq!(rig.lines(), ["one", "two"]);
            drop(sender);
        });
    }
}
