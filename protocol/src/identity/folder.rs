//! Files that hold keys: private from the first moment, replaced in one step, refused when others can read them.

use crate::endpoint::{Identity, IdentityError};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Why a folder or file of keys cannot be used. Each names the file and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It is not there.
    #[error("{path} is missing: {remedy}", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// Others than its owner may read or write it.
    #[error("{path} can be used by others (mode {mode:03o}): chmod {wanted:03o} {path}", path = path.display())]
    OpenToOthers {
        /// The file or folder.
        path: PathBuf,
        /// What it may be now.
        mode: u32,
        /// What it should be.
        wanted: u32,
    },
    /// Not the content that belongs there.
    #[error("{path} cannot be used: {cause}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        cause: IdentityError,
    },
    /// The operating system refuses.
    #[error("cannot {what} {path}: {cause}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |cause| FolderError::Io { what, path, cause }
}

/// Makes the folder (0700, with its parents), or checks that an existing one is for its owner only.
pub(super) fn private_folder(folder: &Path) -> Result<(), FolderError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io("make the folder", folder))?;
    for_owner_only(folder, 0o700)
}

fn for_owner_only(path: &Path, wanted: u32) -> Result<(), FolderError> {
    let mode = fs::metadata(path).map_err(io("look at", path))?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(FolderError::OpenToOthers { path: path.to_owned(), mode, wanted })
    }
}

/// Refuses a folder in which others may put files in the place of those that are there.
pub(super) fn written_by_owner_only(folder: &Path) -> Result<(), FolderError> {
    let mode = match fs::metadata(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(io("look at", folder))?.permissions().mode() & 0o777,
    };
    if mode & 0o022 == 0 {
        Ok(())
    } else {
        Err(FolderError::OpenToOthers { path: folder.to_owned(), mode, wanted: 0o700 })
    }
}

/// Reads a file; `remedy` is what to do where it is missing.
pub(super) fn read(path: &Path, remedy: &'static str) -> Result<Vec<u8>, FolderError> {
    match fs::read(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            Err(FolderError::Missing { path: path.to_owned(), remedy })
        }
        read => read.map_err(io("read", path)),
    }
}

/// As [`read`], and nobody else may be able to.
pub(super) fn read_private(path: &Path, remedy: &'static str) -> Result<Vec<u8>, FolderError> {
    let bytes = read(path, remedy)?;
    for_owner_only(path, 0o600)?;
    Ok(bytes)
}

/// Writes a whole file of private content at `path`, 0600 from its first moment, in one step: for what is handed on by files.
///
/// # Errors
/// [`FolderError`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| io("write", path)(io::ErrorKind::InvalidFilename.into()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    replace(folder, name, bytes)
}

/// Writes a whole file durably under a temporary name (0600 from its first moment), then renames it to `name`. Callers
/// hold the folder's [`lock`].
pub(super) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
    let (path, temporary) = (folder.join(name), folder.join(format!(".{name}.new")));
    // What a crash has left.
    match fs::remove_file(&temporary) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(io("remove", &temporary)(cause)),
        _ => Ok(()),
    }?;
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    written.map_err(io("write", &temporary))?;
    fs::rename(&temporary, &path).map_err(io("rename to", &path))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync", folder))
}

/// One writer at a time, across processes; until the file is dropped.
pub(super) fn lock(folder: &Path) -> Result<File, FolderError> {
    let path = folder.join("lock");
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = opened.map_err(io("open", &path))?;
    file.lock().map_err(io("lock", &path))?;
    Ok(file)
}

/// The identity in `folder`: `<name>.pem` (certificate and key, 0600) and `ca.pem`.
///
/// # Errors
/// [`FolderError`].
pub fn load_identity(folder: &Path, name: &str) -> Result<Identity, FolderError> {
    written_by_owner_only(folder)?;
    let remedy = match name {
        "node" => "run `tidemill node --join`",
        "driver" => "the folder of an authority has it, which `tidemill ca init` makes",
        _ => "copy it from the folder of the authority, where `tidemill ca renew` makes it anew",
    };
    let (own, authority) = (folder.join(format!("{name}.pem")), folder.join("ca.pem"));
    let pem = read_private(&own, remedy)?;
    let trusted = read(&authority, "copy it from any other machine of the cluster")?;
    Identity::from_pem(&pem, &pem, &trusted).map_err(|cause| {
        let of_authority = matches!(cause, IdentityError::Pem { what: "authority", .. });
        FolderError::Content { path: if of_authority { authority } else { own }, cause }
    })
}

/// Writes `<name>.pem` (certificate and key in one file, so that they are replaced in one step) and `ca.pem`. The folder
/// is made if need be, 0700.
///
/// # Errors
/// [`FolderError`].
pub fn save_identity(folder: &Path, name: &str, identity: &Identity) -> Result<(), FolderError> {
    private_folder(folder)?;
    let _writer = lock(folder)?;
    write_identity(folder, name, identity)
}

/// Makes sure that [`save_identity`] will find a folder in which it can write, before anything is spent on an identity: it is
/// made if need be, is its owner's only, and takes a file of an identity's size.
///
/// # Errors
/// [`FolderError`].
pub fn prepare_folder(folder: &Path) -> Result<(), FolderError> {
    const SIZE: usize = 8 << 10;
    private_folder(folder)?;
    let _writer = lock(folder)?;
    replace(folder, "probe", &[0; SIZE])?;
    let probe = folder.join("probe");
    fs::remove_file(&probe).map_err(io("remove", &probe))
}

/// As [`save_identity`], by a caller who holds the lock.
pub(super) fn write_identity(folder: &Path, name: &str, identity: &Identity) -> Result<(), FolderError> {
    let (_, authority) = identity.to_pem();
    replace(folder, "ca.pem", authority.as_bytes())?;
    write_own(folder, name, identity)
}

/// `<name>.pem` alone.
pub(super) fn write_own(folder: &Path, name: &str, identity: &Identity) -> Result<(), FolderError> {
    let (own, _) = identity.to_pem();
    replace(folder, &format!("{name}.pem"), own.as_bytes())
}
