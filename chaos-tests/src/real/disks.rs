//! A disk that is full for a while: tasks that cannot write fail, typed, and are tried again; no partial result is left.

use super::{
    End, Wrong,
    cluster::{Folder, Plan, directly, play},
    ensure,
    places::SmallDisk,
    processes::until,
};
use crate::oracle::Counts;
use std::{fs, path::Path};

/// The size of the disk: results of a run fit, and little else.
const DISK_KIB: u64 = 4 << 10;

pub fn full(program: &Path) -> Result<End, Wrong> {
    let folder = Folder::new()?;
    let disk = match SmallDisk::mount(folder.path("disk"), DISK_KIB)? {
        Ok(disk) => disk,
        Err(why) => return Ok(End::LeftOut(why)),
    };
    let plan = Plan { out: Some(disk.folder().to_owned()), ..Plan::new(5_000, 8) };
    let end = play(program, plan, directly, |cluster| {
        let host = cluster.receivers_host()?;
        cluster.in_a_task(&host)?;
        disk.fill()?;
        let refused = |line: &str| line.contains("an attempt has failed") && line.contains("No space left");
        let failed = until("a task is refused the space", || {
            let failed = cluster.driver.log().lines().filter(|line| refused(line)).count();
            (failed > 0).then_some(failed)
        });
        disk.empty()?;
        let failed = failed?;
        cluster.goes_on()?;
        Ok(vec![format!("a disk full for a while ({failed} attempts were refused the space)")])
    })?;
    if let End::Equal { lines, .. } = &end {
        let saved = saved(disk.folder())?;
        ensure(saved == super::feed::plain(*lines), || format!("{lines} lines, but saved is {saved:?}"))?;
    }
    Ok(end)
}

/// What is saved in all; that a folder is not complete is an error.
fn saved(disk: &Path) -> Result<Counts, Wrong> {
    let mut counts = Counts::new();
    for folder in fs::read_dir(disk)?.flatten() {
        let name = folder.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".txt") || name.contains(".staged-") {
            continue;
        }
        let path = folder.path();
        ensure(path.join("_SUCCESS").is_file(), || format!("{} is not complete", path.display()))?;
        for part in fs::read_dir(&path)?.flatten() {
            for line in fs::read_to_string(part.path())?.lines() {
                let pair = line.split_once(' ').and_then(|(word, count)| Some((word, count.parse().ok()?)));
                let (word, count): (&str, u64) = pair.ok_or_else(|| Wrong(format!("no count: {line}")))?;
                *counts.entry(word.to_owned()).or_default() += count;
            }
        }
    }
    Ok(counts)
}
