//! Files of sources and sinks, and scratch files of the block store: whole files only, because a micro-batch reads and writes
//! whole files. Calls block; callers on the control thread go through [`Spawner::blocking`](super::Spawner::blocking).

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
    /// What writers that did not come to their end have left in a folder: each path, and the name that the file would have got.
    fn unfinished(&self, _folder: &Path) -> io::Result<Vec<(PathBuf, String)>> {
        Ok(Vec::new())
    }
    /// Creates a folder and its parents.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Writes a whole file durably (file and folder synced) under a temporary name, then renames it to `path`,
    /// replacing what stood there.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Renames a file, replacing what stood at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; no error if there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder of this process's own in `parent` (without one: where the system keeps temporary files).
    /// Files that have no such folders say so.
    fn scratch_folder(&self, _parent: Option<&Path>) -> io::Result<ScratchFolder> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Removes the scratch folders in `parent` whose processes have died; says how many. No error if there is no `parent`.
    fn sweep_scratch(&self, _parent: Option<&Path>) -> io::Result<usize> {
        Ok(0)
    }
    /// Writes a whole file, which need not survive the process, and so is not synced. After an error nothing is left of it.
    fn write_scratch(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write(path, bytes)
    }
}

/// A folder that belongs to one process; dropping it removes the folder with all that is in it.
pub struct ScratchFolder {
    path: PathBuf,
    // Removes the folder, and until then shows others that its process lives.
    _owner: Box<dyn Send + Sync>,
}

impl ScratchFolder {
    /// The folder at `path`; dropping `owner` removes it.
    pub fn new(path: PathBuf, owner: impl Send + Sync + 'static) -> Self {
        ScratchFolder { path, _owner: Box::new(owner) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
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
