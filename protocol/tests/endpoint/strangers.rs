//! What a stranger gets from an endpoint: where peers are served, as little as QUIC asks for; where nobody is served, nothing.

use crate::loopback::{any_port, control, pair, udp, within};
use quinn::Endpoint;
use std::net::UdpSocket;
use tidemill_protocol::endpoint::{
    EndpointConfig, bulk_client, bulk_endpoint, control_client, control_endpoint, test_identity,
};

fn config() -> EndpointConfig {
    EndpointConfig::new(test_identity(), None)
}

/// What clients begin with, `count` times with another connection id, caught by a port that does not answer.
async fn first_flights(count: usize) -> Vec<Vec<u8>> {
    let (from, sink) =
        (control_client(&udp(), any_port(), &config()).unwrap(), UdpSocket::bind(any_port()).unwrap());
    sink.set_nonblocking(true).unwrap();
    let (mut caught, mut bytes) = (Vec::new(), vec![0; 2_048]);
    for _ in 0..count {
        let _connecting = from.connect(sink.local_addr().unwrap(), "node").unwrap();
        let caught_one = async {
            loop {
                match sink.recv(&mut bytes) {
                    Ok(length) => break bytes[..length].to_vec(),
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        caught.push(within(caught_one).await);
    }
    caught
}

/// Sends these to `to` as a stranger.
async fn come(to: &Endpoint, datagrams: &[Vec<u8>]) -> UdpSocket {
    let socket = UdpSocket::bind(any_port()).unwrap();
    socket.set_nonblocking(true).unwrap();
    for datagram in datagrams {
        socket.send_to(datagram, to.local_addr().unwrap()).unwrap();
        tokio::task::yield_now().await;
    }
    socket
}

/// How many datagrams have come to a stranger.
fn answers(socket: &UdpSocket) -> usize {
    let mut bytes = [0; 2_048];
    std::iter::from_fn(|| socket.recv(&mut bytes).ok()).count()
}

/// Of a version of QUIC that nobody knows.
fn other_version() -> Vec<u8> {
    let mut datagram = vec![0; 1_200];
    datagram[..6].copy_from_slice(&[0xc0, 0x1a, 0x2a, 0x3a, 0x4b, 8]);
    datagram
}

#[tokio::test]
async fn an_endpoint_that_only_connects_gives_strangers_nothing() {
    let clients = [
        control_client(&udp(), any_port(), &config()).unwrap(),
        bulk_client(&udp(), any_port(), &config()).unwrap(),
    ];
    // The first flights of a peer of the cluster, even.
    let flights = first_flights(200).await;
    for client in clients {
        let (near, far) = pair(&client, &control(test_identity())).await;
        let versions = come(&client, &vec![other_version(); 20]).await;
        let handshakes = come(&client, &flights).await;
        // What comes to a port is read in order: when its own peer is heard, those before were read.
        let (mut said, _) = far.open_bi().await.unwrap();
        said.write_all(b"after them").await.unwrap();
        said.finish().unwrap();
        let heard = within(async { near.accept_bi().await.unwrap().1.read_to_end(100).await.unwrap() }).await;
        assert_eq!(heard, b"after them");
        assert_eq!(answers(&versions), 0);
        // QUIC lets it say once that it knows no such connection; it is shorter than what it answers.
        assert!(answers(&handshakes) <= 1);
        assert_eq!(client.open_connections(), 1, "nothing is kept of them");
    }
}

#[tokio::test]
async fn an_endpoint_that_serves_answers_the_same_strangers() {
    let servers = [
        control_endpoint(&udp(), any_port(), &config()).unwrap(),
        bulk_endpoint(&udp(), any_port(), &config()).unwrap(),
    ];
    let flights = first_flights(1).await;
    for server in servers {
        let versions = come(&server, &[other_version()]).await;
        let handshakes = come(&server, &flights).await;
        let answered = async {
            let accepted = server.accept().await.unwrap().accept().unwrap();
            while answers(&versions) == 0 {
                tokio::task::yield_now().await;
            }
            while answers(&handshakes) == 0 {
                tokio::task::yield_now().await;
            }
            drop(accepted);
        };
        within(answered).await;
    }
}

#[tokio::test]
async fn datagrams_of_quic_which_nobody_reads_are_not_taken() {
    let (near, far) = pair(&control(test_identity()), &control(test_identity())).await;
    for connection in [near, far] {
        assert_eq!(connection.max_datagram_size(), None);
        assert!(connection.send_datagram(vec![1u8].into()).is_err());
    }
}
