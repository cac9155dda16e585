//! **tidemill-chaos**: puts faults into a simulated cluster and proves that nothing was lost or counted twice.
//!
//! ```text
//!   faults (a schedule, fixed or drawn from a seed)
//!      │ strikes
//!      ▼
//!   scenario: feeder ──numbered lines──> word count on a SimCluster ──counts──┐
//!      │ lines written                                                        ├─> report: lost, repeated, what struck
//!      └────────────> oracle (a plain count) ─────────────────────────────────┘
//! ```
//!
//! * [`schedule`] draws at least fifteen faults a seed; [`swarm`] runs many seeds; [`shrink`] leaves out of a schedule that goes wrong
//!   what is not needed for it.
//! * [`swarm::PLANTED`]: defects on order, for the swarm has to find them.
//! * [`scale`]: what a driver costs, by the number of its executors.
//! * [`recovery`]: how long a loss costs, by the number of executors.
//! * [`relay`]: a UDP relay for real processes.
//! * [`real`]: faults on real processes, links, disks and limits.
//!
//! Everything goes through what users have: [`SimCluster`](tidemill::cluster::sim::SimCluster), its network and its world. The
//! command `tidemill-chaos` runs the same scenarios.

pub mod faults;
pub mod schedule;

pub mod oracle;
mod ordered;
pub mod overload;
mod panics;
mod player;
pub mod real;
pub mod recovery;
pub mod relay;
pub mod report;
pub mod scale;
pub mod scenario;
pub mod shrink;
pub mod swarm;
mod watched;

pub use faults::{Fault, Scheduled, Victim};
pub use overload::Overload;
pub use report::Report;
pub use scenario::Scenario;
pub use swarm::Swarm;
