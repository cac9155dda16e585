//! The graph of an application: how recipes become stages, and stages run.
//!
//! ```text
//!   DStream ops ──> Graph (nodes) ──build──> Pipeline ──plan(batch)──> stages ──run(task)──> push chains
//!                                             = Program + Tasks + PayloadCodec + SourceHost + SinkHost
//!
//!   a stage:   source or merge ── narrow ── narrow ── … ── exchange or sink
//!              (a leaf)           (a chain of pushes)      (a terminal)
//! ```
//! A stage is cut at each exchange. A union gives a stage several branches; which one a task runs is told by the number of
//! its inputs, so that a plan stays a list of blocks and ranges.

mod attempts;
mod build;
mod describe;
mod error;
mod hosts;
mod nodes;
mod pipeline;
mod push;
mod run;
mod sink;
mod source;
mod stages;
#[cfg(test)]
mod tests;

pub use attempts::NotDeterministic;
pub use build::BuildOptions;
pub use error::GraphError;
pub use nodes::Graph;
pub(crate) use nodes::{Exchange, Leaf, Narrow, Node, NodeKind, Rebuild, SinkNode, State};
pub use pipeline::Pipeline;
pub(crate) use push::{AnyPush, erase, reveal};
pub use push::{Buffer, Push, TaskEnv};
pub(crate) use sink::{AnySink, TypedSink};
pub use sink::{Sink, SinkSpec, all_rows, gathered};
pub(crate) use source::{AnySource, TypedSource, each_held};
pub use source::{PlannedSource, ReceivedSource, Source, SourceSpec};
