//! The node role on the driver: who is in the cluster, and which of their lives. Started by the driver's supervisor; tells
//! executors, and the roles whom arrivals and losses concern.
//!
//! ```text
//!                      Register                     any message            link lost, silent, newer life
//!   executor ──────────────────> core ── Welcome, Peers ──> executors
//!                                  │
//!                                  ├── ExecutorUp / ExecutorDown ──> generator, scheduler
//!                                  └── Deliver (by `route`) ───────> generator, scheduler, reports
//! ```
//!
//! Every message from an executor passes here first, so that what a dead incarnation says is refused in one place.
//!
//! | file | holds |
//! |---|---|
//! | `core` | [`Membership`]: which event leads to what |
//! | `event` | [`Event`], [`Action`] and the values in them |
//! | `suspicion` | the failure detector: what silence means |
//! | `contest` | two processes with one node number |
//! | `leaving` | an executor that goes in good order |
//! | `denial` | machines that were denied |
//! | `difference` | what of a refused program differs |
//! | `route` | the table of destinations |
//! | `messages`, `actor` | carrying out the actions |

mod contest;
mod core;
mod denial;
mod difference;
mod event;
mod leaving;
mod route;
mod suspicion;

mod actor;
mod messages;

#[cfg(test)]
mod tests;

pub use self::core::{EXECUTORS_MAX, Membership, MembershipConfig};
pub use actor::MembershipPerformer;
pub use difference::first_difference;
pub use event::{Action, Counter, DownReason, Drain, Event, LinkId, Refusal, Standing};
pub use messages::{Links, Roles};
pub use route::{Destination, destination};
