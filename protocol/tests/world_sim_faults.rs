//! What a simulated node and its network can suffer: standing still, wrong bits, forgotten addresses, dead sockets, a full disk.
#![cfg(feature = "sim")]

use quinn::{
    AsyncUdpSocket,
    udp::{RecvMeta, Transmit},
};
use std::{
    future::poll_fn,
    io::{self, ErrorKind, IoSliceMut},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tidemill_protocol::world::sim::{self, Link, SimConfig, SimWorld};

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

type Socket = Arc<dyn AsyncUdpSocket>;

fn run<T>(scenario: impl AsyncFnOnce(SimWorld) -> T) -> T {
    sim::run(1, SimConfig::default(), scenario)
}

fn sockets(sim: &SimWorld) -> (Socket, Socket) {
    let bind = |ip| sim.node(ip).udp.bind(SocketAddr::new(ip, 0)).unwrap();
    (bind(A), bind(B))
}

fn send(from: &Socket, destination: SocketAddr, contents: &[u8]) {
    let transmit = Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None };
    from.try_send(&transmit).unwrap();
}

/// The next datagram, if one comes within ten seconds.
async fn heard(socket: &Socket) -> Option<io::Result<(Vec<u8>, SocketAddr)>> {
    let mut buffer = [0; 100];
    let mut meta = [RecvMeta::default()];
    let read = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta));
    let read = tokio::time::timeout(Duration::from_secs(10), read).await.ok()?;
    Some(read.map(|_| (buffer[..meta[0].len].to_vec(), meta[0].addr)))
}

