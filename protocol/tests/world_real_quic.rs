//! quinn over the real world's UDP socket: more data than any buffer holds, both ways at once, so that writers have to wait
//! and segments are joined and split by the system.

mod tls;

use std::{net::SocketAddr, sync::Arc, time::Duration};
use tidemill_protocol::world::World;

const BYTES: usize = 8 << 20;

fn endpoint(world: &World) -> quinn::Endpoint {
    let (server, client) = tls::configs();
    let socket = world.udp.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let (config, runtime) = (quinn::EndpointConfig::default(), Arc::new(quinn::TokioRuntime));
    let mut endpoint =
        quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime).unwrap();
    endpoint.set_default_client_config(client);
    endpoint
}

fn pattern(step: usize) -> Vec<u8> {
    (0..BYTES).map(|place| (place * step / 7) as u8).collect()
}

/// Sends `ours` and gives what the peer sends.
async fn exchange(connection: &quinn::Connection, ours: Vec<u8>) -> Vec<u8> {
    let sending = async {
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(&ours).await.unwrap();
        stream.finish().unwrap();
        stream.stopped().await.unwrap();
    };
    let receiving = async { connection.accept_uni().await.unwrap().read_to_end(BYTES).await.unwrap() };
    let ((), theirs) = futures_util::future::join(sending, receiving).await;
    theirs
}

#[tokio::test]
async fn quic_moves_bulk_both_ways_over_the_real_socket() {
    let world = World::real();
    let (asking, answering) = (endpoint(&world), endpoint(&world));
    let address = answering.local_addr().unwrap();
    let asked = async {
        let connection = asking.connect(address, "node").unwrap().await.unwrap();
        // The connection is kept until both have ended: dropping it says goodbye to a peer that may still wait.
        (exchange(&connection, pattern(3)).await, connection)
    };
    let answered = async {
        let connection = answering.accept().await.unwrap().await.unwrap();
        (exchange(&connection, pattern(5)).await, connection)
    };
    let both = futures_util::future::join(asked, answered);
    let ((heard_back, _asking), (heard, _answering)) =
        tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    assert!(heard == pattern(3), "what was asked has changed");
    assert!(heard_back == pattern(5), "what was answered has changed");
}
