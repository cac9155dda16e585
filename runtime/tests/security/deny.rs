//! A machine that is shut out while the job runs.

use crate::support::{Cluster, DEADLINE, Process, TIDEMILL, done, executors, feed, plain, until};
use std::time::Duration;

#[test]
fn a_denied_node_is_cut_off_and_refused_and_the_job_goes_on_without_it() {
    let (from, fed) = feed(1_000, Duration::from_secs(25));
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
    let lines = fed.recv_timeout(DEADLINE).expect("everything is safe");
    let status = cluster.driver.wait("the pipeline ends");
    let log = cluster.driver.log();
    assert!(status.success(), "{status}: {log}");
    assert_eq!(lines, 25_000);
    assert_eq!(cluster.printed(), plain(lines), "{log}");
    let cut = log.lines().filter(|line| line.contains("a peer is cut off")).count();
    assert_eq!(cut, 1, "one line for one link:\n{log}");
}
