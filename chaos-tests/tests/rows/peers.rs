//! Rows 56 to 58: peers that want too much.

use crate::numbers::{Seen, numbers, remainders, slow_tasks};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidemill::{ClusterEvent, cluster::sim::NodeId};
use tidemill_protocol::{
    endpoint::{self, EndpointConfig, Mtu, Transport},
    identity::Role,
    world::{
        World,
        sim::{self, SimConfig},
    },
};

/// Where a simulated driver listens.
const CONTROL_PORT: u16 = 7_000;
/// A multiple of 6.
const NUMBERS: u64 = 9_000;
const HANDSHAKES: u64 = 500;
/// A machine of the cluster that runs no executor.
const STRANGER: NodeId = NodeId(9);

fn config(seed: u64) -> EndpointConfig {
    let mut config = EndpointConfig::new(endpoint::test_identity_of(&Role::node(STRANGER)), Some(seed));
    config.control.mtu = Mtu::Smallest;
    config
}

#[test]
fn row_56_five_hundred_handshakes_at_once_that_say_nothing_are_bounded_and_the_job_does_not_notice() {
    let transport = Transport::control();
    assert!(transport.incoming_max as u64 * transport.incoming_bytes_max <= 4 << 20, "what they may hold");
    let seen = Seen::default();
    let (into, watched) = (seen.clone(), seen.clone());
    let pipeline = move |context: &tidemill::StreamContext| {
        into.fold(&numbers(context, NUMBERS).map(|number| (number % 10, 1)));
        Ok(())
    };
    let (open, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tallies = (open.clone(), refused.clone());
    let outcome = slow_tasks(56).run(pipeline, async |cluster| {
        watched.listen(cluster);
        cluster.sleep(Duration::from_millis(1_000)).await;
        let (host, driver) = (cluster.host(5), SocketAddr::new(cluster.ip(NodeId::DRIVER), CONTROL_PORT));
        storm(&host, SocketAddr::new(cluster.host_ip(5), 0), driver, tallies);
        let outcome = cluster.wait_until_ended(Duration::from_secs(120)).await;
        // What still waits for an answer gives up with its connection's idle timeout.
        cluster.sleep(Duration::from_secs(10)).await;
        outcome
    });
    assert_eq!(outcome.expect("the cluster starts"), Some(Ok(())));
    assert_eq!(seen.totals(), remainders(NUMBERS));
    assert_eq!(seen.count(|event| matches!(event, ClusterEvent::ExecutorDown(_))), 0);
    let (open, refused) = (open.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    println!("{open} handshakes came about, {refused} were refused");
    assert_eq!(open + refused, HANDSHAKES, "each came to an end");
    assert!(open > 0, "none came about");
}

/// Connects again and again, and says nothing.
fn storm(
    host: &World,
    own: SocketAddr,
    driver: SocketAddr,
    (open, refused): (Arc<AtomicU64>, Arc<AtomicU64>),
) {
    let from = endpoint::control_endpoint(&host.udp, own, &config(56)).expect("a host of its own");
    for _ in 0..HANDSHAKES {
        let (from, open, refused) = (from.clone(), open.clone(), refused.clone());
        let name = endpoint::test_cluster().driver();
        host.spawner.spawn(async move {
            match endpoint::connect_to(&from, driver, &name).await {
                Ok(connection) => {
                    open.fetch_add(1, Ordering::Relaxed);
                    connection.closed().await;
                }
                Err(_) => _ = refused.fetch_add(1, Ordering::Relaxed),
            }
        });
    }
}

/// RUSTSEC-2026-0185: before 0.11.15 fragments with gaps took memory without bound.
#[test]
fn row_57_the_quic_in_use_bounds_the_memory_of_stream_fragments_with_gaps() {
    let lock = include_str!("../../../Cargo.lock");
    let entry =
        lock.split("[[package]]").find(|entry| entry.contains("name = \"quinn-proto\"")).expect("in use");
    let version = entry.lines().find_map(|line| line.strip_prefix("version = \"")).expect("it has one");
    let parts: Vec<u64> =
        version.trim_end_matches('"').split('.').map(|part| part.parse().expect("a number")).collect();
    assert!(parts >= vec![0, 11, 15], "quinn-proto {version}");
}

#[test]
fn row_58_a_peer_that_was_connected_before_has_no_0_rtt_to_replay() {
    let tried = sim::run(58, SimConfig::default(), async |sim| {
        let (near, far) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let (here, there) = (sim.node(near), sim.node(far));
        let client =
            endpoint::control_endpoint(&here.udp, SocketAddr::new(near, 0), &config(1)).expect("free");
        let server =
            endpoint::control_endpoint(&there.udp, SocketAddr::new(far, 1), &config(2)).expect("free");
        let address = server.local_addr().expect("bound");
        there.spawner.spawn(async move {
            while let Some(incoming) = server.accept().await {
                // Tickets would be sent with the end of the handshake.
                if let Ok(connection) = incoming.await {
                    connection.closed().await;
                }
            }
        });
        for _ in 0..2 {
            let connecting =
                client.connect(address, &endpoint::test_cluster().node(STRANGER)).expect("an address");
            let Err(connecting) = connecting.into_0rtt() else { return "0-RTT" };
            let connection = connecting.await.expect("one authority");
            here.clock.sleep(Duration::from_secs(1)).await;
            endpoint::close(&connection, endpoint::CloseCode::Done, "next");
            here.clock.sleep(Duration::from_secs(1)).await;
        }
        "a full handshake each time"
    });
    assert_eq!(tried, "a full handshake each time");
}
