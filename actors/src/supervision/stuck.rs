//! When a child counts as stuck: it has messages waiting and has handled none, and recorded no progress, for too long. An
//! idle child is never stuck.

use std::time::Duration;
use tidemill_protocol::time::Time;

/// Samples are taken this many times within the limit, so a stuck child is found at most a quarter of the limit late.
const SAMPLES_PER_LIMIT: u32 = 4;

/// Watches the progress counter of one life of a child.
#[derive(Clone, Debug)]
pub struct StuckWatch {
    limit: Duration,
    progress: u64,
    still_since: Option<Time>,
    next_sample: Time,
}

impl StuckWatch {
    /// Watches a child started at `now`; `limit` is how long it may go without progress while messages wait.
    pub fn new(limit: Duration, now: Time) -> Self {
        StuckWatch { limit, progress: 0, still_since: None, next_sample: now + limit / SAMPLES_PER_LIMIT }
    }

    /// When the next sample is due.
    pub fn next_sample(&self) -> Time {
        self.next_sample
    }

    /// Notes that a sample has been asked for at `now`.
    pub fn asked(&mut self, now: Time) {
        self.next_sample = now + (self.limit / SAMPLES_PER_LIMIT).max(Duration::from_millis(1));
    }

    /// Takes a sample; true if the child is stuck.
    pub fn sample(&mut self, now: Time, progress: u64, waiting: bool) -> bool {
        if progress != self.progress || !waiting {
            self.progress = progress;
            self.still_since = None;
            return false;
        }
        // Counted from the first sample that found it so: since when before that it was so, nobody knows.
        now.since(*self.still_since.get_or_insert(now)) >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    #[test]
    fn only_waiting_messages_without_progress_make_a_child_stuck() {
        let mut watch = StuckWatch::new(Duration::from_millis(100), at(0));
        assert!(!watch.sample(at(200), 0, false), "idle for long is not stuck");
        assert!(!watch.sample(at(225), 0, true));
        assert!(!watch.sample(at(300), 0, true));
        assert!(!watch.sample(at(325), 1, true), "it has moved");
        assert!(!watch.sample(at(350), 1, true));
        assert!(!watch.sample(at(449), 1, true));
        assert!(watch.sample(at(450), 1, true));
    }
}
