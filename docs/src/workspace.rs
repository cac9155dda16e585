//! The files of the project, as the guards see them: without build output, version control and what git ignores by name.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The workspace's folder.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("this crate is a folder of the workspace").to_path_buf()
}

/// All files below `folder`, sorted. Build output and version control are left out.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(folder, &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.unwrap_or_else(|e| panic!("{}: {e}", folder.display())).path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if path.is_symlink() || matches!(name, "target" | ".git") {
            continue;
        }
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// All Rust sources of the project, sorted.
pub fn rust_files() -> Vec<PathBuf> {
    files(&root()).into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")).collect()
}

/// A file's text; `None` if it is not UTF-8 (an image, a corpus of a fuzz target).
pub fn text(path: &Path) -> Option<String> {
    String::from_utf8(fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).ok()
}

/// A path as it is shown: from the workspace's folder.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The names of all dependencies that a manifest declares, in whatever table, sorted and each once.
///
/// ```
/// let manifest = "[package]\nname = \"x\"\n[dependencies]\nserde.workspace = true\n[dev-dependencies.tokio]\nversion = \"1\"\n";
/// assert_eq!(tidemill_docs::workspace::dependencies(manifest), ["serde", "tokio"]);
/// ```
pub fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            inside = table.ends_with("dependencies");
            // [dependencies.NAME] declares one by its table.
            if let Some((before, name)) = table.rsplit_once('.')
                && before.ends_with("dependencies")
            {
                names.push(name.trim_matches('"').to_string());
            }
        } else if inside && !line.is_empty() && !line.starts_with('#') && line.contains('=') {
            let name = line.split(['=', '.']).next().unwrap_or_default().trim().trim_matches('"');
            names.push(name.to_string());
        }
    }
    names.sort();
    names.dedup();
    names
}