#[test]
fn a_paused_node_waits_reads_and_sends_late_and_then_goes_on() {
    run(async |sim| {
        let (a, b) = sockets(&sim);
        let (to_a, to_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
        let (clock, other) = (sim.node(A).clock, sim.node(B).clock);
        let began = clock.now();
        sim.pause(A, Duration::from_secs(5));
        send(&a, to_b, b"late");
        send(&b, to_a, b"waits");
        assert_eq!(heard(&b).await.unwrap().unwrap().0, b"late");
        let passed = other.now().since(began);
        assert!((Duration::from_secs(5)..Duration::from_secs(6)).contains(&passed), "{passed:?}");
        assert_eq!(heard(&a).await.unwrap().unwrap().0, b"waits");
        assert_eq!(sim.net().counts().frozen, 1);
        sim.pause(A, Duration::from_secs(5));
        let began = clock.now();
        clock.sleep(Duration::from_secs(1)).await;
        assert!(clock.now().since(began) >= Duration::from_secs(5), "its waits end late");
        let began = other.now();
        other.sleep(Duration::from_secs(1)).await;
        assert!(other.now().since(began) < Duration::from_secs(2), "nobody else's do");
    });
}

#[test]
fn a_corrupted_datagram_has_one_wrong_bit_in_its_second_half() {
    run(async |sim| {
        let (a, b) = sockets(&sim);
        sim.net().set_all_links(Link { corrupt: 1.0, ..Link::default() });
        for _ in 0..100 {
            send(&a, b.local_addr().unwrap(), &[0; 40]);
            let (bytes, _) = heard(&b).await.unwrap().unwrap();
            assert_eq!(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
            assert_eq!(bytes[..20], [0; 20]);
        }
        assert_eq!(sim.net().counts().corrupted, 100);
    });
}

#[test]
fn a_rebound_flow_comes_from_another_port_and_the_old_one_leads_nowhere() {
    run(async |sim| {
        let (a, b) = sockets(&sim);
        let (old, server) = (a.local_addr().unwrap(), b.local_addr().unwrap());
        let mut seen = vec![old];
        for _ in 0..2 {
            sim.net().rebind(A, server);
            send(&b, *seen.last().unwrap(), b"to the one before");
            assert!(heard(&a).await.is_none(), "it was forgotten");
            send(&a, server, b"hello");
            let (_, from) = heard(&b).await.unwrap().unwrap();
            assert!(from.ip() == A && !seen.contains(&from), "{from} of {seen:?}");
            seen.push(from);
            send(&b, from, b"answer");
            assert_eq!(heard(&a).await.unwrap().unwrap().0, b"answer");
            send(&a, server, b"again");
            assert_eq!(heard(&b).await.unwrap().unwrap().1, from, "it stays at that port");
        }
        assert_eq!(sim.net().counts().rebound, 2, "each time once, however much is sent");
    });
}

#[test]
fn a_socket_that_is_bound_after_a_rebinding_is_no_rebound_flow_and_nor_is_a_dead_nodes() {
    run(async |sim| {
        let (a, b) = sockets(&sim);
        let server = b.local_addr().unwrap();
        sim.net().rebind(A, server);
        sim.kill(A);
        send(&a, server, b"from the dead");
        assert!(heard(&b).await.is_none());
        sim.net().rebind(A, server);
        let again = sim.revive(A).udp.bind(SocketAddr::new(A, 0)).unwrap();
        send(&again, server, b"hello");
        let (_, from) = heard(&b).await.unwrap().unwrap();
        assert_eq!(from, again.local_addr().unwrap());
        send(&b, from, b"answer");
        assert_eq!(heard(&again).await.unwrap().unwrap().0, b"answer");
        assert_eq!(sim.net().counts().rebound, 0);
    });
}

#[test]
fn only_what_takes_longer_than_on_a_sound_link_is_delayed() {
    run(async |sim| {
        let (a, b) = sockets(&sim);
        for (ms, delayed) in [(2, 0), (3, 50)] {
            let took = Duration::from_millis(ms);
            sim.net().set_all_links(Link { delay_min: took, delay_max: took, ..Link::default() });
            for _ in 0..50 {
                send(&a, b.local_addr().unwrap(), b"hello");
                heard(&b).await.unwrap().unwrap();
            }
            assert_eq!(sim.net().counts().delayed, delayed, "{ms} ms");
        }
    });
}

#[test]
fn a_broken_socket_fails_at_each_read_and_a_new_one_is_sound() {
    run(async |sim| {
        let (a, b) = sockets(&sim);
        assert_eq!(sim.net().break_sockets(A), 1);
        assert!(heard(&a).await.unwrap().is_err() && heard(&a).await.unwrap().is_err());
        assert_eq!(sim.net().break_sockets(A), 0, "it was broken before");
        let again = sim.node(A).udp.bind(SocketAddr::new(A, 0)).unwrap();
        send(&b, again.local_addr().unwrap(), b"sound");
        assert_eq!(heard(&again).await.unwrap().unwrap().0, b"sound");
    });
}

#[test]
fn a_full_disk_refuses_one_nodes_writes_until_there_is_room() {
    run(async |sim| {
        let (a, b) = (sim.node(A).files, sim.node(B).files);
        a.create_folder("/out".as_ref()).unwrap();
        let disk = sim.disk();
        disk.of(A).set_space(Some(5));
        a.write("/out/one".as_ref(), b"1234").unwrap();
        let full = a.write("/out/two".as_ref(), b"12").unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        assert!(full.to_string().contains("no space left"), "{full}");
        b.write("/out/two".as_ref(), b"12").unwrap();
        assert_eq!((disk.of(A).refused(), disk.of(B).refused(), disk.refused()), (1, 0, 1));
        a.remove("/out/one".as_ref()).unwrap();
        a.write("/out/two".as_ref(), b"12345").unwrap();
        b.write("/out/one".as_ref(), b"123456").unwrap();
        disk.of(A).set_space(None);
        a.write("/out/three".as_ref(), b"123456").unwrap();
        disk.set_space(Some(17));
        assert!(b.write("/out/four".as_ref(), b"1").is_err(), "all of it is full");
        assert_eq!((disk.of(A).refused(), disk.of(B).refused(), disk.refused()), (1, 1, 2));
    });
}
