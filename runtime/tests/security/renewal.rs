//! Certificates of a few seconds: they are renewed again and again while a load runs.

use crate::LONG;
use crate::support::{Cluster, DEADLINE, TIDEMILL, executors, feed_that_stops, plain, signal, until};
use std::collections::BTreeSet;

/// The serial numbers in the lines of a log that say `what`.
fn serials(log: &str, what: &str) -> Vec<String> {
    let lines = log.lines().filter(|line| line.contains(what));
    let words = lines.flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    words
        .filter_map(|word| word.strip_prefix("serial=").map(|serial| serial.trim_matches('"').to_owned()))
        .collect()
}

#[test]
fn certificates_are_renewed_under_load_and_outlive_those_that_it_began_with() {
    let (from, stop, fed) = feed_that_stops(1_000, LONG);
    let mut cluster = Cluster::start_with("renewal", from, &["--certificate-lifetime-s", "12"]);
    let nodes = [cluster.node("one", TIDEMILL), cluster.node("two", TIDEMILL)];
    let host = cluster.receiver_host(4, 0);
    // The third is due 9 s after the certificates that all of them began with have expired.
    let of_driver = || serials(&cluster.driver.log(), "the driver's certificate has been renewed");
    let of_nodes = || nodes.each_ref().map(|node| serials(&node.log(), "the certificate has been renewed"));
    let many = || of_nodes().into_iter().chain([of_driver()]).all(|seen| seen.len() >= 3).then_some(());
    until("three renewals of each", many).unwrap_or_else(|| panic!("{}", cluster.driver.log()));
    for seen in of_nodes().into_iter().chain([of_driver()]) {
        let different: BTreeSet<&String> = seen.iter().collect();
        assert!(different.len() == seen.len() && seen.iter().all(|serial| serial.len() == 32), "{seen:?}");
    }
    let log = cluster.driver.log();
    assert!(!log.contains("an executor is gone") && !log.contains("an attempt has failed"), "{log}");
    // A new process shows its new certificate to a driver with a new one, and fetches from the others.
    let (other, pid) =
        executors(&cluster.folder.path("")).into_iter().find(|(node, _)| *node != host).unwrap();
    signal("KILL", pid);
    cluster.status("it is back", |status| {
        let living = status["executors"].as_array()?;
        let is_next =
            |e: &&serde_json::Value| e["executor"]["node"] == other && e["executor"]["incarnation"] == 65_537;
        (living.len() == 4).then_some(())?;
        living.iter().find(is_next).map(|_| ())
    });
    stop.stop();
    let lines = fed.recv_timeout(DEADLINE).expect("everything is safe");
    let status = cluster.driver.wait("the pipeline ends");
    let log = cluster.driver.log();
    assert!(status.success(), "{status}: {log}");
    assert_eq!(cluster.printed(), plain(lines), "{log}");
    assert_eq!(log.matches("an executor is gone").count(), 1, "only the one that was killed:\n{log}");
    for node in &nodes {
        let log = node.log();
        assert!(!log.contains("cannot be renewed") && !log.contains("cannot be used"), "{log}");
    }
}
