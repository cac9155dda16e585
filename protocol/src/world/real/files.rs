//! Files of the real world: std::fs, whole files, durable when `write` or `rename` has returned.

use super::scratch;
use crate::world::{FileSystem, ScratchFolder};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

/// How names of files that are being written begin. [`FileSystem::list`] leaves them out: one that stays behind after
/// a crash is not a file of the user.
const TEMPORARY: &str = ".tidemill-tmp-";

/// The operating system's files.
pub(super) struct RealFiles {
    /// Tells temporary names of this world from those of others, and of earlier processes, on a shared folder.
    token: u64,
    written: AtomicU64,
}

impl RealFiles {
    /// Files whose temporary names carry `token`.
    pub(super) fn new(token: u64) -> Self {
        RealFiles { token, written: AtomicU64::new(0) }
    }

    /// A name next to `path` that no other writer uses, on the same file system, so that it can be renamed.
    fn temporary_for(&self, path: &Path) -> io::Result<PathBuf> {
        let name =
            path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file name"))?;
        let count = self.written.fetch_add(1, Ordering::Relaxed);
        let (process, token) = (process::id(), self.token);
        Ok(path.with_file_name(format!("{TEMPORARY}{process}-{token:x}-{count}-{}", name.to_string_lossy())))
    }
}

/// The name that a file with this temporary name would have got.
fn intended(temporary: &str) -> Option<&str> {
    temporary.strip_prefix(TEMPORARY)?.splitn(4, '-').nth(3)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the names in the folder of `path` durable.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

impl FileSystem for RealFiles {
    fn read_range(&self, path: &Path, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                continue;
            }
            match fs::metadata(entry.path()) {
                Ok(meta) if meta.is_file() => files.push((entry.path(), meta.len())),
                Ok(_) => {}
                // Removed (or a link to nothing) since the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        files.sort();
        Ok(files)
    }

    fn unfinished(&self, folder: &Path) -> io::Result<Vec<(PathBuf, String)>> {
        let mut left = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if let Some(name) = intended(&entry.file_name().to_string_lossy()) {
                left.push((entry.path(), name.to_owned()));
            }
        }
        left.sort();
        Ok(left)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.temporary_for(path)?;
        let written = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
        if let Err(error) = written {
            // The first error is the one to tell; what cannot be removed is left out of every listing anyway.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        sync_folder_of(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        sync_folder_of(to)?;
        if from.parent() == to.parent() { Ok(()) } else { sync_folder_of(from) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn scratch_folder(&self, parent: Option<&Path>) -> io::Result<ScratchFolder> {
        let count = self.written.fetch_add(1, Ordering::Relaxed);
        scratch::create(parent, &format!("{}-{:x}-{count}", process::id(), self.token))
    }

    fn sweep_scratch(&self, parent: Option<&Path>) -> io::Result<usize> {
        scratch::sweep(parent)
    }

    fn write_scratch(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::write(path, bytes).inspect_err(|_| {
            // The first error is the one to tell; the folder is removed as a whole in the end.
            let _ = fs::remove_file(path);
        })
    }
}
