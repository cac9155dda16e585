//! A task that ends its process each time it runs: the pipeline ends with its name, and the executors live on. Without libtest's
//! `main`: this very file is the program of driver and node.

#[allow(dead_code)]
#[path = "cluster/support.rs"]
mod support;

use std::{
    fs,
    process::{Command, ExitCode, Stdio},
};
use support::{Folder, executors, free_address, until};
use tidemill::{prelude::*, sources::Generator};

fn app() -> App {
    App::new("poison").pipeline(|ctx| {
        let numbers = ctx.generator("numbers", Generator::new(1, |_, n: u64| n).records_per_batch(1));
        let deadly = numbers.map(|n| if n == 3 { std::process::abort() } else { n });
        deadly.count().print();
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
            a_record_that_aborts_its_process_ends_the_pipeline_by_name_and_the_executors_live_on();
            println!(
                "test a_record_that_aborts_its_process_ends_the_pipeline_by_name_and_the_executors_live_on ... ok"
            );
            ExitCode::SUCCESS
        }
    }
}

fn a_record_that_aborts_its_process_ends_the_pipeline_by_name_and_the_executors_live_on() {
    let folder = Folder::new("poison");
    let program = std::env::current_exe().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let (ca, data, token) = (folder.text("ca"), folder.text("data"), folder.text("token"));
    assert!(run(&["ca", "init", &ca]).output().unwrap().status.success());
    let made = run(&["ca", "token", &ca, "--executors", "2"]).output().unwrap();
    fs::write(&token, made.stdout).unwrap();
    let address = free_address().to_string();
    let arguments = ["driver", "--ca", &ca, "--listen", &address, "--batch-interval-ms", "100"];
    let mut driver = run(&arguments).spawn().unwrap();
    let mut node = run(&["node", "--join", &token, "--driver", &address, "--data", &data]).spawn().unwrap();
    let ended = until("the pipeline ends", || driver.try_wait().unwrap());
    let living = until("executors live", || Some(executors(&folder.path("data"))).filter(|e| e.len() == 2));
    let node_ended = node.try_wait().unwrap();
    // Both end before anything is judged, so that none outlives a failure.
    let _ = (node.kill(), driver.kill());
    let said = String::from_utf8(driver.wait_with_output().unwrap().stderr).unwrap();
    let log = String::from_utf8(node.wait_with_output().unwrap().stderr).unwrap();
    assert_eq!(ended.and_then(|status| status.code()), Some(1), "{said}");
    assert!(said.contains("4 processes of executors have ended while batch-"), "{said}");
    assert!(said.contains("/stage-0/p0 ran there, last on node-"), "{said}");
    assert!(said.contains("; it reads stream-0/p0 from 3 to 4"), "{said}");
    assert!(log.contains("signal: 6"), "processes were aborted:\n{log}");
    assert!(node_ended.is_none() && living.is_some(), "the executors live on:\n{log}");
}
