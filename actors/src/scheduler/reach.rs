//! Who does not reach whom: which executor is better left without tasks. A policy: it hears of fetches that failed and says, it
//! changes nothing but its memory.
//!
//! ```text
//!      2 ──x── 1 ──x── 3        1 reaches neither of the others, who reach each other:
//!      └───────────────┘        without 1 everybody reaches everybody
//! ```
//!
//! The driver may hear a machine that others do not reach: a cable, a route, a rule of a firewall. What is read across such a gap
//! fails each time after the time in which a connection is given up, so batches would take many times as long, and fail in
//! the end. One end of a gap must go without tasks: that with more gaps.
//!
//! One fetch that fails says little. A connection breaks where an address changes, and a holder may have died before the driver
//! has missed it. So a gap counts when it is still there after a time; at once if one end is on probation.

use std::{collections::BTreeMap, time::Duration};
use tidemill_protocol::{id::Member, time::Time};

/// After this time without a failure it is forgotten. Longer than from one failed fetch to the next: a connection is given up after 2 s,
/// and after more only if somebody has asked for that.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// The gaps.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    gap_min: Duration,
    /// Two executors, the lower one first, and since when and until when fetches between them have failed.
    gaps: BTreeMap<(Member, Member), (Time, Time)>,
}

impl Reach {
    /// A gap counts when fetches fail for at least `gap_min`.
    pub fn new(gap_min: Duration) -> Reach {
        Reach { gap_min, gaps: BTreeMap::new() }
    }

    /// One of these two could not reach the other.
    pub fn note(&mut self, now: Time, [a, b]: [Member; 2]) {
        self.gaps.retain(|_, (_, last)| now.since(*last) <= FORGOTTEN_AFTER);
        let (_, last) = self.gaps.entry((a.min(b), a.max(b))).or_insert((now, now));
        *last = now;
    }

    /// As [`note`](Self::note), and a task has failed for it. Gives who of them should be without tasks.
    pub fn failed(
        &mut self,
        now: Time,
        ends: [Member; 2],
        on_probation: impl Fn(Member) -> bool,
    ) -> Option<Member> {
        self.note(now, ends);
        let [a, b] = ends;
        let since = self.gaps.get(&(a.min(b), a.max(b))).map_or(now, |(since, _)| *since);
        let counts = now.since(since) >= self.gap_min || ends.into_iter().any(&on_probation);
        let gaps = |end: Member| self.gaps.keys().filter(|(a, b)| *a == end || *b == end).count();
        // Of two with as many, the one that was excluded before: it does not become another one each time.
        ends.into_iter().filter(|_| counts).max_by_key(|end| (gaps(*end), on_probation(*end), *end))
    }

    /// It is gone, or has no tasks: nobody needs to reach it.
    pub fn forget(&mut self, member: Member) {
        self.gaps.retain(|(a, b), _| *a != member && *b != member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_protocol::id::{Incarnation, NodeId};

    fn member(node: u16) -> Member {
        Member { node: NodeId(node), incarnation: Incarnation(1) }
    }

    /// Failures as (milliseconds, reporter, holder), none of whom is on probation but `probation`; what the last one leads to.
    fn after(failures: &[(u64, u16, u16)], probation: Option<u16>) -> Option<u16> {
        let mut reach = Reach::new(Duration::from_secs(1));
        let said = failures.iter().map(|(ms, by, of)| {
            let now = Time::ZERO + Duration::from_millis(*ms);
            reach.failed(now, [member(*by), member(*of)], |end| Some(end.node.0) == probation)
        });
        said.last().flatten().map(|member| member.node.0)
    }

    #[test]
    fn of_two_that_do_not_reach_each_other_the_one_with_more_gaps_goes_without_tasks() {
        type Row = (&'static [(u64, u16, u16)], Option<u16>, &'static str);
        let table: &[Row] = &[
            (&[(0, 1, 2)], None, "one failure says nothing"),
            (&[(0, 1, 2), (999, 1, 2)], None, "at the same time"),
            (&[(0, 1, 2), (1_000, 1, 2)], Some(2), "one gap each: the higher one"),
            (&[(0, 2, 1), (1_000, 1, 2)], Some(2), "whoever reports it"),
            (&[(0, 1, 2), (500, 3, 1), (1_000, 1, 2)], Some(1), "1 has two gaps"),
            (&[(0, 1, 2), (500, 3, 1), (1_400, 3, 1)], None, "the gap to 3 is new"),
            (&[(0, 1, 2), (61_000, 1, 2)], None, "the first is forgotten"),
            (&[(0, 1, 2), (50_000, 1, 2), (100_000, 1, 2)], Some(2), "it has lasted all the time"),
            (&[(0, 1, 3), (40_000, 1, 2), (62_000, 1, 2)], Some(2), "the other gap of 1 is forgotten"),
        ];
        for (failures, expected, why) in table {
            assert_eq!(after(failures, None), *expected, "{why}");
        }
    }

    #[test]
    fn one_failure_is_enough_where_an_end_is_on_probation_which_stands_for_the_gap_unless_the_other_has_more()
    {
        assert_eq!(after(&[(0, 1, 2)], Some(1)), Some(1));
        assert_eq!(after(&[(0, 1, 2), (1, 1, 2)], Some(3)), None);
        assert_eq!(after(&[(0, 3, 2), (1, 1, 2)], Some(1)), Some(2));
    }

    #[test]
    fn of_who_is_gone_nothing_is_known() {
        let (mut reach, never) = (Reach::new(Duration::from_secs(1)), |_| false);
        let at = |s| Time::ZERO + Duration::from_secs(s);
        reach.failed(at(0), [member(1), member(2)], never);
        reach.failed(at(0), [member(1), member(3)], never);
        reach.forget(member(2));
        assert_eq!(reach.failed(at(5), [member(1), member(2)], never), None, "it begins anew");
        reach.forget(member(1));
        assert!(reach.gaps.is_empty());
    }
}
