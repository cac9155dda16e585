//! Guards docs/FAULTS.md: every clause names a test, and every test it names exists.

use std::fs;
use tidemill_docs::workspace;

/// The names in backticks of a cell, as written.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The rows of all tables whose last column is `test`: (clause, test cell).
fn rows(page: &str) -> Vec<(String, String)> {
    let (mut rows, mut within) = (Vec::new(), false);
    for line in page.lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
        match (line.starts_with('|'), cells.last().copied()) {
            (false, _) => within = false,
            (true, Some("test")) => within = true,
            (true, Some(last)) if within && !line.starts_with("|---") => {
                rows.push((cells[0].to_owned(), last.trim_end_matches('|').to_owned()));
            }
            _ => {}
        }
    }
    rows
}

/// Whether some source defines a function of this name; `…` stands for a part that is left out.
fn is_defined(name: &str, sources: &str) -> bool {
    let function = name.rsplit("::").next().unwrap_or(name);
    let part = function.trim_matches('…');
    if part.len() == function.len() {
        sources.contains(&format!("fn {part}("))
    } else {
        sources.contains(part)
    }
}

#[test]
fn every_clause_names_tests_that_exist() {
    let root = workspace::root();
    let page = fs::read_to_string(root.join("docs/FAULTS.md")).expect("the page is there");
    let sources: String = workspace::rust_files().iter().filter_map(|file| workspace::text(file)).collect();
    let rows = rows(&page);
    assert!(rows.len() >= 20, "only {} clauses were found", rows.len());
    for (clause, cell) in rows {
        let named = names(&cell);
        assert!(!named.is_empty() || cell.starts_with("as for "), "no test is named for: {clause}");
        for name in named {
            assert!(is_defined(name, &sources), "{name} does not exist, named for: {clause}");
        }
    }
}

#[test]
fn a_missing_test_would_be_found() {
    let page = "| clause | test |\n|---|---|\n| a | `m::no_such_test_anywhere_at_all` |\n";
    assert_eq!(rows(page), [("a".to_owned(), "`m::no_such_test_anywhere_at_all`".to_owned())]);
    assert!(!is_defined("m::no_such_test_anywhere_at_all", "fn other() {}"));
    assert!(is_defined("m::…_such_a_test_…", "fn there_is_such_a_test_here() {}"));
}
