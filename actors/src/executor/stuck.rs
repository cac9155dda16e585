//! When a task on a slot is given up. A policy: it looks and says, it changes nothing.
//!
//! ```text
//!   progress seen      looked at, 4 times per limit
//!        |----|----|----|----| given up: unchanged for the whole limit, seen as such
//! ```

use super::ExecutorConfig;
use std::time::Duration;
use tidemill_protocol::time::Time;

/// How many times per limit a counter is read: a task is given up after at most 1 + 1 / this of its limit.
const LOOKS_PER_LIMIT: u32 = 4;

/// What is known of a running task's progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watch {
    counter: u64,
    changed: Time,
}

impl Watch {
    /// A task that starts now.
    pub fn new(now: Time) -> Self {
        Watch { counter: 0, changed: now }
    }

    /// Notes what the counter says. It changed some time before; taking `now` for it errs on the task's side.
    pub fn look(&mut self, now: Time, counter: u64) {
        if counter != self.counter {
            *self = Watch { counter, changed: now };
        }
    }

    /// Begins to count anew: a cancelled task has its whole time from the order on.
    pub fn restart(&mut self, now: Time) {
        self.changed = now;
    }
}

/// Why a task is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// It was told to stop and did not.
    IgnoresCancel,
    /// Nobody told it to stop, and it does not get on.
    Stuck {
        /// For how long at least.
        limit: Duration,
    },
}

/// Whether to give up a task, given what was seen of it last.
pub(super) fn judge(config: &ExecutorConfig, now: Time, watch: &Watch, cancelled: bool) -> Option<GivenUp> {
    let idle = now.since(watch.changed);
    match cancelled {
        true => (idle >= config.cancel_ignored_after).then_some(GivenUp::IgnoresCancel),
        false => {
            let limit = config.task_stuck_after;
            (idle >= limit).then_some(GivenUp::Stuck { limit })
        }
    }
}

/// How long to wait between two looks.
pub(super) fn look_every(config: &ExecutorConfig, any_cancelled: bool) -> Duration {
    let limit = match any_cancelled {
        true => config.cancel_ignored_after.min(config.task_stuck_after),
        false => config.task_stuck_after,
    };
    limit / LOOKS_PER_LIMIT
}

/// A limit in words: whole seconds as such, anything else in milliseconds.
pub(super) fn in_words(limit: Duration) -> String {
    match limit.subsec_nanos() {
        0 => format!("{} s", limit.as_secs()),
        _ => format!("{} ms", limit.as_millis()),
    }
}
