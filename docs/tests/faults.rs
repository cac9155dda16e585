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

/// The first line of each block of rows that is no table: a table stands apart, and begins with a head and a rule.
fn stray(page: &str) -> Vec<&str> {
    let lines: Vec<&str> = page.lines().collect();
    let is_row = |at: usize| lines.get(at).is_some_and(|line| line.starts_with('|'));
    let is_head = |at: usize| {
        let follows_text = at > 0 && !lines[at - 1].is_empty();
        !follows_text && lines.get(at + 1).is_some_and(|rule| rule.starts_with("|---"))
    };
    let firsts = (0..lines.len()).filter(|&at| is_row(at) && (at == 0 || !is_row(at - 1)));
    firsts.filter(|&at| !is_head(at)).map(|at| lines[at]).collect()
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
    assert_eq!(stray(&page), Vec::<&str>::new(), "rows in no table, which nobody reads");
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
fn a_row_outside_a_table_would_be_found() {
    let table = "| clause | test |\n|---|---|\n| a | `b` |\n";
    assert_eq!(stray(table), Vec::<&str>::new());
    assert_eq!(stray(&format!("text\n| a | `b` |\n\n{table}")), ["| a | `b` |"]);
    assert_eq!(stray(&format!("text\n{table}")), ["| clause | test |"], "markdown takes it for text");
    assert_eq!(stray("\n| a | `b` |\n"), ["| a | `b` |"]);
}

#[test]
fn a_missing_test_would_be_found() {
    let page = "| clause | test |\n|---|---|\n| a | `m::no_such_test_anywhere_at_all` |\n";
    assert_eq!(rows(page), [("a".to_owned(), "`m::no_such_test_anywhere_at_all`".to_owned())]);
    assert!(!is_defined("m::no_such_test_anywhere_at_all", "fn other() {}"));
    assert!(is_defined("m::…_such_a_test_…", "fn there_is_such_a_test_here() {}"));
}
