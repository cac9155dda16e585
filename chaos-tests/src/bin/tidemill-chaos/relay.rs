//! `tidemill-chaos relay`: the UDP relay as a process of its own, told what to cut through its standard input.

use clap::Args;
use std::{io::BufRead, net::SocketAddr, thread, time::Duration};
use tidemill_chaos::relay::{Cut, Relay, RelayConfig};
use tokio::sync::mpsc;

#[derive(Args, Debug)]
#[command(
    after_help = "Orders on standard input, one a line: cut, cut-to-server, cut-to-peers, heal, counts, stop\n\n\
    Example:\n  tidemill-chaos relay --listen 127.0.0.1:0 --to 127.0.0.1:7000 --loss 0.3 --delay 5ms --for 0s"
)]
pub struct RelayArgs {
    /// Where peers send to
    #[arg(long)]
    listen: SocketAddr,
    /// The server
    #[arg(long)]
    to: SocketAddr,
    /// The share of datagrams that is lost, each way
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    loss: f64,
    /// The share that arrives twice
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    duplicate: f64,
    /// The shortest time that a datagram takes
    #[arg(long, default_value = "0ms", value_parser = span)]
    delay: Duration,
    /// How much longer it may take
    #[arg(long, default_value = "0ms", value_parser = span)]
    jitter: Duration,
    /// What the lots are drawn from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// For how long; without it until `stop`
    #[arg(long = "for", value_parser = span)]
    lasts: Option<Duration>,
}

fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share is a number from 0 to 1".to_owned())
}

fn span(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000)];
    let found = units.iter().find_map(|(unit, ms)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*ms).map(Duration::from_millis)
    });
    found.ok_or_else(|| "a time is a number with ms or s, as in 5ms".to_owned())
}

/// Relays until it is over; false if it cannot listen.
pub fn run(args: &RelayArgs) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(relay(args)),
        Err(error) => {
            eprintln!("tidemill-chaos: {error}");
            false
        }
    }
}

async fn relay(args: &RelayArgs) -> bool {
    let config = RelayConfig {
        listen: args.listen,
        to: args.to,
        loss: args.loss,
        duplicate: args.duplicate,
        delay: args.delay,
        jitter: args.jitter,
        seed: args.seed,
    };
    let relay = match Relay::start(config).await {
        Ok(relay) => relay,
        Err(error) => {
            eprintln!("tidemill-chaos: cannot listen on {}: {error}", args.listen);
            return false;
        }
    };
    println!("{} > {}", relay.local_addr(), args.to);
    let (tell, mut orders) = mpsc::channel(16);
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if tell.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let end = async {
        match args.lasts {
            Some(lasts) => tokio::time::sleep(lasts).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    loop {
        let order = tokio::select! {
            biased;
            () = &mut end => break,
            order = orders.recv() => order,
        };
        match order.as_deref().map(str::trim) {
            Some("cut") => relay.cut(Cut::Both),
            Some("cut-to-server") => relay.cut(Cut::ToServer),
            Some("cut-to-peers") => relay.cut(Cut::ToPeers),
            Some("heal") => relay.cut(Cut::Healed),
            Some("counts") => println!("{:?}", relay.counts()),
            Some("stop") => break,
            Some(other) => eprintln!("tidemill-chaos: `{other}` is no order"),
            // Nobody gives orders any more; the relay goes on until its time is over.
            None => break (&mut end).await,
        }
    }
    println!("{:?}", relay.counts());
    true
}
