//! `status`: what it says, and to whom.

use crate::support::{Cluster, TIDEMILL, done, feed, run};
use std::{fs, time::Duration};

#[test]
fn the_status_shows_nodes_executors_batches_receivers_and_the_tree_to_observers_only() {
    let (from, _fed) = feed(1_000, Duration::from_secs(600));
    let cluster = Cluster::start("status", from);
    let _node = cluster.node("node", TIDEMILL);
    let host = cluster.receiver_host(2, 0);
    assert!((1..=2).contains(&host));
    cluster.status("a rate is measured", |status| {
        let receiver = &status["receivers"][0];
        let tree = status["tree"].as_array()?;
        let scheduler = tree.iter().find(|entry| entry["path"] == "node-0/driver/scheduler")?;
        let executors = status["executors"].as_array()?.iter();
        let node = &status["nodes"][0];
        let is_node =
            node["address"] == "127.0.0.1" && node["executors"].as_array()?.len() == 2 && node["slots"] == 2;
        let all_there = is_node
            && receiver["records_per_s"].as_f64()? > 0.0
            && status["batches"][0]["records"].is_u64()
            && scheduler["state"] == "running"
            && status["driver"]["state"] == "running"
            && executors.clone().all(|executor| executor["slots"] == 1 && executor["machine"] == "127.0.0.1");
        all_there.then_some(())
    });
    let (ca, address) = (cluster.folder.text("ca"), cluster.address.to_string());
    let table = done(&["status", "--ca", &ca, "--driver", &address]);
    for headline in ["driver\n", "nodes\n", "executors\n", "receivers\n", "batches ", "supervision\n"] {
        assert!(table.contains(headline), "{headline:?} is in\n{table}");
    }

    // A node's certificate under the observer's name is still a node's.
    let node = cluster.folder.path("node");
    fs::copy(node.join("node.pem"), node.join("observer.pem")).unwrap();
    let output = run(&["status", "--ca", node.to_str().unwrap(), "--driver", &address]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert_eq!(error, "tidemill: a certificate of the role node may not ask this\n");

    // Another cluster's observer is nobody here.
    let other = cluster.folder.text("other");
    done(&["ca", "init", &other]);
    let output = run(&["status", "--ca", &other, "--driver", &address]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.starts_with(&format!("tidemill: cannot ask the driver at {address}: ")), "{error}");
}
