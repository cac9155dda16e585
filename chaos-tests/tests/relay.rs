//! The UDP relay between real sockets on loopback, under QUIC.

use std::{net::SocketAddr, time::Duration};
use tidemill_chaos::relay::{Cut, Relay, RelayConfig, RelayCounts};
use tidemill_protocol::{
    endpoint::{self, EndpointConfig, Mtu},
    world::World,
};

const DEADLINE: Duration = Duration::from_secs(150);

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Patient enough for a relay that loses most of what passes.
fn config() -> EndpointConfig {
    let mut config = EndpointConfig::new(endpoint::test_identity(), None);
    config.bulk.mtu = Mtu::Smallest;
    config.bulk.idle_timeout = DEADLINE;
    config
}

/// Sends `bytes` through a relay to a server that echoes them, in rounds; `during` has the relay after the first.
fn echo(
    rounds: usize,
    bytes: usize,
    tune: impl FnOnce(&mut RelayConfig),
    during: impl Fn(&Relay),
) -> RelayCounts {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::real_on(tokio::runtime::Handle::current());
        let server = endpoint::bulk_endpoint(&world.udp, any_port(), &config()).unwrap();
        let client = endpoint::bulk_endpoint(&world.udp, any_port(), &config()).unwrap();
        let mut relayed = RelayConfig::sound(any_port(), server.local_addr().unwrap());
        tune(&mut relayed);
        let relay = Relay::start(relayed).await.unwrap();
        tokio::spawn(async move {
            let connection = server.accept().await.unwrap().await.unwrap();
            while let Ok((mut answer, mut question)) = connection.accept_bi().await {
                let asked = question.read_to_end(bytes).await.unwrap();
                answer.write_all(&asked).await.unwrap();
                answer.finish().unwrap();
            }
        });
        let work = async {
            let connection = endpoint::connect(&client, relay.local_addr()).await.unwrap();
            for round in 0..rounds {
                let sent: Vec<u8> = (0..bytes).map(|at| (at * 31 + round) as u8).collect();
                let (mut question, mut answer) = connection.open_bi().await.unwrap();
                question.write_all(&sent).await.unwrap();
                question.finish().unwrap();
                assert_eq!(answer.read_to_end(bytes).await.unwrap(), sent, "round {round}");
                if round == 0 {
                    during(&relay);
                }
            }
        };
        tokio::time::timeout(DEADLINE, work).await.expect("it passes in time");
        relay.counts()
    })
}

#[test]
fn a_relay_that_loses_30_percent_each_way_still_passes_data() {
    let tune = |config: &mut RelayConfig| {
        config.loss = 0.3;
        config.seed = 7;
    };
    let counts = echo(2, 4_000, tune, |_| ());
    println!("{counts:?}");
    assert!(counts.lost > 0 && counts.forwarded > 0, "{counts:?}");
}

#[test]
fn a_relay_doubles_delays_and_reorders() {
    let tune = |config: &mut RelayConfig| {
        config.duplicate = 0.5;
        config.delay = Duration::from_millis(1);
        config.jitter = Duration::from_millis(10);
    };
    let counts = echo(3, 50_000, tune, |_| ());
    assert!(counts.duplicated > 0 && counts.reordered > 0 && counts.lost == 0, "{counts:?}");
}

#[test]
fn a_relay_cuts_and_heals_on_order() {
    for cut in [Cut::Both, Cut::ToServer, Cut::ToPeers] {
        let during = |relay: &Relay| {
            relay.cut(cut);
            let (shared, counts) = (relay.handle(), relay.counts());
            // Healed once something was swallowed: what follows passes only then.
            tokio::spawn(async move {
                while shared.counts().cut == counts.cut {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                shared.cut(Cut::Healed);
            });
        };
        let counts = echo(3, 5_000, |_| (), during);
        assert!(counts.cut > 0, "{cut:?}: {counts:?}");
    }
}
