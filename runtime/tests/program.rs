//! The `tidemill` program from outside: what it refuses, in one line with the remedy and exit code 2, and what it lets
//! Prometheus see.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tidemill_protocol::world::World;

const TIDEMILL: &str = env!("CARGO_BIN_EXE_tidemill");

/// Runs the program to its end, which must be a refusal, and gives its one line.
fn refusal(arguments: &[&str]) -> String {
    let output = Command::new(TIDEMILL).args(arguments).env_remove("RUST_LOG").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    assert_eq!(error.lines().count(), 1, "{arguments:?} is refused in one line:\n{error}");
    assert!(output.stdout.is_empty(), "{arguments:?}: nothing is done");
    error.trim_end().to_owned()
}

#[test]
fn an_unknown_option_is_refused_in_one_line_with_exit_code_2() {
    for arguments in
        [&["--nonsense"][..], &["demo", "--nonsense"], &["local", "--nonsense"], &["bench", "--nonsense"]]
    {
        let line = refusal(arguments);
        assert!(line.starts_with("tidemill: unexpected argument '--nonsense' found"), "{line}");
        assert!(line.ends_with("; see --help"), "{line}");
    }
    let line = refusal(&["nonsense"]);
    assert!(line.starts_with("tidemill: unrecognized subcommand 'nonsense'"), "{line}");
}

#[test]
fn for_0_and_for_ever_and_rate_0_are_refused_in_one_line_with_exit_code_2() {
    let line = refusal(&["demo", "--for", "0"]);
    assert!(line.starts_with("tidemill: invalid value '0' for '--for <SECONDS>': 0 is not in 1.."), "{line}");
    for command in ["demo", "feed"] {
        let line = refusal(&[command, "--for", "18446744073709551615"]);
        assert!(line.ends_with("18446744073709551615 is not in 1..=31536000; see --help"), "{line}");
    }
    let line = refusal(&["demo", "--rate", "0"]);
    assert!(line.starts_with("tidemill: invalid value '0' for '--rate <RATE>': 0 is not in 1.."), "{line}");
}

#[test]
fn a_configuration_that_cannot_be_is_refused_in_one_line_with_exit_code_2() {
    assert_eq!(refusal(&["local", "--executors", "0"]), "tidemill: `executors` is 0; at least 1 is needed");
    let line = refusal(&["local", "--batch-interval-ms", "4"]);
    assert_eq!(line, "tidemill: `batch_interval` is 4ms; allowed is 5 ms to 1 h in whole milliseconds");
    let line = refusal(&["local", "--metrics", "192.0.2.1:9000"]);
    assert!(
        line.ends_with("is not on loopback; use 127.0.0.1 and let a local agent fetch the metrics"),
        "{line}"
    );
}

#[test]
fn a_taken_port_for_metrics_is_refused_in_one_line_with_exit_code_2() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (command, name) in [("demo", "tidemill demo"), ("local", "tidemill")] {
        let line = refusal(&[command, "--metrics", &address]);
        assert!(line.starts_with(&format!("{name}: cannot serve metrics on {address}: ")), "{line}");
        assert!(line.ends_with("; choose another port with --metrics"), "{line}");
    }
}

/// A program that runs, and does not outlive its test.
struct Program(Child);

