//! What the figures were measured on: they mean nothing without it.

use std::{fs, thread, time::Duration};

/// Ticks of processor time in a second, as the kernel tells them to programs on every machine.
const TICKS_PER_S: u64 = 100;

/// One line about this machine: processor, cores, operating system. Never a name or a path.
pub fn describe() -> String {
    let cores = thread::available_parallelism().map_or(1, |n| n.get());
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    format!("{}, {cores} cores, {}", processor(&cpuinfo), std::env::consts::OS)
}

/// The processor time of this process and of its children that have ended; `None` where there is no /proc.
pub fn processor_time() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    Some(Duration::from_millis(ticks(&stat)? * 1_000 / TICKS_PER_S))
}

/// How many seconds of processor time this machine gives within `elapsed`.
pub fn capacity(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * thread::available_parallelism().map_or(1, |n| n.get()) as f64
}

/// Whether a process is there and has not ended; true where there is no /proc to ask.
pub fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return !fs::exists("/proc/self/stat").unwrap_or(false);
    };
    fields(&stat).next().is_some_and(|state| !matches!(state, "Z" | "X"))
}

/// What follows the name, which may hold blanks: the state first.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}

/// User and system time, own and of children that were waited for: the 14th to the 17th field of `stat`, the state being the 3rd.
fn ticks(stat: &str) -> Option<u64> {
    let times: Vec<u64> = fields(stat).skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
    (times.len() == 4).then(|| times.iter().sum())
}

fn processor(cpuinfo: &str) -> &str {
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    model.and_then(|line| line.split_once(':')).map_or(std::env::consts::ARCH, |(_, name)| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_that_of_the_process_and_of_its_children() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4000 15 16";
        assert_eq!((ticks(stat), fields(stat).next()), (Some(4_123), Some("S")));
        assert_eq!(ticks("7 (cut off) S 1 2"), None);
        assert!(is_running(std::process::id()));
    }

    #[test]
    fn the_processor_is_named_or_its_kind() {
        assert_eq!(
            processor("processor\t: 0\nmodel name\t: Fast One @ 3 GHz\nmodel name\t: x"),
            "Fast One @ 3 GHz"
        );
        assert_eq!(processor(""), std::env::consts::ARCH);
    }
}
