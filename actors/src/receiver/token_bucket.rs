//! A token bucket in exact integers, in records and in bytes: the limit that the rate controller sets, enforced where the
//! source asks for its permit. Time is passed in.
//!
//! The bucket may run into debt: a piece larger than the burst passes at once and is paid for afterwards. So the rate
//! holds over time, and no piece is too large to ever pass.

use std::time::Duration;
use tidemill_protocol::time::Time;

/// The rate that means "no limit".
pub const UNLIMITED: u64 = u64::MAX;

/// Tokens are counted in billionths, so that a rate per second times nanoseconds is a whole number of them.
const UNIT: i128 = 1_000_000_000;

/// One limit: so many per second.
#[derive(Clone, Debug)]
pub struct Lane {
    rate_per_s: u64,
    burst: Duration,
    level: i128,
    at: Time,
}

impl Lane {
    /// A limit of `rate_per_s` from `now` on ([`UNLIMITED`]: none; 0: nothing passes), full with what `burst` brings.
    pub fn new(rate_per_s: u64, burst: Duration, now: Time) -> Self {
        let mut lane = Lane { rate_per_s, burst, level: 0, at: now };
        lane.level = lane.level_max();
        lane
    }

    /// The limit from `now` on. What was saved or owed stays, as far as the new burst holds it.
    pub fn set_rate(&mut self, now: Time, rate_per_s: u64) {
        self.refill(now);
        self.rate_per_s = rate_per_s;
        self.level = self.level.min(self.level_max());
    }

    /// When something may pass: `now` or earlier means at once; `None` means never at this rate.
    pub fn ready_at(&mut self, now: Time) -> Option<Time> {
        match self.rate_per_s {
            UNLIMITED => return Some(now),
            0 => return None,
            _ => self.refill(now),
        }
        if self.level > 0 {
            return Some(now);
        }
        let missing = 1 - self.level;
        let wait = (missing + i128::from(self.rate_per_s) - 1) / i128::from(self.rate_per_s);
        Some(now + Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    /// Pays for `amount`, into debt if need be.
    pub fn take(&mut self, now: Time, amount: u64) {
        if self.rate_per_s != UNLIMITED {
            self.refill(now);
            self.level = self.level.saturating_sub(i128::from(amount).saturating_mul(UNIT));
        }
    }

    fn refill(&mut self, now: Time) {
        let elapsed = i128::try_from(now.since(self.at).as_nanos()).unwrap_or(i128::MAX);
        self.at = self.at.max(now);
        if self.rate_per_s != UNLIMITED {
            let gained = elapsed.saturating_mul(i128::from(self.rate_per_s));
            self.level = self.level.saturating_add(gained).min(self.level_max());
        }
    }

    /// What `burst` brings at this rate, and one token at least: a bucket that cannot hold one never lets one pass on time.
    fn level_max(&self) -> i128 {
        if self.rate_per_s == UNLIMITED {
            return 0;
        }
        let burst_ns = i128::try_from(self.burst.as_nanos()).unwrap_or(i128::MAX);
        burst_ns.saturating_mul(i128::from(self.rate_per_s)).max(UNIT)
    }
}

/// A limit in records and one in bytes; both must hold.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    /// Records per second.
    pub records: Lane,
    /// Bytes per second.
    pub bytes: Lane,
}

impl TokenBucket {
    /// When something may pass both limits; `None`: never at these rates.
    pub fn ready_at(&mut self, now: Time) -> Option<Time> {
        Some(self.records.ready_at(now)?.max(self.bytes.ready_at(now)?))
    }

    /// Pays for `records` and `bytes`.
    pub fn take(&mut self, now: Time, records: u64, bytes: u64) {
        self.records.take(now, records);
        self.bytes.take(now, bytes);
    }
}
