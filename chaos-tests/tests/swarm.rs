//! Many seeds with faults of their own, through the command, and what the command says of itself.

use std::process::{Command, Output};

fn chaos(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill-chaos"));
    command.args(arguments).output().expect("the program was built")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn two_hundred_seeds_with_random_faults_lose_and_repeat_nothing() {
    let output = chaos(&["swarm", "--seeds", "100..300", "--jobs", "2"]);
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}");
    let last = told.lines().last().expect("a last line");
    let words: Vec<&str> = last.split(' ').collect();
    let [count, "seeds,", struck, "faults", "struck,", "0", "lost,", "0", "repeated"] = words[..] else {
        panic!("{last}")
    };
    assert_eq!(count, "200");
    assert!(struck.parse::<u64>().expect("a number") >= 400, "{last}");
    let kinds = told.lines().rev().nth(1).and_then(|line| line.strip_prefix("struck: ")).expect("kinds");
    let struck: Vec<(&str, &str)> = kinds.split(", ").filter_map(|kind| kind.split_once(' ')).collect();
    for kind in [
        "kill",
        "restart",
        "cut",
        "one_way_cut",
        "loss",
        "duplicates",
        "disorder",
        "slow",
        "tcp_reset",
        "panics",
    ] {
        let count = struck.iter().find(|(name, _)| *name == kind).map(|(_, count)| *count);
        assert!(count.is_some_and(|count| count != "0"), "{kind} never struck: {kinds}");
    }
}

#[test]
fn without_arguments_the_command_says_what_it_can_do_and_exits_2() {
    let output = chaos(&[]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains("sim") && told.contains("swarm") && told.contains("--seed 7"), "{told}");
}

#[test]
fn nonsense_is_a_usage_error() {
    assert_eq!(chaos(&["swarm", "--seeds", "9..3"]).status.code(), Some(2));
    assert_eq!(chaos(&["sim"]).status.code(), Some(2));
}

#[test]
fn the_help_of_each_command_has_an_example_that_runs() {
    for command in ["sim", "swarm"] {
        let help = chaos(&[command, "--help"]);
        assert!(help.status.success());
        assert!(text(&help.stdout).contains(&format!("Example:\n  tidemill-chaos {command} ")), "{command}");
    }
    let output = chaos(&["sim", "--seed", "7", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stdout));
    assert!(chaos(&["swarm", "--seeds", "0..3", "--jobs", "2"]).status.success());
}
