//! Schedules of faults: the fixed one, and those drawn from a seed.
//!
//! ```text
//!   takes   ──K────────────P────────────────X───────     two or three, each long after the one before
//!   others  ─L──D─s─c──t──p───L─────d──S──r──────u──     thirteen to sixteen, anywhere, over each other and over those
//! ```

use crate::faults::{EXECUTORS, Fault, PAUSE_HARMLESS_MAX, RECOVERY, Scheduled, Victim};
use std::time::Duration;
use tidemill_protocol::world::SeededRng;

/// How long a random scenario is fed; its faults strike within that.
pub const FEED_OF_RANDOM: Duration = Duration::from_secs(16);

/// How often a fault is drawn anew that would strike while one of its kind does.
const REDRAWS_MAX: u32 = 1_000;

/// The schedule of the fixed scenario: one of each kind that the network has, and the death of the receiver's host.
pub fn fixed() -> Vec<Scheduled> {
    let (ms, second) = (Duration::from_millis, Duration::from_secs(1));
    let table = [
        (ms(300), Fault::Loss { share: 0.05, lasts: 14 * second }),
        (ms(400), Fault::Disorder { delay_max: ms(20), lasts: 4 * second }),
        (ms(2_000), Fault::Kill { victim: Victim::ReceiverHost, down: ms(1_500) }),
        (ms(8_000), Fault::Cut { a: 0, b: 2, lasts: ms(3_000) }),
    ];
    table.map(|(at, fault)| Scheduled { at, fault }).to_vec()
}

/// A schedule drawn from `seed` for a cluster that is fed for `span`: faults that take an executor as long as there is time for
/// its recovery, and thirteen to sixteen others. `has_large_mtu`: datagrams longer than the smallest are sent.
pub fn random(seed: u64, span: Duration, has_large_mtu: bool) -> Vec<Scheduled> {
    let mut lots = Lots { rng: SeededRng::new(seed ^ 0x5EED_FA17), has_large_mtu };
    let mut schedule = Vec::new();
    let mut at = lots.between(500, 2_000);
    while at + Duration::from_secs(1) < span {
        let fault = lots.taking();
        schedule.push(Scheduled { at, fault });
        at = at + fault.lasts() + RECOVERY + lots.between(0, 1_000);
    }
    let others = schedule.len() + lots.rng.range(13, 17) as usize;
    let latest = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).saturating_sub(3_000);
    for _ in 0..REDRAWS_MAX {
        if schedule.len() == others {
            break;
        }
        let (at, fault) = (lots.between(300, latest), lots.other());
        let overlaps = |other: &Scheduled| {
            other.fault.name() == fault.name()
                && at < other.at + other.fault.lasts()
                && other.at < at + fault.lasts()
        };
        if !schedule.iter().any(overlaps) {
            schedule.push(Scheduled { at, fault });
        }
    }
    schedule.sort_by_key(|scheduled| scheduled.at);
    schedule
}

struct Lots {
    rng: SeededRng,
    has_large_mtu: bool,
}

impl Lots {
    fn between(&mut self, low_ms: u64, high_ms: u64) -> Duration {
        Duration::from_millis(self.rng.range(low_ms, high_ms))
    }

    fn executor(&mut self) -> u16 {
        self.rng.range(1, u64::from(EXECUTORS) + 1) as u16
    }

    fn taking(&mut self) -> Fault {
        let executor = self.executor();
        let victim = if self.rng.chance(0.5) { Victim::ReceiverHost } else { Victim::Executor(executor) };
        match self.rng.range(0, 10) {
            0..=2 => Fault::Kill { victim, down: self.between(100, 1_500) },
            3 if self.rng.chance(0.4) => Fault::Restart { victim },
            3 => Fault::Leave { victim, lasts: self.between(1_000, 3_000) },
            4 => Fault::Cut { a: 0, b: executor, lasts: self.between(300, 3_500) },
            5 | 6 => {
                let (from, to) = if self.rng.chance(0.3) { (0, executor) } else { (executor, 0) };
                Fault::OneWayCut { from, to, lasts: self.between(300, 3_500) }
            }
            7 => Fault::Pause { node: executor, lasts: self.between(1_500, 5_000) },
            8 if self.rng.chance(0.5) => Fault::Rebind { executor },
            8 => Fault::BrokenSockets { executor },
            _ => {
                let role = if self.rng.chance(0.5) { "executor" } else { "receiver" };
                Fault::ActorPanic { victim: Victim::ReceiverHost, role }
            }
        }
    }

    fn other(&mut self) -> Fault {
        let (a, lasts) = (self.executor(), self.between(200, 2_500));
        let b = a % EXECUTORS + 1;
        match self.rng.range(0, 13) {
            0 => Fault::Loss { share: 0.02 + 0.18 * self.rng.unit(), lasts },
            1 => Fault::Duplicates { share: 0.02 + 0.28 * self.rng.unit(), lasts },
            2 => Fault::Disorder { delay_max: self.between(5, 40), lasts },
            3 => Fault::Slow { executor: a, factor: self.rng.range(3, 50) as u32, lasts },
            4 => Fault::TcpReset,
            5 => Fault::Panics { tasks: self.rng.range(1, 3) },
            6 => Fault::Cut { a, b, lasts },
            7 => Fault::OneWayCut { from: a, to: b, lasts },
            8 => Fault::Corruption { share: 0.02 + 0.13 * self.rng.unit(), lasts },
            9 if self.has_large_mtu => Fault::SmallMtu { lasts: lasts + Duration::from_millis(500) },
            9 | 10 => {
                let node = if self.rng.chance(0.25) { 0 } else { a };
                Fault::Pause { node, lasts: self.between(50, PAUSE_HARMLESS_MAX.as_millis() as u64 + 1) }
            }
            // Without lines there is little that other faults could strike.
            11 => Fault::FeederGone { lasts: lasts / 3 },
            _ => Fault::ActorPanic { victim: Victim::Executor(0), role: "rate_controller" },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_schedule_takes_two_executors_at_once_and_each_has_ten_faults() {
        for seed in 0..500 {
            let schedule = random(seed, FEED_OF_RANDOM, seed.is_multiple_of(2));
            assert!(schedule.len() >= 15, "seed {seed}: {} faults", schedule.len());
            let taking: Vec<_> = schedule.iter().filter(|scheduled| scheduled.fault.takes()).collect();
            for pair in taking.windows(2) {
                assert!(pair[1].at >= pair[0].at + pair[0].fault.lasts() + RECOVERY, "seed {seed}: {pair:?}");
            }
        }
    }

    #[test]
    fn a_seed_gives_one_schedule_and_all_kinds_come_up() {
        assert_eq!(random(5, FEED_OF_RANDOM, true), random(5, FEED_OF_RANDOM, true));
        let all: std::collections::BTreeSet<_> = (0..200)
            .flat_map(|seed| random(seed, FEED_OF_RANDOM, true))
            .map(|scheduled| scheduled.fault.name())
            .collect();
        assert_eq!(all.len(), 18, "{all:?}");
    }
}
