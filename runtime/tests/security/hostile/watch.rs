//! What the system and the product say: ports, memory, what was read; the metrics page, and lines of a log.

use super::Tally;
use crate::support::{Cluster, Process, executors};
use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// The ports of a cluster, by what is behind them.
pub struct Ports {
    pub control: SocketAddr,
    pub join: SocketAddr,
    /// Where executors serve each other.
    pub bulk: Vec<SocketAddr>,
    /// Where nobody serves: the driver's bulk endpoint, executors' control endpoints.
    pub quiet: Vec<SocketAddr>,
    /// All processes, with their names.
    pub processes: Vec<(String, u32)>,
}

impl Ports {
    pub fn find(cluster: &Cluster, nodes: &[Process]) -> Self {
        let control = cluster.address;
        let join = SocketAddr::new(control.ip(), control.port() + 1);
        let bulk: Vec<SocketAddr> = cluster.status("all say where they serve", |status| {
            let executors = status["executors"].as_array()?.iter();
            executors.map(|executor| executor["bulk_address"].as_str()?.parse().ok()).collect()
        });
        let mut processes = vec![("driver".to_owned(), cluster.driver.pid())];
        let executors = executors(&cluster.folder.path(""));
        processes.extend(executors.iter().map(|(node, pid)| (format!("executor {node}"), *pid)));
        let all: BTreeSet<SocketAddr> = processes.iter().flat_map(|(_, pid)| udp_ports(*pid)).collect();
        let serving: BTreeSet<SocketAddr> = bulk.iter().copied().chain([control, join]).collect();
        assert!(all.is_superset(&serving), "{all:?} hold {serving:?}");
        let quiet: Vec<SocketAddr> = all.difference(&serving).copied().collect();
        assert_eq!((bulk.len(), quiet.len()), (4, 5), "the driver's, and one for each executor: {all:?}");
        for node in nodes {
            assert_eq!(udp_ports(node.pid()), [], "an agent has no port");
            processes.push((format!("agent {}", node.pid()), node.pid()));
        }
        Ports { control, join, bulk, quiet, processes }
    }

    pub fn all(&self) -> Vec<SocketAddr> {
        [self.control, self.join].into_iter().chain(self.bulk.clone()).chain(self.quiet.clone()).collect()
    }

    /// The name under which what happens there is counted.
    pub fn name(&self, port: SocketAddr) -> &'static str {
        match port {
            port if port == self.control => "control",
            port if port == self.join => "join",
            port if self.bulk.contains(&port) => "bulk",
            _ => "quiet",
        }
    }
}

/// A row of the system's table of UDP sockets: address, bytes that wait to be read, inode, datagrams dropped.
fn sockets() -> Vec<(SocketAddr, u64, String, u64)> {
    let table = fs::read_to_string("/proc/net/udp").unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.map(|row| {
        let (ip, port) = row[1].split_once(':').unwrap();
        // As it stands in memory, where the network's order is kept.
        let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).unwrap().to_ne_bytes());
        let address = SocketAddr::from((ip, u16::from_str_radix(port, 16).unwrap()));
        let waiting = u64::from_str_radix(row[4].split_once(':').unwrap().1, 16).unwrap();
        (address, waiting, row[9].to_owned(), row.last().unwrap().parse().unwrap())
    })
    .collect()
}

/// Where a process has UDP sockets.
fn udp_ports(pid: u32) -> Vec<SocketAddr> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let names = links.filter_map(|link| fs::read_link(link.path()).ok());
    let inodes: BTreeSet<String> = names
        .filter_map(|name| Some(name.to_str()?.strip_prefix("socket:[")?.strip_suffix("]")?.to_owned()))
        .collect();
    let own = sockets().into_iter().filter(|(_, _, inode, _)| inodes.contains(inode));
    own.map(|(address, ..)| address).collect()
}

/// Whether everything that came to these ports has been read, or dropped. Strangers have addresses of their own, and by chance a port
/// with the same number, at which nobody reads.
pub fn all_read(ports: &[SocketAddr]) -> bool {
    sockets().into_iter().all(|(address, waiting, ..)| waiting == 0 || !ports.contains(&address))
}

/// How many datagrams to this port the system has dropped.
pub fn dropped(port: SocketAddr) -> u64 {
    sockets().into_iter().filter(|row| row.0 == port).map(|row| row.3).sum()
}

fn memory_kib(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|text| text.strip_prefix(line)).expect("a process has memory");
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// What a process has in memory; from here on the system watches how much it becomes (proc(5), `clear_refs`).
pub fn watched_kib(pid: u32) -> u64 {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    memory_kib(pid, "VmRSS:")
}

/// The most that it has had in memory since then.
pub fn peak_kib(pid: u32) -> u64 {
    memory_kib(pid, "VmHWM:")
}

/// The driver's page of metrics.
pub fn page(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: driver\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// How many of a kind were turned away at a port, as the page says.
pub fn of_page(page: &str, port: &str, kind: &str) -> u64 {
    let labels = format!("tidemill_turned_away_total{{port=\"{port}\",kind=\"{kind}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&labels)).map_or(0, |count| count.trim().parse().unwrap())
}

/// The same as a log says.
pub fn told(log: &str, port: &str, kind: &str) -> u64 {
    let wanted = format!("a peer was turned away port=\"{port}\" kind=\"{kind}\"");
    let lines = log.lines().filter(|line| line.contains(&wanted));
    lines.map(|line| 1 + line.rsplit_once("unsaid=").unwrap().1.trim().parse::<u64>().unwrap()).sum()
}

/// Visitors of the metrics page who say what is not HTTP, and some who say half of it and wait.
pub struct Visitors {
    count: u64,
    waiting: Vec<TcpStream>,
    address: SocketAddr,
}

impl Visitors {
    pub fn come(address: SocketAddr) -> Self {
        let mut visitors = Visitors { count: 0, waiting: Vec::new(), address };
        for number in 0..100_u32 {
            let mut stream = visitors.connect();
            if number % 2 == 0 {
                stream.write_all(b"GET /metrics HT").unwrap();
                visitors.waiting.push(stream);
            } else {
                // It may have hung up before all was said.
                let _ = stream.write_all(&number.to_le_bytes().repeat(1_000));
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer);
                assert!(!answer.starts_with(b"HTTP/1.1 200"), "nothing is shown for that");
            }
        }
        visitors
    }

    fn connect(&mut self) -> TcpStream {
        self.count += 1;
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Those who waited go; the page is still there.
    pub fn leave(&mut self) {
        self.waiting.clear();
        assert!(page(self.address).starts_with("HTTP/1.1 200"));
    }
}

/// Adds to a tally.
pub fn count(tally: &mut Tally, port: &'static str, kind: &'static str, count: u64) {
    *tally.entry((port, kind)).or_default() += count;
}
