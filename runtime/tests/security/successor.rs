//! The next process of an executor that was killed: it says whose place it takes, and nobody is asked.

use crate::support::{Cluster, TIDEMILL, executors, free_address, signal, until};

#[test]
fn a_killed_executors_next_process_takes_its_place_without_a_contest() {
    // Nobody feeds: there is a pipeline, and nothing to do.
    let cluster = Cluster::start("successor", free_address());
    let _node = cluster.node_of("node", TIDEMILL, "2");
    cluster.status("both are there", |status| (status["executors"].as_array()?.len() == 2).then_some(()));
    let (node, pid) = executors(&cluster.folder.path("node")).into_iter().next().unwrap();
    signal("KILL", pid);
    cluster.status("its next process has registered", |status| {
        let next =
            |e: &serde_json::Value| e["executor"]["node"] == node && e["executor"]["incarnation"] == 65_537;
        status["executors"].as_array()?.iter().any(next).then_some(())
    });
    // Told before the next one is shown.
    let gone = || {
        let log = cluster.driver.log();
        let line = log.lines().find(|line| line.contains("an executor is gone"))?.to_owned();
        Some(line)
    };
    let gone = until("its end is told", gone).expect("the driver names whom it lost");
    assert!(gone.contains(&format!("node-{node}.i65536")) && gone.contains("reason=Ended"), "{gone}");
}
