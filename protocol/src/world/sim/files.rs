//! Files of the simulated world: a map in memory, shared by all nodes like a network folder; it outlives them.

use super::node::Life;
use crate::world::{FileSystem, ScratchFolder, lock};
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
    /// Scratch folders and whose they are.
    scratch: BTreeMap<PathBuf, Option<Life>>,
    scratch_made: u64,
    disk: Disk,
}

/// What the test has done to the disk.
#[derive(Default)]
struct Disk {
    space: Option<u64>,
    refused: u64,
}

/// The disk that all files of a simulated world are on, in the hands of the test.
#[derive(Clone)]
pub struct SimDisk(Store);

impl SimDisk {
    pub(super) fn new(store: Store) -> Self {
        SimDisk(store)
    }

    /// From now on all files together have so many bytes; writes beyond it fail with `StorageFull`. `None`: no limit.
    pub fn set_space(&self, bytes: Option<u64>) {
        lock(&self.0.0).disk.space = bytes;
    }

    /// How many writes failed for lack of space.
    pub fn refused(&self) -> u64 {
        lock(&self.0.0).disk.refused
    }

    /// The scratch files of all nodes, sorted by path, with their lengths in bytes.
    pub fn scratch_files(&self) -> Vec<(PathBuf, u64)> {
        let content = lock(&self.0.0);
        let is_scratch =
            |path: &Path| path.parent().is_some_and(|folder| content.scratch.contains_key(folder));
        let files = content.files.iter().filter(|(path, _)| is_scratch(path));
        files.map(|(path, bytes)| (path.clone(), bytes.len() as u64)).collect()
    }

    /// Damages a file: flips a bit of each byte from `offset` on, at most `length` of them. Says how many it damaged.
    pub fn damage(&self, path: &Path, offset: usize, length: usize) -> usize {
        let mut content = lock(&self.0.0);
        let Some(bytes) = content.files.get_mut(path) else { return 0 };
        bytes.iter_mut().skip(offset).take(length).map(|byte| *byte ^= 1).count()
    }
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

    /// A write that does not fit leaves what was there.
    fn check_space(&mut self, path: &Path, bytes: u64) -> io::Result<()> {
        let Some(space) = self.disk.space else { return Ok(()) };
        let others = self.files.iter().filter(|(other, _)| other.as_path() != path);
        let used: u64 = others.map(|(_, bytes)| bytes.len() as u64).sum();
        if used.saturating_add(bytes) > space {
            self.disk.refused += 1;
            return Err(missing(io::ErrorKind::StorageFull, path));
        }
        Ok(())
    }

    fn remove_scratch(&mut self, folder: &Path) {
        self.scratch.remove(folder);
        self.folders.remove(folder);
        self.files.retain(|path, _| path.parent() != Some(folder));
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
            content.check_space(path, bytes.len() as u64)?;
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

    fn scratch_folder(&self, parent: Option<&Path>) -> io::Result<ScratchFolder> {
        let parent = parent.unwrap_or(Path::new("/tmp"));
        let path = self.with(|content| {
            content.scratch_made += 1;
            let path = parent.join(format!("tidemill-scratch-{}", content.scratch_made));
            content.folders.extend(path.ancestors().map(Path::to_path_buf));
            content.scratch.insert(path.clone(), self.life.clone());
            Ok(path)
        })?;
        let owner = Owner {
            files: SimFiles { store: self.store.clone(), life: self.life.clone() },
            path: path.clone(),
        };
        Ok(ScratchFolder::new(path, owner))
    }

    fn sweep_scratch(&self, parent: Option<&Path>) -> io::Result<usize> {
        let parent = parent.unwrap_or(Path::new("/tmp"));
        self.with(|content| {
            let orphans = content.scratch.iter().filter(|(path, owner)| {
                path.parent() == Some(parent) && owner.as_ref().is_some_and(|life| !life.is_alive())
            });
            let orphans: Vec<PathBuf> = orphans.map(|(path, _)| path.clone()).collect();
            orphans.iter().for_each(|path| content.remove_scratch(path));
            Ok(orphans.len())
        })
    }
}

/// Removes a scratch folder, unless its life was cut off before.
struct Owner {
    files: SimFiles,
    path: PathBuf,
}

impl Drop for Owner {
    fn drop(&mut self) {
        // The dead remove nothing.
        let _ = self.files.with(|content| {
            content.remove_scratch(&self.path);
            Ok(())
        });
    }
}
