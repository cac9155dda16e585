//! docs/THREE-MACHINES.md is the script: its commands run in three network namespaces, each with a private folder.

mod machines;
mod page;

use machines::Machines;
use page::{Mode, Step};
use std::{collections::BTreeMap, io::Write as _, time::Duration};
use tidemill_protocol::world::World;

/// As the page's table has them.
const MACHINES: [(&str, &str); 3] =
    [("driver", "10.77.0.1"), ("node-a", "10.77.0.2"), ("node-b", "10.77.0.3")];

#[test]
fn the_page_of_three_machines_does_what_it_says() {
    if !machines::can_make_namespaces() {
        // Past the test harness, which would keep it: .ci/check counts these lines.
        let line = "left out: the_page_of_three_machines_does_what_it_says (namespaces need root and `ip`)\n";
        std::io::stderr().write_all(line.as_bytes()).expect("stderr takes a line");
        return;
    }
    let page = include_str!("../../../docs/THREE-MACHINES.md");
    for (name, address) in MACHINES {
        assert!(
            page.contains(&format!("| {name} | {address} |")),
            "the page's table has no {name} with {address}"
        );
    }
    let folder = std::env::temp_dir().join(format!("tidemill-three-machines-{}", std::process::id()));
    let mut machines = Machines::new(&MACHINES, &folder);
    for step in page::steps(page) {
        match step {
            Step::Carry { file, from, to } => machines.carry(&file, &from, &to),
            Step::Commands { machine, mode: Mode::Once, text } => {
                let output = machines.run(&machine, &text);
                let said = String::from_utf8_lossy(&output.stdout);
                let wrong = String::from_utf8_lossy(&output.stderr);
                let logs = if output.status.success() { String::new() } else { machines.logs() };
                assert!(output.status.success(), "{machine}: `{text}` failed:\n{said}{wrong}{logs}");
                if text.starts_with("tidemill feed ") {
                    assert_counted_once(&machines, &machine, &said);
                }
            }
            Step::Commands { machine, mode: Mode::Runs, text } => machines.start(&machine, &text),
            Step::Commands { machine, mode: Mode::Until(wanted), text } => {
                machines.until(&machine, &text, &wanted);
            }
            Step::Commands { machine, mode: Mode::Stops, .. } => {
                for code in machines.stop(&machine) {
                    assert!(
                        matches!(code, Some(0 | 130)),
                        "{machine}: ended with {code:?}:\n{}",
                        machines.logs()
                    );
                }
            }
        }
    }
}

/// What the driver counts is what the sender has sent, and remains so in later batches.
fn assert_counted_once(machines: &Machines, machine: &str, said: &str) {
    let sent = said.lines().find_map(|line| line.split_once(" lines were sent")?.0.parse::<u64>().ok());
    let sent = sent.unwrap_or_else(|| panic!("the sender does not say how much it sent: {said}"));
    assert!(sent > 0);
    let clock = World::real().clock;
    let deadline = clock.now() + Duration::from_secs(60);
    let (mut batches, mut complete_at) = (BTreeMap::new(), None);
    loop {
        let output = machines.run(machine, "tidemill status --ca pki --driver 10.77.0.1:7600 --json");
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        for batch in status["batches"].as_array().into_iter().flatten() {
            batches.extend(batch["batch"].as_u64().zip(batch["records"].as_u64()));
        }
        let counted: u64 = batches.values().sum();
        let last = batches.keys().next_back().copied();
        if counted >= sent && complete_at.is_none() {
            complete_at = last;
        }
        if complete_at.is_some_and(|complete| last >= Some(complete + 3)) {
            return assert_eq!(counted, sent, "{batches:?}");
        }
        assert!(
            clock.now() < deadline,
            "{counted} of {sent} lines were counted: {batches:?}\n{}",
            machines.logs()
        );
    }
}
