//! The batch generator role: says when a batch ends, keeps the books of what was received, and writes each batch down as
//! a plan. Started by the driver; tells executors (receivers) and the scheduler.
//!
//! ```text
//!   wall clock ──> cuts ──AnnounceCut──> executors                                 scheduler
//!                   │                      │ BlockAdded, BlockSafe, EndOfBatch        ^   │
//!                   │ reached              v                                          │   │ BatchDecided,
//!                   └──────────────────> books ──> all ended, ranges there ──PlanReady┘   │ BatchReleased
//!   planned sources <──AskRanges── ranges ─┘  ^                                           │
//!   executors come and go ──> lives (placement, backoff)   └──────────────────────────────┘
//! ```
//!
//! A batch's stages: **open** (its cut lies ahead) → **reached** (its time has come) → **ready** (every running receiver
//! has ended it, every planned source has named its ranges) → **handed** to the scheduler → **decided** → released, and
//! forgotten. Batches pass each stage in order of their numbers.
//!
//! A planned source is asked for no more records than its rate has allowed since the batch before (`allowance`).
//!
//! What happens to the blocks of a receiver that dies:
//!
//! | stream | blocks | what becomes of them |
//! |---|---|---|
//! | acknowledged | up to the first unsafe one | stay: they were acknowledged, or may have been |
//! | acknowledged | from the first unsafe one on | struck, safe or not: the sender repeats everything after what was acknowledged |
//! | unacknowledged | held by a living executor | stay |
//! | any | held by nobody | struck, and counted as lost |
//!
//! A safe block that has lost one of its holders is copied to another executor (`copies`), so that the next loss does not
//! take it. An executor that leaves hands over its receivers and its blocks first (`leaving`).

mod actor;
mod allowance;
mod available;
mod books;
mod copies;
mod core;
mod cuts;
mod leaving;
mod lives;
mod messages;
mod placement;
mod plan;
mod ranges;
#[cfg(test)]
mod tests;

pub use crate::seam::RangesFound;
pub use actor::{GeneratorPerformer, GeneratorPorts};
pub use core::GeneratorCore;
pub use messages::{
    BatchInterval, ExecutorOutlet, GeneratorAction, GeneratorConfig, GeneratorEvent, GeneratorNote,
    PlanOutlet,
};
