//! How long lone packets wait to be acknowledged, in virtual time.

use crate::loopback::pair;
use quinn::Connection;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use tidemill_protocol::endpoint::{EndpointConfig, bulk_endpoint, control_endpoint, test_identity};
use tidemill_protocol::world::{
    World,
    sim::{self, Link, SimConfig, SimWorld},
};

/// From node to node.
const DELAY: Duration = Duration::from_millis(1);

fn simulate(scenario: impl AsyncFnOnce(World, SimWorld)) {
    let link = Link {
        delay_min: DELAY,
        delay_max: DELAY,
        loss: 0.0,
        duplicate: 0.0,
        corrupt: 0.0,
        ..Link::default()
    };
    sim::run(7, SimConfig { link, ..SimConfig::default() }, async |sim: SimWorld| {
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
        world.clock.sleep(Duration::from_micros(100)).await;
    }
    world.clock.now().since(start).as_millis()
}

#[test]
fn lone_packets_of_a_control_link_are_acknowledged_within_5_ms() {
    simulate(async |world, sim| {
        let node = |last| {
            let config = EndpointConfig::new(test_identity(), Some(u64::from(last)));
            control_endpoint(&sim.node(ip(last)).udp, SocketAddr::new(ip(last), 7_000), &config).unwrap()
        };
        let (executor, driver) = pair(&node(2), &node(3)).await;
        assert_eq!(acknowledged_after(&world, &executor).await, 2 + 5, "there and back, and the wait");
        assert_eq!(acknowledged_after(&world, &driver).await, 2 + 5);
    });
}

#[test]
fn lone_packets_of_a_bulk_connection_are_acknowledged_within_1_ms() {
    simulate(async |world, sim| {
        let node = |last| {
            let mut config = EndpointConfig::new(test_identity(), Some(u64::from(last)));
            config.bulk.uni_streams_max = 8;
            bulk_endpoint(&sim.node(ip(last)).udp, SocketAddr::new(ip(last), 7_000), &config).unwrap()
        };
        let (near, far) = pair(&node(2), &node(3)).await;
        assert_eq!(acknowledged_after(&world, &near).await, 2 + 1);
        assert_eq!(acknowledged_after(&world, &far).await, 2 + 1);
    });
}
