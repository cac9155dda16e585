//! How long lone packets wait to be acknowledged, and how long handshakes take where much is lost, in virtual time.

use crate::loopback::pair;
use quinn::Connection;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use tidemill_protocol::endpoint::{EndpointConfig, bulk_endpoint, connect, control_endpoint, test_identity};
use tidemill_protocol::world::{
    World,
    sim::{self, Link, SimConfig, SimWorld},
};

/// From node to node.
const DELAY: Duration = Duration::from_millis(1);
/// We look once a millisecond, the step of virtual time, and see what came in the last one.
const LOOKS: u128 = 1;

/// All links lose this share of what goes either way.
fn simulate(seed: u64, loss: f64, scenario: impl AsyncFnOnce(World, SimWorld)) {
    let link =
        Link { delay_min: DELAY, delay_max: DELAY, loss, duplicate: 0.0, corrupt: 0.0, ..Link::default() };
    sim::run(seed, SimConfig { link, ..SimConfig::default() }, async |sim: SimWorld| {
        let world = sim.node(ip(1));
        scenario(world, sim).await;
    });
}

fn ip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

/// How long after a lone packet of `from` its acknowledgement is there, to the millisecond.
async fn acknowledged_after(world: &World, from: &Connection) -> u128 {
    // Nothing is under way any more, and neither is asked yet whether it lives.
    world.clock.sleep(Duration::from_millis(200)).await;
    let (before, start) = (from.stats().frame_rx.acks, world.clock.now());
    let mut stream = from.open_uni().await.unwrap();
    stream.write_all(b"done").await.unwrap();
    while from.stats().frame_rx.acks == before {
        world.clock.sleep(Duration::from_millis(1)).await;
    }
    world.clock.now().since(start).as_millis()
}

#[test]
fn who_was_called_on_a_control_link_acknowledges_at_once_and_who_called_waits_for_5_ms() {
    simulate(7, 0.0, async |world, sim| {
        let node = |last| {
            let config = EndpointConfig::new(test_identity(), Some(u64::from(last)));
            control_endpoint(&sim.node(ip(last)).udp, SocketAddr::new(ip(last), 7_000), &config).unwrap()
        };
        let (executor, driver) = pair(&node(2), &node(3)).await;
        let (there_and_back, wait) = (2, 5);
        assert_eq!(acknowledged_after(&world, &executor).await, LOOKS + there_and_back);
        assert_eq!(acknowledged_after(&world, &driver).await, LOOKS + there_and_back + wait);
    });
}

#[test]
fn lone_packets_of_a_bulk_connection_are_acknowledged_within_1_ms() {
    simulate(7, 0.0, async |world, sim| {
        let node = |last| {
            let mut config = EndpointConfig::new(test_identity(), Some(u64::from(last)));
            config.bulk.uni_streams_max = 8;
            bulk_endpoint(&sim.node(ip(last)).udp, SocketAddr::new(ip(last), 7_000), &config).unwrap()
        };
        let (near, far) = pair(&node(2), &node(3)).await;
        let (there_and_back, wait) = (2, 1);
        assert_eq!(acknowledged_after(&world, &near).await, LOOKS + there_and_back + wait);
        assert_eq!(acknowledged_after(&world, &far).await, LOOKS + there_and_back + wait);
    });
}

/// Milliseconds of handshakes through links that lose 30 % each way, by seed.
fn handshakes(seeds: std::ops::Range<u64>) -> Vec<u128> {
    let took = |seed| {
        let mut took = 0;
        simulate(seed, 0.3, async |world, sim| {
            let node = |last: u8| {
                let mut config = EndpointConfig::new(test_identity(), Some(seed * 10 + u64::from(last)));
                config.bulk.idle_timeout = Duration::from_secs(120);
                bulk_endpoint(&sim.node(ip(last)).udp, SocketAddr::new(ip(last), 7_000), &config).unwrap()
            };
            let (client, server) = (node(2), node(3));
            let address = server.local_addr().unwrap();
            world.spawner.spawn(async move {
                let connection = server.accept().await.unwrap().await.unwrap();
                connection.closed().await;
            });
            let start = world.clock.now();
            connect(&client, address).await.unwrap();
            took = world.clock.now().since(start).as_millis();
        });
        took
    };
    seeds.map(took).collect()
}

#[test]
fn where_half_of_all_round_trips_fail_most_handshakes_take_less_than_a_second() {
    let mut took = handshakes(0..200);
    took.sort_unstable();
    let of_200 = |rank: usize| took[rank - 1];
    println!("median {} ms, 180th {} ms, last {} ms", of_200(100), of_200(180), of_200(200));
    assert!(of_200(100) < 300 && of_200(180) < 2_000, "{took:?}");
}
