//! Each lesson says what its page says: the built programs are run and their output compared.

use std::process::{Command, Output};

/// What a program prints, and that it ends well.
fn run(program: &str, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } =
        Command::new(program).args(arguments).output().expect("cargo has built it");
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{program}: {status}\n{stderr}");
    String::from_utf8(stdout).expect("lessons print UTF-8")
}

#[test]
fn word_count_counts_each_batch() {
    let expected = "comes 1, in 1, the 2, tide 1, turns 1, wheel 1\ngoes 1, out 1, the 1, tide 1\n";
    assert_eq!(run(env!("CARGO_BIN_EXE_word_count"), &[]), expected);
}

#[test]
fn word_count_shows_its_graph() {
    let graph = run(env!("CARGO_BIN_EXE_word_count"), &["graph"]);
    for word in ["poem", "flat_map_text", "count_by_value"] {
        assert!(graph.contains(word), "no {word} in\n{graph}");
    }
}

#[test]
fn custom_receiver_hands_over_every_reading_once() {
    let expected = "1000 readings, 19.5 degrees on average\n";
    assert_eq!(run(env!("CARGO_BIN_EXE_custom_receiver"), &[]), expected);
}

#[test]
fn supervised_actor_answers_again_after_its_panic() {
    let printed = run(env!("CARGO_BIN_EXE_supervised_actor"), &[]);
    let lines: Vec<&str> = printed.lines().collect();
    let [flour, gold, bran] = lines[..] else { panic!("three orders, three lines: {printed}") };
    assert_eq!((flour, bran), ("flour: 120 cents", "bran: 45 cents"));
    assert_eq!(gold, "gold: the actor ended before it answered");
}
