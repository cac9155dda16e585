//! A disk that is full for a while: tasks that cannot write to it fail, typed, and are tried again, and no partial result is
//! left; data that cannot be moved to it stay in memory.

use super::{
    End, Wrong,
    cluster::{Folder, Plan, directly, play},
    ensure,
    places::SmallDisk,
    processes::until,
};
use crate::oracle::Counts;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

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

/// The disk to which executors move data is full for a while: data stay in memory, within its limit, and go there afterwards.
pub fn full_of_spilled_data(program: &Path) -> Result<End, Wrong> {
    let folder = Folder::new()?;
    let disk = match SmallDisk::mount(folder.path("spill"), DISK_KIB)? {
        Ok(disk) => disk,
        Err(why) => return Ok(End::LeftOut(why)),
    };
    let plan = Plan { spill: Some(disk.folder().to_owned()), ..Plan::new(20_000, 8) };
    play(program, plan, directly, |cluster| {
        until("data are moved to the disk", || (!spilled(disk.folder()).is_empty()).then_some(()))?;
        let host = cluster.receivers_host()?;
        cluster.in_a_task(&host)?;
        disk.fill()?;
        let refused = cluster.a_machine_says(&["data stay in memory", "No space left"]);
        let goes_on = cluster.goes_on();
        let before = spilled(disk.folder());
        disk.empty()?;
        refused?;
        goes_on?;
        until("data are moved to the disk again", || {
            (!spilled(disk.folder()).is_subset(&before)).then_some(())
        })?;
        Ok(vec!["the disk for spilled data full for a while".to_owned()])
    })
}

/// The files with data of executors that are on this disk right now.
fn spilled(disk: &Path) -> BTreeSet<PathBuf> {
    let folders = fs::read_dir(disk).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "spill"))
        .collect()
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
