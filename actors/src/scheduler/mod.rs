//! The scheduler: turns the plan of a batch into tasks, places them, tries again, rebuilds what is lost, decides, and has
//! the outputs published in batch order. Started by the driver's supervisor; tells executors, the batch generator, and
//! whoever publishes.
//!
//! ```text
//!            Plan            TaskDone / TaskFailed                BatchSafe           Published
//!              │                      │                               │                   │
//!   plan ──> stages ──> ready ──> launched ──> done ──> all done ──> decided ──> published ──> released
//!                         ^          │          │                  (in order)   (in order)
//!                         └──────────┴──────────┘
//!                          failure, executor lost: lineage says what runs again
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `core` | [`Scheduler`]: which event leads to what |
//! | `event` | [`Event`], [`Action`] and the values in them |
//! | `outcome` | what executors say of attempts |
//! | `job`, `attempts` | one batch: its tasks, their states, the table of legal transitions; at most two attempts of a task |
//! | `queue` | which tasks could run, and which of them must wait for a block or for a while |
//! | `executors` | who is there, how much room each has, and how far it is trusted |
//! | `conduct`, `reach`, `review` | the policies: who gets no tasks for a time, for how it behaves, or because others do not reach it; and carrying it out |
//! | `pace`, `copies` | the policy: when a task takes too long; and the copies that start then |
//! | `launch` | which ready task is launched where, in how many messages |
//! | `foresight`, `recall` | what is sent ahead, to executors that tell each other when its inputs are there; and what becomes of it |
//! | `placement` | the policy: where a task runs |
//! | `spec` | what a task is told: its inputs, with those who hold them |
//! | `lineage` | the policy: what must run again after a loss |
//! | `loss` | how a loss changes the books |
//! | `publish` | decide, publish, release, in order of batches |
//! | `messages`, `actor` | carrying out the actions |

mod attempts;
mod conduct;
mod copies;
mod core;
mod event;
mod executors;
mod foresight;
mod job;
mod launch;
mod leaving;
mod lineage;
mod loss;
mod outbox;
mod outcome;
mod pace;
mod placement;
mod poison;
mod publish;
mod queue;
mod reach;
mod recall;
mod releases;
mod review;
mod spec;

mod actor;
mod messages;

#[cfg(test)]
mod tests;

pub use self::core::{Scheduler, SchedulerConfig};
pub use actor::SchedulerPerformer;
pub use conduct::{ConductLimits, Misconduct};
pub use event::{Action, BatchTimings, BlockPlace, Counter, Event, PreparedPart, PublishFailure};
pub use foresight::PreschedulingLimits;
pub use messages::{FetchPrepared, Followers, TellExecutors};
pub use outbox::Outbox;
pub use pace::SpeculationLimits;
pub use releases::LateRelease;
