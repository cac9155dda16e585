//! From time to batches: which batch is cut when. Counts on the monotonic clock, corrected by looks at the wall clock.
//!
//! ```text
//!   wall        ├────────┼────────┼────────┼────────┼────>     multiples of the interval since the epoch
//!                    now ^        ^ reached next   ^ announced up to now + horizon
//! ```

use std::{collections::VecDeque, time::Duration};
use tidemill_protocol::{
    id::BatchNumber,
    time::{BatchTime, Time},
};

const NS_PER_MS: i128 = 1_000_000;

/// The cuts of one pipeline.
#[derive(Debug)]
pub(super) struct Cuts {
    interval_ms: u64,
    lead: Duration,
    horizon: Duration,
    /// Wall time minus monotonic time, in nanoseconds.
    offset_ns: Option<i128>,
    next: BatchNumber,
    last: Option<BatchTime>,
    announced: VecDeque<(BatchNumber, BatchTime)>,
}

impl Cuts {
    /// Cuts every `interval`, announced `lead` ahead at least.
    pub(super) fn new(interval: Duration, lead: Duration) -> Self {
        let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
        // Twice the lead: the first cut lies up to a lead and an interval ahead, and must come into view before time has moved
        // it on.
        let horizon = (lead * 2).max(Duration::from_millis(interval_ms));
        Cuts {
            interval_ms,
            lead,
            horizon,
            offset_ns: None,
            next: BatchNumber(0),
            last: None,
            announced: VecDeque::new(),
        }
    }

    /// The wall clock says `wall`.
    pub(super) fn set_wall(&mut self, now: Time, wall: Duration) {
        let wall_ns = i128::try_from(wall.as_nanos()).unwrap_or(i128::MAX);
        self.offset_ns = Some(wall_ns - i128::from(now.0));
    }

    /// The batch that will be announced next.
    pub(super) fn next(&self) -> BatchNumber {
        self.next
    }

    /// The announced cuts that lie ahead, in order.
    pub(super) fn ahead(&self) -> impl Iterator<Item = (BatchNumber, BatchTime)> + '_ {
        self.announced.iter().copied()
    }

    /// The batch that is being received: the first whose cut lies ahead.
    pub(super) fn open(&self) -> BatchNumber {
        self.announced.front().map_or(self.next, |(batch, _)| *batch)
    }

    /// The next cut, if it must be announced now.
    pub(super) fn announce(&mut self, now: Time) -> Option<(BatchNumber, BatchTime)> {
        let at = self.next_at(now)?;
        if self.monotonic(at)? > now + self.horizon {
            return None;
        }
        Some(self.push(at))
    }

    /// The next cut that is reached, if one is.
    pub(super) fn reached(&mut self, now: Time) -> Option<(BatchNumber, BatchTime)> {
        let (_, at) = *self.announced.front()?;
        if self.monotonic(at)? > now {
            return None;
        }
        self.announced.pop_front()
    }

    /// The last cut of all, before its time: the open batch ends now, and what was announced beyond it never happens.
    pub(super) fn reach_last(&mut self, now: Time) -> Option<(BatchNumber, BatchTime)> {
        if self.announced.is_empty() {
            let at = self.next_at(now)?;
            self.push(at);
        }
        let last = self.announced.pop_front();
        self.announced.clear();
        last
    }

    /// A batch of its own, cut now: for pipelines without an interval.
    pub(super) fn cut_now(&mut self, now: Time) -> Option<(BatchNumber, BatchTime)> {
        let wall_ms = u64::try_from((self.offset_ns? + i128::from(now.0)) / NS_PER_MS).unwrap_or(0);
        let at = BatchTime(self.last.map_or(wall_ms, |last| wall_ms.max(last.0 + 1)));
        self.push(at);
        self.announced.pop_back()
    }

    /// When a cut is reached, or (if `announcing`) has to be announced.
    pub(super) fn next_deadline(&self, now: Time, announcing: bool) -> Option<Time> {
        let reached = self.announced.front().and_then(|(_, at)| self.monotonic(*at));
        let announce = || {
            let ahead = u64::try_from(self.horizon.as_nanos()).unwrap_or(u64::MAX);
            Some(Time(self.monotonic(self.next_at(now)?)?.0.saturating_sub(ahead)))
        };
        let announced = announcing.then(announce).flatten();
        reached.into_iter().chain(announced).min()
    }

    /// The time of the next cut. Times grow, so a wall clock that jumped back is waited out; they are never in the past,
    /// so a jump forward, or a halt, leaves a hole.
    fn next_at(&self, now: Time) -> Option<BatchTime> {
        let wall_ns = self.offset_ns? + i128::from(now.0);
        let following = self.last.map(|last| BatchTime(last.0.saturating_add(self.interval_ms)));
        if let Some(at) = following
            && i128::from(at.0) * NS_PER_MS > wall_ns
        {
            return Some(at);
        }
        let earliest_ns = wall_ns + i128::try_from(self.lead.as_nanos()).unwrap_or(i128::MAX);
        let earliest_ms = u64::try_from((earliest_ns + NS_PER_MS - 1) / NS_PER_MS).unwrap_or(0);
        let at = BatchTime(earliest_ms.div_ceil(self.interval_ms).saturating_mul(self.interval_ms));
        Some(following.map_or(at, |following| at.max(following)))
    }

    fn push(&mut self, at: BatchTime) -> (BatchNumber, BatchTime) {
        let cut = (self.next, at);
        self.announced.push_back(cut);
        self.next = self.next.next();
        self.last = Some(at);
        cut
    }

    fn monotonic(&self, at: BatchTime) -> Option<Time> {
        let ns = i128::from(at.0) * NS_PER_MS - self.offset_ns?;
        Some(Time(u64::try_from(ns.max(0)).unwrap_or(u64::MAX)))
    }

    pub(super) fn assert_invariants(&self) {
        let cuts: Vec<_> = self.announced.iter().collect();
        for pair in cuts.windows(2) {
            assert!(pair[0].0.next() == pair[1].0, "batch numbers have no gaps");
            assert!(pair[0].1 < pair[1].1, "batch times grow");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_shorter_than_the_lead_is_cut_as_well() {
        for interval_ms in [5, 7, 10, 49, 50, 51, 99, 100, 101, 500] {
            let interval = Duration::from_millis(interval_ms);
            let mut cuts = Cuts::new(interval, Duration::from_millis(50));
            let mut now = Time(123_456_789);
            cuts.set_wall(now, Duration::from_nanos(1_767_225_600_003_217_911));
            let mut reached = 0;
            for _wake in 0..1_000 {
                // A timer is always a little late.
                now = cuts.next_deadline(now, true).expect("there is always a next cut").max(now)
                    + Duration::from_micros(90);
                while cuts.announce(now).is_some() {}
                while cuts.reached(now).is_some() {
                    reached += 1;
                }
            }
            assert!(reached > 300, "{interval_ms} ms: {reached} cuts in 1,000 wakes");
        }
    }
}
