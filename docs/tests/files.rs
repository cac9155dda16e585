//! One concept, one file: every source says what it is, none grows beyond reading, none is called by a name that says nothing.

use std::{collections::BTreeMap, path::Path};
use tidemill_docs::{tokens::tokens, workspace};

const LINES_OF_A_FILE_MAX: usize = 500;
const LINES_OF_A_SHELL_MAX: usize = 150;
const LINES_OF_AN_EXAMPLE_MAX: usize = 60;
const NAMES_THAT_SAY_NOTHING: [&str; 10] =
    ["utils", "util", "common", "helpers", "helper", "manager", "misc", "shared", "stuff", "types"];

/// What is wrong with a source file, by its place, its name and its text.
fn findings(path: &str, source: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = source.lines().count();
    let name = Path::new(path).file_stem().and_then(|n| n.to_str()).unwrap_or_default();
    let folders = path.split('/').filter(|part| NAMES_THAT_SAY_NOTHING.contains(part));
    if !source.starts_with("//!") {
        wrong.push(format!("{path}: does not open with //!"));
    }
    if lines > LINES_OF_A_FILE_MAX {
        wrong.push(format!("{path}: {lines} lines, at most {LINES_OF_A_FILE_MAX}"));
    }
    if name == "actor" && lines > LINES_OF_A_SHELL_MAX {
        wrong.push(format!("{path}: {lines} lines, a shell has at most {LINES_OF_A_SHELL_MAX}"));
    }
    if path.starts_with("examples/") && source.contains("fn main") && lines > LINES_OF_AN_EXAMPLE_MAX {
        wrong.push(format!("{path}: {lines} lines, a lesson has at most {LINES_OF_AN_EXAMPLE_MAX}"));
    }
    if NAMES_THAT_SAY_NOTHING.contains(&name) || folders.count() > 0 {
        wrong.push(format!("{path}: a name that says nothing"));
    }
    wrong
}

#[test]
fn every_file_opens_with_its_purpose_and_stays_short() {
    let mut wrong = Vec::new();
    let mut lengths: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for path in workspace::rust_files() {
        let source = workspace::text(&path).expect("sources are UTF-8");
        let shown = workspace::shown(&path);
        wrong.extend(findings(&shown, &source));
        let krate = shown.split('/').next().unwrap_or_default().to_string();
        lengths.entry(krate).or_default().push(source.lines().count());
    }
    for (krate, lengths) in &mut lengths {
        lengths.sort_unstable();
        let (median, longest) = (lengths[lengths.len() / 2], lengths[lengths.len() - 1]);
        println!("{krate}: {} files, median {median} lines, longest {longest}", lengths.len());
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_breaks_the_rules_is_caught() {
    let long = format!("//! Long.\n{}", "\n".repeat(500));
    let table: [(&str, &str, usize); 8] = [
        ("actors/src/scheduler/placement.rs", "//! Fine.\n", 0),
        ("actors/src/scheduler/placement.rs", "use x;\n", 1),
        ("actors/src/scheduler/placement.rs", &long, 1),
        ("actors/src/scheduler/actor.rs", &long[..long.len() - 300], 1),
        ("actors/src/scheduler/actor.rs", &long[..long.len() - 360], 0),
        ("actors/src/utils.rs", "//! x\n", 1),
        ("actors/src/common/mod.rs", "//! x\n", 1),
        ("examples/src/bin/lesson.rs", &long[..long.len() - 400].replace("Long", "fn main"), 1),
    ];
    for (path, source, expected) in table {
        assert_eq!(findings(path, source).len(), expected, "{path}");
    }
}

#[test]
fn the_crates_first_pages_are_maps_without_logic() {
    for krate in ["protocol", "actors", "runtime"] {
        let path = workspace::root().join(krate).join("src/lib.rs");
        let source = workspace::text(&path).expect("sources are UTF-8");
        let logic: Vec<String> = tokens(&source)
            .into_iter()
            .filter(|t| matches!(t.text.as_str(), "fn" | "impl" | "struct" | "enum" | "trait"))
            .map(|t| format!("line {}: {}", t.line, t.text))
            .collect();
        assert!(logic.is_empty(), "{krate}/src/lib.rs is a map, no logic: {logic:?}");
        assert!(source.contains("#![deny(missing_docs)]"), "{krate}/src/lib.rs does not deny missing docs");
    }
}
