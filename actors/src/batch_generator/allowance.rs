//! How many records of a planned stream a batch may hold: what its rate has allowed since the batch before, and never more
//! than one interval's worth. So batches that are cut late, many at once, do not read many intervals' worth at once.

use std::time::Duration;
use tidemill_protocol::time::Time;

const NS_PER_S: u128 = 1_000_000_000;

/// What a stream may still take of its rate. What a batch leaves (its cut came a little early, a part of a record) goes to
/// the next one, but not more than two intervals' worth.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    /// When the last batch took its part; none has yet.
    taken_at: Option<Time>,
    /// What it left, as time.
    left_ns: u128,
}

impl Allowance {
    /// Takes what a batch at `now` may hold, in records; `rate` in records per second.
    pub(super) fn take(&mut self, now: Time, interval: Duration, rate: u64) -> u64 {
        let rate = u128::from(rate.max(1));
        // Where an interval is shorter than a record, a record comes every so many batches.
        let unit_ns = interval.as_nanos().max(NS_PER_S.div_ceil(rate));
        let passed_ns = self.taken_at.map_or(unit_ns, |at| now.since(at).as_nanos());
        let ns = (self.left_ns + passed_ns).min(2 * unit_ns);
        let records = (rate * ns / NS_PER_S).min((rate * interval.as_nanos()).div_ceil(NS_PER_S));
        self.taken_at = Some(now);
        self.left_ns = ns.saturating_sub(records * NS_PER_S / rate);
        u64::try_from(records).unwrap_or(u64::MAX)
    }

    /// The stream is paused: no time that passes now is made up for.
    pub(super) fn forgo(&mut self, now: Time) {
        *self = Allowance { taken_at: Some(now), left_ns: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_may_hold_what_the_table_says() {
        // interval in ms, rate, (time in ms, records permitted) one after the other
        type Table<'a> = [(u64, u64, &'a [(u64, u64)])];
        let table: &Table<'_> = &[
            // One interval's worth each, the first one included.
            (500, 100, &[(10_000, 50), (10_500, 50), (11_000, 50)]),
            // A cut that is late, and one on time after it: nothing is lost, and no batch is larger.
            (500, 100, &[(0, 50), (530, 50), (1_000, 50), (1_500, 50)]),
            // A cut that is early holds less; what it left is the next one's, up to the interval's worth.
            (500, 100, &[(0, 50), (400, 40), (1_000, 50)]),
            // A minute's cuts at once: two intervals' worth, then nothing until time passes.
            (500, 100, &[(0, 50), (60_000, 50), (60_000, 50), (60_000, 0), (60_000, 0), (60_500, 50)]),
            // Half a record a batch is one in every second.
            (5, 100, &[(0, 1), (5, 0), (10, 1), (15, 0), (20, 1)]),
            // Seven and a half are seven and eight in turn.
            (500, 15, &[(0, 7), (500, 8), (1_000, 7), (1_500, 8)]),
        ];
        for (interval, rate, batches) in table {
            let mut allowance = Allowance::default();
            for (ms, expected) in *batches {
                let interval = Duration::from_millis(*interval);
                let records = allowance.take(Time(ms * 1_000_000), interval, *rate);
                assert_eq!(records, *expected, "{rate} records/s, {interval:?}, at {ms} ms");
            }
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let mut allowance = Allowance::default();
        let interval = Duration::from_millis(500);
        assert_eq!(allowance.take(Time(0), interval, 100), 50);
        allowance.forgo(Time(9_500_000_000));
        assert_eq!(allowance.take(Time(10_000_000_000), interval, 100), 50);
        assert_eq!(allowance.take(Time(10_000_000_000), interval, 100), 0);
    }

    #[test]
    fn the_greatest_numbers_do_not_overflow() {
        let mut allowance = Allowance::default();
        assert_eq!(allowance.take(Time(u64::MAX), Duration::from_secs(3_600), u64::MAX - 1), u64::MAX);
    }
}
