//! Strangers at every port of a driver and a node that run.

use crate::support::{Cluster, DEADLINE, TIDEMILL, executors, feed, plain, until};
use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};
use tidemill_protocol::{
    endpoint::{
        ControlLink, EndpointConfig, Identity, bulk_endpoint, connect_to,
        join::{JoinError, join},
        link::LinkConfig,
    },
    id::{Epoch, Incarnation, Member, NodeId, ProgramId},
    identity::{Authority, NODE_LIFETIME, RoleKind, Token},
    message::{Hello, ToDriver, ToExecutor},
    world::World,
};

/// What memory may grow by, in KiB.
const GROWTH_KIB_MAX: u64 = 32 * 1024;
/// Attempts of one round at one port.
const GARBAGE: usize = 1_000;
const INITIALS: usize = 1_000;
const HANDSHAKES: usize = 4;
const ATTEMPTS: usize = 10_000;
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The UDP ports of a process, from what Linux says of it.
fn ports(pid: u32) -> Vec<SocketAddr> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let names = links.filter_map(|link| fs::read_link(link.path()).ok());
    let inodes: BTreeSet<String> = names
        .filter_map(|name| Some(name.to_str()?.strip_prefix("socket:[")?.strip_suffix("]")?.to_owned()))
        .collect();
    let table = fs::read_to_string("/proc/net/udp").unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let own = rows.filter(|row| row.get(9).is_some_and(|inode| inodes.contains(*inode)));
    own.map(|row| {
        let port = row[1].split_once(':').unwrap().1;
        SocketAddr::from((Ipv4Addr::LOCALHOST, u16::from_str_radix(port, 16).unwrap()))
    })
    .collect()
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Those who come, and what they show.
struct Hostile {
    world: World,
    cluster: String,
    foreign: Identity,
    expired: Identity,
    observer: Identity,
    other_node: Identity,
    foreign_token: Token,
    used_token: Token,
    /// First datagrams of handshakes.
    initials: Vec<Vec<u8>>,
}

impl Hostile {
    async fn new(folder: &Path) -> Self {
        let world = World::real();
        let now = world.clock.wall();
        let authority = Authority::open(&folder.join("ca"), now).unwrap();
        let foreign = Authority::create(&folder.join("foreign"), now).unwrap();
        let hour = Duration::from_secs(3_600);
        let own = |at, lifetime| authority.node_identity(at, 1, lifetime).unwrap().1;
        let used_token: Token = fs::read_to_string(folder.join("one.token")).unwrap().trim().parse().unwrap();
        let mut hostile = Hostile {
            cluster: authority.cluster().driver(),
            foreign: foreign.node_identity(now, 1, NODE_LIFETIME).unwrap().1,
            expired: own(now - hour * 2, hour),
            observer: authority.identity(RoleKind::Observer, now).unwrap(),
            other_node: own(now, NODE_LIFETIME),
            foreign_token: foreign.token(now, hour, 1).unwrap(),
            used_token,
            initials: Vec::new(),
            world,
        };
        hostile.initials = hostile.first_datagrams(128).await;
        hostile
    }

    /// What clients begin with, caught by a port that does not answer.
    async fn first_datagrams(&self, count: usize) -> Vec<Vec<u8>> {
        let mut caught = Vec::new();
        let endpoint = self.endpoint(&self.other_node);
        for _ in 0..count {
            let sink = UdpSocket::bind(ANY).unwrap();
            let to = sink.local_addr().unwrap();
            let connecting = endpoint.connect(to, &self.cluster).unwrap();
            let mut bytes = vec![0; 2_048];
            sink.set_nonblocking(true).unwrap();
            loop {
                // Its repetitions and farewells are shorter, or the same.
                match sink.recv(&mut bytes) {
                    Ok(length) if length >= 1_200 => {
                        caught.push(bytes[..length].to_vec());
                        break;
                    }
                    _ => tokio::task::yield_now().await,
                }
            }
            drop(connecting);
        }
        caught
    }

    fn endpoint(&self, identity: &Identity) -> quinn::Endpoint {
        bulk_endpoint(&self.world.udp, ANY, &EndpointConfig::new(identity.clone(), None)).unwrap()
    }

    fn garbage(&self, to: SocketAddr) -> usize {
        for number in 0..GARBAGE {
            let socket = UdpSocket::bind(ANY).unwrap();
            let mut bytes = vec![0; 1 + number * 7 % 1_400];
            // Short and long headers, of QUIC's version 1 and of none.
            let mut seed = number as u64 + 1;
            for byte in &mut bytes {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (seed >> 56) as u8;
            }
            if number % 3 == 0 && bytes.len() > 5 {
                bytes[..5].copy_from_slice(&[0xc0, 0, 0, 0, 1]);
            }
            // Refused by the kernel only where nobody listens.
            let _ = socket.send_to(&bytes, to);
        }
        GARBAGE
    }

    /// Half a handshake each, from a port of its own, which does not listen to the answer.
    fn flood(&self, to: SocketAddr) -> usize {
        for number in 0..INITIALS {
            let socket = UdpSocket::bind(ANY).unwrap();
            let _ = socket.send_to(&self.initials[number % self.initials.len()], to);
        }
        INITIALS
    }

