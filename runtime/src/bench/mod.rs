//! What Tidemill is measured with: the input, the hand-written loop that is the limit, the statistics and the report.
//!
//! ```text
//!   input ──bytes──> hand_loop ──┐
//!         └────────> the engine ─┴─ runs ──> statistics ──> report (JSON lines, markdown)
//! ```
//!
//! Only `engine`, `delay`, `empty_batch`, `recovery` and `shuffle` know the engine: what is compared shares no code.

mod command;
pub mod delay;
pub mod empty_batch;
pub mod engine;
pub mod hand_loop;
pub mod input;
pub mod machine;
pub mod memory;
pub mod recovery;
pub mod report;
pub mod sender;
pub mod shuffle;
pub mod statistics;
pub mod stopwatch;

pub use command::BenchArgs;
