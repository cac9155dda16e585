//! Agents: their executors never outlive them, however they end.

use crate::support::{Cluster, Folder, Process, TIDEMILL, done, executors, free_address, run, signal, until};
use std::{
    fs,
    net::UdpSocket,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    process::Command,
    time::Duration,
};

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
    // They close their connections, so nobody waits for the failure detector.
    let closed = || (cluster.driver.log().matches("reason=LinkLost").count() == 2).then_some(());
    until("the driver hears of both", closed).unwrap_or_else(|| panic!("{}", cluster.driver.log()));

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
fn an_agent_with_a_copied_folder_is_refused_and_the_first_keeps_its_processes() {
    let cluster = Cluster::start("copied", free_address());
    let first = cluster.node_of("first", TIDEMILL, "1");
    let one_is_there = |status: &serde_json::Value| {
        let living = status["executors"].as_array()?;
        (living.len() == 1).then(|| living[0]["executor"]["incarnation"].as_u64())
    };
    let incarnation = cluster.status("it is there", one_is_there);
    let processes = executors(&cluster.folder.path("first"));
    assert_eq!(processes.len(), 1);

    // A copy from before the first start: it counts the same lives.
    let (from, to) = (cluster.folder.path("first"), cluster.folder.path("second"));
    fs::DirBuilder::new().mode(0o700).create(&to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_name() != "life" && entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    let mut second = Process::start(TIDEMILL, &["node", "--data", &cluster.folder.text("second")]);
    assert_eq!(second.wait("it gives up").code(), Some(3), "{}", second.log());
    let log = second.log();
    assert!(log.contains("of this node has registered already"), "it counts the same lives:\n{log}");
    assert!(log.contains("two processes have been given one number"), "{log}");

    // The same folder on the same machine is refused before anything is started.
    let again = run(&["node", "--data", &cluster.folder.text("first")]);
    let said = String::from_utf8(again.stderr).unwrap();
    assert_eq!(again.status.code(), Some(2), "{said}");
    assert!(said.contains("a node runs with ") && said.lines().count() == 1, "{said}");

    assert_eq!(cluster.status("it is still there", one_is_there), incarnation);
    assert_eq!(executors(&cluster.folder.path("first")), processes, "{}", first.log());
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
