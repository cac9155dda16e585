//! Numbers that rise: each start of a node takes the next life, and in it each process of an executor the next incarnation,
//! so that nothing of a dead process is ever taken for its successor's.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
};
use tidemill_protocol::{id::Incarnation, world::Files};

/// The file in a node's data folder.
const FILE: &str = "life";
/// More than any life is long, in bytes.
const LIFE_BYTES_MAX: u64 = 32;
/// How many processes an executor may have in one life of its node.
pub(crate) const PROCESSES_MAX: u32 = 1 << 16;

/// Takes the next life of the node whose data are in `folder`.
///
/// # Errors
/// What the file system says, or that the file is not a number.
pub(crate) fn next_life(files: &Files, folder: &Path) -> Result<u32, String> {
    let path = folder.join(FILE);
    let cannot = |error: std::io::Error| format!("cannot keep {}: {error}", path.display());
    let last = match files.read_range(&path, 0, LIFE_BYTES_MAX) {
        Ok(bytes) => parse(&bytes).ok_or_else(|| {
            format!(
                "{} is not a number: write there how often this node has been started, or join again in another folder",
                path.display()
            )
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(cannot(error)),
    };
    let life = last + 1;
    files.write(&path, life.to_string().as_bytes()).map_err(cannot)?;
    Ok(life)
}

fn parse(bytes: &[u8]) -> Option<u32> {
    let life: u32 = std::str::from_utf8(bytes).ok()?.trim().parse().ok()?;
    (life < u32::MAX / PROCESSES_MAX).then_some(life)
}

/// The incarnation of the `process`-th process (from 0) in `life`; none if there were too many.
pub(crate) fn incarnation(life: u32, process: u64) -> Option<Incarnation> {
    let process = u32::try_from(process).ok().filter(|process| *process < PROCESSES_MAX)?;
    Some(Incarnation(life * PROCESSES_MAX + process))
}

/// Incarnations of an executor whose processes have certainly ended: these two, and all between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PastLives {
    pub(crate) first: Incarnation,
    pub(crate) last: Incarnation,
}

impl PastLives {
    /// From the first to the last.
    pub(crate) fn new(first: u32, last: u32) -> Self {
        PastLives { first: Incarnation(first), last: Incarnation(last) }
    }

    /// `before`, and one more. After a gap, such as a process that could not be waited for, it is that one alone.
    pub(crate) fn and(before: Option<Self>, ended: Incarnation) -> Self {
        let first = before.filter(|lives| lives.last.next() == ended).map_or(ended, |lives| lives.first);
        PastLives { first, last: ended }
    }
}

/// What an executor's process was told of itself by the agent that has started it; nothing where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Which start of which agent: a number drawn by lot.
    pub(crate) agent: Option<u64>,
    /// The lives before it whose end that agent has seen.
    pub(crate) ended: Option<PastLives>,
}

/// The file in a node's data folder that is locked as long as its agent lives.
const LOCK: &str = "agent.lock";

/// Takes a node's folder for this process, until what is returned is dropped: two agents would give their executors the same
/// numbers.
///
/// # Errors
/// That another process has it, or what the file system says.
pub(crate) fn take_folder(folder: &Path) -> Result<File, String> {
    let path = folder.join(LOCK);
    let cannot = |error: io::Error| format!("cannot lock {}: {error}", path.display());
    let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(cannot)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(format!(
            "a node runs with {} already: end it first, or join with a new token in another folder",
            folder.display()
        )),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_rise_within_a_life_and_from_life_to_life() {
        let all =
            [(1, 0), (1, 1), (1, 65_535), (2, 0), (3, 7)].map(|(life, process)| incarnation(life, process));
        assert!(all.iter().all(Option::is_some) && all.is_sorted_by(|a, b| a < b), "{all:?}");
        assert_eq!(incarnation(1, 65_536), None);
    }

    #[test]
    fn a_folder_is_taken_by_one_agent_at_a_time() {
        let folder = std::env::temp_dir().join(format!("tidemill-agent-lock-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let first = take_folder(&folder).unwrap();
        let refused = take_folder(&folder).unwrap_err();
        assert!(refused.starts_with("a node runs with /") && refused.contains("end it first"), "{refused}");
        drop(first);
        take_folder(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(take_folder(&folder).unwrap_err().starts_with("cannot lock /"));
    }

    #[test]
    fn past_lives_have_no_gap() {
        let one = PastLives::and(None, Incarnation(7));
        assert_eq!(one, PastLives::new(7, 7));
        let three = PastLives::and(Some(PastLives::and(Some(one), Incarnation(8))), Incarnation(9));
        assert_eq!(three, PastLives::new(7, 9));
        assert_eq!(PastLives::and(Some(three), Incarnation(11)), PastLives::new(11, 11));
    }

    #[test]
    fn what_is_no_life_is_not_taken_for_one() {
        assert_eq!(parse(b"7\n"), Some(7));
        for bytes in [&b""[..], b"seven", b"-1", b"4294967295", b"\xff"] {
            assert_eq!(parse(bytes), None, "{bytes:?}");
        }
    }
}
