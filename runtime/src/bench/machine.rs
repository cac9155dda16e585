//! What the figures were measured on: they mean nothing without it.

use std::{fs, thread};

/// One line about this machine: processor, cores, operating system. Never a name or a path.
pub fn describe() -> String {
    let cores = thread::available_parallelism().map_or(1, |n| n.get());
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    format!("{}, {cores} cores, {}", processor(&cpuinfo), std::env::consts::OS)
}

fn processor(cpuinfo: &str) -> &str {
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    model.and_then(|line| line.split_once(':')).map_or(std::env::consts::ARCH, |(_, name)| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_or_its_kind() {
        assert_eq!(
            processor("processor\t: 0\nmodel name\t: Fast One @ 3 GHz\nmodel name\t: x"),
            "Fast One @ 3 GHz"
        );
        assert_eq!(processor(""), std::env::consts::ARCH);
    }
}
