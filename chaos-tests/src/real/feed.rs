//! The feed: numbered lines from a thread of this process.

use super::Wrong;
use crate::oracle::{Counts, count_words};
use std::{
    net::{IpAddr, SocketAddr},
    sync::mpsc,
    thread,
    time::Duration,
};
use tidemill::demo::feeder::{FeedPlan, Feeder};
use tidemill_protocol::world::World;

/// What is fed, in turn.
const LINES: [&str; 4] =
    ["the tide comes in", "the mill holds the water", "the tide goes out", "the wheel turns all day"];

/// How many lines, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct FeedRate {
    /// Lines due in a second.
    pub lines_per_s: u64,
    /// For so long, from the first receiver on.
    pub lasts: Duration,
}

/// A feed that runs until all that it wrote is safe.
pub struct Feed {
    /// Where receivers connect.
    pub address: SocketAddr,
    ended: mpsc::Receiver<Result<u64, String>>,
}

impl Feed {
    /// Starts it, listening at `ip`.
    pub fn start(ip: IpAddr, rate: FeedRate) -> Result<Self, Wrong> {
        let (tell_address, address) = mpsc::sync_channel(1);
        let (tell_end, ended) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell_address.send(Err(error))),
            };
            runtime.block_on(async move {
                let world = World::real();
                let listener = match world.tcp.listen(SocketAddr::new(ip, 0).to_string()).await {
                    Ok(listener) => listener,
                    Err(error) => return drop(tell_address.send(Err(error))),
                };
                let feeder = Feeder::new(listener, world.clock.clone());
                // Without a reader the scenario is over.
                let _ = tell_address.send(Ok(feeder.address()));
                let plan = FeedPlan {
                    lines: LINES.to_vec(),
                    rate_lines_per_s: rate.lines_per_s,
                    duration: rate.lasts,
                };
                let written = feeder.run(plan).await;
                let _ = tell_end.send(written.map_err(|error| error.to_string()));
            });
        });
        let address = address.recv().map_err(|_| Wrong::new("the feed did not start"))??;
        Ok(Feed { address, ended })
    }

    /// Waits until everything is safe; gives the number of lines.
    pub fn end(&self, deadline: Duration) -> Result<u64, Wrong> {
        let written = self.ended.recv_timeout(deadline);
        written.map_err(|_| Wrong::new("the feed does not end: not everything is safe"))?.map_err(Wrong::new)
    }
}

/// What a plain loop counts.
pub fn plain(lines: u64) -> Counts {
    count_words(&LINES, lines)
}
