//! The lines of files that appear in a folder.

use super::{push_block, reached};
use crate::{
    data::Text,
    graph::{PlannedSource, Push, TaskEnv},
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};
use tidemill_actors::seam::{PlannedRange, SourceError, TaskError};
use tidemill_protocol::{id::PartitionId, world::Files};
use xxhash_rust::xxh3::xxh3_64;

/// How many bytes of a file become one buffer at most; a task reads no more than this at once.
const BLOCK_BYTES_MAX: u64 = 1 << 20;

/// Reads every file of a folder once, each new file in the next batch, one task a file. Files must be whole when they
/// appear (write elsewhere, then rename); one that grows later is read on from where it ended. Names that begin with `.`
/// or `_` are ignored. What is not UTF-8 is replaced by U+FFFD. All nodes must see the same folder.
///
/// It is not throttled, because nobody knows how many lines a file has before it is read: a batch holds all files that have
/// appeared.
///
/// A file is a partition of the stream, numbered by the hash of its name, so that every node finds it without being told;
/// a batch's lines come in that order, not in order of names.
pub struct TextFiles {
    folder: PathBuf,
}

impl TextFiles {
    /// The files of `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        TextFiles { folder: folder.into() }
    }

    /// The files that are there, by partition.
    fn list(&self, files: &Files) -> io::Result<BTreeMap<PartitionId, (PathBuf, u64)>> {
        let mut found: BTreeMap<PartitionId, (PathBuf, u64)> = BTreeMap::new();
        for (path, length) in files.list(&self.folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(['.', '_']) {
                continue;
            }
            let partition = PartitionId(xxh3_64(name.as_bytes()) as u32);
            if let Some((other, _)) = found.insert(partition, (path.clone(), length)) {
                let text =
                    format!("{} and {} have the same hash: rename one", other.display(), path.display());
                return Err(io::Error::other(text));
            }
        }
        Ok(found)
    }
}

impl PlannedSource<Text> for TextFiles {
    fn next_ranges(
        &self,
        files: &Files,
        planned: &BTreeMap<PartitionId, u64>,
        _records_max: Option<u64>,
    ) -> Result<Vec<PlannedRange>, SourceError> {
        let found = self.list(files).map_err(|e| SourceError(format!("{}: {e}", self.folder.display())))?;
        let range = |(partition, (_, to)): (PartitionId, (PathBuf, u64))| {
            let from = reached(planned, partition);
            (from < to).then_some(PlannedRange { partition, from, to, rows: 0 })
        };
        Ok(found.into_iter().filter_map(range).collect())
    }

    fn is_exhausted(&self, _planned: &BTreeMap<PartitionId, u64>) -> bool {
        false
    }

    // Lines are not counted before a task has read them.
    fn counts_records(&self) -> bool {
        false
    }

    fn read(
        &self,
        partition: PartitionId,
        from: u64,
        to: u64,
        down: &mut dyn Push<Text>,
        env: &TaskEnv,
    ) -> Result<(), TaskError> {
        let failed = |e: io::Error| TaskError::Failed(format!("{}: {e}", self.folder.display()));
        let files = &env.context().files;
        let found = self.list(files).map_err(failed)?;
        let (path, _) = found.get(&partition).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        read_lines(files, path, from..to, |block| push_block(&block, down, env).map(|_bad_lines| ()))
    }
}

/// Calls `f` with the bytes of `range` in blocks of whole lines; a longer line is a block of its own.
fn read_lines(
    files: &Files,
    path: &Path,
    range: std::ops::Range<u64>,
    mut f: impl FnMut(Bytes) -> Result<(), TaskError>,
) -> Result<(), TaskError> {
    let (mut at, mut rest) = (range.start, Vec::new());
    while at < range.end {
        let length = BLOCK_BYTES_MAX.min(range.end - at);
        let bytes = files
            .read_range(path, at, length)
            .map_err(|e| TaskError::Failed(format!("{}: {e}", path.display())))?;
        if (bytes.len() as u64) < length {
            return Err(TaskError::Failed(format!("{} has become shorter", path.display())));
        }
        at += length;
        rest.extend_from_slice(&bytes);
        if let Some(end) = memchr::memrchr(b'\n', &rest) {
            let next = rest.split_off(end + 1);
            f(Bytes::from(std::mem::replace(&mut rest, next)))?;
        }
    }
    if rest.is_empty() { Ok(()) } else { f(Bytes::from(rest)) }
}
