//! Those who send datagrams and do not go on: garbage of several forms, floods of first flights, half handshakes. Each burst is
//! followed by the next one when the process has read it, so that what is counted was seen.

use super::{
    Tally, stranger,
    watch::{Ports, all_read, count, dropped},
};
use crate::support::DEADLINE;
use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};
use tidemill_protocol::{
    endpoint::{EndpointConfig, Identity, control_client},
    world::World,
};

/// Of each form, at each port.
const GARBAGE: usize = 150;
const FLOOD: usize = 300;
const HALVES: usize = 40;
/// Datagrams to a port between two looks whether they were read: far fewer than a socket holds.
const BURST: usize = 30;
/// When a first flight that was not answered is repeated.
const REPEAT_AFTER: Duration = Duration::from_secs(2);
/// How many addresses floods come from.
const ADDRESSES: u8 = 16;

/// Random bytes; bytes that begin like a first flight of QUIC's version 1; like a packet of a connection; a whole first datagram of a
/// version that nobody knows.
const FORMS: [&str; 4] =
    ["random bytes", "a false first flight", "a false packet", "an unknown version of QUIC"];
const FIRST: &str = "a first flight and no more";
const HALF: &str = "half a handshake";

/// Whether such an attempt is datagrams and no more.
pub fn is_datagram(kind: &str) -> bool {
    FORMS.contains(&kind) || [FIRST, HALF].contains(&kind)
}

/// What a client begins with, each of another connection, caught by a port that does not answer.
pub async fn first_flights(identity: &Identity, wanted: usize) -> Vec<Vec<u8>> {
    let world = World::real();
    let config = EndpointConfig::new(identity.clone(), None);
    let from = control_client(&world.udp, stranger(0), &config).unwrap();
    let sink = UdpSocket::bind(stranger(0)).unwrap();
    sink.set_nonblocking(true).unwrap();
    let (mut caught, mut known) = (Vec::new(), BTreeSet::new());
    let mut bytes = vec![0; 2_048];
    while caught.len() < wanted {
        let _connecting = from.connect(sink.local_addr().unwrap(), "driver.tidemill").unwrap();
        loop {
            // Repetitions and farewells have the connection's id of the first one.
            match sink.recv(&mut bytes) {
                Ok(length) if length >= 1_200 && known.insert(bytes[6..14].to_vec()) => {
                    caught.push(bytes[..length].to_vec());
                    break;
                }
                _ => tokio::task::yield_now().await,
            }
        }
    }
    caught
}

pub struct Datagrams<'a> {
    ports: &'a Ports,
    flights: Vec<Vec<u8>>,
    sockets: Vec<UdpSocket>,
    tally: Tally,
}

impl<'a> Datagrams<'a> {
    pub fn new(ports: &'a Ports, flights: Vec<Vec<u8>>) -> Self {
        let sockets = (0..ADDRESSES).map(|number| UdpSocket::bind(stranger(number)).unwrap()).collect();
        Datagrams { ports, flights, sockets, tally: Tally::new() }
    }

    /// All of them come, and go on until `is_enough` says so.
    pub async fn come(mut self, is_enough: impl Fn() -> bool) -> Tally {
        let before: u64 = self.ports.all().into_iter().map(dropped).sum();
        self.ask_for_versions().await;
        let _silent = self.halves().await;
        for (form, name) in FORMS.into_iter().enumerate() {
            self.burst(name, GARBAGE, |number| garbage(form, number)).await;
        }
        let flights = std::mem::take(&mut self.flights);
        let (_, flood) = flights.split_at(HALVES);
        self.burst(FIRST, FLOOD, |number| flood[number % flood.len()].clone()).await;
        let clock = World::real().clock;
        let deadline = clock.now() + DEADLINE;
        while !is_enough() {
            assert!(clock.now() < deadline, "whoever belongs here comes in");
            // Somebody who belongs here is about to come in.
            self.burst(FIRST, BURST, |number| flood[number].clone()).await;
        }
        let dropped = self.ports.all().into_iter().map(dropped).sum::<u64>() - before;
        let sent: u64 = self.tally.values().sum();
        println!("{sent} datagrams, of which the system has dropped {dropped}");
        assert!(dropped * 20 < sent, "most of them are seen: {dropped} of {sent} were not");
        self.tally
    }

