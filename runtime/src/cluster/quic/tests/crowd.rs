//! Many machines that call one at the same moment, in virtual time: what a large cluster's first batch does to an executor.

use super::*;
use crate::cluster::quic::bulk::{Serves, serve_callers};
use std::net::{IpAddr, Ipv4Addr};
use tidemill_protocol::world::sim::{self, SimConfig, SimWorld};

const CALLERS: u16 = 300;

fn address(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), 7_000)
}

/// The bulk endpoint of node `number`, on a machine of its own.
fn bulk_of(world: &World, number: u16) -> Endpoint {
    let identity = test_identity_of(&Role::node(NodeId(number)));
    let config = EndpointConfig { rng_seed: Some(u64::from(number)), ..EndpointConfig::new(identity, None) };
    endpoint::bulk_endpoint(&world.udp, address(number), &config).unwrap()
}

/// How long until the last of all callers has an answer.
async fn all_are_answered(sim: &SimWorld) -> Duration {
    let world = sim.node(address(1).ip());
    let parts = (Gate::new("bulk", world.clock.clone()), Callers::default(), DenyList::none());
    let serves =
        Serves { store: BlockStore::new(Budget::new(1 << 20)), codec: Arc::new(RawCodec), hears: None };
    let lane = Lane::World(world.spawner.clone());
    world.spawner.spawn(serve_callers(bulk_of(&world, 1), serves, lane, parts));
    let callers: Vec<Endpoint> =
        (2..2 + CALLERS).map(|number| bulk_of(&sim.node(address(number).ip()), number)).collect();
    let begun = world.clock.now();
    let calls = callers.iter().map(async |caller| {
        let connection =
            endpoint::connect_to(caller, address(1), &test_cluster().node(NodeId(1))).await.unwrap();
        assert!(matches!(bulk::fetch(&connection, DataKey::Block(block(0))).await, Ok(None)));
        connection
    });
    let _connections = futures_util::future::join_all(calls).await;
    world.clock.now().since(begun)
}

#[test]
fn three_hundred_machines_that_call_at_once_are_answered_without_waiting_for_a_lost_datagram() {
    let took = sim::run(1, SimConfig::default(), async |sim| all_are_answered(&sim).await);
    // A first datagram that nobody takes is sent again after a second.
    assert!(took < Duration::from_millis(500), "{took:?}");
}
