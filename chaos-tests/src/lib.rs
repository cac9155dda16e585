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
//! Everything goes through what users have: [`SimCluster`](tidemill::cluster::sim::SimCluster), its network and its world. The
//! command `tidemill-chaos` runs the same scenarios.

pub mod faults;
pub mod oracle;
pub mod overload;
mod player;
pub mod report;
pub mod scenario;

pub use faults::{Fault, Scheduled, Victim};
pub use overload::Overload;
pub use report::Report;
pub use scenario::Scenario;
