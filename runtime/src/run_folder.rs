//! A folder for one run of the demo or of a benchmark: for the certificates of a cluster that lives as long as the run.

use std::{
    io,
    path::{Path, PathBuf},
};
use tidemill_protocol::world::World;

/// The folder; removed when this is dropped.
pub(crate) struct RunFolder(PathBuf);

/// The folder cannot be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot use {path} for the certificates of this run: {cause}; set TMPDIR to a folder that can be written"
)]
pub(crate) struct NoRunFolder {
    path: PathBuf,
    cause: io::Error,
}

impl RunFolder {
    /// A new one in the system's folder for such things.
    pub(crate) fn make(world: &World, what: &str) -> Result<Self, NoRunFolder> {
        let number = world.entropy.seed(&format!("{what} folder"));
        let path = std::env::temp_dir().join(format!("tidemill-{what}-{}-{number:016x}", std::process::id()));
        let folder = RunFolder(path);
        match world.files.create_folder(&folder.0) {
            Ok(()) => Ok(folder),
            Err(cause) => Err(NoRunFolder { path: folder.0.clone(), cause }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // What stays behind is a key that nobody trusts any more.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