    /// Whole handshakes: a foreign and an expired certificate, and good ones for what they are not good for.
    async fn handshakes(&self, to: SocketAddr, expected: &str) -> usize {
        let shown = [&self.foreign, &self.expired, &self.observer, &self.other_node];
        let endpoints = shown.map(|identity| self.endpoint(identity));
        for number in 0..HANDSHAKES {
            let endpoint = &endpoints[number % endpoints.len()];
            let Ok(connection) = connect_to(endpoint, to, expected).await else { continue };
            let member = Member { node: NodeId(1), incarnation: Incarnation(u32::MAX) };
            let hello = Hello { member, epoch: Epoch(0), program: ProgramId(0) };
            let config = LinkConfig::default();
            let link = ControlLink::<ToDriver, ToExecutor>::open(connection, &hello, &config);
            if let Ok(mut link) = link.await {
                assert!(link.receiver.recv().await.is_err(), "it hears nothing of the job");
            }
        }
        HANDSHAKES
    }

    /// With a used token, with another cluster's, and with another version of the protocol.
    async fn joins(&self, join_port: SocketAddr, control: SocketAddr) -> usize {
        let patience = Duration::ZERO;
        for (token, to) in
            [(&self.used_token, join_port), (&self.foreign_token, join_port), (&self.used_token, control)]
        {
            let refused = join(&self.world, ANY, to, token, None, patience).await;
            let error = refused.expect_err("nobody is let in");
            assert!(!matches!(error, JoinError::AnswerLost(_)), "{error}");
        }
        3
    }
}

/// One round at all ports; gives how many attempts it were.
async fn round(hostile: &Hostile, cluster: &Cluster, node: (u16, u32)) -> usize {
    let control = cluster.address;
    let join_port = SocketAddr::new(control.ip(), control.port() + 1);
    let mut count = hostile.joins(join_port, control).await;
    for (pid, name) in [
        (cluster.driver.pid(), hostile.cluster.clone()),
        (node.1, hostile.cluster.replacen("driver", &format!("node-{}", node.0), 1)),
    ] {
        for port in ports(pid) {
            count += hostile.garbage(port) + hostile.flood(port);
            if port != join_port {
                count += hostile.handshakes(port, &name).await;
            }
        }
    }
    count
}

#[test]
fn ten_thousand_bad_attempts_do_not_disturb_a_running_job_nor_grow_its_memory() {
    let (from, fed) = feed(1_000, Duration::from_secs(90));
    let mut cluster = Cluster::start("hostile", from);
    let nodes = [cluster.node("one", TIDEMILL), cluster.node("two", TIDEMILL)];
    let host = cluster.receiver_host(4, 0);
    let pid = executors(&cluster.folder.path(""))[&host];
    let node = (u16::try_from(host).unwrap(), pid);
    assert!(ports(cluster.driver.pid()).len() >= 3 && !ports(pid).is_empty(), "driver and node have ports");
    let batches = |cluster: &Cluster| cluster.driver.output().lines().count();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let hostile = runtime.block_on(Hostile::new(&cluster.folder.path("")));
    runtime.block_on(round(&hostile, &cluster, node));
    let (before, began) = ([cluster.driver.pid(), pid].map(resident_kib), batches(&cluster));
    let mut attempts = 0;
    while attempts < ATTEMPTS {
        attempts += runtime.block_on(round(&hostile, &cluster, node));
    }
    let after = [cluster.driver.pid(), pid].map(resident_kib);
    println!("{attempts} attempts; KiB of the driver and of an executor before {before:?}, after {after:?}");
    for (before, after) in before.iter().zip(after) {
        assert!(after < before + GROWTH_KIB_MAX, "{before} KiB have become {after}");
    }
    until("batches go on", || (batches(&cluster) > began).then_some(())).expect("the job does not notice");
    let counted = || cluster.driver.log().contains("machines have come to join").then_some(());
    until("who came to join is told", counted).expect("the driver counts them");
    let lines = fed.recv_timeout(DEADLINE).expect("everything is safe");
    let status = cluster.driver.wait("the pipeline ends");
    let log = cluster.driver.log();
    assert!(status.success(), "{status}: {log}");
    assert_eq!(lines, 90_000);
    assert_eq!(cluster.printed(), plain(lines), "{log}");
    for noticed in ["an executor is gone", "tasks run again", "an attempt has failed"] {
        assert!(!log.contains(noticed), "{noticed:?} is in\n{log}");
    }
    let on_control = [
        "a certificate of another authority",
        "a certificate that has expired",
        "another version of the protocol",
        "another's number",
        "a handshake that was not finished",
    ];
    for kind in on_control {
        assert!(log.contains(kind), "{kind:?} is told:\n{log}");
    }
    let of_nodes: String = nodes.iter().map(|node| node.log()).collect();
    assert!(of_nodes.contains("a role that has no business here"), "{of_nodes}");
    // At most one line of each kind in ten seconds, of two ports and a few kinds.
    let told =
        log.matches("a peer was turned away").count() + of_nodes.matches("a peer was turned away").count();
    assert!(told < 200, "{told} lines for {attempts} attempts:\n{log}");
}
