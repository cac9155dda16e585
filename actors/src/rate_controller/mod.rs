//! The rate controller role: sets how fast each input may be read, from what each completed batch cost. Started by the
//! driver; told by the scheduler when a batch is published; tells the batch generator, which tells the receivers, and asks
//! planned streams for no more than their rate allows.
//!
//! ```text
//!   BatchInfo ──> cost model ──> processing rate ──> overloaded? ──yes──> PID formula ──┐
//!   (per batch)   t0 + n/c       that fits into                ──no───> slow start   ──┤──> total rate ──> shares
//!                                one interval                                            │                  per input
//!   no batch for 2 intervals ──────────────────────────────────────────> halve ─────────┘
//! ```
//!
//! Spark's formula is the start ([`pid`]); what it does badly is repaired around it:
//!
//! | fault | repair | where |
//! |---|---|---|
//! | the first batch swallows the backlog | slow start from a bounded rate | `core` |
//! | collapse when fixed overhead nears the interval | overhead and cost per record are told apart | [`cost`] |
//! | a rate that was never used grows without bound | it decays to a multiple of what is used | `core` |
//! | a long delay winds the integral up | its term is bounded | [`pid`] |
//! | a batch that never ends says nothing | silence halves the rate | `core` |
//! | inputs get equal shares | shares follow use, with a floor | [`share`] |
//! | partitions of a stream get equal shares | shares follow lag, with a floor | [`share::by_lag`] |
//! | records of streams that are not throttled are not seen | what they take is not there for the others | `core` |
//! | a tiny rate rounds to nothing | a floor per input | [`share`] |
//! | where batches overlap, the times between their ends jump | only their mean is believed; small steps, and back to what went through | `core` |
//! | a slow sink is not seen | the time until a batch is published counts | `core` |

mod actor;
mod core;
pub mod cost;
mod messages;
pub mod pid;
pub mod share;
#[cfg(test)]
mod tests;

pub use actor::RatePerformer;
pub use core::RateControllerCore;
pub use messages::{BatchInfo, InputKey, InputLoad, RateAction, RateConfig, RateEvent, RateOutlet};
