//! One arrow: `protocol <- actors <- runtime <- examples, chaos-tests, docs`. Read from the manifests; nothing points left.

use std::{collections::BTreeSet, fs, process::Command};
use tidemill_docs::workspace;

/// Folder, package, and what it may depend on of ours.
const ARROW: [(&str, &str, &[&str]); 6] = [
    ("protocol", "tidemill-protocol", &[]),
    ("actors", "tidemill-actors", &["tidemill-protocol"]),
    ("runtime", "tidemill", &["tidemill-actors", "tidemill-protocol"]),
    ("examples", "tidemill-examples", &["tidemill", "tidemill-actors", "tidemill-protocol"]),
    ("chaos-tests", "tidemill-chaos", &["tidemill", "tidemill-actors", "tidemill-protocol"]),
    ("docs", "tidemill-docs", &["tidemill", "tidemill-actors", "tidemill-protocol"]),
];

fn manifest(folder: &str) -> String {
    let path = workspace::root().join(folder).join("Cargo.toml");
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What of `declared` is ours and not in `allowed`.
fn against_the_arrow(declared: &[String], allowed: &[&str]) -> Vec<String> {
    let ours = declared.iter().filter(|name| name.starts_with("tidemill"));
    ours.filter(|name| !allowed.contains(&name.as_str())).cloned().collect()
}

#[test]
fn nothing_points_left() {
    for (folder, package, allowed) in ARROW {
        let mut declared = workspace::dependencies(&manifest(folder));
        // For its tests a crate may ask for a feature of its own.
        declared.retain(|name| name != package);
        let wrong = against_the_arrow(&declared, allowed);
        assert!(wrong.is_empty(), "{folder}/Cargo.toml depends on {wrong:?}, it may only on {allowed:?}");
    }
}

#[test]
fn an_arrow_that_points_left_is_caught() {
    let manifest = "[dependencies]\nserde = \"1\"\n[target.'cfg(unix)'.dev-dependencies]\ntidemill = { path = \"../runtime\" }\n";
    let wrong = against_the_arrow(&workspace::dependencies(manifest), ARROW[1].2);
    assert_eq!(wrong, ["tidemill"]);
}

#[test]
fn every_member_is_on_the_arrow_and_keeps_the_lints() {
    let workspace_manifest = manifest(".");
    let members =
        workspace_manifest.lines().find(|l| l.starts_with("members")).expect("a workspace has members");
    for (folder, package, _) in ARROW {
        assert!(members.contains(&format!("\"{folder}\"")), "{folder} is not a member");
        let text = manifest(folder);
        assert!(text.contains(&format!("name = \"{package}\"")), "{folder} is not the package {package}");
        assert!(text.contains("[lints]\nworkspace = true"), "{folder} does not take the workspace's lints");
    }
    assert_eq!(
        members.matches('"').count() / 2,
        ARROW.len(),
        "a member that this test does not know: {members}"
    );
    assert!(workspace_manifest.contains("unsafe_code = \"forbid\""));
}

/// The top-level entries that git tracks; `None` outside a clone, where nobody can tell them from what lies about.
fn tracked_entries() -> Option<BTreeSet<String>> {
    let listed = Command::new("git").args(["ls-files"]).current_dir(workspace::root()).output().ok()?;
    let paths = String::from_utf8(listed.stdout).ok()?;
    let entries: BTreeSet<String> =
        paths.lines().filter_map(|path| path.split('/').next()).map(str::to_string).collect();
    (listed.status.success() && !entries.is_empty()).then_some(entries)
}

#[test]
fn only_the_agreed_entries_stand_at_the_top() {
    const AGREED: [&str; 17] = [
        ".ci",
        ".clippy.toml",
        ".deny.toml",
        ".github",
        ".gitignore",
        ".rustfmt.toml",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "actors",
        "chaos-tests",
        "docs",
        "examples",
        "protocol",
        "runtime",
    ];
    let Some(tracked) = tracked_entries() else {
        return println!("skipped: not a clone, git tells nothing");
    };
    let unknown: Vec<&String> = tracked.iter().filter(|name| !AGREED.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "top-level entries that the design does not name: {unknown:?}");
}
