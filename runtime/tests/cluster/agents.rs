//! Agents: their executors never outlive them, however they end.

use crate::support::{Cluster, Folder, Process, TIDEMILL, done, executors, free_address, signal, until};
use std::{fs, net::UdpSocket, os::unix::fs::OpenOptionsExt, process::Command, time::Duration};

/// Opening does not wait for the other end (Linux).
const O_NONBLOCK: i32 = 0o4000;

#[test]
fn executors_end_with_their_agent_killed_or_told_to_end() {
    // Nobody feeds: there is a pipeline, and nothing to do.
    let cluster = Cluster::start("agents", free_address());
    let mut killed = cluster.node("killed", TIDEMILL);
    let mut told = cluster.node("told", TIDEMILL);
    cluster.status("all are there", |status| (status["executors"].as_array()?.len() == 4).then_some(()));
    let (of_killed, of_told) = (cluster.folder.path("killed"), cluster.folder.path("told"));
    assert_eq!((executors(&of_killed).len(), executors(&of_told).len()), (2, 2));

    signal("KILL", killed.pid());
    killed.wait("it is dead");
    let gone = || executors(&of_killed).is_empty().then_some(());
    until("its executors are gone", gone).expect("no executor outlives its agent");

    signal("TERM", told.pid());
    assert_eq!(told.wait("it ends in good order").code(), Some(130), "{}", told.log());
    assert!(executors(&of_told).is_empty(), "it waits for its executors");
    let log = told.log();
    for what in ["an executor's process has started", "pid=", "has left", "exit status: 0"] {
        assert!(log.contains(what), "the log says {what:?}:\n{log}");
    }
    cluster.status("the driver knows", |status| status["executors"].as_array()?.is_empty().then_some(()));

    // Later starts need no token; a new life has higher incarnations.
    let data = cluster.folder.text("told");
    let _again = Process::start(TIDEMILL, &["node", "--data", &data, "--executors", "1"]);
    cluster.status("it is back", |status| {
        let living = status["executors"].as_array()?;
        (living.len() == 1 && living[0]["executor"]["incarnation"].as_u64()? >= 2 << 16).then_some(())
    });
}

#[test]
fn a_node_that_is_still_joining_hears_ctrl_c() {
    let folder = Folder::new("joining");
    let (ca, token) = (folder.text("ca"), folder.text("token"));
    done(&["ca", "init", &ca]);
    fs::write(&token, done(&["ca", "token", &ca])).unwrap();
    // The join port is the one after the driver's; here it takes what comes and answers nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let driver = format!("127.0.0.1:{}", silent.local_addr().unwrap().port() - 1);
    let data = folder.text("data");
    let mut node =
        Process::start(TIDEMILL, &["node", "--join", &token, "--driver", &driver, "--data", &data]);
    silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    silent.recv(&mut [0; 2_048]).expect("it asks");
    signal("INT", node.pid());
    let status = node.wait("it ends");
    assert_eq!(status.code(), Some(130), "{}", node.log());
}

#[test]
fn a_node_that_waits_for_its_token_hears_ctrl_c() {
    let folder = Folder::new("waiting");
    let (pipe, data) = (folder.text("pipe"), folder.text("data"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let driver = free_address().to_string();
    let mut node = Process::start(TIDEMILL, &["node", "--join", &pipe, "--driver", &driver, "--data", &data]);
    // A pipe can be opened for writing once somebody reads it.
    let open = || fs::OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&pipe).ok();
    let _silent = until("it reads", open).expect("it reads its token");
    signal("INT", node.pid());
    assert_eq!(node.wait("it ends").code(), Some(130), "{}", node.log());
}

#[test]
fn a_successor_runs_the_very_file_that_its_agent_runs_though_another_has_taken_its_name() {
    let cluster = Cluster::start("replaced", free_address());
    let file = cluster.folder.text("program");
    // By another process: a file that this one has open for writing cannot be run.
    assert!(Command::new("cp").args([TIDEMILL, &file]).status().unwrap().success());
    let _node = cluster.node_of("node", &file, "1");
    let incarnation = |status: &serde_json::Value| status["executors"][0]["executor"]["incarnation"].as_u64();
    let first = cluster.status("it is there", incarnation);
    let other = cluster.folder.text("other");
    fs::write(&other, "no program").unwrap();
    fs::rename(&other, &file).unwrap();
    assert!(Command::new(&file).arg("--version").output().is_err(), "what has the name is no program");
    let (_, pid) = executors(&cluster.folder.path("node")).pop_first().expect("an executor runs");
    signal("KILL", pid);
    cluster.status("its successor is there", |status| (incarnation(status)? > first).then_some(()));
}
