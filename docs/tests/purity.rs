//! Decisions are pure: in a role's folder of actors/ every file is core but mod.rs, actor.rs, messages.rs and tests.rs, and no token of a core
//! (comments and strings removed) may name a runtime, a thread, a file, a socket, a clock, chance, an unordered map, or an output.

use std::{fs, path::PathBuf};
use tidemill_docs::{tokens::tokens, workspace};

const ROLES: [&str; 6] = ["receiver", "rate_controller", "batch_generator", "scheduler", "executor", "node"];
const SHELL_FILES: [&str; 4] = ["mod.rs", "actor.rs", "messages.rs", "tests.rs"];

/// The pure half of supervision, which is not a role: its other files are the actors.
const CORES_OF_SUPERVISION: [&str; 6] = ["strategy", "intensity", "backoff", "stuck", "children", "orders"];

/// Words that no core may hold, wherever they stand.
const BANNED: [&str; 23] = [
    "actix",
    "actix_rt",
    "tokio",
    "quinn",
    "Instant",
    "SystemTime",
    "rand",
    "HashMap",
    "HashSet",
    "RandomState",
    "println",
    "print",
    "eprintln",
    "eprint",
    "dbg",
    "metrics",
    "tracing",
    "DashMap",
    "dashmap",
    "hashbrown",
    "ahash",
    "async",
    "await",
];

/// Modules of std that no core may reach, by `std::fs` or by `use std::{fs, ...}`.
const BANNED_OF_STD: [&str; 5] = ["fs", "net", "thread", "process", "env"];

/// The banned words of a source, with their lines.
fn impurities(source: &str) -> Vec<String> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    let mut depth_of_std = None;
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate() {
        let text = token.text.as_str();
        let after_path = |word: &str| i >= 2 && tokens[i - 1].text == "::" && tokens[i - 2].text == word;
        match text {
            "{" => {
                // `std::{` opens a group in which every word is a module of std, until its own brace closes.
                if after_path("std") {
                    depth_of_std = Some(depth);
                }
                depth += 1;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                depth_of_std = depth_of_std.filter(|&at| depth > at);
            }
            _ => {}
        }
        let module_of_std = BANNED_OF_STD.contains(&text) && (after_path("std") || depth_of_std.is_some());
        if BANNED.contains(&text) || module_of_std {
            found.push(format!("line {}: {text}", token.line));
        }
    }
    found
}

/// All core files of all roles.
fn cores() -> Vec<PathBuf> {
    let mut cores = Vec::new();
    for role in ROLES {
        let folder = workspace::root().join("actors/src").join(role);
        assert!(folder.is_dir(), "the role {role} has no folder of its own");
        let of_role: Vec<PathBuf> = workspace::files(&folder)
            .into_iter()
            .filter(|path| path.extension().is_some_and(|e| e == "rs"))
            // A folder `tests` continues tests.rs.
            .filter(|path| !path.parent().is_some_and(|folder| folder.ends_with("tests")))
            .filter(|path| {
                !SHELL_FILES.contains(&path.file_name().and_then(|n| n.to_str()).unwrap_or_default())
            })
            .collect();
        assert!(!of_role.is_empty(), "the role {role} has no core");
        cores.extend(of_role);
    }
    for name in CORES_OF_SUPERVISION {
        let path = workspace::root().join("actors/src/supervision").join(name).with_extension("rs");
        assert!(path.is_file(), "supervision has no {name}.rs");
        cores.push(path);
    }
    cores
}

#[test]
fn cores_are_pure() {
    let cores = cores();
    let mut wrong = Vec::new();
    for path in &cores {
        let source = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        wrong
            .extend(impurities(&source).into_iter().map(|what| format!("{} {what}", workspace::shown(path))));
    }
    assert!(wrong.is_empty(), "cores that are not pure:\n{}", wrong.join("\n"));
    println!("{} core files of {} roles are pure", cores.len(), ROLES.len());
}

#[test]
fn an_impure_core_is_caught() {
    let found = impurities(include_str!("fixtures/impure_core.rs.txt"));
    let words: Vec<&str> = found.iter().map(|f| f.rsplit(' ').next().expect("a word")).collect();
    let expected = [
        "HashMap",
        "fs",
        "thread",
        "Instant",
        "HashSet",
        "SystemTime",
        "tokio",
        "quinn",
        "actix",
        "rand",
        "env",
        "net",
        "process",
        "println",
        "metrics",
        "tracing",
        "async",
        "await",
    ];
    assert_eq!(words, expected, "of {found:#?}");
}

#[test]
fn what_only_looks_impure_is_not_caught() {
    let source = "//! tokio, HashMap\nuse std::{collections::BTreeMap, fmt};\n/* actix */ let net = \"println\"; let thread = 'a'; fn env() {} self.process();";
    assert_eq!(impurities(source), Vec::<String>::new());
}
