//! The demo's world around the pipeline: what feeds it, what it is compared with, and how it is shown.
//!
//! ```text
//!   bundled ──lines──> feeder ──numbered lines over TCP──> the pipeline ──totals──┐
//!         └──────────> oracle ──totals──────────────────────────────────────────> verdict ──> exit code
//!                                                 batches ──> table ──> screen
//! ```
//!
//! Nothing in these files knows the engine: the oracle would prove little if it shared code with what it judges.

mod aftermath;
pub mod bundled;
pub(crate) mod cluster;
mod feed;
pub mod feeder;
mod ledger;
pub mod oracle;
pub mod pipeline;
mod run;
pub mod table;
pub mod verdict;

pub use feed::{FeedArgs, feed};
pub(crate) use run::feed_beside;
pub use run::{DemoArgs, run};