impl Program {
    fn start(arguments: &[&str]) -> (Program, impl Iterator<Item = String>) {
        let mut command = Command::new(TIDEMILL);
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        (Program(child), output.lines().map(Result::unwrap))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// What Prometheus would read now.
fn scrape(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The samples of a scrape: metric, labels, value.
fn samples(text: &str) -> Vec<(&str, &str, f64)> {
    let sample = |line: &'_ str| -> Option<(usize, usize)> {
        let end = line.find(['{', ' '])?;
        (line.starts_with("tidemill_")).then_some((end, line.rfind(' ')?))
    };
    let parse = |line| {
        let (name_end, value_begin) = sample(line)?;
        Some((&line[..name_end], &line[name_end..value_begin], line[value_begin + 1..].trim().parse().ok()?))
    };
    text.lines().filter_map(parse).collect()
}

/// The keys in `{key="value",…}`; values here hold neither commas nor quotes.
fn label_keys(labels: &str) -> impl Iterator<Item = &str> {
    let inner = labels.trim_start_matches('{').trim_end_matches('}');
    inner.split(',').filter_map(|pair| pair.split_once('=').map(|(key, _)| key))
}

#[test]
fn the_demo_shows_queues_delays_rates_restarts_bytes_and_refused_frames_under_bounded_labels() {
    let wanted = [
        "tidemill_mailbox_depth",
        "tidemill_batch_scheduling_delay_seconds",
        "tidemill_batch_total_delay_seconds",
        "tidemill_batch_processing_seconds",
        "tidemill_rate_permitted_records_per_s",
        "tidemill_restarts_total",
        "tidemill_receiver_restarts_total",
        "tidemill_executor_store_bytes",
        "tidemill_records_total",
        "tidemill_blocks_copied_total",
        "tidemill_blocks_lost_total",
        "tidemill_words_refused_total",
        "tidemill_source_reports_total",
        "tidemill_received_bytes_total",
        "tidemill_transport_sent_bytes_total",
        "tidemill_transport_received_bytes_total",
        "tidemill_frames_refused_total",
    ];
    // What must not only be there: the demo receives lines, counts them in batches, and kills an executor with its receiver.
    let grown = [
        "tidemill_batch_scheduling_delay_seconds_count",
        "tidemill_batch_total_delay_seconds_count",
        "tidemill_executor_store_bytes",
        "tidemill_received_bytes_total",
        "tidemill_receiver_restarts_total",
        "tidemill_records_total",
        "tidemill_restarts_total",
    ];
    let address = free_address();
    let arguments =
        ["demo", "--for", "4", "--rate", "2000", "--json", "--in-process", "--metrics", &address.to_string()];
    let (_demo, lines) = Program::start(&arguments);
    let (mut missing, mut at_zero) = (BTreeSet::from(wanted), BTreeSet::from(grown));
    for _batch in lines {
        let text = scrape(address);
        let mut series: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, labels, value) in samples(&text) {
            *series.entry(name).or_default() += 1;
            for key in label_keys(labels) {
                let known = ["role", "node", "end", "what", "stream", "receiver", "quantile", "le"];
                assert!(known.contains(&key), "{name} has the label {key}");
            }
            missing.remove(name.trim_end_matches("_sum").trim_end_matches("_count"));
            if value > 0.0 {
                at_zero.remove(name);
            }
        }
        assert!(series.values().all(|&count| count <= 64), "{series:?}");
        if missing.is_empty() && at_zero.is_empty() {
            return;
        }
    }
    panic!("the demo is over, {missing:?} was not to be seen, and {at_zero:?} never above zero");
}

#[test]
fn bad_input_is_counted_for_prometheus() {
    let sender = TcpListener::bind("127.0.0.1:0").unwrap();
    let (from, address) = (sender.local_addr().unwrap().to_string(), free_address());
    let arguments =
        ["local", "--from", &from, "--batch-interval-ms", "100", "--metrics", &address.to_string()];
    let (_local, _lines) = Program::start(&arguments);
    let (mut receiver, _) = sender.accept().unwrap();
    receiver.write_all(b"0\tb\xffd\n1\tb\xffd\n").unwrap();
    let clock = World::real().clock;
    let until = clock.now() + Duration::from_secs(30);
    while clock.now() < until {
        let text = scrape(address);
        let is_counted = |&(name, labels, value): &(&str, &str, f64)| {
            name == "tidemill_source_reports_total" && labels == "{what=\"bad_utf8\"}" && value == 2.0
        };
        if samples(&text).iter().any(is_counted) {
            return;
        }
    }
    panic!("two bad lines were sent, and are not to be seen");
}

#[test]
fn the_demo_comes_to_the_verdict_equal_though_an_executor_was_killed() {
    let (mut demo, lines) = Program::start(&["demo", "--json", "--for", "6", "--rate", "2000"]);
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let last = lines.last().expect("the demo says something");
        let _ = tell.send(last);
    });
    // Killed with the test if it does not end.
    let last = told.recv_timeout(Duration::from_secs(60)).expect("the demo ends within 60 s");
    let verdict: serde_json::Value = serde_json::from_str(&last).unwrap_or_else(|e| panic!("{e}: {last}"));
    assert_eq!(verdict["verdict"], "equal", "{last}");
    assert!(verdict["restarts"].as_u64().is_some_and(|restarts| restarts >= 1), "{last}");
    assert!(verdict["records"].as_u64().is_some_and(|records| records > 0), "{last}");
    assert_eq!(demo.0.wait().unwrap().code(), Some(0));
}

/// Runs a benchmark that must succeed, and gives the JSON of its one line.
fn figures(arguments: &[&str]) -> serde_json::Value {
    let mut command = Command::new(TIDEMILL);
    command.arg("bench").args(arguments).args(["--json", "--runs", "1"]);
    let output = command.env_remove("RUST_LOG").output().unwrap();
    let (text, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {text}{error}");
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_small_shuffle_between_two_processes_is_measured_beside_a_bare_stream() {
    let found = figures(&["shuffle", "--megabytes", "1"]);
    assert_eq!(found["bench"], "shuffle");
    let of = |name: &str| found[name].as_f64().unwrap();
    assert!(of("mb_per_s") > 0.0 && of("bare_quinn_mb_per_s") > 0.0, "{found}");
    assert!((of("ratio") - of("mb_per_s") / of("bare_quinn_mb_per_s")).abs() < 1e-9, "{found}");
}

#[test]
fn batches_of_nearly_nothing_are_measured_in_one_process_and_over_three() {
    // Few and far between: on a busy machine too both executors have something to do in each.
    let found = figures(&["empty_batch", "--batches", "3", "--interval-ms", "500"]);
    assert_eq!(found["bench"], "empty_batch");
    for place in ["local", "quic"] {
        let of = |name: &str| found[place][name].as_f64().unwrap();
        assert!(of("p50_ms") >= 0.0 && of("p50_ms") <= of("p99_ms"), "{found}");
    }
}
