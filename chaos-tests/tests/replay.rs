//! One seed, one trace: in separate processes, to the last datagram. And a run that draws other lots differs, which shows that
//! the comparison can fail.

use std::{
    process::{Command, Stdio},
    thread,
};

/// Runs the fixed scenario in a process of its own; gives its trace hash and its count of datagrams.
fn trace(seed: u64, more: &[&str]) -> (String, u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill-chaos"));
    command.args(["sim", "--json", "--seed", &seed.to_string()]).args(more).stderr(Stdio::inherit());
    let output = command.output().expect("the program was built");
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    assert!(output.status.success(), "seed {seed}: {text}");
    let report: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
    let hash = report["trace"].as_str().expect("a hash").to_owned();
    (hash, report["datagrams"].as_u64().expect("a count"))
}

#[test]
fn twenty_seeds_give_equal_traces_in_two_processes_each() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 1..=20 {
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(|| trace(seed, &[]));
            (trace(seed, &[]), other.join().expect("it does not panic"))
        });
        assert_eq!(one, other, "seed {seed}");
        assert!(one.1 >= 5_000, "seed {seed}: {} datagrams", one.1);
        hashes.insert(one.0);
    }
    assert_eq!(hashes.len(), 20, "another seed is another run");
}

/// All kinds of faults of the swarm: corrupted, rebound and frozen datagrams come again in the same places.
#[test]
fn random_schedules_give_equal_traces_twice() {
    for seed in 0..8 {
        assert_eq!(trace(seed, &["--random"]), trace(seed, &["--random"]), "seed {seed}");
    }
}

#[test]
fn without_a_seed_for_quinn_two_runs_of_one_seed_differ() {
    assert_ne!(trace(1, &["--unseeded"]).0, trace(1, &["--unseeded"]).0);
}
