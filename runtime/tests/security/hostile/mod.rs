//! Strangers at every port of a cluster whose job runs: what each kind of attempt gets, and what the job notices of it.
//!
//! ```text
//!   127.0.0.1   driver (control, join, bulk, metrics page), executors (bulk, control), a machine that joins meanwhile
//!   127.0.0.66  and on: strangers, each with an address of its own, as other machines would have
//! ```
//!
//! Nothing is believed of an attempt: datagrams count when the system says that the process has read them, handshakes when they
//! end as their kind must end, and both are compared with what the product counts and logs.

mod clients;
mod datagrams;
mod joiners;
mod watch;

use crate::LONG;
use crate::support::{Cluster, DEADLINE, Folder, Process, TIDEMILL, done, feed_that_stops, plain, until};
use clients::Clients;
use datagrams::{Datagrams, first_flights, is_datagram};
use joiners::Joiners;
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};
use tidemill_protocol::{
    endpoint::Identity,
    identity::{Authority, NODE_LIFETIME, RoleKind},
    world::World,
};
use watch::{Ports, of_page, page, peak_kib, told, watched_kib};

/// What memory may grow by at any moment of the attack, in KiB.
const GROWTH_KIB_MAX: u64 = 32 * 1024;
const ATTEMPTS: u64 = 10_000;
/// Of them, those in which TLS comes to an end.
const HANDSHAKES: u64 = 500;

/// How many of each kind struck.
type Tally = BTreeMap<(&'static str, &'static str), u64>;

/// A port of its own for each kind of stranger, at an address of its own.
fn stranger(number: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 0, 0, 66 + number), 0))
}

/// Certificates that strangers show.
struct Papers {
    foreign: Identity,
    expired: Identity,
    driver: Identity,
    observer: Identity,
    /// Of a machine that has no executors.
    node: Identity,
}

impl Papers {
    fn new(folder: &Folder, authority: &Authority) -> Self {
        let now = World::real().clock.wall();
        let hour = Duration::from_secs(3_600);
        let foreign = Authority::create(&folder.path("foreign"), now).unwrap();
        let own = |at, lifetime| authority.node_identity(at, 1, lifetime).unwrap().1;
        Papers {
            foreign: foreign.node_identity(now, 1, NODE_LIFETIME).unwrap().1,
            expired: own(now - hour * 2, hour),
            driver: authority.identity(RoleKind::Driver, now).unwrap(),
            observer: authority.identity(RoleKind::Observer, now).unwrap(),
            node: own(now, NODE_LIFETIME),
        }
    }
}

/// Everybody comes at once; gives how many of each kind struck.
async fn attack(cluster: &Cluster, ports: &Ports, metrics: SocketAddr, is_in: impl Fn() -> bool) -> Tally {
    let now = World::real().clock.wall();
    let authority = Authority::open(&cluster.folder.path("ca"), now).unwrap();
    let papers = Papers::new(&cluster.folder, &authority);
    let datagrams = Datagrams::new(ports, first_flights(&papers.node, 400).await);
    let clients = Clients::new(&papers, ports);
    let joiners = Joiners::new(&cluster.folder, &papers, &authority, ports.join);
    let mut visits = watch::Visitors::come(metrics);
    let (datagrams, clients, joiners) = tokio::join!(datagrams.come(is_in), clients.come(), joiners.come());
    visits.leave();
    let mut tally = Tally::from([(("metrics", "what is not HTTP, or half of it"), visits.count())]);
    for of_kind in [datagrams, clients, joiners] {
        tally.extend(of_kind);
    }
    tally
}

fn node_of_later(folder: &Folder, address: SocketAddr) -> Process {
    let path = folder.path("later.token");
    std::fs::write(&path, done(&["ca", "token", &folder.text("ca"), "--executors", "1"])).unwrap();
    let (token, address, data) = (path.to_str().unwrap(), address.to_string(), folder.text("later"));
    Process::start(TIDEMILL, &["node", "--join", token, "--driver", &address, "--data", &data])
}

