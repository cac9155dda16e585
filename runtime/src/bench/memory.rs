//! The memory of the demo: of the driver's process and of those of its executors, together.
//!
//! Each process counts with the most that it has ever held (`VmHWM`), and pages that two of them share count twice: the figure may be
//! too high, never too low.

use std::{collections::BTreeSet, fs, process::Command, process::Stdio, thread, time::Duration};

/// The driver's and three executors'.
const PROCESSES: u64 = 4;
/// From one look to the next. What a process has held is kept by the kernel as long as it lives.
const PERIOD: Duration = Duration::from_millis(100);

/// What some processes have held together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Processes that lived at the same time, at most.
    pub processes: u64,
    /// The most that those alive at the same time had held, each at its peak.
    pub bytes: u64,
}

impl Footprint {
    /// Adds a look at all that are alive: the peak of each.
    fn see(&mut self, peaks: &[u64]) {
        self.processes = self.processes.max(peaks.len() as u64);
        self.bytes = self.bytes.max(peaks.iter().sum());
    }
}

/// Runs a demo of 20 s, of this very program, and watches its processes.
///
/// # Errors
/// If the demo does not start or fails, or its executors could not be seen.
pub fn of_a_demo() -> Result<Footprint, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut demo = Command::new(program)
        .args(["demo", "--json"])
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut found = Footprint::default();
    loop {
        if let Some(exit) = demo.try_wait().map_err(|error| error.to_string())? {
            return match (exit.success(), found.processes < PROCESSES) {
                (false, _) => Err(format!("the demo failed: {exit}")),
                (true, true) => Err(format!(
                    "only {} of the demo's {PROCESSES} processes could be seen in /proc: demo_rss needs Linux, with the lists of children",
                    found.processes
                )),
                (true, false) => Ok(found),
            };
        }
        let peaks: Vec<u64> = family(demo.id()).into_iter().filter_map(peak_of).collect();
        found.see(&peaks);
        thread::park_timeout(PERIOD);
    }
}

/// A process and its children.
fn family(parent: u32) -> BTreeSet<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children = lists.flat_map(|list| pids(&list).collect::<Vec<_>>());
    children.chain([parent]).collect()
}

fn pids(list: &str) -> impl Iterator<Item = u32> {
    list.split_whitespace().filter_map(|pid| pid.parse().ok())
}

/// The most memory that a process has held, in bytes; none if it has ended.
fn peak_of(pid: u32) -> Option<u64> {
    high_water(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// `VmHWM` of a process's status, in bytes; one that has ended has none.
fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_what_those_alive_at_once_have_held_together() {
        let mut found = Footprint::default();
        // Two start, two more come, one is killed, another comes for it.
        for peaks in [&[40, 10][..], &[41, 12, 11, 10], &[42, 12, 11], &[42, 12, 11, 3]] {
            found.see(peaks);
        }
        assert_eq!(found, Footprint { processes: 4, bytes: 74 });
    }

    #[test]
    fn the_high_water_mark_is_read_from_a_processs_status() {
        assert_eq!(
            high_water("Name:\ta\nVmPeak:\t  900 kB\nVmHWM:\t   34 kB\nVmRSS:\t 3 kB\n"),
            Some(34_816)
        );
        assert_eq!(high_water("Name:\ta\nState:\tZ (zombie)\n"), None);
        assert_eq!(pids("7 12  9 ").collect::<Vec<_>>(), [7, 12, 9]);
    }

    #[test]
    fn a_child_is_of_the_family_and_holds_memory() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let (me, pid) = (std::process::id(), child.id());
        assert!(family(me).is_superset(&[me, pid].into()), "{:?}", family(me));
        assert!(peak_of(me).is_some_and(|bytes| bytes > 0));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!family(me).contains(&pid));
    }
}
