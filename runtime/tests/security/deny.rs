//! A machine that is shut out while the job runs.

use crate::LONG;
use crate::support::{
    Cluster, DEADLINE, Process, TIDEMILL, done, executors, feed_that_stops, plain, signal, until,
};
use quinn::{Connection, ConnectionError, Endpoint};
use std::{collections::BTreeMap, net::SocketAddr, path::Path};
use tidemill_protocol::{
    endpoint::{EndpointConfig, bulk, bulk_client, connect_to},
    id::{BlockId, DataKey, Incarnation, NodeId, ReceiverId, ReceiverIndex, StreamId},
    identity::load_identity,
    world::World,
};
use tokio::runtime::{Builder, Runtime};

#[test]
fn a_denied_node_is_cut_off_and_refused_and_the_job_goes_on_without_it() {
    let (from, stop, fed) = feed_that_stops(1_000, LONG);
    let mut cluster = Cluster::start("deny", from);
    let names = ["one", "two", "three"];
    let mut nodes = names.map(|name| (name, cluster.node_of(name, TIDEMILL, "1")));
    let host = cluster.receiver_host(3, 0);
    let of = |name: &str| executors(&cluster.folder.path(name));
    let denied = nodes.iter_mut().find(|(name, _)| of(name).contains_key(&host));
    let (name, node) = denied.expect("one of them has the receiver");
    let said = done(&["ca", "deny", &cluster.folder.text("ca"), &host.to_string()]);
    assert_eq!(said, format!("node-{host} is denied\n"));
    let refused = format!("refused: the driver refuses this executor: node-{host} was denied");
    let is_refused = |log: &str| log.contains(&format!("node-{host} was denied"));
    assert_eq!(node.wait("it is cut off").code(), Some(3), "{}", node.log());
    assert!(is_refused(&node.log()), "{refused:?}:\n{}", node.log());
    cluster.status("the others go on", |status| {
        let living = status["executors"].as_array()?;
        let moved = status["receivers"][0]["on"]["node"].as_u64()? != host;
        (living.len() == 2 && moved).then_some(())
    });
    let mut again = Process::start(TIDEMILL, &["node", "--data", &cluster.folder.text(name)]);
    assert_eq!(again.wait("it is refused").code(), Some(3), "{}", again.log());
    assert!(is_refused(&again.log()), "{}", again.log());
    let told = || cluster.driver.log().contains("a denied node").then_some(());
    until("its return is told", told).expect("the driver says who came");
    stop.stop();
    let lines = fed.recv_timeout(DEADLINE).expect("everything is safe");
    let status = cluster.driver.wait("the pipeline ends");
    let log = cluster.driver.log();
    assert!(status.success(), "{status}: {log}");
    assert_eq!(cluster.printed(), plain(lines), "{log}");
    let cut = log.lines().filter(|line| line.contains("a peer is cut off")).count();
    assert_eq!(cut, 1, "one line for one link:\n{log}");
}

/// The machine itself, as far as it has its certificate: it asks other executors for data, by connections of its own.
struct Denied {
    runtime: Runtime,
    endpoint: Endpoint,
    cluster: tidemill_protocol::identity::ClusterName,
}

impl Denied {
    fn new(data: &Path) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let identity = load_identity(data, "node").unwrap();
        let cluster = identity.name().unwrap().cluster;
        let entered = runtime.enter();
        let (any, config) = (SocketAddr::from(([127, 0, 0, 1], 0)), EndpointConfig::new(identity, None));
        let endpoint = bulk_client(&World::real().udp, any, &config).unwrap();
        drop(entered);
        Denied { runtime, endpoint, cluster }
    }

    /// Whether an executor answers on a new connection; the connection, or why it was closed.
    fn asks(&self, node: u64, address: SocketAddr) -> Result<Connection, String> {
        let name = self.cluster.node(NodeId(u16::try_from(node).unwrap()));
        self.runtime.block_on(async {
            let connection = connect_to(&self.endpoint, address, &name).await.map_err(|e| e.to_string())?;
            let receiver =
                ReceiverId { stream: StreamId(0), index: ReceiverIndex(9), incarnation: Incarnation(9) };
            let nothing = DataKey::Block(BlockId { receiver, sequence: 0 });
            match bulk::fetch(&connection, nothing).await {
                Ok(found) => {
                    assert_eq!(found, None);
                    Ok(connection)
                }
                Err(_) => Err(reason(&connection.closed().await)),
            }
        })
    }
}

fn reason(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => String::from_utf8_lossy(&close.reason).into_owned(),
        other => other.to_string(),
    }
}

/// Where the executors serve, by number, once there are so many of them.
fn served(cluster: &Cluster, count: usize, wanted: impl Fn(u64, u64) -> bool) -> BTreeMap<u64, SocketAddr> {
    cluster.status("all say where they serve", |status| {
        let living = status["executors"].as_array()?;
        let all: BTreeMap<u64, SocketAddr> = living
            .iter()
            .filter_map(|e| {
                let (node, life) = (e["executor"]["node"].as_u64()?, e["executor"]["incarnation"].as_u64()?);
                wanted(node, life).then_some(())?;
                Some((node, e["bulk_address"].as_str()?.parse().ok()?))
            })
            .collect();
        (all.len() == count).then_some(all)
    })
}

#[test]
fn a_denied_machine_gets_nothing_from_other_nodes_either() {
    // Nobody feeds: it is the ports that count.
    let cluster = Cluster::start("deny-bulk", crate::support::free_address());
    let nodes = ["one", "two"].map(|name| cluster.node_of(name, TIDEMILL, "1"));
    let others = served(&cluster, 2, |_, _| true);
    // A third machine, which has joined and runs nothing now: it was never on the list of executors.
    let mut third = cluster.node_of("three", TIDEMILL, "1");
    served(&cluster, 3, |_, _| true);
    let number = *executors(&cluster.folder.path("three")).first_key_value().unwrap().0;
    signal("TERM", third.pid());
    third.wait("it leaves");
    let denied = Denied::new(&cluster.folder.path("three"));
    let open: Vec<Connection> =
        others.iter().map(|(node, address)| denied.asks(*node, *address).expect("it belongs here")).collect();
    done(&["ca", "deny", &cluster.folder.text("ca"), &number.to_string()]);
    let refused = format!("node-{number} was denied");
    for connection in &open {
        let ended = denied.runtime.block_on(connection.closed());
        assert_eq!(reason(&ended), refused, "what it had open is cut");
    }
    for (node, address) in &others {
        assert_eq!(denied.asks(*node, *address).unwrap_err(), refused, "and nothing new is begun");
    }
    // Whoever comes later hears of it as well.
    let (node, pid) = executors(&cluster.folder.path("one")).into_iter().next().unwrap();
    signal("KILL", pid);
    let next = served(&cluster, 1, |of, life| of == node && life > 65_536);
    let told = || nodes[0].log().matches("nodes are denied").nth(1).map(|_| ());
    until("the next process is told", told).unwrap_or_else(|| panic!("{}", nodes[0].log()));
    assert_eq!(denied.asks(node, next[&node]).unwrap_err(), refused);
    for node in &nodes {
        let log = node.log();
        assert!(log.contains("a peer is cut off") && log.contains(r#"kind="a denied node""#), "{log}");
    }
}
