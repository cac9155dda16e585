//! How long a leaving executor waits for those who still need something of it; then it ends without their consent.
//!
//! What it holds is needed until the batches are released that hold its blocks: the open one is cut within an interval, and
//! computed within another one where the cluster keeps up. So the time grows with the interval, which is the driver's; an agent,
//! which is no node of the cluster, reads what its executors wrote down.

use crate::config::BatchInterval;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tidemill_protocol::id::NodeId;

/// As long as this at least.
pub(crate) const DRAIN_MIN: Duration = Duration::from_secs(10);
/// Beyond two intervals: the last exchanges, and a batch that takes longer than its interval.
const RESERVE: Duration = Duration::from_secs(5);

/// How long an executor waits whose driver has this interval.
pub(crate) fn limit(interval: BatchInterval) -> Duration {
    match interval {
        BatchInterval::Every(interval) => interval.saturating_mul(2).saturating_add(RESERVE).max(DRAIN_MIN),
        BatchInterval::AvailableNow => DRAIN_MIN,
    }
}

fn file(data: &Path, node: NodeId) -> PathBuf {
    data.join(format!("drain-{}.ms", node.0))
}

/// An executor's process writes down how long it will wait.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn write_down(data: &Path, node: NodeId, limit: Duration) -> io::Result<()> {
    // Whole or not at all: the agent may read it at any time.
    let (path, new) = (file(data, node), data.join(format!(".drain-{}.new", node.0)));
    fs::write(&new, limit.as_millis().to_string())?;
    fs::rename(new, path)
}

/// An agent forgets what executors wrote down before its time: another driver may have had another interval.
pub(super) fn forget(data: &Path, nodes: &[NodeId]) {
    // What is not there need not be removed.
    nodes.iter().for_each(|node| _ = fs::remove_file(file(data, *node)));
}

/// The longest time of these executors; where one has written nothing yet it has nothing to wait for either.
pub(super) fn longest(data: &Path, nodes: &[NodeId]) -> Duration {
    let written = |node: &NodeId| fs::read_to_string(file(data, *node)).ok()?.trim().parse().ok();
    let longest = nodes.iter().filter_map(written).map(Duration::from_millis).max();
    longest.unwrap_or(DRAIN_MIN).max(DRAIN_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_for_a_leave_grows_with_the_interval() {
        let every = |ms| limit(BatchInterval::Every(Duration::from_millis(ms)));
        let table = [(1, 10_000), (500, 10_000), (2_500, 10_000), (2_501, 10_002), (30_000, 65_000)];
        for (interval, expected) in table {
            assert_eq!(every(interval), Duration::from_millis(expected), "{interval} ms");
        }
        assert_eq!(limit(BatchInterval::AvailableNow), DRAIN_MIN);
        assert_eq!(limit(BatchInterval::Every(Duration::MAX)), Duration::MAX);
    }

    #[test]
    fn an_agent_reads_what_its_executors_wrote_down() {
        let data = std::env::temp_dir().join(format!("tidemill-drain-{}", std::process::id()));
        fs::create_dir_all(&data).unwrap();
        let (one, two, three) = (NodeId(1), NodeId(2), NodeId(3));
        assert_eq!(longest(&data, &[one, two]), DRAIN_MIN, "they have not begun");
        write_down(&data, one, Duration::from_secs(65)).unwrap();
        write_down(&data, two, Duration::from_secs(12)).unwrap();
        fs::write(file(&data, three), "soon").unwrap();
        assert_eq!(longest(&data, &[one, two, three]), Duration::from_secs(65));
        write_down(&data, one, DRAIN_MIN).unwrap();
        assert_eq!(
            longest(&data, &[one, two, three]),
            Duration::from_secs(12),
            "a driver with another interval"
        );
        forget(&data, &[one, two]);
        assert_eq!(longest(&data, &[one, two]), DRAIN_MIN, "what an earlier agent's executors wrote");
        fs::remove_dir_all(&data).unwrap();
    }
}
