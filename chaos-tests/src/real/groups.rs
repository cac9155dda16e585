//! A control group, in which processes have a limit of memory or of processor time, of version 1 or 2: whichever is mounted. Only
//! root may make one; it is taken down on drop.
//!
//! | | version 1 | version 2 |
//! |---|---|---|
//! | limit of memory | `memory.limit_in_bytes` | `memory.max` |
//! | it was hit | `memory.failcnt` | `max` of `memory.events` |
//! | the kernel ended somebody for it | `oom_kill` of `memory.oom_control` | `oom_kill` of `memory.events` |
//! | microseconds in each 100 ms | `cpu.cfs_quota_us` | `cpu.max` |
//! | it was held up | `nr_throttled` of `cpu.stat` | the same |

use super::{Wrong, processes::until};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering},
};

/// Numbers the groups of this process.
static GROUPS: AtomicU8 = AtomicU8::new(0);
/// Microseconds in which a quota of processor time is given anew.
const PERIOD_US: u64 = 100_000;

/// What a group can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    Memory,
    Cpu,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Cpu => "cpu",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A file of a group, and the name of its number there, if it has several.
type Count = (&'static str, Option<&'static str>);

impl Version {
    fn memory_limit(self, bytes: u64) -> (&'static str, String) {
        match self {
            Version::One => ("memory.limit_in_bytes", bytes.to_string()),
            Version::Two => ("memory.max", bytes.to_string()),
        }
    }

    fn memory_hits(self) -> Count {
        match self {
            Version::One => ("memory.failcnt", None),
            Version::Two => ("memory.events", Some("max")),
        }
    }

    fn memory_kills(self) -> Count {
        match self {
            Version::One => ("memory.oom_control", Some("oom_kill")),
            Version::Two => ("memory.events", Some("oom_kill")),
        }
    }

    fn cpu_quota(self, quota_us: u64) -> (&'static str, String) {
        match self {
            Version::One => ("cpu.cfs_quota_us", quota_us.to_string()),
            Version::Two => ("cpu.max", format!("{quota_us} {PERIOD_US}")),
        }
    }
}

/// Where groups of a controller are made, as `/proc/mounts` has it: where the controller has a tree of version 1, it is in no other.
fn place(mounts: &str, controller: Controller) -> Option<(PathBuf, Version)> {
    let of = |line: &str| -> Option<(PathBuf, Version)> {
        let mut words = line.split(' ').skip(1);
        let (folder, kind, options) = (words.next()?, words.next()?, words.next()?);
        let version = match kind {
            "cgroup" if options.split(',').any(|option| option == controller.name()) => Version::One,
            "cgroup2" => Version::Two,
            _ => return None,
        };
        Some((folder.into(), version))
    };
    let all: Vec<_> = mounts.lines().filter_map(of).collect();
    let first = |wanted| all.iter().find(|(_, version)| *version == wanted).cloned();
    first(Version::One).or_else(|| first(Version::Two))
}

/// The number of a file, or that of its line `name number`.
fn parse(text: &str, name: Option<&str>) -> Option<u64> {
    match name {
        None => text.trim().parse().ok(),
        Some(name) => text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()),
    }
}

/// A control group.
pub struct Group {
    folder: PathBuf,
    above: PathBuf,
    version: Version,
}

