//! A node whose pipeline builds another graph than the driver's, from the same file: it is refused with the first line that
//! differs, and exit code 3. Without libtest's `main`: this very file is the program of driver and node.

#[allow(dead_code)]
#[path = "cluster/support.rs"]
mod support;

use std::{
    fs,
    process::{Command, ExitCode, Stdio},
};
use support::{Folder, free_address, until};
use tidemill::prelude::*;

/// What must not be there for the graph to be the driver's: a pipeline that looks around is the mistake that is to be found.
const DECISIVE: &str = "one-more-operator";

fn app() -> App {
    App::new("another-graph").pipeline(|ctx| {
        let lines = ctx.tcp_lines("127.0.0.1:9");
        if fs::exists(DECISIVE).unwrap_or(false) {
            lines.filter(|_| true).count().print();
        } else {
            lines.count().print();
        }
        Ok(())
    })
}

fn main() -> ExitCode {
    let first = std::env::args().nth(1);
    match first.as_deref() {
        Some("driver" | "node" | "executor" | "ca") => app().main(),
        // Whoever asks for a list of tests.
        Some("--list") => ExitCode::SUCCESS,
        _ => {
            a_node_with_another_graph_is_refused_with_the_first_line_that_differs();
            println!("test a_node_with_another_graph_is_refused_with_the_first_line_that_differs ... ok");
            ExitCode::SUCCESS
        }
    }
}

fn a_node_with_another_graph_is_refused_with_the_first_line_that_differs() {
    let folder = Folder::new("graph");
    let (here, there) = (folder.path("driver"), folder.path("node"));
    fs::create_dir_all(&here).unwrap();
    fs::create_dir_all(&there).unwrap();
    fs::write(there.join(DECISIVE), "").unwrap();
    let program = std::env::current_exe().unwrap();
    let run = |place: &std::path::Path, arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(place).env_remove("RUST_LOG").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let (ca, data, token) = (folder.text("ca"), folder.text("data"), folder.text("token"));
    assert!(run(&here, &["ca", "init", &ca]).output().unwrap().status.success());
    let made = run(&here, &["ca", "token", &ca, "--executors", "1"]).output().unwrap();
    fs::write(&token, made.stdout).unwrap();
    let address = free_address().to_string();
    let mut driver = run(&here, &["driver", "--ca", &ca, "--listen", &address]).spawn().unwrap();
    let arguments = ["node", "--join", &token, "--driver", &address, "--data", &data];
    let mut node = run(&there, &arguments).spawn().unwrap();
    let ended = until("it is refused", || node.try_wait().unwrap());
    // Both end before anything is judged, so that none outlives a failure.
    let _ = (node.kill(), driver.kill(), driver.wait());
    let said = String::from_utf8(node.wait_with_output().unwrap().stderr).unwrap();
    assert_eq!(ended.and_then(|status| status.code()), Some(3), "{said}");
    let difference = "the first thing that differs is line 3 of the graph, here `op-1 count";
    assert!(said.contains(difference) && said.contains("build the same graph on every node"), "{said}");
}
