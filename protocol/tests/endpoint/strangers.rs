//! What a stranger gets from an endpoint: where peers are served, as little as QUIC asks for; where nobody is served, nothing.

use crate::loopback::{any_port, control, pair, udp, within};
use quinn::Endpoint;
use std::{net::UdpSocket, time::Duration};
use tidemill_protocol::endpoint::{
    ConnectError, EndpointConfig, bulk_client, bulk_endpoint, connect, control_client, control_endpoint,
    test_identity,
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

/// How many datagrams come back for `sent`, until the endpoint has certainly read all of them.
async fn answers(endpoint: &Endpoint, sent: &[Vec<u8>]) -> usize {
    let socket = UdpSocket::bind(any_port()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let (mut count, mut bytes) = (0, [0; 2_048]);
    for datagram in sent {
        socket.send_to(datagram, endpoint.local_addr().unwrap()).unwrap();
        tokio::task::yield_now().await;
    }
    // Datagrams of one machine are read in order: when this peer has been answered, or has given up, those before were read.
    let last = EndpointConfig { control: short(), ..config() };
    let last = control_client(&udp(), any_port(), &last).unwrap();
    let _ = within(connect(&last, endpoint.local_addr().unwrap())).await;
    while socket.recv(&mut bytes).is_ok() {
        count += 1;
    }
    count
}

/// Gives up soon.
fn short() -> tidemill_protocol::endpoint::Transport {
    let mut short = config().control;
    (short.keep_alive, short.idle_timeout) = (Duration::from_millis(100), Duration::from_millis(300));
    short
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
    let flights = first_flights(200).await;
    for client in clients {
        assert_eq!(answers(&client, &vec![other_version(); 20]).await, 0);
        // QUIC lets it say once that it knows no such connection; it is shorter than what it answers.
        assert!(answers(&client, &flights).await <= 1);
        assert_eq!(client.open_connections(), 0, "nothing is kept of them");
        let peer = EndpointConfig { control: short(), ..config() };
        let peer = control_client(&udp(), any_port(), &peer).unwrap();
        let refused = within(connect(&peer, client.local_addr().unwrap())).await;
        let is_silent = matches!(refused, Err(ConnectError::Connection(quinn::ConnectionError::TimedOut)));
        assert!(is_silent, "not even a peer of the cluster: {refused:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_only_connects_does() {
    let servers = [
        control_endpoint(&udp(), any_port(), &config()).unwrap(),
        bulk_endpoint(&udp(), any_port(), &config()).unwrap(),
    ];
    for server in servers {
        // The same probes are answered here: they are what they claim to be.
        assert!(answers(&server, &[other_version()]).await >= 1);
        let client = bulk_client(&udp(), any_port(), &config()).unwrap();
        let accepting = async {
            loop {
                // Whoever probed before may still be waiting.
                if let Ok(connection) = server.accept().await.unwrap().await {
                    break connection;
                }
            }
        };
        let connecting = connect(&client, server.local_addr().unwrap());
        let (near, far) = within(async { tokio::join!(connecting, accepting) }).await;
        assert_eq!(near.unwrap().remote_address(), server.local_addr().unwrap());
        assert_eq!(far.remote_address(), client.local_addr().unwrap());
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
