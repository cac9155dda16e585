//! Nodes that are told to end while a load runs.

use crate::LONG;
use crate::support::{
    Cluster, DEADLINE, TIDEMILL, executors, feed_that_stops, free_address, plain, signal, until,
};

#[test]
fn a_node_that_leaves_under_load_costs_no_task_and_the_totals_are_exact() {
    let (from, stop, fed) = feed_that_stops(1_000, LONG);
    let mut cluster = Cluster::start("leave", from);
    let mut nodes = [("one", cluster.node("one", TIDEMILL)), ("two", cluster.node("two", TIDEMILL))];
    let host = cluster.receiver_host(4, 0);
    let of = |name: &str| executors(&cluster.folder.path(name));
    let leaving = nodes.iter_mut().find(|(name, _)| of(name).contains_key(&host));
    let (name, node) = leaving.expect("one of them has the receiver");
    let numbers: Vec<u64> = of(name).into_keys().collect();
    assert_eq!(numbers.len(), 2);
    signal("TERM", node.pid());
    assert_eq!(node.wait("it ends in good order").code(), Some(130), "{}", node.log());
    let log = node.log();
    assert_eq!(log.matches("an executor's process has left").count(), 2, "{log}");
    assert!(!log.contains("executors do not leave"), "it does not wait for what nobody needs:\n{log}");
    cluster.status("the receiver goes on elsewhere, and batches come", |status| {
        let on = status["receivers"][0]["on"]["node"].as_u64()?;
        (!numbers.contains(&on) && !status["batches"].as_array()?.is_empty()).then_some(())
    });
    stop.stop();
    let lines = fed.recv_timeout(DEADLINE).expect("everything is safe");
    let status = cluster.driver.wait("the pipeline ends");
    let log = cluster.driver.log();
    assert!(status.success(), "{status}: {log}");
    assert_eq!(cluster.printed(), plain(lines), "{log}");
    for number in numbers {
        let left = |line: &str| {
            let named = line.contains("an executor is gone") && line.contains(&format!("node-{number}."));
            named && line.contains("reason=Left")
        };
        assert!(log.lines().any(left), "node-{number} has left in good order:\n{log}");
    }
    for cost in ["tasks run again", "blocks went with an executor", "an attempt has failed"] {
        assert!(!log.contains(cost), "nothing is lost, so no {cost:?}:\n{log}");
    }
}

#[test]
fn a_second_signal_ends_a_node_at_once_and_no_executor_is_left() {
    let cluster = Cluster::start("second", free_address());
    let mut node = cluster.node("node", TIDEMILL);
    cluster.status("both are there", |status| (status["executors"].as_array()?.len() == 2).then_some(()));
    let folder = cluster.folder.path("node");
    // Executors that hear nothing: without a second signal they would be waited for, and then killed.
    let stopped = executors(&folder);
    stopped.values().for_each(|pid| signal("STOP", *pid));
    signal("INT", node.pid());
    let told = || node.log().contains("the executors are told to leave").then_some(());
    until("the first signal is taken", told).expect("the agent says so");
    signal("INT", node.pid());
    assert_eq!(node.wait("it ends").code(), Some(130), "{}", node.log());
    let log = node.log();
    assert!(
        !log.contains("executors do not leave") && !log.contains("has left"),
        "nobody was waited for:\n{log}"
    );
    stopped.values().for_each(|pid| signal("CONT", *pid));
    until("they are gone", || executors(&folder).is_empty().then_some(())).expect("no executor is left");
}
