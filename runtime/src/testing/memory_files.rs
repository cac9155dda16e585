//! Files that exist in memory only.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};
use tidemill_protocol::world::FileSystem;

/// A file system in memory; folders exist as soon as they are named.
#[derive(Debug, Default)]
pub struct MemoryFiles(Mutex<BTreeMap<PathBuf, Vec<u8>>>);

impl MemoryFiles {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Vec<u8>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no file {}", path.display()))
}

impl FileSystem for MemoryFiles {
    fn read_range(&self, path: &Path, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let files = self.lock();
        let bytes = files.get(path).ok_or_else(|| missing(path))?;
        let from = bytes.len().min(offset as usize);
        let to = bytes.len().min(from.saturating_add(length as usize));
        Ok(bytes[from..to].to_vec())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let files = self.lock();
        let inside = files.iter().filter(|(path, _)| path.parent() == Some(folder));
        Ok(inside.map(|(path, bytes)| (path.clone(), bytes.len() as u64)).collect())
    }

    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.lock().insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.lock();
        let bytes = files.remove(from).ok_or_else(|| missing(from))?;
        files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.lock().remove(path);
        Ok(())
    }
}
