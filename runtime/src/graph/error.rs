//! What may be wrong with a graph, each with what to do about it.

use crate::{data::KEY_GROUPS, sources::LINE_BYTES_LIMIT};

/// The pipeline cannot be built. Not retryable: the program has to change, and the text says how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Nothing would ever be computed.
    #[error(
        "no output is registered: end at least one DStream with foreach_batch, print, save_as_text_files or foreach_partition"
    )]
    NoOutput,
    /// Nothing would ever come in.
    #[error("no input is registered: declare a stream on the context, for example text_blocks or generator")]
    NoInput,
    /// The graph is a constant of the program, the same on every node.
    #[error("{what} was added after the pipeline was built: declare everything before")]
    AddedAfterStart {
        /// The operator or stream.
        what: String,
    },
    /// A DStream can only be combined with those of its own context (in `transform`: of its own batch).
    #[error(
        "{what} combines DStreams of two graphs: take both from one context, or in transform both from its dataset"
    )]
    ForeignStream {
        /// The operator.
        what: String,
    },
    /// Partitions are ranges of key groups.
    #[error("{what} asks for {partitions} partitions: choose 1 to {}", KEY_GROUPS)]
    BadPartitions {
        /// The operator.
        what: String,
        /// What it asks for.
        partitions: u32,
    },
    /// A parameter of the application that the pipeline cannot use.
    #[error("the parameter {name}={value} is not a {wanted}: {cause}")]
    BadParameter {
        /// Its name.
        name: String,
        /// What was given.
        value: String,
        /// The type that is wanted.
        wanted: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// A line becomes one record, and a record crosses machines in one piece.
    #[error(
        "{stream} asks for lines of up to {asked} bytes: at most {} can cross machines; lower line_bytes_max",
        LINE_BYTES_LIMIT
    )]
    LineLimit {
        /// The stream.
        stream: String,
        /// What it asks for.
        asked: usize,
    },
    /// Each received stream is read by somebody, and some can be read by one receiver only.
    #[error("{stream} asks for {asked} receivers: {remedy}")]
    Receivers {
        /// The stream.
        stream: String,
        /// How many it asks for.
        asked: u16,
        /// Why not, and what to do.
        remedy: &'static str,
    },
    /// Names tell outputs, streams and state apart in logs and stores.
    #[error("the name {name:?} is given twice: choose another for one of them")]
    NameTwice {
        /// The name.
        name: String,
    },
    /// Types are told apart by name where their records travel.
    #[error("two different types are both called {type_label}: rename one of them")]
    TypeNameTwice {
        /// The name.
        type_label: String,
    },
}
