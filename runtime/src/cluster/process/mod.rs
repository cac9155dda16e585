//! A cluster of processes.
//!
//! ```text
//!   tidemill driver                      tidemill node (agent)
//!     tidemill-control  roles, control     executor-1 ── supervised, respawned ──> tidemill executor (hidden)
//!     tidemill-bulk     bulk endpoint      executor-2 …                              tidemill-control  an incarnation
//!     tidemill-user     sinks                  │ stdin: "leave" asks it to end,      tidemill-bulk     blocks, outputs
//!                                              │ its end says that the agent died    slots             tasks
//! ```
//!
//! A process of an executor is one incarnation: whatever ends the one ends the other, and the agent starts the next.
//!
//! | file | holds |
//! |---|---|
//! | `driver` | [`StreamContext::start_driver`](crate::StreamContext::start_driver) |
//! | `executor` | the process of an executor, from the first question to the driver to its end |
//! | `agent`, `launch` | starts such processes; the one place that does |
//! | `refusals` | how long an agent comes again to a driver that refuses its executors |
//! | `lives` | numbers that rise from one start of a node to the next |

mod agent;
mod driver;
mod executor;
mod launch;
mod lives;
mod refusals;

pub(crate) use agent::{Agent, AgentEnd, AgentSpec, AgentThread, Renewing};
pub use driver::DriverOptions;
pub(crate) use driver::join_address;
pub(crate) use executor::{ExecutorSpec, member, run_executor};
pub(crate) use launch::Launch;
pub(crate) use lives::{Origin, PastLives, next_life, take_folder};

use tidemill_protocol::endpoint::Identity;

/// The serial number of the certificate that is shown now, for the log.
fn serial(identity: &Identity) -> String {
    let facts = identity.facts();
    facts.map(|facts| facts.serial.iter().map(|byte| format!("{byte:02x}")).collect()).unwrap_or_default()
}