    /// As many datagrams to each port.
    async fn burst(&mut self, kind: &'static str, number: usize, make: impl Fn(usize) -> Vec<u8>) {
        let ports = self.ports.all();
        for begin in (0..number).step_by(BURST) {
            let numbers = begin..(begin + BURST).min(number);
            for port in &ports {
                for number in numbers.clone() {
                    let socket = &self.sockets[number % self.sockets.len()];
                    // Refused by the system only where nobody listens.
                    let sent = socket.send_to(&make(number), port);
                    count(&mut self.tally, self.ports.name(*port), kind, u64::from(sent.is_ok()));
                }
            }
            is_read(&ports).await;
        }
    }

    /// Who serves says which versions it knows; who only connects says nothing.
    async fn ask_for_versions(&mut self) {
        for port in self.ports.all() {
            let socket = listening(0);
            let is_quiet = self.ports.name(port) == "quiet";
            for number in 0..10 {
                socket.send_to(&garbage(3, number), port).unwrap();
            }
            is_read(&[port]).await;
            let is_answered = if is_quiet { is_answered(&socket) } else { answer(&socket).await };
            assert_eq!(is_answered, !is_quiet, "{port}");
            count(&mut self.tally, self.ports.name(port), FORMS[3], 10);
        }
    }

    /// Half handshakes: the server's flight comes, and there is no answer to it. They last as long as their sockets.
    async fn halves(&mut self) -> Vec<UdpSocket> {
        let mut silent = Vec::new();
        for port in self.ports.all() {
            let name = self.ports.name(port);
            for (number, flight) in self.flights[..HALVES].iter().enumerate() {
                let socket = listening(u8::try_from(number).unwrap() % ADDRESSES);
                socket.send_to(flight, port).unwrap();
                // Once QUIC lets an endpoint say that it knows no such connection.
                if name != "quiet" && !answer_within(&socket, REPEAT_AFTER).await {
                    // In a crowd it was passed over: as any client, it says it again.
                    socket.send_to(flight, port).unwrap();
                    assert!(answer(&socket).await, "{port} answers who begins a handshake");
                }
                silent.push(socket);
            }
            count(&mut self.tally, name, HALF, HALVES as u64);
        }
        silent
    }
}

/// Waits until a process has read what was sent to these ports.
async fn is_read(ports: &[SocketAddr]) {
    let reading = async {
        while !all_read(ports) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.expect("what comes is read");
}

fn listening(number: u8) -> UdpSocket {
    let socket = UdpSocket::bind(stranger(number)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn is_answered(socket: &UdpSocket) -> bool {
    socket.recv(&mut [0; 2_048]).is_ok()
}

/// Whether an answer comes.
async fn answer(socket: &UdpSocket) -> bool {
    answer_within(socket, DEADLINE).await
}

async fn answer_within(socket: &UdpSocket, patience: Duration) -> bool {
    let clock = World::real().clock;
    let deadline = clock.now() + patience;
    while clock.now() < deadline {
        if is_answered(socket) {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

fn garbage(form: usize, number: usize) -> Vec<u8> {
    let mut seed = (form * 10_000 + number) as u64 + 1;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    };
    let length = if form == 3 { 1_200 } else { 21 + number * 7 % 1_400 };
    let mut bytes: Vec<u8> = (0..length).map(|_| next()).collect();
    match form {
        1 => bytes[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]),
        2 => bytes[0] = 0x40 | bytes[0] & 0x3f,
        // Both connections' ids of 8 bytes.
        3 => {
            bytes[..6].copy_from_slice(&[0xc0, 0x1a, 0x2a, 0x3a, 0x4b, 8]);
            bytes[14] = 8;
        }
        _ => {}
    }
    bytes
}
