//! For tests of pipelines: whole batches in one call, without a cluster.
//!
//! ```text
//!   check(batches, operation, expected)      the one table for all operators
//!   LocalRunner                              the pipeline's own stages and tasks, in this thread
//!   round_trip(value)                        does a type survive the wire?
//!   MemoryFiles                              files for sources and sinks
//! ```
//! Everything runs as it would on a cluster: plan, stages, tasks, shuffles, sinks; in debug builds each payload also goes
//! through its bytes.

mod check;
mod memory_files;
mod round_trip;
mod runner;
#[cfg(test)]
mod table;

pub use check::{check, run};
pub use memory_files::MemoryFiles;
pub use round_trip::{RoundTripError, round_trip};
pub use runner::{LocalRunner, RunError};
