//! Words that stand nowhere in the project: paths of somebody's machine, and `unsafe`.

use tidemill_docs::{tokens::tokens, workspace};

/// Put together here, so that this file does not hold what it looks for.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

/// The lines of `text` that hold a path of a machine.
fn machine_paths(text: &str) -> Vec<usize> {
    // A word before the path makes it part of a longer one, such as a URL: https://example.org/home/page.
    let starts_a_path =
        |line: &str, at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '.' || c == '-');
    let holds = |line: &str| {
        MACHINE_PATHS.iter().any(|path| line.match_indices(path).any(|(at, _)| starts_a_path(line, at)))
    };
    text.lines().enumerate().filter(|(_, line)| holds(line)).map(|(i, _)| i + 1).collect()
}

#[test]
fn no_file_holds_a_path_of_a_machine() {
    let mut wrong = Vec::new();
    for path in workspace::files(&workspace::root()) {
        let shown = workspace::shown(&path);
        let Some(text) = workspace::text(&path).filter(|_| !shown.starts_with("runtime/data/")) else {
            continue;
        };
        wrong.extend(machine_paths(&text).into_iter().map(|line| format!("{shown}:{line}")));
    }
    assert!(wrong.is_empty(), "paths of a machine: {wrong:#?}");
}

#[test]
fn no_source_holds_unsafe_code() {
    let mut wrong = Vec::new();
    for path in workspace::rust_files() {
        let source = workspace::text(&path).expect("sources are UTF-8");
        let lines = tokens(&source).into_iter().filter(|t| t.text == "unsafe").map(|t| t.line);
        wrong.extend(lines.map(|line| format!("{}:{line}", workspace::shown(&path))));
    }
    assert!(wrong.is_empty(), "unsafe code: {wrong:#?}");
}

#[test]
fn a_path_of_a_machine_is_caught() {
    let text = format!(
        "fine\nread {}data.csv\nhttps://example.org{}page\n\"{}me\"",
        MACHINE_PATHS[2], MACHINE_PATHS[1], MACHINE_PATHS[0]
    );
    assert_eq!(machine_paths(&text), [2, 4]);
}

#[test]
fn unsafe_code_is_caught_and_its_lint_is_not() {
    let held = |source: &str| tokens(source).iter().any(|t| t.text == "unsafe");
    assert!(held("fn f() { unsafe { g() } }"));
    assert!(!held("#![forbid(unsafe_code)] // unsafe\nlet s = \"unsafe\";"));
}
