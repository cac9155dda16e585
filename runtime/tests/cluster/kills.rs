//! kill -9 of executors. That the log names the task or block that went with one is asserted where the kill surely strikes
//! while a task runs: chaos-tests/tests/real.

use crate::support::{Cluster, DEADLINE, TIDEMILL, executors, feed, plain, signal};
use std::time::Duration;

#[test]
fn kill_9_of_the_receivers_executor_and_of_another_leaves_the_totals_of_a_plain_count() {
    let (from, fed) = feed(1_000, Duration::from_secs(25));
    let mut cluster = Cluster::start("kills", from);
    let _nodes = [cluster.node("one", TIDEMILL), cluster.node("two", TIDEMILL)];
    let folder = cluster.folder.path("");
    let host = cluster.receiver_host(4, 0);
    let killed = executors(&folder)[&host];
    signal("KILL", killed);
    let next = cluster.receiver_host(4, 1);
    assert_ne!(executors(&folder)[&host], killed, "it runs in another process");
    let (other, pid) = executors(&folder).into_iter().find(|(node, _)| *node != next).unwrap();
    signal("KILL", pid);
    cluster.status("it is back", |status| {
        let living = status["executors"].as_array()?;
        let is_next =
            |e: &&serde_json::Value| e["executor"]["node"] == other && e["executor"]["incarnation"] != 65_536;
        living.iter().find(is_next).map(|_| ())
    });
    let lines = fed.recv_timeout(DEADLINE).expect("everything is safe");
    let status = cluster.driver.wait("the pipeline ends");
    let log = cluster.driver.log();
    assert!(status.success(), "{status}: {log}");
    assert_eq!(lines, 25_000);
    assert_eq!(cluster.printed(), plain(lines), "{log}");
    let gone = |node: u64| {
        log.lines().any(|l| l.contains("an executor is gone") && l.contains(&format!("node-{node}.")))
    };
    assert!(gone(host) && gone(other), "both faults struck:\n{log}");
    assert!(log.contains("a receiver has ended and will be started again"), "{log}");
}