#[test]
fn ten_thousand_bad_attempts_do_not_disturb_a_running_job_nor_grow_its_memory() {
    let (from, stop, fed) = feed_that_stops(1_000, LONG);
    let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut cluster = Cluster::start_with("hostile", from, &["--metrics", &metrics.to_string()]);
    let nodes = [cluster.node("one", TIDEMILL), cluster.node("two", TIDEMILL)];
    cluster.receiver_host(4, 0);
    let ports = Ports::find(&cluster, &nodes);
    let before: Vec<u64> = ports.processes.iter().map(|(_, pid)| watched_kib(*pid)).collect();
    let batches = |cluster: &Cluster| cluster.driver.output().lines().count();
    let began = batches(&cluster);

    // A machine of the cluster comes at the same time, by the ports that are attacked.
    let later = node_of_later(&cluster.folder, cluster.address);
    let registered = || cluster.driver.log().matches("an executor has registered").count() >= 5;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tally = runtime.block_on(attack(&cluster, &ports, metrics, registered));
    for ((port, kind), count) in &tally {
        println!("{count:>6}  {port:<10} {kind}");
    }
    let (all, of_tls) = (tally.values().sum::<u64>(), clients::of_tls(&tally));
    println!("{all} attempts, {of_tls} of them whole handshakes");
    assert!(all >= ATTEMPTS && of_tls >= HANDSHAKES, "{all}, {of_tls}: {tally:?}");
    assert!(registered(), "{}", later.log());

    for ((what, pid), before) in ports.processes.iter().zip(before) {
        let peak = peak_kib(*pid);
        println!("{what}: {before} KiB have become {peak} at most");
        assert!(peak < before + GROWTH_KIB_MAX, "{what}: {before} KiB have become {peak}");
    }
    until("batches go on", || (batches(&cluster) > began).then_some(())).expect("the job does not notice");
    compare(&tally, &nodes, metrics);

    stop.stop();
    let lines = fed.recv_timeout(DEADLINE).expect("everything is safe");
    let status = cluster.driver.wait("the pipeline ends");
    let log = cluster.driver.log();
    assert!(status.success(), "{status}: {log}");
    assert_eq!(cluster.printed(), plain(lines), "{log}");
    for noticed in ["an executor is gone", "tasks run again", "an attempt has failed"] {
        assert!(!log.contains(noticed), "{noticed:?} is in\n{log}");
    }
    let lines = log.matches("turned away").count();
    assert!(lines < 200, "{lines} lines for {all} attempts:\n{log}");
}

/// What struck is what the product has seen: each kind on the driver's page by its number, in the nodes' logs by its line.
fn compare(tally: &Tally, nodes: &[Process], metrics: SocketAddr) {
    let seen = |port: &str, kind: &str| of_page(&page(metrics), port, kind);
    for ((port, kind), struck) in tally.iter().filter(|((_, kind), _)| !is_datagram(kind)) {
        match *port {
            "control" => {
                let counted = until(kind, || Some(seen(port, kind)).filter(|seen| seen >= struck));
                assert!(counted.is_some(), "{port}, {kind}: {struck} struck, {}", page(metrics));
            }
            // The page is brought up to date every 5 s.
            "join" => {
                let counted = until(kind, || Some(seen(port, kind)).filter(|seen| seen >= struck));
                let counted = counted.unwrap_or_else(|| panic!("{kind}: {struck}, {}", page(metrics)));
                if joiners::is_told_by_reply(kind) {
                    assert_eq!(counted, *struck, "{kind}: nobody else has asked for that");
                }
            }
            "bulk" => {
                let logs: Vec<String> = nodes.iter().map(Process::log).collect();
                let told: u64 = logs.iter().map(|log| told(log, port, kind)).sum();
                assert!(told >= 1, "{kind} is told by the nodes:\n{}", logs.concat());
            }
            _ => {}
        }
    }
    for port in ["control", "bulk"] {
        let kind = "a handshake that was not finished";
        let logs = || nodes.iter().map(Process::log).collect::<String>();
        let count = || if port == "control" { seen(port, kind) } else { told(&logs(), port, kind) };
        assert!(until(kind, || (count() > 0).then_some(())).is_some(), "{port}: half handshakes are seen");
    }
}
