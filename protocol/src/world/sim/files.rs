//! Files of the simulated world: a map in memory, shared by all nodes like a network folder; it outlives them.

use super::node::Life;
use crate::world::{FileSystem, lock};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// All files of a world.
#[derive(Clone, Default)]
pub(super) struct Store(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    files: BTreeMap<PathBuf, Vec<u8>>,
    folders: BTreeSet<PathBuf>,
}

impl Store {
    /// The files as a node sees them; once its life has ended every call fails.
    pub(super) fn of(&self, life: Life) -> SimFiles {
        SimFiles { store: self.clone(), life: Some(life) }
    }

    /// The files as the test sees them.
    pub(super) fn of_nobody(&self) -> SimFiles {
        SimFiles { store: self.clone(), life: None }
    }
}

/// A view of the files.
pub(super) struct SimFiles {
    store: Store,
    life: Option<Life>,
}

impl SimFiles {
    fn with<T>(&self, act: impl FnOnce(&mut Content) -> io::Result<T>) -> io::Result<T> {
        if self.life.as_ref().is_some_and(|life| !life.is_alive()) {
            return Err(io::Error::other("this node is dead"));
        }
        act(&mut lock(&self.store.0))
    }
}

impl Content {
    fn has_folder(&self, folder: &Path) -> bool {
        // The root and the working folder are there from the start.
        folder.parent().is_none() || self.folders.contains(folder)
    }

    /// As on a disk, a file needs its folder, and a folder cannot be overwritten.
    fn check_place(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(folder) if self.has_folder(folder) && !self.folders.contains(path) => Ok(()),
            Some(folder) if self.has_folder(folder) => Err(missing(io::ErrorKind::IsADirectory, path)),
            _ => Err(missing(io::ErrorKind::NotFound, path)),
        }
    }
}

fn missing(kind: io::ErrorKind, path: &Path) -> io::Error {
    io::Error::new(kind, path.display().to_string())
}

impl FileSystem for SimFiles {
    fn read_range(&self, path: &Path, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        self.with(|content| {
            let bytes = content.files.get(path).ok_or_else(|| missing(io::ErrorKind::NotFound, path))?;
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(bytes.len());
            Ok(bytes[start..end].to_vec())
        })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        self.with(|content| {
            if !content.has_folder(folder) {
                return Err(missing(io::ErrorKind::NotFound, folder));
            }
            let inside = content.files.iter().filter(|(path, _)| path.parent() == Some(folder));
            Ok(inside.map(|(path, bytes)| (path.clone(), bytes.len() as u64)).collect())
        })
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.with(|content| {
            if let Some(file) = folder.ancestors().find(|path| content.files.contains_key(*path)) {
                return Err(missing(io::ErrorKind::AlreadyExists, file));
            }
            content.folders.extend(folder.ancestors().map(Path::to_path_buf));
            Ok(())
        })
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.with(|content| {
            content.check_place(path)?;
            if self.life.as_ref().is_some_and(|life| !life.take_disk(bytes.len() as u64)) {
                return Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    format!("no space left for {}", path.display()),
                ));
            }
            content.files.insert(path.to_path_buf(), bytes.to_vec());
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(|content| {
            content.check_place(to)?;
            let bytes = content.files.remove(from).ok_or_else(|| missing(io::ErrorKind::NotFound, from))?;
            content.files.insert(to.to_path_buf(), bytes);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.with(|content| {
            content.files.remove(path);
            Ok(())
        })
    }
}
