//! Faults, when they strike, and whether they did.
//!
//! A fault that *takes* an executor (a kill, a restart, a leave, a cut from the driver) is kept apart from the next by
//! [`RECOVERY`], and in a random schedule it also waits until all executors are there and a batch that was cut after the last
//! loss is published: blocks are held by two executors, so two losses in the life of one block are beyond what
//! `StorageLevel::Replicated` promises.

pub use crate::{
    panics::{ActorPanics, Panics, silence_planned_panics},
    schedule::{FEED_OF_RANDOM, fixed, random},
};
use std::{fmt, time::Duration};

/// How long the cluster is left alone after an executor was taken: declared dead, replaced, its batches decided.
pub const RECOVERY: Duration = Duration::from_secs(4);

/// Executors of a scenario.
pub const EXECUTORS: u16 = 3;

/// A pause that is shorter takes nobody: connections live through it.
pub const PAUSE_HARMLESS_MAX: Duration = Duration::from_millis(600);

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
    /// An executor leaves in good order, and comes back as a new process when the fault's time is over.
    Leave {
        /// Which.
        victim: Victim,
        /// How long it may take: one that has not left by then is ended.
        lasts: Duration,
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
    /// Every link turns a bit in this share of its datagrams.
    Corruption {
        /// 0.0 to 1.0.
        share: f64,
        /// For how long.
        lasts: Duration,
    },
    /// No datagram longer than QUIC's smallest passes any more.
    SmallMtu {
        /// For how long.
        lasts: Duration,
    },
    /// A node stands still, and goes on as if nothing had been (0: the driver).
    Pause {
        /// Which.
        node: u16,
        /// For how long.
        lasts: Duration,
    },
    /// An executor's connection to the driver comes from another port, and answers to the old one go nowhere.
    Rebind {
        /// Whose.
        executor: u16,
    },
    /// The UDP sockets that an executor has fail for good.
    BrokenSockets {
        /// Whose.
        executor: u16,
    },
    /// An actor panics at its next event.
    ActorPanic {
        /// On which node (0: the driver).
        victim: Victim,
        /// Which: the name of its role.
        role: &'static str,
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
            Fault::Leave { .. } => "leave",
            Fault::Cut { .. } => "cut",
            Fault::OneWayCut { .. } => "one_way_cut",
            Fault::Loss { .. } => "loss",
            Fault::Duplicates { .. } => "duplicates",
            Fault::Disorder { .. } => "disorder",
            Fault::Slow { .. } => "slow",
            Fault::TcpReset => "tcp_reset",
            Fault::FeederGone { .. } => "feeder_gone",
            Fault::Corruption { .. } => "corruption",
            Fault::SmallMtu { .. } => "small_mtu",
            Fault::Pause { .. } => "pause",
            Fault::Rebind { .. } => "rebind",
            Fault::BrokenSockets { .. } => "broken_sockets",
            Fault::ActorPanic { .. } => "actor_panic",
            Fault::Panics { .. } => "panics",
        }
    }

    /// Whether an executor may be lost by it.
    pub fn takes(&self) -> bool {
        match *self {
            Fault::Kill { .. }
            | Fault::Restart { .. }
            | Fault::Leave { .. }
            | Fault::Rebind { .. }
            | Fault::BrokenSockets { .. } => true,
            Fault::ActorPanic { victim, .. } => victim != Victim::Executor(0),
            Fault::Pause { lasts, .. } => lasts > PAUSE_HARMLESS_MAX,
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
            | Fault::Leave { lasts, .. }
            | Fault::OneWayCut { lasts, .. }
            | Fault::Loss { lasts, .. }
            | Fault::Duplicates { lasts, .. }
            | Fault::Disorder { lasts, .. }
            | Fault::Slow { lasts, .. }
            | Fault::Corruption { lasts, .. }
            | Fault::SmallMtu { lasts }
            | Fault::Pause { lasts, .. }
            | Fault::FeederGone { lasts } => lasts,
            Fault::Restart { .. } | Fault::TcpReset | Fault::BrokenSockets { .. } => Duration::ZERO,
            // The next tasks, events and datagrams come with the next batches.
            Fault::Panics { .. } | Fault::ActorPanic { .. } | Fault::Rebind { .. } => Duration::from_secs(1),
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
