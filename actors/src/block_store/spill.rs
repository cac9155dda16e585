//! Data on disk: one file for each block or output, encoded as it would cross the wire.
//!
//! ```text
//!   0        8       16      24
//!   | magic  | xxh3   | bytes | rows u64, dataset u32, bytes u32, MessagePack | … as many pieces as there are
//!                             <──────────────────── checked ─────────────────>
//! ```
//!
//! A file is read only by the store that wrote it, which remembers its length and checksum: one that was torn, damaged or
//! exchanged is found, and then its data are missing. They are never wrong.

use crate::seam::{Held, PayloadCodec, PayloadError};
use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tidemill_protocol::{
    id::DatasetId,
    message::Piece,
    world::{Clock, Files, ScratchFolder, Spawner, World},
};
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 8] = b"TIDESPL1";
const HEADER_BYTES: usize = 24;
const PIECE_HEADER_BYTES: usize = 16;

/// Where cold data go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpillConfig {
    /// In which folder a private one is made; none: where the system keeps temporary files.
    pub folder: Option<PathBuf>,
    /// How many bytes the files of a store may have together.
    pub bytes_max: u64,
    /// From which part of the memory budget on data are moved, in percent.
    pub from_percent: u8,
}

/// Data could not be moved to disk; they stay where they are.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// More than the files may have together.
    #[error("{needed} bytes more than the {bytes_max} that may be spilled")]
    Limit {
        /// The file's bytes.
        needed: u64,
        /// What is allowed in all.
        bytes_max: u64,
    },
    /// The disk refuses: full, or broken. It is tried again later.
    #[error("cannot write a spill file: {0}")]
    Write(#[source] io::Error),
    /// These data will never go to disk.
    #[error(transparent)]
    Encode(#[from] PayloadError),
}

/// Spilled data cannot be had: they are missing, and must be read elsewhere or made again.
#[derive(Debug, thiserror::Error)]
pub enum ReadSpillError {
    /// The disk does not give them.
    #[error("cannot read the spill file {path}: {cause}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the disk says.
        #[source]
        cause: io::Error,
    },
    /// It is not what was written.
    #[error("the spill file {path} is damaged: {what}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// What was written cannot be decoded.
    #[error(transparent)]
    Decode(#[from] PayloadError),
}

/// One store's files.
pub(super) struct Spill {
    pub(super) config: SpillConfig,
    pub(super) spawner: Spawner,
    pub(super) clock: Clock,
    files: Files,
    codec: Arc<dyn PayloadCodec>,
    folder: Mutex<Option<Arc<ScratchFolder>>>,
    next: AtomicU64,
    bytes: AtomicU64,
    bytes_written: AtomicU64,
}

/// A file that stands; dropping it removes the file.
pub(super) struct Spilled {
    spill: Arc<Spill>,
    // Kept until the last file is gone.
    _folder: Arc<ScratchFolder>,
    path: PathBuf,
    /// Of the file, header included.
    bytes: u64,
    checksum: u64,
}

impl Spill {
    pub(super) fn new(config: SpillConfig, codec: Arc<dyn PayloadCodec>, world: &World) -> Self {
        Spill {
            config,
            spawner: world.spawner.clone(),
            clock: world.clock.clone(),
            files: world.files.clone(),
            codec,
            folder: Mutex::default(),
            next: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
        }
    }

    /// Removes what dead processes left. What cannot be removed stays; it harms nobody but the disk.
    pub(super) fn sweep(&self) -> io::Result<usize> {
        self.files.sweep_scratch(self.config.folder.as_deref())
    }

    /// Bytes on disk now.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Bytes that ever went to disk.
    pub(super) fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Acquire)
    }

    /// No more files; the folder goes with the last one.
    pub(super) fn close(&self) {
        *self.folder.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn folder(&self) -> io::Result<Arc<ScratchFolder>> {
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = &*folder {
            return Ok(folder.clone());
        }
        let made = Arc::new(self.files.scratch_folder(self.config.folder.as_deref())?);
        *folder = Some(made.clone());
        Ok(made)
    }

    /// Writes `held`. Blocks; not for the control thread.
    pub(super) fn write(self: &Arc<Self>, held: &Held) -> Result<Spilled, SpillError> {
        let bytes = file_of(&held.encode()?);
        let (needed, bytes_max) = (bytes.len() as u64, self.config.bytes_max);
        let within = |used: u64| used.checked_add(needed).filter(|now| *now <= bytes_max);
        self.bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, within)
            .map_err(|_| SpillError::Limit { needed, bytes_max })?;
        let written = self.folder().and_then(|folder| {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = folder.path().join(format!("{number}.spill"));
            self.files.write_scratch(&path, &bytes)?;
            Ok((folder, path))
        });
        match written {
            Ok((folder, path)) => {
                self.bytes_written.fetch_add(needed, Ordering::AcqRel);
                let checksum = xxh3_64(&bytes[HEADER_BYTES..]);
                Ok(Spilled { spill: self.clone(), _folder: folder, path, bytes: needed, checksum })
            }
            Err(error) => {
                self.bytes.fetch_sub(needed, Ordering::AcqRel);
                Err(SpillError::Write(error))
            }
        }
    }
}

