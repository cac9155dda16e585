//! Files of sources and sinks: whole files only, because a micro-batch reads and writes whole files. Calls block; callers
//! on the control thread go through [`Spawner::blocking`](super::Spawner::blocking).

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a world's files are made of.
pub trait FileSystem: Send + Sync {
    /// The bytes `offset..offset + length` of a file (fewer at its end).
    fn read_range(&self, path: &Path, offset: u64, length: u64) -> io::Result<Vec<u8>>;
    /// The plain files of a folder with their lengths in bytes, sorted by path.
    fn list(&self, folder: &Path) -> io::Result<Vec<(PathBuf, u64)>>;
    /// Creates a folder and its parents.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Writes a whole file durably (file and folder synced) under a temporary name, then renames it to `path`,
    /// replacing what stood there.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Renames a file, replacing what stood at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; no error if there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// A shared handle to the world's files.
#[derive(Clone)]
pub struct Files(Arc<dyn FileSystem>);

impl Files {
    /// Files kept by `system`.
    pub fn new(system: impl FileSystem + 'static) -> Self {
        Files(Arc::new(system))
    }
}

impl std::ops::Deref for Files {
    type Target = dyn FileSystem;
    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}
