//! Scratch folders of the real world. A process holds a lock on a file in its folder as long as it lives; who can take that
//! lock knows that the process has died, whatever its number, container or user.

use crate::world::ScratchFolder;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// How the names of scratch folders begin.
const PREFIX: &str = "tidemill-scratch-";
/// The file in them that is locked.
const LOCK: &str = "lock";
/// While a folder is made it has another name, so that nobody takes it for one without an owner.
const UNFINISHED: &str = ".tidemill-new-";

/// Removes the folder, and holds the lock until then.
struct Owner {
    path: PathBuf,
    _lock: File,
}

impl Drop for Owner {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next process.
        let _ = fs::remove_dir_all(&self.path);
    }
}

pub(super) fn create(parent: Option<&Path>, name: &str) -> io::Result<ScratchFolder> {
    let parent = place(parent);
    fs::create_dir_all(&parent)?;
    let (unfinished, path) =
        (parent.join(format!("{UNFINISHED}{name}")), parent.join(format!("{PREFIX}{name}")));
    make_private(&unfinished)?;
    let made = File::create_new(unfinished.join(LOCK)).and_then(|lock| {
        lock.lock()?;
        fs::rename(&unfinished, &path)?;
        Ok(lock)
    });
    match made {
        Ok(lock) => Ok(ScratchFolder::new(path.clone(), Owner { path, _lock: lock })),
        Err(error) => {
            let _ = fs::remove_dir_all(&unfinished);
            Err(error)
        }
    }
}

pub(super) fn sweep(parent: Option<&Path>) -> io::Result<usize> {
    let entries = match fs::read_dir(place(parent)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut swept = 0;
    for entry in entries {
        let path = entry?.path();
        let is_scratch = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        // Others' folders, and those that are removed at this moment, cannot be opened; they are not ours to judge.
        let Some(Ok(lock)) = is_scratch.then(|| File::open(path.join(LOCK))) else { continue };
        if lock.try_lock().is_ok() && fs::remove_dir_all(&path).is_ok() {
            swept += 1;
        }
    }
    Ok(swept)
}

/// A stream's records are nobody else's business.
fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn place(parent: Option<&Path>) -> PathBuf {
    parent.map_or_else(std::env::temp_dir, Path::to_path_buf)
}
