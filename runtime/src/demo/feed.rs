//! `tidemill feed`: the demo's sender as a program of its own, for a cluster of processes to read from.

use super::{
    bundled,
    feeder::{FeedPlan, Feeder},
    run::SECONDS_MAX,
};
use crate::app::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE, complain};
use clap::Args;
use std::{net::SocketAddr, time::Duration};
use tidemill_protocol::world::World;

/// Options of `tidemill feed`.
#[derive(Args, Clone, Debug)]
pub struct FeedArgs {
    /// Where to listen for the receiver
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9999")]
    pub listen: SocketAddr,
    /// Lines per second
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: u64,
    /// Seconds for which it sends, from the first connection on
    #[arg(long = "for", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    pub seconds: u64,
}

/// Sends until the time is over and every line is safe; gives the exit code.
pub fn feed(args: &FeedArgs) -> u8 {
    let fail = |error: String, code| complain("tidemill feed", &error, code);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(error.to_string(), EXIT_FAILED),
    };
    let world = World::real();
    let plan = FeedPlan {
        lines: bundled::flights(),
        rate_lines_per_s: args.rate,
        duration: Duration::from_secs(args.seconds),
    };
    runtime.block_on(async {
        let listener = match world.tcp.listen(args.listen.to_string()).await {
            Ok(listener) => listener,
            Err(error) => {
                let text = format!(
                    "cannot listen on {}: {error}; end what uses it, or choose another with --listen",
                    args.listen
                );
                return fail(text, EXIT_USAGE);
            }
        };
        let feeder = Feeder::new(listener, world.clock.clone());
        eprintln!("tidemill feed: numbered lines on {}, for whoever connects", feeder.address());
        match feeder.run(plan).await {
            Ok(lines) => {
                println!("{lines} lines were sent, and all of them are safe");
                EXIT_DONE
            }
            Err(error) => fail(error.to_string(), EXIT_FAILED),
        }
    })
}
