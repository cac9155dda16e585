//! The network of the simulated world: TCP streams, and what becomes of datagrams.
#![cfg(feature = "sim")]

use quinn::udp::{RecvMeta, Transmit};
use std::{
    future::poll_fn,
    io::{ErrorKind, IoSliceMut},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use tidemill_protocol::{
    time::Time,
    world::{
        ByteStream, World,
        sim::{self, Link, SimConfig, SimWorld},
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn run<T>(scenario: impl AsyncFnOnce(SimWorld) -> T) -> T {
    sim::run(1, SimConfig::default(), scenario)
}

/// A connection from `a` to a listener of `b`: (client's end, server's end).
async fn connection(a: &World, b: &World) -> (Box<dyn ByteStream>, Box<dyn ByteStream>) {
    let mut listener = b.tcp.listen("0.0.0.0:0").await.unwrap();
    let client = a.tcp.connect(listener.local_addr().to_string()).await.unwrap();
    let (server, from) = listener.accept().await.unwrap();
    assert_eq!(from.ip(), A);
    (client, server)
}

#[test]
fn streams_carry_more_than_fits_on_the_way() {
    run(async |sim| {
        let (mut client, mut server) = connection(&sim.node(A), &sim.node(B)).await;
        let sent: Vec<u8> = (0..1_000_000u32).map(|number| (number % 251) as u8).collect();
        let expected = sent.clone();
        let writing = async move {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let reading = async move {
            let mut heard = Vec::new();
            server.read_to_end(&mut heard).await.unwrap();
            server.write_all(b"thanks").await.unwrap();
            heard
        };
        let (answer, heard) = futures_util::future::join(writing, reading).await;
        assert!(heard == expected);
        assert_eq!(answer, "thanks");
        assert!(
            sim.node(A).clock.now() > Time::ZERO + ms(15),
            "it took at least 16 trips of half a millisecond"
        );
        assert!(sim.net().tcp_connections().is_empty());
    });
}

#[test]
fn connects_are_refused_where_nobody_listens() {
    run(async |sim| {
        let (a, b) = (sim.node(A), sim.node(B));
        sim.net().set_name("bob", B);
        assert_eq!(a.tcp.connect("bob:80").await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(a.tcp.connect("carol:80").await.err().unwrap().kind(), ErrorKind::NotFound);
        let listener = b.tcp.listen("localhost:80").await.unwrap();
        assert_eq!(listener.local_addr(), SocketAddr::new(B, 80));
        assert_eq!(b.tcp.listen("10.0.0.2:80").await.err().unwrap().kind(), ErrorKind::AddrInUse);
        let mut held = Vec::new();
        for _ in 0..128 {
            held.push(a.tcp.connect("bob:80").await.unwrap());
        }
        assert_eq!(a.tcp.connect("bob:80").await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
        drop(listener);
        assert_eq!(a.tcp.connect("bob:80").await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(sim.net().counts().tcp_refused, 3);
        let mut last = held.pop().unwrap();
        assert_eq!(last.read(&mut [0]).await.unwrap(), 0, "a listener that goes takes its queue along");
    });
}

#[test]
fn a_killed_node_resets_its_streams() {
    run(async |sim| {
        let (a, b) = (sim.node(A), sim.node(B));
        let (mut client, _server) = connection(&a, &b).await;
        let mut waiting = b.tcp.listen("10.0.0.2:80").await.unwrap();
        let killer = async {
            a.clock.sleep(ms(50)).await;
            sim.kill(B);
        };
        let mut byte = [0];
        let (read, ()) = futures_util::future::join(client.read(&mut byte), killer).await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(client.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(sim.net().counts().tcp_reset, 1);
        assert_eq!(a.tcp.connect("10.0.0.2:80").await.err().unwrap().kind(), ErrorKind::ConnectionRefused);

        // The next life takes the port; that the dead life's listener goes later does not matter.
        let next = sim.revive(B);
        let mut listener = next.tcp.listen("10.0.0.2:80").await.unwrap();
        let dead = tokio::time::timeout(ms(10), waiting.accept()).await;
        assert!(dead.is_err(), "a dead listener accepts nothing and says nothing");
        drop(waiting);
        let (_client, accepted) =
            futures_util::future::join(a.tcp.connect("10.0.0.2:80"), listener.accept()).await;
        assert!(accepted.is_ok());
    });
}

#[test]
fn one_connection_can_be_reset_alone() {
    run(async |sim| {
        let (a, b) = (sim.node(A), sim.node(B));
        let (mut first, _end) = connection(&a, &b).await;
        let (mut second, mut other) = connection(&a, &b).await;
        let connections = sim.net().tcp_connections();
        assert_eq!(connections.len(), 2);
        assert!(connections[0].id < connections[1].id);
        assert!(sim.net().cut_tcp(connections[0].id));
        assert!(!sim.net().cut_tcp(connections[0].id), "it was reset already");
        assert_eq!(first.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        second.write_all(b"x").await.unwrap();
        let mut heard = [0];
        other.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, *b"x");
        assert_eq!(sim.net().counts().tcp_reset, 1);
    });
}

#[test]
fn a_cut_holds_streams_up_until_it_is_mended() {
    run(async |sim| {
        let (a, b) = (sim.node(A), sim.node(B));
        let (mut client, mut server) = connection(&a, &b).await;
        let mut listener = b.tcp.listen("10.0.0.2:80").await.unwrap();
        sim.net().cut(A, B);
        client.write_all(b"x").await.unwrap();
        server.write_all(b"the other direction is open").await.unwrap();
        client.read_exact(&mut [0; 27]).await.unwrap();
        let mender = async {
            a.clock.sleep(Duration::from_secs(5)).await;
            sim.net().heal(A, B);
        };
        let mut byte = [0];
        let (read, ()) = futures_util::future::join(server.read_exact(&mut byte), mender).await;
        read.unwrap();
        assert!(b.clock.now() >= Time::ZERO + Duration::from_secs(5));
        assert!(sim.net().counts().tcp_held >= 1);

        sim.net().cut_both(A, B);
        let error = a.tcp.connect("10.0.0.2:80").await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        sim.net().heal_all();
        let (client, accepted) =
            futures_util::future::join(a.tcp.connect("10.0.0.2:80"), listener.accept()).await;
        assert!(client.is_ok() && accepted.is_ok());
    });
}

/// What becomes of 1,000 datagrams of `length` bytes from A to port 7 of B: the lengths as received, in order.
async fn volley(sim: &SimWorld, length: usize) -> Vec<u32> {
    let (a, b) = (sim.node(A), sim.node(B));
    let ours = a.udp.bind(SocketAddr::new(A, 0)).unwrap();
    let theirs = b.udp.bind(SocketAddr::new(B, 7)).unwrap();
    for number in 0..1_000u32 {
        let mut contents = vec![0; length];
        contents[..4].copy_from_slice(&number.to_le_bytes());
        let destination = SocketAddr::new(B, 7);
        let transmit =
            Transmit { destination, ecn: None, contents: &contents, segment_size: None, src_ip: None };
        ours.try_send(&transmit).unwrap();
    }
    let mut heard = Vec::new();
    let listen = async {
        loop {
            let mut bytes = [0; 2_000];
            let mut meta = [RecvMeta::default()];
            let mut bufs = [IoSliceMut::new(&mut bytes)];
            poll_fn(|cx| theirs.poll_recv(cx, &mut bufs, &mut meta)).await.unwrap();
            assert_eq!(meta[0].len, length);
            heard.push(u32::from_le_bytes(bytes[..4].try_into().unwrap()));
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(1), listen).await.is_err());
    heard
}

#[test]
fn datagrams_are_lost_doubled_and_reordered_as_set() {
    run(async |sim| {
        let rough = Link { loss: 0.2, duplicate: 0.1, ..Link::default() };
        sim.net().set_all_links(rough);
        let heard = volley(&sim, 100).await;
        let counts = sim.net().counts();
        assert_eq!(counts.lost + counts.delivered, 1_000);
        assert!((150..250).contains(&counts.lost), "{counts:?}");
        assert!((50..150).contains(&counts.duplicated), "{counts:?}");
        assert_eq!(heard.len() as u64, counts.delivered + counts.duplicated);
        assert!(counts.reordered > 100 && !heard.is_sorted(), "{counts:?}");
        assert_eq!(sim.trace().datagrams(), 1_000);

        sim.net().set_link(A, B, Link { delay_min: ms(1), delay_max: ms(1), ..Link::default() });
        assert_eq!(volley(&sim, 100).await, (0..1_000).collect::<Vec<_>>());
    });
}

#[test]
fn datagrams_are_dropped_where_they_cannot_go() {
    run(async |sim| {
        assert_eq!(volley(&sim, 1_473).await, []);
        assert_eq!(sim.net().counts().oversized, 1_000);
        sim.net().cut(B, A);
        assert_eq!(volley(&sim, 1_472).await.len(), 1_000, "only the other direction is cut");
        sim.net().cut(A, B);
        assert_eq!(volley(&sim, 100).await, []);
        assert_eq!(sim.net().counts().cut, 1_000);
        sim.net().heal_both(A, B);
        assert_eq!(volley(&sim, 100).await.len(), 1_000);

        let a = sim.node(A);
        let ours = a.udp.bind(SocketAddr::new(A, 0)).unwrap();
        let to = |destination| Transmit {
            destination,
            ecn: None,
            contents: b"x",
            segment_size: None,
            src_ip: None,
        };
        ours.try_send(&to(SocketAddr::new(B, 9))).unwrap();
        assert_eq!(sim.net().counts().unbound, 1);
        let _unread = sim.node(B).udp.bind(SocketAddr::new(B, 9)).unwrap();
        for _ in 0..5_000 {
            ours.try_send(&to(SocketAddr::new(B, 9))).unwrap();
        }
        assert_eq!(sim.net().counts().overflowed, 5_000 - 4_096);
    });
}
