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

/// A graph's first line without its program id, and the rest; the id is the same each time.
fn graph(arguments: &[&str]) -> (String, String) {
    let print = || run(env!("CARGO_BIN_EXE_word_count"), &[&["graph"], arguments].concat());
    let printed = print();
    assert_eq!(print(), printed, "the same program, the same id");
    let (first, rest) = printed.split_once('\n').expect("several lines");
    let (words, id) = first.rsplit_once(' ').expect("its id comes last");
    assert!(id.parse::<u64>().is_ok(), "{first}");
    (words.to_owned(), rest.to_owned())
}

#[test]
fn word_count_shows_its_graph_with_the_program_id() {
    let (program, text) = graph(&[]);
    assert_eq!(program, "program");
    let expected =
        "stream-0 \"poem\" Planned × 0\nop-0 source stream-0 <- []\nop-1 flat_map_text <- [op-0]\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.ends_with("sink-0 \"foreach_batch-0\" foreach_batch <- [op-3]\n"), "{text}");
    let (program, dot) = graph(&["--dot"]);
    assert_eq!(program, "// program");
    assert!(
        dot.starts_with(
            "digraph pipeline {\n  rankdir=LR;\n  node [shape=box];\n  n0 [label=\"source stream-0\"];\n"
        ),
        "{dot}"
    );
    assert!(dot.ends_with("  s0 [label=\"foreach_batch-0\", shape=ellipse];\n  n3 -> s0;\n}\n"), "{dot}");
}

#[test]
fn custom_sink_stores_each_batch_under_its_number() {
    let expected = "batch-0: 465 cents, 465 in all\nbatch-1: 80 cents, 545 in all\n";
    assert_eq!(run(env!("CARGO_BIN_EXE_custom_sink"), &[]), expected);
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
