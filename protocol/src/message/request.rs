//! What is asked of a driver on a bidirectional stream of its control endpoint, and its answers.

use super::StatusEntry;
use serde::{Deserialize, Serialize};

/// A question; one a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// An executor's process asks what it has to run, before it builds its graph. For nodes.
    Program,
    /// What is going on in the cluster? For observers and operators.
    Status,
}

/// A part of an answer; an answer has one or more, and then its stream ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Program`], once.
    Program(ProgramFacts),
    /// To [`Request::Status`]: as many as it takes.
    Status(Vec<StatusEntry>),
    /// The asker may not ask this; in words, with the remedy.
    Refused(String),
}

/// What every process of a cluster must know before it builds its graph.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramFacts {
    /// The driver's configuration, as far as it concerns executors; by name.
    pub settings: Vec<NamedValue>,
    /// The application's parameters; by name.
    pub parameters: Vec<NamedValue>,
}

/// A value under a name, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedValue {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}
