//! How many restarts a supervisor grants before it gives up itself: at most N in a sliding period.
//!
//! ```text
//!   N = 3           |<------- period ------->|
//!   restarts   x    x        x            x  x        the fourth within the period is refused
//!               gone ^ older than the period: no longer counted
//! ```

use std::{collections::VecDeque, time::Duration};
use tidemill_protocol::time::Time;

/// The limit: at most `restarts_max` restarts within any `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// Restarts that are granted within the period; 0 grants none.
    pub restarts_max: u32,
    /// How long a restart counts. One that is exactly this old counts no more.
    pub period: Duration,
}

impl Default for Intensity {
    /// Five restarts in 30 seconds.
    fn default() -> Self {
        Intensity { restarts_max: 5, period: Duration::from_secs(30) }
    }
}

/// The restarts of one supervisor that still count.
#[derive(Clone, Debug)]
pub struct RestartWindow {
    limit: Intensity,
    granted: VecDeque<Time>,
}

impl RestartWindow {
    /// A window with no restart in it.
    pub fn new(limit: Intensity) -> Self {
        RestartWindow { limit, granted: VecDeque::new() }
    }

    /// Grants and counts a restart at `now`, or refuses it because `restarts_max` were granted within the period.
    pub fn grant(&mut self, now: Time) -> bool {
        while self.granted.front().is_some_and(|&first| now.since(first) >= self.limit.period) {
            self.granted.pop_front();
        }
        if self.granted.len() >= self.limit.restarts_max as usize {
            return false;
        }
        self.granted.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn window(restarts_max: u32) -> RestartWindow {
        RestartWindow::new(Intensity { restarts_max, period: Duration::from_secs(10) })
    }

    #[test]
    fn n_are_granted_and_the_next_is_refused() {
        let mut window = window(3);
        let answers: Vec<bool> = (0..4).map(|s| window.grant(Time(s * SECOND))).collect();
        assert_eq!(answers, [true, true, true, false]);
    }

    #[test]
    fn the_window_slides_and_does_not_jump() {
        let mut window = window(2);
        assert!(window.grant(Time(0)));
        assert!(window.grant(Time(9 * SECOND)));
        assert!(!window.grant(Time(10 * SECOND - 1)), "the first is a nanosecond too young to be forgotten");
        assert!(window.grant(Time(10 * SECOND)), "the first is exactly as old as the period");
        assert!(!window.grant(Time(18 * SECOND)), "those at 9 s and 10 s still count");
        assert!(window.grant(Time(19 * SECOND)));
    }

    #[test]
    fn zero_grants_none() {
        assert!(!window(0).grant(Time(5)));
    }
}
