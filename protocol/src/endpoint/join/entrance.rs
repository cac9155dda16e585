//! Whose attempt to join is looked at: so many a second and so many at once, and of these no machine has more than a quarter,
//! so that nobody who hammers at the port keeps others out alone.

use super::JoinLimits;
use crate::endpoint::places::{Place, Places, machine};
use crate::time::Time;
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// The part of everything that one machine may have.
const SHARE: u32 = 4;
/// How many machines' rates are remembered; with more of them at once, the rate of all alone counts.
const MACHINES_MAX: usize = 1_024;

/// The entrance of a join endpoint.
pub(super) struct Entrance {
    limits: JoinLimits,
    places: Places,
    all: Bucket,
    machines: BTreeMap<IpAddr, Bucket>,
}

impl Entrance {
    pub(super) fn new(limits: JoinLimits, now: Time) -> Self {
        let all = Bucket::full(limits.attempts_per_s, limits.attempts_burst, now);
        Entrance { limits, places: Places::default(), all, machines: BTreeMap::new() }
    }

    /// A place for an attempt from this address, which is proven; or the kind of refusal.
    pub(super) fn enter(&mut self, address: IpAddr, now: Time) -> Result<Place, &'static str> {
        let (all, own) = self.places.count(address);
        let max = self.limits.connections_max;
        if all >= max {
            return Err("too many joiners at once");
        }
        if own >= (max / SHARE as usize).max(1) {
            return Err("too many joiners at once from one machine");
        }
        if !self.of_machine(machine(address), now) {
            return Err("too many attempts a second from one machine");
        }
        if !self.all.take(now) {
            return Err("too many attempts a second");
        }
        Ok(self.places.take(address))
    }

    fn of_machine(&mut self, machine: IpAddr, now: Time) -> bool {
        if !self.machines.contains_key(&machine) && self.machines.len() >= MACHINES_MAX {
            // Whose bucket is full again is as good as new.
            self.machines.retain(|_, bucket| !bucket.is_full(now));
            if self.machines.len() >= MACHINES_MAX {
                return true;
            }
        }
        let share = |of: u32| (of / SHARE).max(1);
        let (per_s, burst) = (share(self.limits.attempts_per_s), share(self.limits.attempts_burst));
        self.machines.entry(machine).or_insert_with(|| Bucket::full(per_s, burst, now)).take(now)
    }
}

/// A token bucket, in thousandths of an attempt.
struct Bucket {
    milli: u64,
    milli_max: u64,
    per_s: u64,
    filled_at: Time,
}

impl Bucket {
    fn full(per_s: u32, burst: u32, now: Time) -> Self {
        let milli_max = u64::from(burst) * 1_000;
        Bucket { milli: milli_max, milli_max, per_s: u64::from(per_s), filled_at: now }
    }

    fn fill(&mut self, now: Time) {
        let waited_ms = u64::try_from(now.since(self.filled_at).as_millis()).unwrap_or(u64::MAX);
        self.filled_at = self.filled_at + Duration::from_millis(waited_ms);
        self.milli = self.milli.saturating_add(waited_ms.saturating_mul(self.per_s)).min(self.milli_max);
    }

    fn is_full(&mut self, now: Time) -> bool {
        self.fill(now);
        self.milli == self.milli_max
    }

    fn take(&mut self, now: Time) -> bool {
        self.fill(now);
        let enough = self.milli >= 1_000;
        if enough {
            self.milli -= 1_000;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    fn host(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn the_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::full(4, 3, Time::ZERO);
        let mut taken = |ms| (0..10).filter(|_| bucket.take(at(ms))).count();
        assert_eq!([taken(0), taken(249), taken(250), taken(500), taken(60_000)], [3, 0, 1, 1, 3]);
    }

    #[test]
    fn one_machine_has_a_quarter_of_the_rate_however_often_it_comes() {
        // 20 a second, 40 at once; of one machine 5 a second, 10 at once.
        let mut entrance = Entrance::new(JoinLimits::default(), Time::ZERO);
        let mut let_in = |last, ms| (0..100).filter(|_| entrance.enter(host(last), at(ms)).is_ok()).count();
        assert_eq!([let_in(1, 0), let_in(1, 1_000), let_in(2, 1_000)], [10, 5, 10]);
        assert_eq!([let_in(3, 1_000), let_in(4, 1_000), let_in(5, 1_000)], [10, 10, 5]);
        assert_eq!(let_in(6, 2_000), 10, "by then there are 20 more");
    }

    #[test]
    fn one_machine_has_a_quarter_of_the_places() {
        let limits = JoinLimits { attempts_per_s: 1_000, attempts_burst: 1_000, ..JoinLimits::default() };
        let mut entrance = Entrance::new(limits, Time::ZERO);
        let mut held = Vec::new();
        let mut let_in = |last| {
            let before = held.len();
            held.extend((0..20).filter_map(|_| entrance.enter(host(last), Time::ZERO).ok()));
            held.len() - before
        };
        assert_eq!([1, 2, 3, 4, 5].map(&mut let_in), [4, 4, 4, 4, 0]);
        drop(held);
        assert!(entrance.enter(host(1), Time::ZERO).is_ok(), "places come back");
    }

    #[test]
    fn no_more_than_1024_machines_are_remembered_and_the_rate_of_all_holds() {
        let limits = JoinLimits { attempts_per_s: 1, attempts_burst: 2_000, ..JoinLimits::default() };
        let mut entrance = Entrance::new(limits, Time::ZERO);
        let hosts = (0..3_000u32).map(|n| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + n)));
        let let_in = hosts.filter(|host| entrance.enter(*host, Time::ZERO).is_ok()).count();
        assert_eq!((let_in, entrance.machines.len()), (2_000, MACHINES_MAX));
    }
}
