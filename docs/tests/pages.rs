//! Pages tell the truth: each one is a doctest of this crate, and each link between them leads somewhere.

use std::path::{Path, PathBuf};
use tidemill_docs::workspace;

/// README and all pages under docs/.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![workspace::root().join("README.md")];
    let below = workspace::files(&workspace::root().join("docs"));
    pages.extend(below.into_iter().filter(|path| path.extension().is_some_and(|e| e == "md")));
    pages
}

/// The places that a page links to, without those on the web and within the page itself.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split([')', '#', '\n']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://")).collect()
}

#[test]
fn every_page_is_a_doctest() {
    let lib = include_str!("../src/lib.rs");
    for page in pages() {
        let shown = workspace::shown(&page);
        let from_lib =
            shown.strip_prefix("docs/").map_or(format!("../../{shown}"), |inside| format!("../{inside}"));
        assert!(lib.contains(&format!("include_str!(\"{from_lib}\")")), "{shown} is not in docs/src/lib.rs");
    }
}

#[test]
fn every_link_leads_to_a_file() {
    for page in pages() {
        let text = workspace::text(&page).expect("pages are UTF-8");
        let folder = page.parent().unwrap_or(Path::new("."));
        for target in links(&text) {
            assert!(folder.join(target).exists(), "{}: nothing at {target}", workspace::shown(&page));
        }
    }
}

#[test]
fn links_are_found_in_a_page() {
    let page = "[a](docs/A.md), [b](https://example.org) [c](#here) [d](../D.md#there)\n[e](e/)";
    assert_eq!(links(page), ["docs/A.md", "../D.md", "e/"]);
    assert_eq!(links("none"), Vec::<&str>::new());
}
