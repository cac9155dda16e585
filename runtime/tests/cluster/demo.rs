//! `tidemill demo` over processes.

use crate::support::{Process, TIDEMILL, done, signal, until};
use serde_json::Value;
use std::{collections::BTreeSet, fs};

/// The processes that `parent` has started and that live.
fn children(parent: u32) -> BTreeSet<u32> {
    let file = format!("/proc/{parent}/task");
    let tasks = fs::read_dir(file).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>())
        .collect()
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A dead one that nobody has waited for is `Z`.
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn sigkill_of_the_receivers_executor_leaves_the_demos_totals_equal() {
    let output = done(&["demo", "--json", "--for", "8", "--rate", "4000"]);
    let verdict: Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!(verdict["verdict"], "equal", "{verdict}");
    assert_eq!(verdict["records"], 32_000, "{verdict}");
    assert!(verdict["blocks_lost"].as_u64().unwrap() > 0, "the kill took something: {verdict}");
}

#[test]
fn no_child_outlives_a_demo_that_is_killed_or_interrupted() {
    for name in ["KILL", "INT"] {
        let mut demo = Process::start(TIDEMILL, &["demo", "--json", "--for", "600", "--rate", "1000"]);
        let pid = demo.pid();
        let found = until("a batch is shown", || (!demo.output().is_empty()).then(|| children(pid)));
        let found = found.unwrap_or_else(|| panic!("no batch: {}", demo.log()));
        assert_eq!(found.len(), 3, "three executors run");
        signal(name, pid);
        let status = demo.wait("it ends");
        assert_eq!(status.code(), (name == "INT").then_some(130), "{}", demo.log());
        until("they are gone", || (!found.iter().any(|pid| is_alive(*pid))).then_some(()))
            .unwrap_or_else(|| panic!("after SIG{name} a child is left"));
    }
}
