//! Many seeds with faults of their own, through the command, and what the command says of itself.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Output, Stdio},
};

fn chaos(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill-chaos"));
    command.args(arguments).output().expect("the program was built")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn two_hundred_seeds_with_random_faults_lose_and_repeat_nothing() {
    let output = chaos(&["swarm", "--seeds", "0..200", "--jobs", "2"]);
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}");
    let last = told.lines().last().expect("a last line");
    let words: Vec<&str> = last.split(' ').collect();
    let [count, "seeds,", struck, "faults", "struck,", "0", "lost,", "0", "repeated"] = words[..] else {
        panic!("{last}")
    };
    assert_eq!(count, "200");
    assert!(struck.parse::<u64>().expect("a number") >= 2_000, "{last}");
    let fewest =
        told.lines().rev().nth(2).and_then(|line| line.strip_prefix("fewest: ")).expect("the fewest");
    let (fewest, _) = fewest.split_once(' ').expect("a number first");
    assert!(
        fewest.parse::<u64>().expect("a number") >= 10,
        "a seed with {fewest} faults that struck: {told}"
    );
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
        "corruption",
        "small_mtu",
        "pause",
        "rebind",
        "broken_sockets",
        "actor_panic",
        "feeder_gone",
        "leave",
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

/// What follows a headline of a help, up to the next empty line.
fn section<'a>(help: &'a str, headlines: &[&str]) -> Vec<&'a str> {
    let lines = help.lines().skip_while(|line| !headlines.contains(line)).skip(1);
    lines.take_while(|line| !line.is_empty()).map(str::trim).collect()
}

#[test]
fn the_help_of_each_command_has_examples_and_all_of_them_run_as_they_are_printed() {
    let help = |arguments: &[&str]| {
        let output = chaos(&[arguments, &["--help"]].concat());
        assert!(output.status.success(), "{arguments:?}");
        text(&output.stdout).to_owned()
    };
    let overview = help(&[]);
    let commands = section(&overview, &["Commands:"]).into_iter().filter_map(|line| line.split(' ').next());
    let commands: Vec<&str> = commands.filter(|command| *command != "help").collect();
    assert_eq!(commands, ["sim", "swarm", "long", "scale", "recovery", "relay"]);
    let mut examples = BTreeSet::new();
    for command in [&[][..]].into_iter().chain(commands.iter().map(std::slice::from_ref)) {
        let help = help(command);
        let found = section(&help, &["Example:", "Examples:"]);
        assert!(!found.is_empty(), "{command:?} has no example:\n{help}");
        let its_own = ["tidemill-chaos", command.first().unwrap_or(&"")].join(" ");
        assert!(found.iter().all(|example| example.starts_with(its_own.trim_end())), "{found:?}");
        examples.extend(found.into_iter().map(str::to_owned));
    }
    let program = Path::new(env!("CARGO_BIN_EXE_tidemill-chaos"));
    let path = std::env::join_paths(
        program
            .parent()
            .map(Path::to_path_buf)
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").expect("a path"))),
    );
    let path = path.expect("folders without colons");
    for example in examples {
        // As in a terminal, whose comments are none of the command's arguments.
        let output =
            Command::new("sh").args(["-c", &example]).env("PATH", &path).stdin(Stdio::null()).output();
        let output = output.expect("a shell");
        assert!(output.status.success() && !output.stdout.is_empty(), "{example}: {output:?}");
    }
}

#[test]
fn a_seed_that_goes_wrong_prints_how_to_see_it_again_and_its_smallest_schedule() {
    let bug = ["--planted", "adopt-dead"];
    let output = chaos(&[&["swarm", "--seeds", "0..200", "--jobs", "1"][..], &bug].concat());
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("fault at ") && told.contains(" lost, 0 repeated"), "{told}");
    let again = told.lines().find_map(|line| line.strip_prefix("again: tidemill-chaos ")).expect("a command");
    let again: Vec<&str> = again.split(' ').collect();
    let ["sim", "--seed", seed, "--random", "--planted", "adopt-dead"] = again[..] else {
        panic!("{again:?}")
    };
    let replayed = chaos(&again);
    assert_eq!(replayed.status.code(), Some(1));
    assert!(told.starts_with(text(&replayed.stdout).trim_end()), "the very same run");
    let smallest =
        told.lines().find_map(|line| line.strip_prefix("smallest: tidemill-chaos ")).expect("a command");
    let output = chaos(&smallest.split(' ').collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1));
    let shrunk = text(&output.stdout);
    let rest = shrunk.strip_prefix(&format!("seed {seed}: ")).expect(shrunk);
    let (few, rest) = rest.split_once(" of ").expect(shrunk);
    let (all, _) = rest.split_once(' ').expect(shrunk);
    let [few, all] = [few, all].map(|number| number.parse::<usize>().expect(shrunk));
    assert!((1..=4).contains(&few) && all >= 10, "{shrunk}");
    assert_eq!(shrunk.lines().count() - 1, few, "its faults: {shrunk}");
}

#[test]
fn long_scenarios_tell_one_line_each_and_fail_the_command_if_there_is_none() {
    let output = chaos(&["long", "--seeds", "4", "--only", "swarm"]);
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}");
    assert!(
        told.starts_with("ok       swarm: 4 seeds, ") && told.ends_with("1 scenarios, 0 failed\n"),
        "{told}"
    );
    let output = chaos(&["long", "--only", "planted-merge"]);
    assert!(output.status.success() && text(&output.stdout).contains("found with seed"), "{output:?}");
    assert_eq!(chaos(&["long", "--only", "nothing"]).status.code(), Some(1));
}
