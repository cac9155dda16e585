//! Faults, when they strike, and whether they did.
//!
//! A fault that *takes* an executor (a kill, a restart, a cut from the driver) is kept apart from the next by
//! [`RECOVERY`], and in a random schedule it also waits until all executors are there and a batch that was cut after the last
//! loss is published: blocks are held by two executors, so two losses in the life of one block are beyond what
//! `StorageLevel::Replicated` promises.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidemill_protocol::world::SeededRng;

/// How long the cluster is left alone after an executor was taken: declared dead, replaced, its batches decided.
pub const RECOVERY: Duration = Duration::from_secs(4);

/// Executors of a scenario.
pub const EXECUTORS: u16 = 3;

/// What the panic of a planned fault begins with.
const PLANNED_PANIC: &str = "planned by the scenario";

/// Who is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The executor that hosts the receiver at that moment.
    ReceiverHost,
    /// This one.
    Executor(u16),
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// An executor's power is cut; after `down` its process starts again.
    Kill {
        /// Whose.
        victim: Victim,
        /// For how long.
        down: Duration,
    },
    /// An executor's incarnation ends by itself.
    Restart {
        /// Whose.
        victim: Victim,
    },
    /// Nothing passes between two nodes (0: the driver), in both directions.
    Cut {
        /// The one.
        a: u16,
        /// The other.
        b: u16,
        /// For how long.
        lasts: Duration,
    },
    /// Nothing passes from one node to another; the other direction works.
    OneWayCut {
        /// Who is not heard.
        from: u16,
        /// Who does not hear.
        to: u16,
        /// For how long.
        lasts: Duration,
    },
    /// Every link loses this share of its datagrams.
    Loss {
        /// 0.0 to 1.0.
        share: f64,
        /// For how long.
        lasts: Duration,
    },
    /// Every link doubles this share of its datagrams.
    Duplicates {
        /// 0.0 to 1.0.
        share: f64,
        /// For how long.
        lasts: Duration,
    },
    /// Every link delays datagrams by up to this much, so that they overtake each other.
    Disorder {
        /// The longest delay.
        delay_max: Duration,
        /// For how long.
        lasts: Duration,
    },
    /// An executor's tasks take longer.
    Slow {
        /// Whose.
        executor: u16,
        /// How many times longer.
        factor: u32,
        /// For how long.
        lasts: Duration,
    },
    /// The feeder's TCP connections are reset.
    TcpReset,
    /// The feeder's machine is off the network: its connections are reset, and no new one comes about.
    FeederGone {
        /// For how long.
        lasts: Duration,
    },
    /// The user's function panics in the next tasks.
    Panics {
        /// In how many.
        tasks: u64,
    },
}

impl Fault {
    /// One word for reports.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::Kill { .. } => "kill",
            Fault::Restart { .. } => "restart",
            Fault::Cut { .. } => "cut",
            Fault::OneWayCut { .. } => "one_way_cut",
            Fault::Loss { .. } => "loss",
            Fault::Duplicates { .. } => "duplicates",
            Fault::Disorder { .. } => "disorder",
            Fault::Slow { .. } => "slow",
            Fault::TcpReset => "tcp_reset",
            Fault::FeederGone { .. } => "feeder_gone",
            Fault::Panics { .. } => "panics",
        }
    }

    /// Whether an executor may be lost by it.
    pub fn takes(&self) -> bool {
        match *self {
            Fault::Kill { .. } | Fault::Restart { .. } => true,
            Fault::Cut { a, b, .. } => a == 0 || b == 0,
            Fault::OneWayCut { from, to, .. } => from == 0 || to == 0,
            _ => false,
        }
    }

    /// From its begin to its end.
    pub fn lasts(&self) -> Duration {
        match *self {
            Fault::Kill { down, .. } => down,
            Fault::Cut { lasts, .. }
            | Fault::OneWayCut { lasts, .. }
            | Fault::Loss { lasts, .. }
            | Fault::Duplicates { lasts, .. }
            | Fault::Disorder { lasts, .. }
            | Fault::Slow { lasts, .. }
            | Fault::FeederGone { lasts } => lasts,
            Fault::Restart { .. } | Fault::TcpReset => Duration::ZERO,
            // The next tasks come with the next batches.
            Fault::Panics { .. } => Duration::from_secs(1),
        }
    }
}