impl Spilled {
    /// The bytes that [`pieces`](Self::pieces) have, and a little more.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The data, encoded. Blocks; not for the control thread.
    pub(super) fn pieces(&self) -> Result<Vec<Piece>, ReadSpillError> {
        // One byte more than there should be, so that a file that has grown is found as well.
        let read = self.spill.files.read_range(&self.path, 0, self.bytes + 1);
        let file = read.map_err(|cause| ReadSpillError::Read { path: self.path.clone(), cause })?;
        let damaged = |what| ReadSpillError::Damaged { path: self.path.clone(), what };
        if file.len() as u64 != self.bytes || file.len() < HEADER_BYTES {
            return Err(damaged("it has another length"));
        }
        let (header, body) = file.split_at(HEADER_BYTES);
        if header != header_of(body) || xxh3_64(body) != self.checksum {
            return Err(damaged("its checksum does not fit"));
        }
        pieces_of(body).ok_or_else(|| damaged("its pieces do not fit its length"))
    }

    /// The data. Blocks; not for the control thread.
    pub(super) fn held(&self) -> Result<Held, ReadSpillError> {
        Ok(Held::decode(&*self.spill.codec, &self.pieces()?)?)
    }

    /// Where reading may block.
    pub(super) fn spawner(&self) -> &Spawner {
        &self.spill.spawner
    }
}

impl Drop for Spilled {
    fn drop(&mut self) {
        self.spill.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        // What cannot be removed goes with the folder.
        let _ = self.spill.files.remove(&self.path);
    }
}

fn header_of(body: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..16].copy_from_slice(&xxh3_64(body).to_le_bytes());
    header[16..].copy_from_slice(&(body.len() as u64).to_le_bytes());
    header
}

fn file_of(pieces: &[Piece]) -> Vec<u8> {
    let bytes: usize = pieces.iter().map(|piece| PIECE_HEADER_BYTES + piece.bytes.len()).sum();
    let mut file = Vec::with_capacity(HEADER_BYTES + bytes);
    file.resize(HEADER_BYTES, 0);
    for piece in pieces {
        file.extend_from_slice(&piece.rows.to_le_bytes());
        file.extend_from_slice(&piece.dataset.0.to_le_bytes());
        // A piece is at most 8 MiB, as on the wire; a longer one would not fit its length here and be found damaged.
        file.extend_from_slice(&(piece.bytes.len() as u32).to_le_bytes());
        file.extend_from_slice(&piece.bytes);
    }
    let header = header_of(&file[HEADER_BYTES..]);
    file[..HEADER_BYTES].copy_from_slice(&header);
    file
}

fn pieces_of(mut body: &[u8]) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    while !body.is_empty() {
        let (rows, rest) = body.split_first_chunk()?;
        let (dataset, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (bytes, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let dataset = DatasetId(u32::from_le_bytes(*dataset));
        pieces.push(Piece { rows: u64::from_le_bytes(*rows), dataset, bytes: bytes.to_vec().into() });
        body = rest;
    }
    Some(pieces)
}
