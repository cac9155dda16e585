//! What Prometheus sees of executors, which are processes of their own.

use crate::support::{Cluster, Process, TIDEMILL, feed, until};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

/// Two free ports of loopback, one after the other. None of those that the system gives to connections: whoever connects to such a port
/// again and again before anybody listens is connected to himself at last, and holds it.
fn free_ports() -> SocketAddr {
    let from = 20_000 + u16::try_from(std::process::id() % 5_000).unwrap() * 2;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let port = (from..32_000).step_by(2).find(|port| is_free(*port) && is_free(port + 1));
    SocketAddr::from(([127, 0, 0, 1], port.expect("there are two free ports")))
}

/// What is served there; none if nobody does yet.
fn scrape(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// The sum of the samples of a metric.
fn sum(text: &str, name: &str) -> f64 {
    let is_sample = |rest: &&str| rest.starts_with(['{', ' ']);
    let samples = text.lines().filter_map(|line| line.strip_prefix(name)).filter(is_sample);
    samples.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn each_executor_of_a_node_serves_its_metrics_on_a_port_of_its_own() {
    let (from, _fed) = feed(2_000, Duration::from_secs(600));
    let cluster = Cluster::start("metrics", from);
    let (token, data) = (cluster.token("node", "2"), cluster.folder.text("node"));
    let (driver, first) = (cluster.address.to_string(), free_ports());
    let metrics = first.to_string();
    let join = ["node", "--join", &token, "--driver", &driver, "--data", &data, "--metrics", &metrics];
    let node = Process::start(TIDEMILL, &join);
    let names = [
        "tidemill_executor_store_bytes",
        "tidemill_transport_sent_bytes_total",
        "tidemill_transport_received_bytes_total",
    ];
    // Blocks are received on one of them, and copied to the other.
    let mut sums = [0.0; 3];
    let found = until("both serve, and have had something to do", || {
        let [one, two] = [0, 1].map(|next| scrape(SocketAddr::new(first.ip(), first.port() + next)));
        let (one, two) = (one?, two?);
        sums = names.map(|name| sum(&one, name) + sum(&two, name));
        let all_there = names.iter().all(|name| one.contains(name) && two.contains(name));
        (all_there && sums.iter().all(|sum| *sum > 0.0)).then_some(())
    });
    assert!(found.is_some(), "{names:?} are {sums:?}: {}", node.log());
}