/// A fault and when it strikes, from the start of the cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scheduled {
    /// When.
    pub at: Duration,
    /// What.
    pub fault: Fault,
}

impl fmt::Display for Scheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.at, self.fault)
    }
}

/// What became of a scheduled fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Struck {
    /// The fault.
    pub scheduled: Scheduled,
    /// How often it struck: datagrams lost, cut or doubled, nodes killed, jobs slowed, tasks that panicked. 0: it missed.
    pub count: u64,
}

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

/// A schedule drawn from `seed` for a cluster that is fed for `span`: up to two faults that take an executor, and one to
/// four others.
pub fn random(seed: u64, span: Duration) -> Vec<Scheduled> {
    let mut lots = Lots { rng: SeededRng::new(seed ^ 0x5EED_FA17) };
    let mut schedule = Vec::new();
    let mut at = lots.between(500, 2_000);
    while at + Duration::from_secs(1) < span {
        let fault = lots.taking();
        schedule.push(Scheduled { at, fault });
        at = at + fault.lasts() + RECOVERY + lots.between(0, 1_000);
    }
    for _ in 0..lots.rng.range(1, 5) {
        let latest = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).saturating_sub(1_500);
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
        match self.rng.range(0, 5) {
            0 | 1 => Fault::Kill { victim, down: self.between(100, 1_500) },
            2 => Fault::Restart { victim },
            3 => Fault::Cut { a: 0, b: executor, lasts: self.between(300, 3_500) },
            _ => {
                let (from, to) = if self.rng.chance(0.5) { (0, executor) } else { (executor, 0) };
                Fault::OneWayCut { from, to, lasts: self.between(300, 3_500) }
            }
        }
    }

    fn other(&mut self) -> Fault {
        let (a, lasts) = (self.executor(), self.between(200, 2_500));
        let b = a % EXECUTORS + 1;
        match self.rng.range(0, 8) {
            0 => Fault::Loss { share: 0.02 + 0.18 * self.rng.unit(), lasts },
            1 => Fault::Duplicates { share: 0.02 + 0.28 * self.rng.unit(), lasts },
            2 => Fault::Disorder { delay_max: self.between(5, 40), lasts },
            3 => Fault::Slow { executor: a, factor: self.rng.range(3, 50) as u32, lasts },
            4 => Fault::TcpReset,
            5 => Fault::Panics { tasks: self.rng.range(1, 4) },
            6 => Fault::Cut { a, b, lasts },
            _ => Fault::OneWayCut { from: a, to: b, lasts },
        }
    }
}

/// Panics in the user's function, on demand: shared by all nodes of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Panics {
    due: Arc<AtomicU64>,
    thrown: Arc<AtomicU64>,
}

impl Panics {
    /// Lets the next `tasks` calls panic.
    pub fn arm(&self, tasks: u64) {
        self.due.fetch_add(tasks, Ordering::Relaxed);
    }

    /// How many have panicked.
    pub fn thrown(&self) -> u64 {
        self.thrown.load(Ordering::Relaxed)
    }

    /// A point in the user's function.
    ///
    /// # Panics
    /// If one is due.
    pub fn pass(&self) {
        let due = self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| due.checked_sub(1));
        if due.is_ok() {
            self.thrown.fetch_add(1, Ordering::Relaxed);
            panic!("{PLANNED_PANIC}");
        }
    }
}

/// Keeps the process's panic hook from printing planned panics. For binaries and tests: it is global.
pub fn silence_planned_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some(PLANNED_PANIC) {
            before(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_schedule_takes_two_executors_at_once() {
        for seed in 0..500 {
            let schedule = random(seed, Duration::from_secs(8));
            assert!(!schedule.is_empty());
            let taking: Vec<_> = schedule.iter().filter(|scheduled| scheduled.fault.takes()).collect();
            for pair in taking.windows(2) {
                assert!(pair[1].at >= pair[0].at + pair[0].fault.lasts() + RECOVERY, "seed {seed}: {pair:?}");
            }
        }
    }

    #[test]
    fn a_seed_gives_one_schedule_and_all_kinds_come_up() {
        assert_eq!(random(5, Duration::from_secs(8)), random(5, Duration::from_secs(8)));
        let all: std::collections::BTreeSet<_> = (0..200)
            .flat_map(|seed| random(seed, Duration::from_secs(8)))
            .map(|scheduled| scheduled.fault.name())
            .collect();
        assert_eq!(all.len(), 10, "{all:?}");
    }
}
