//! Files of the simulated world: a map in memory, shared by all nodes like a network folder; it outlives them.

use super::node::Life;
use crate::world::{FileSystem, ScratchFolder, lock};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// All files of a world.
#[derive(Clone, Default)]
pub(super) struct Store(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    files: BTreeMap<PathBuf, File>,
    folders: BTreeSet<PathBuf>,
    /// Scratch folders and whose they are.
    scratch: BTreeMap<PathBuf, Option<Life>>,
    scratch_made: u64,
    /// What the test has done to the disk: to all of it, and to what a node may have of it.
    disk: BTreeMap<Option<IpAddr>, Space>,
}

struct File {
    bytes: Vec<u8>,
    /// Who wrote it last; none: the test.
    writer: Option<IpAddr>,
}

#[derive(Default)]
struct Space {
    bytes_max: Option<u64>,
    refused: u64,
}

/// The disk that all files of a simulated world are on, or one node's part of it, in the hands of the test.
#[derive(Clone)]
pub struct SimDisk {
    store: Store,
    node: Option<IpAddr>,
}

impl SimDisk {
    pub(super) fn new(store: Store) -> Self {
        SimDisk { store, node: None }
    }

    /// The part of the disk that the node at `ip` uses: the files it has written, in this life and the others.
    pub fn of(&self, ip: IpAddr) -> Self {
        SimDisk { store: self.store.clone(), node: Some(ip) }
    }

    /// From now on the files here together have so many bytes; writes beyond it fail with `StorageFull`. `None`: no limit.
    pub fn set_space(&self, bytes: Option<u64>) {
        lock(&self.store.0).disk.entry(self.node).or_default().bytes_max = bytes;
    }

    /// How many writes failed here for lack of space, whichever limit it was.
    pub fn refused(&self) -> u64 {
        lock(&self.store.0).disk.get(&self.node).map_or(0, |space| space.refused)
    }

    /// The scratch files here, sorted by path, with their lengths in bytes.
    pub fn scratch_files(&self) -> Vec<(PathBuf, u64)> {
        let content = lock(&self.store.0);
        let is_scratch =
            |path: &Path| path.parent().is_some_and(|folder| content.scratch.contains_key(folder));
        let is_here = |file: &File| self.node.is_none() || file.writer == self.node;
        let files = content.files.iter().filter(|(path, file)| is_scratch(path) && is_here(file));
        files.map(|(path, file)| (path.clone(), file.bytes.len() as u64)).collect()
    }

    /// Damages a file: flips a bit of each byte from `offset` on, at most `length` of them. Says how many it damaged.
    pub fn damage(&self, path: &Path, offset: usize, length: usize) -> usize {
        let mut content = lock(&self.store.0);
        let Some(file) = content.files.get_mut(path) else { return 0 };
        file.bytes.iter_mut().skip(offset).take(length).map(|byte| *byte ^= 1).count()
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
    fn check_space(&mut self, path: &Path, writer: Option<IpAddr>, bytes: u64) -> io::Result<()> {
        let places = BTreeSet::from([None, writer]);
        let is_full = places.iter().any(|place| {
            let Some(bytes_max) = self.disk.get(place).and_then(|space| space.bytes_max) else {
                return false;
            };
            let here = |file: &File| place.is_none() || file.writer == *place;
            let others = self.files.iter().filter(|(other, file)| other.as_path() != path && here(file));
            let used: u64 = others.map(|(_, file)| file.bytes.len() as u64).sum();
            used.saturating_add(bytes) > bytes_max
        });
        if !is_full {
            return Ok(());
        }
        for place in places {
            self.disk.entry(place).or_default().refused += 1;
        }
        let what = format!("no space left for {}", path.display());
        Err(io::Error::new(io::ErrorKind::StorageFull, what))
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
            let file = content.files.get(path).ok_or_else(|| missing(io::ErrorKind::NotFound, path))?;
            let bytes = &file.bytes;
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
            Ok(inside.map(|(path, file)| (path.clone(), file.bytes.len() as u64)).collect())
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
            let writer = self.life.as_ref().map(Life::ip);
            content.check_space(path, writer, bytes.len() as u64)?;
            content.files.insert(path.to_path_buf(), File { bytes: bytes.to_vec(), writer });
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(|content| {
            content.check_place(to)?;
            let file = content.files.remove(from).ok_or_else(|| missing(io::ErrorKind::NotFound, from))?;
            content.files.insert(to.to_path_buf(), file);
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
