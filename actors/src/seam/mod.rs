//! The seam between who does what (this crate) and what is computed (the crate above): traits that are defined here and
//! implemented there. Through it pass ids, sizes and opaque payloads only.
//!
//! | trait | in words |
//! |---|---|
//! | [`Program`] | the graph: its streams and sinks, and the job of a batch |
//! | [`Tasks`] | runs one task on a slot |
//! | [`Payload`], [`PayloadCodec`] | records in memory, and as bytes |
//! | [`SourceHost`] | reads the outside world |
//! | [`SinkHost`] | publishes to the outside world |

mod machine;
mod payload;
mod program;
mod sink;
mod source;
mod tasks;

pub use machine::Machine;
pub use payload::{Held, PART_BYTES_MAX, Payload, PayloadCodec, PayloadError};
pub use program::{
    BatchPlan, JobPlan, PlannedBlock, PlannedPart, PlannedRange, Program, SinkInfo, SinkKind, StageOutput,
    StagePlan, StorageLevel, StreamInfo, StreamInput, StreamKind,
};
pub use sink::{PublishError, Published, SinkHost};
pub use source::{RangesFound, SourceError, SourceHost};
pub use tasks::{InputData, TaskContext, TaskError, TaskOutput, TaskRequest, Tasks};
