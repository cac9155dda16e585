//! docs/THREE-MACHINES.md is the script: its commands run in three network namespaces, each with a private folder.

mod machines;
mod page;

use machines::Machines;
use page::{Mode, Step};
use std::{collections::BTreeMap, io::Write as _};

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
    let mut sent = None;
    for step in page::steps(page) {
        match step {
            Step::Carry { file, from, to } => machines.carry(&file, &from, &to),
            Step::Commands { machine, mode: Mode::Once, text } => {
                let output = machines.run(&machine, &text);
                let said = String::from_utf8_lossy(&output.stdout);
                let wrong = String::from_utf8_lossy(&output.stderr);
                let logs = if output.status.success() { String::new() } else { machines.logs() };
                assert!(output.status.success(), "{machine}: `{text}` failed:\n{said}{wrong}{logs}");
                let lines =
                    said.split_once(" lines were sent").map(|(lines, _)| lines.parse().expect("a count"));
                sent = sent.or(lines);
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
    let sent: u64 = sent.expect("the page has a sender, which says how many lines it has sent");
    assert!(sent > 0);
    let log = machines.log("driver");
    assert_eq!(last_totals(&log), plain_totals(sent), "{sent} lines were sent:\n{log}");
}

/// What the driver has printed last: flights in all, and of the five busiest origins.
fn last_totals(log: &str) -> (u64, Vec<(String, u64)>) {
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split_whitespace().collect()).collect();
    let last =
        lines.iter().rposition(|words| words.ends_with(&["in", "all"])).expect("the driver has counted");
    let all = lines[last][3].parse().expect("a count");
    let of_origin = |words: &Vec<&str>| {
        let at = words.iter().position(|word| *word == "flights")?;
        Some((words[0].to_owned(), words[at - 1].parse().expect("a count")))
    };
    (all, lines[last + 1..].iter().filter_map(of_origin).collect())
}

/// The same by a plain loop over the lines that the sender repeats.
fn plain_totals(sent: u64) -> (u64, Vec<(String, u64)>) {
    let flights: Vec<&str> = include_str!("../../data/flights-50k.csv").lines().skip(1).collect();
    let mut origins = BTreeMap::<&str, u64>::new();
    for line in flights.iter().cycle().take(usize::try_from(sent).expect("a test sends few")) {
        *origins.entry(line.split(',').nth(3).expect("a flight has an origin")).or_default() += 1;
    }
    let mut busiest: Vec<(String, u64)> =
        origins.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    busiest.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    busiest.truncate(5);
    (sent, busiest)
}
