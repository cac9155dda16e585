//! How an actor ends, and the error with which it may end itself.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How one life of a child ended. Told to its supervisor, to watchers, and to [`Actor::stopped`](super::Actor::stopped).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It had nothing more to do and stopped itself.
    Normal,
    /// Its supervisor asked it to stop, and it did.
    Shutdown,
    /// It was aborted: it did not stop in the time its child spec gives.
    Killed,
    /// It ended itself with an error, was aborted because it was stuck, or (a supervisor) ran out of restarts.
    Failed(String),
    /// It panicked: the panic's message, and where.
    Panicked(String),
}

impl Exit {
    /// Whether the child ended as it should ([`Normal`](Exit::Normal) or [`Shutdown`](Exit::Shutdown)); a transient
    /// child is not restarted then.
    pub fn is_orderly(&self) -> bool {
        matches!(self, Exit::Normal | Exit::Shutdown)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Normal => f.write_str("normal"),
            Exit::Shutdown => f.write_str("shutdown"),
            Exit::Killed => f.write_str("killed"),
            Exit::Failed(error) => write!(f, "failed: {error}"),
            Exit::Panicked(text) => write!(f, "panicked: {text}"),
        }
    }
}

/// Why an actor could not start or cannot go on: a sentence for the operator, which becomes [`Exit::Failed`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ActorError(String);

impl ActorError {
    /// An error with this text.
    pub fn new(text: impl fmt::Display) -> Self {
        ActorError(text.to_string())
    }
}
