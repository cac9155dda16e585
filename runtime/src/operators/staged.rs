//! Names of staged files, and what is swept by them: the leftovers of processes that were killed before they could clean up.
//!
//! ```text
//!   0197a3c1beef0042-17-2-5-0      run (hexadecimal) - batch - stage - partition - attempt
//! ```
//!
//! The name alone says whether somebody may still want a file. Batches are published in order, so nobody wants one of this
//! run up to the batch that was just published; one of an earlier run neither, for that has no driver any more. What belongs
//! to later batches, to a later run, or has another name, is left alone, and so is everything outside of the folder.

use std::path::{Path, PathBuf};
use tidemill_protocol::{
    id::{BatchNumber, RunId, TaskId},
    world::Files,
};

/// The name of what an attempt stages.
pub(super) fn name(run: RunId, task: TaskId) -> String {
    let (key, attempt) = (task.key, task.attempt);
    format!("{:016x}-{}-{}-{}-{}", run.0, key.batch.0, key.stage.0, key.partition.0, attempt.0)
}

/// Which run and batch a name of ours is of.
fn read_name(name: &str) -> Option<(RunId, BatchNumber)> {
    let parts: Vec<&str> = name.split('-').collect();
    let [run, batch, stage, partition, attempt] = parts[..] else { return None };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let is_run = run.len() == 16 && run.bytes().all(|b| b.is_ascii_hexdigit());
    let is_ours = is_run && [batch, stage, partition, attempt].into_iter().all(is_number);
    let run = u64::from_str_radix(run, 16).ok().filter(|_| is_ours)?;
    Some((RunId(run), BatchNumber(batch.parse().ok()?)))
}

/// Whether nobody can want the file any more, after `run` has published `batch`.
fn is_left_over(name: &str, run: RunId, batch: BatchNumber) -> bool {
    read_name(name).is_some_and(|(of, its)| of < run || (of == run && its <= batch))
}

/// Removes from the folder of staged files what nobody can want any more. What cannot be removed is tried again with the next
/// batch: the batch itself is published.
pub(super) fn sweep(folder: &Path, run: RunId, batch: BatchNumber, files: &Files) {
    let listed = files.list(folder).and_then(|staged| Ok((staged, files.unfinished(folder)?)));
    let Ok((staged, unfinished)) = listed else {
        return; // Nothing was ever staged there.
    };
    let named = staged.into_iter().filter_map(|(path, _)| {
        let name = path.file_name()?.to_str()?.to_owned();
        Some((path, name))
    });
    let left: Vec<PathBuf> = named
        .chain(unfinished)
        .filter(|(_, name)| is_left_over(name, run, batch))
        .map(|(path, _)| path)
        .collect();
    for path in left {
        if let Err(error) = files.remove(&path) {
            tracing::warn!(path = %path.display(), %error, "a staged file that nobody wants could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tidemill_protocol::{
        id::{Attempt, PartitionId, StageId, TaskKey},
        world::World,
    };

    const RUN: RunId = RunId(0x0197_a3c1_0000_0042);

    fn task(batch: u64, attempt: u16) -> TaskId {
        let (batch, stage, partition) = (BatchNumber(batch), StageId(2), PartitionId(5));
        TaskId { key: TaskKey { batch, stage, partition }, attempt: Attempt(attempt) }
    }

    #[test]
    fn names_know_run_batch_and_attempt() {
        assert_eq!(name(RUN, task(17, 3)), "0197a3c100000042-17-2-5-3");
        assert_eq!(read_name("0197a3c100000042-17-2-5-3"), Some((RUN, BatchNumber(17))));
    }

    #[test]
    fn only_what_nobody_can_want_is_left_over() {
        let table = [
            ("0197a3c100000042-17-2-5-0", true),
            ("0197a3c100000042-3-0-0-9", true),
            // A live attempt of a later batch, and a later run.
            ("0197a3c100000042-18-2-5-0", false),
            ("0197a3c100000043-0-0-0-0", false),
            // An earlier run, whatever the batch.
            ("0197a3c100000041-99-0-0-0", true),
            // Not ours.
            ("part-00000", false),
            ("_SUCCESS", false),
            ("17-2-5-0", false),
            ("0197a3c100000042-17-2-5", false),
            ("0197a3c100000042-17-2-5-0-1", false),
            ("0197a3c100000042-17-2-5-x", false),
            ("0197a3c100000042-17-2--0", false),
            ("+197a3c100000042-17-2-5-0", false),
            ("197a3c100000042-17-2-5-0", false),
            ("", false),
        ];
        for (name, expected) in table {
            assert_eq!(is_left_over(name, RUN, BatchNumber(17)), expected, "{name}");
        }
    }

    #[test]
    fn a_sweep_removes_what_the_dead_left_and_nothing_else() {
        let parent = std::env::temp_dir().join(format!("tidemill-staged-{}", std::process::id()));
        let folder = parent.join("out.staged-0.txt");
        std::fs::create_dir_all(&folder).unwrap();
        let files = World::real().files;
        let wanted = name(RUN, task(18, 0));
        let half = |name: &str| format!(".tidemill-tmp-77-ab12-3-{name}");
        let stay = [wanted.clone(), half(&wanted), "notes.txt".to_owned(), half("notes.txt")];
        let go = [name(RUN, task(17, 1)), name(RunId(5), task(40, 0)), half(&name(RUN, task(16, 0)))];
        for name in stay.iter().chain(&go) {
            std::fs::write(folder.join(name), "text").unwrap();
        }
        sweep(&folder, RUN, BatchNumber(17), &files);
        let left: BTreeSet<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        std::fs::remove_dir_all(&parent).unwrap();
        assert_eq!(left, BTreeSet::from(stay));
    }
}