impl Group {
    /// Makes one; none, with the reason, where that cannot be done.
    pub fn make(controller: Controller) -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let name = controller.name();
        let (above, version) =
            place(&mounts, controller).ok_or_else(|| format!("no control groups for {name} are mounted"))?;
        if version == Version::Two {
            let path = above.join("cgroup.subtree_control");
            fs::write(&path, format!("+{name}")).map_err(|error| {
                format!("a control group needs root, and {name}: {}: {error}", path.display())
            })?;
        }
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        let folder = above.join(format!("tidemill-real-{}-{number}", std::process::id()));
        let made = fs::create_dir(&folder);
        made.map_err(|error| format!("a control group needs root: {}: {error}", folder.display()))?;
        Ok(Group { folder, above, version })
    }

    /// Limits what its processes may take of memory, beyond what they have when they come.
    pub fn limit_memory(&self, bytes: u64) -> Result<(), Wrong> {
        self.set(self.version.memory_limit(bytes))
    }

    /// Limits its processes to so many microseconds of processor time in each 100 ms.
    pub fn limit_cpu(&self, quota_us: u64) -> Result<(), Wrong> {
        self.set(self.version.cpu_quota(quota_us))
    }

    /// Puts a process into it.
    pub fn take(&self, pid: u32) -> Result<(), Wrong> {
        self.set(("cgroup.procs", pid.to_string()))
    }

    /// How often its processes wanted more memory than they may have.
    pub fn memory_hits(&self) -> Result<u64, Wrong> {
        self.count(self.version.memory_hits())
    }

    /// How many of its processes the kernel has ended for want of memory.
    pub fn memory_kills(&self) -> Result<u64, Wrong> {
        self.count(self.version.memory_kills())
    }

    /// How often its processes were held up for want of processor time.
    pub fn held_up(&self) -> Result<u64, Wrong> {
        self.count(("cpu.stat", Some("nr_throttled")))
    }

    fn set(&self, (file, value): (&str, String)) -> Result<(), Wrong> {
        let path = self.folder.join(file);
        fs::write(&path, value).map_err(|error| named(&path, &error))
    }

    fn count(&self, (file, name): Count) -> Result<u64, Wrong> {
        let path = self.folder.join(file);
        let text = fs::read_to_string(&path).map_err(|error| named(&path, &error))?;
        parse(&text, name)
            .ok_or_else(|| Wrong(format!("{}: no {}: {text}", path.display(), name.unwrap_or("number"))))
    }
}

fn named(path: &Path, error: &std::io::Error) -> Wrong {
    Wrong(format!("{}: {error}", path.display()))
}

impl Drop for Group {
    fn drop(&mut self) {
        let procs = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        for pid in procs.lines() {
            // It may have ended.
            let _ = fs::write(self.above.join("cgroup.procs"), pid);
        }
        let _ = until("it is empty", || fs::remove_dir(&self.folder).ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0\n\
                       cgroup /sys/fs/cgroup/memory cgroup rw,nosuid,memory 0 0\n";
    const TWO: &str = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n";

    #[test]
    fn a_group_is_made_where_its_controller_is() {
        let found = |mounts: &str, controller| place(mounts, controller);
        let at = |folder: &str, version| Some((PathBuf::from(folder), version));
        let both = format!("{TWO}{ONE}");
        for (mounts, controller, expected) in [
            (ONE, Controller::Memory, at("/sys/fs/cgroup/memory", Version::One)),
            (ONE, Controller::Cpu, at("/sys/fs/cgroup/cpu,cpuacct", Version::One)),
            (TWO, Controller::Cpu, at("/sys/fs/cgroup", Version::Two)),
            (both.as_str(), Controller::Memory, at("/sys/fs/cgroup/memory", Version::One)),
            ("cgroup /x cgroup rw,cpuacct 0 0\n", Controller::Cpu, None),
            ("proc /proc proc rw 0 0\ncut off", Controller::Memory, None),
        ] {
            assert_eq!(found(mounts, controller), expected, "{mounts}");
        }
    }

    #[test]
    fn limits_and_counts_are_written_and_read_as_each_version_has_them() {
        assert_eq!(Version::One.memory_limit(256), ("memory.limit_in_bytes", "256".to_owned()));
        assert_eq!(Version::Two.memory_limit(256), ("memory.max", "256".to_owned()));
        assert_eq!(Version::One.cpu_quota(5_000), ("cpu.cfs_quota_us", "5000".to_owned()));
        assert_eq!(Version::Two.cpu_quota(5_000), ("cpu.max", "5000 100000".to_owned()));
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
        let read = |(_, name): Count, text| parse(text, name);
        assert_eq!(read(Version::Two.memory_hits(), events), Some(12));
        assert_eq!(read(Version::Two.memory_kills(), events), Some(2));
        assert_eq!(read(Version::One.memory_hits(), "7\n"), Some(7));
        assert_eq!(
            read(Version::One.memory_kills(), "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
            Some(1)
        );
        assert_eq!(parse("nr_periods 9\nnr_throttled 4\n", Some("nr_throttled")), Some(4));
        assert_eq!((parse("max\n", None), parse("low 0\n", Some("max"))), (None, None));
    }
}
