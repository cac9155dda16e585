//! Who waits for whom has no circle: the arrows are read from the table in ARCHITECTURE.md, and each wait has a bound.

use std::collections::{BTreeMap, BTreeSet};

const HEADLINE: &str = "## Who waits for whom";
const COLUMNS: [&str; 4] = ["who waits", "for whom", "for what", "bounded by"];

/// The rows of the table below the headline, without its head.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let section = page.split(HEADLINE).nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let table = section.lines().filter(|line| line.starts_with('|'));
    let rows: Vec<Vec<&str>> =
        table.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert_eq!(rows.first().map(Vec::as_slice), Some(&COLUMNS[..]), "the table has another head");
    rows.into_iter().skip(2).collect()
}

/// A path of waits that ends where it began.
fn circle<'a>(rows: &[Vec<&'a str>]) -> Option<Vec<&'a str>> {
    let mut waits: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows {
        waits.entry(row[0]).or_default().insert(row[1]);
    }
    let mut through = BTreeSet::new();
    waits.keys().find_map(|start| walk(start, &waits, &mut Vec::new(), &mut through))
}

fn walk<'a>(
    at: &'a str,
    waits: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    path: &mut Vec<&'a str>,
    through: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    if let Some(began) = path.iter().position(|before| *before == at) {
        return Some(path[began..].iter().copied().chain([at]).collect());
    }
    if through.contains(at) {
        return None;
    }
    path.push(at);
    let found = waits.get(at).into_iter().flatten().find_map(|next| walk(next, waits, path, through));
    path.pop();
    through.insert(at);
    found
}

#[test]
fn the_waits_have_no_circle_and_each_has_a_bound() {
    let rows = rows(include_str!("../ARCHITECTURE.md"));
    assert!(rows.len() > 10, "the table has lost its rows: {rows:?}");
    for row in &rows {
        assert!(row.len() == COLUMNS.len() && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
    assert_eq!(circle(&rows), None, "who waits for whom goes in a circle");
}

#[test]
fn a_circle_is_caught() {
    let arrows = |arrows: &[(&'static str, &'static str)]| -> Vec<Vec<&'static str>> {
        arrows.iter().map(|(who, whom)| vec![*who, *whom, "x", "x"]).collect()
    };
    assert_eq!(circle(&arrows(&[("a", "b"), ("a", "c"), ("b", "c")])), None);
    assert_eq!(circle(&arrows(&[("a", "b"), ("b", "c"), ("c", "b")])), Some(vec!["b", "c", "b"]));
    assert_eq!(circle(&arrows(&[("a", "a")])), Some(vec!["a", "a"]));
}

#[test]
fn rows_are_read_from_their_section_only() {
    let page = "| x |\n## Who waits for whom\ntext\n| who waits | for whom | for what | bounded by |\n|---|---|---|---|\n| a | b | c | d |\n## Next\n| e |";
    assert_eq!(rows(page), [["a", "b", "c", "d"]]);
}
