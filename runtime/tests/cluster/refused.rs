//! What is refused: in one line with the remedy, and with the exit code that says by whom.

use crate::support::{Cluster, Folder, Process, TIDEMILL, done, free_address, run};
use std::{fs, net::UdpSocket, os::unix::fs::PermissionsExt, path::Path, time::Duration};
use tidemill_protocol::{
    identity::{Authority, NODE_LIFETIME, PERSON_LIFETIME, Token, load_identity, save_identity},
    world::World,
};

const DAY: Duration = Duration::from_secs(86_400);

fn refusal(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert_eq!(error.lines().count(), 1, "{arguments:?} is refused in one line:\n{error}");
    error.trim_end().to_owned()
}

#[test]
fn a_node_of_another_build_is_refused_with_the_first_difference_and_exit_code_3() {
    let cluster = Cluster::start("build", free_address());
    let other = cluster.folder.text("other");
    // Bytes after the program change nothing but the file.
    fs::write(&other, [fs::read(TIDEMILL).unwrap(), b"another build".to_vec()].concat()).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    let mut node = cluster.node("node", &other);
    let status = node.wait("it is refused");
    let log = node.log();
    assert_eq!(status.code(), Some(3), "{log}");
    assert!(log.contains("the first thing that differs is the executable (its file's hash is "), "{log}");
    assert!(log.contains("so start every node from the same file"), "{log}");
}

#[test]
fn a_taken_port_is_refused_in_one_line_with_exit_code_2() {
    let folder = Folder::new("port");
    done(&["ca", "init", &folder.text("ca")]);
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let line = refusal(&["driver", "--ca", &folder.text("ca"), "--listen", &address], 2);
    assert!(line.starts_with(&format!("tidemill: cannot bind {address}: ")), "{line}");
    assert!(line.ends_with("choose another with --listen"), "{line}");
}

#[test]
fn a_missing_authority_and_a_bad_token_are_refused_in_one_line_with_exit_code_2() {
    let folder = Folder::new("missing");
    let line = refusal(&["driver", "--ca", &folder.text("nothing")], 2);
    assert!(line.contains("is missing: run `tidemill ca init`"), "{line}");
    done(&["ca", "init", &folder.text("ca")]);
    let line = refusal(&["driver", "--ca", &folder.text("ca"), "--param", "form=1"], 2);
    assert_eq!(line, "tidemill: the pipeline asks for no parameter \"form\": it asks for from");
    let token = folder.text("token");
    fs::write(&token, "hello").unwrap();
    let data = folder.text("data");
    refusal(&["node", "--join", &token, "--driver", "127.0.0.1:7600", "--data", &data], 2);
    let line = refusal(&["node", "--data", &data], 2);
    assert!(line.contains("is missing: run `tidemill node --join`"), "{line}");
}

#[test]
fn a_spill_folder_that_is_none_is_refused_in_one_line_with_exit_code_2() {
    let folder = Folder::new("spill");
    let file = folder.text("file");
    fs::write(&file, "no folder").unwrap();
    let spill = format!("{file}/below");
    let wrong = format!("nothing can be written to --spill-dir {spill}: Not a directory");
    for command in [&["local"][..], &["node", "--data", &folder.text("data")]] {
        let line = refusal(&[command, &["--spill-dir", &spill]].concat(), 2);
        assert!(line.contains(&wrong) && line.ends_with("choose another folder"), "{line}");
    }
    let line = refusal(&["local", "--memory-mib", "0"], 2);
    assert!(line.contains("--memory-mib") && line.contains("1.."), "{line}");
}

#[test]
fn certificates_of_people_that_have_ended_are_made_anew_by_ca_renew() {
    let folder = Folder::new("people");
    let (ca, now) = (folder.text("ca"), World::real().clock.wall());
    // Made two years ago, and nobody has touched it since.
    Authority::create(Path::new(&ca), now - 2 * PERSON_LIFETIME).unwrap();
    let driver = free_address().to_string();
    let ask = ["status", "--ca", &ca, "--driver", &driver];
    let line = refusal(&ask, 2);
    assert!(
        line.contains("observer.pem ended 365 days ago: make it anew with `tidemill ca renew`"),
        "{line}"
    );
    let before = fs::read(Path::new(&ca).join("operator.pem")).unwrap();
    let said = done(&["ca", "renew", &ca]);
    for person in ["operator", "observer"] {
        assert!(said.contains(&format!("{ca}/{person}.pem is valid for 365 days: copy it")), "{said}");
        let facts = load_identity(Path::new(&ca), person).unwrap().facts().unwrap();
        assert!(facts.valid_from <= now + DAY && facts.valid_until > now + 364 * DAY, "{person}");
    }
    assert_ne!(fs::read(Path::new(&ca).join("operator.pem")).unwrap(), before);
    let line = refusal(&ask, 1);
    assert!(line.contains("check --driver and that it runs"), "nobody is there, but it may ask: {line}");
}

