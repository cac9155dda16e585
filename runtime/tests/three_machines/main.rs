//! docs/THREE-MACHINES.md is the script: its commands run in three network namespaces, each with a private folder.

mod machines;
mod page;

use machines::Machines;
use page::{Mode, Step};
use std::io::Write as _;

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