#[test]
fn a_used_token_is_refused_in_one_line_with_exit_code_3() {
    let cluster = Cluster::start("token", free_address());
    let _first = cluster.node("first", TIDEMILL);
    cluster.status("it has joined", |status| (status["executors"].as_array()?.len() == 2).then_some(()));
    let (token, data) = (cluster.folder.text("first.token"), cluster.folder.text("second"));
    let driver = cluster.address.to_string();
    let line = refusal(&["node", "--join", &token, "--driver", &driver, "--data", &data], 3);
    assert!(
        line.contains("the join token has been used: make another one with `tidemill ca token`"),
        "{line}"
    );
}

#[test]
fn what_keeps_a_machine_from_joining_is_found_before_its_token_is_used() {
    let cluster = Cluster::start("kept", free_address());
    let (token, data) = (cluster.token("node", "1"), cluster.folder.text("node"));
    let driver = cluster.address.to_string();
    let join = ["node", "--join", &token, "--driver", &driver, "--data", &data];
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let line = refusal(&join, 2);
    assert!(line.contains("can be used by others (mode 755)") && line.contains("chmod 700"), "{line}");
    let line = refusal(&[&join[..], &["--listen", "0.0.0.0"]].concat(), 2);
    assert!(line.contains("0.0.0.0 is no address at which another machine finds this one"), "{line}");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let _node = Process::start(TIDEMILL, &join);
    cluster.status("it has joined", |status| (status["executors"].as_array()?.len() == 1).then_some(()));
}

#[test]
fn a_node_that_has_joined_and_would_join_again_is_told_the_ways_out() {
    let folder = Folder::new("again");
    let (ca, data, token) = (folder.text("ca"), folder.text("node"), folder.text("token"));
    let now = World::real().clock.wall();
    let authority = Authority::create(Path::new(&ca), now).unwrap();
    let (_, identity) = authority.node_identity(now, 1, NODE_LIFETIME).unwrap();
    save_identity(Path::new(&data), "node", &identity).unwrap();
    done(&["ca", "token", &ca, "--out", &token]);
    let line = refusal(&["node", "--join", &token, "--driver", "127.0.0.1:7600", "--data", &data], 2);
    assert!(line.contains("belongs to a node that has joined: leave --join out"), "{line}");
    assert!(
        line.ends_with(
            "if that node was denied, or this one is to join another cluster, choose another --data"
        ),
        "{line}"
    );
}

#[test]
fn a_token_is_written_into_a_file_that_only_its_owner_may_read() {
    let folder = Folder::new("token-file");
    let (ca, token) = (folder.text("ca"), folder.text("token"));
    done(&["ca", "init", &ca]);
    // One that was there and that others may read is replaced.
    fs::write(&token, "old").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let said = done(&["ca", "token", &ca, "--out", &token]);
    assert_eq!(said, format!("{token} has the token: only its owner may read it\n"));
    let written = fs::read_to_string(&token).unwrap();
    assert!(written.starts_with("tidemill-join-1.") && written.ends_with('\n'), "{}", written.len());
    assert_eq!(fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
    written.parse::<Token>().unwrap();
    // On standard output unless it is said otherwise.
    done(&["ca", "token", &ca]).parse::<Token>().unwrap();
    let line = refusal(&["ca", "token", &ca, "--out", &folder.text("nothing/token")], 2);
    assert!(line.contains("nothing/.token.new: No such file or directory"), "{line}");
}

#[test]
fn a_node_whose_certificate_has_ended_is_told_to_join_again_and_may_do_so_in_its_folder() {
    let cluster = Cluster::start("ended", free_address());
    let (data, driver) = (cluster.folder.text("node"), cluster.address.to_string());
    let now = World::real().clock.wall();
    let authority = Authority::open(&cluster.folder.path("ca"), now).unwrap();
    let (_, ended) = authority.node_identity(now - 2 * NODE_LIFETIME, 1, NODE_LIFETIME).unwrap();
    save_identity(Path::new(&data), "node", &ended).unwrap();
    let line = refusal(&["node", "--data", &data, "--driver", &driver], 2);
    assert!(
        line.contains("ended 30 days ago: join again with a new token from `tidemill ca token`"),
        "{line}"
    );
    let token = cluster.token("node", "1");
    let _node = Process::start(TIDEMILL, &["node", "--join", &token, "--driver", &driver, "--data", &data]);
    cluster
        .status("it has joined again", |status| (status["executors"].as_array()?.len() == 1).then_some(()));
}
