//! What the two halves of a supervisor say to each other: the loop tells its pure half what has happened, and is told what
//! to do.

use super::{exit::Exit, strategy::Restart};
use std::time::Duration;

/// Names a child within one life of a supervisor; never used twice, and in start order.
pub type ChildKey = u64;

/// How long a supervisor waits for a child that it has asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// This long, then the child is aborted ([`Exit::Killed`]).
    For(Duration),
    /// It does not ask: the child is aborted at once.
    Brutal,
    /// For ever; the default of nested supervisors, whose children have limits of their own.
    Infinity,
}

/// What a supervisor has to know about a child.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The child's id, for the text of an escalation.
    pub id: String,
    /// Whether it is started again.
    pub restart: Restart,
    /// How long it may take to stop.
    pub shutdown: Patience,
    /// How long it may go without progress while messages wait.
    pub stuck_after: Option<Duration>,
}

/// What happens to a supervisor.
#[derive(Clone, Debug)]
pub enum Event {
    /// A child joins, after those that are there, and is started.
    Add { key: ChildKey, rules: Rules },
    /// A child is at work.
    Up { key: ChildKey },
    /// A child's task has ended. `Killed` also if it was aborted.
    Exited { key: ChildKey, exit: Exit },
    /// The answer to `Sample`: how far the child is, and whether messages wait for it.
    Sampled { key: ChildKey, progress: u64, waiting: bool },
    /// A child is to be stopped and removed.
    Terminate { key: ChildKey },
    /// The whole supervisor is to end.
    Shutdown,
    /// A deadline has come.
    Wake,
}

/// What a supervisor does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start a fresh value; `count` restarts came before, the last of them because of `reason`.
    Start { key: ChildKey, count: u64, reason: Option<Exit> },
    /// Ask a child to stop.
    Stop { key: ChildKey },
    /// Abort a child.
    Kill { key: ChildKey },
    /// Find out how far a child is.
    Sample { key: ChildKey },
    /// Tell the watchers how a life of a child ended.
    Report { key: ChildKey, exit: Exit },
    /// A child has finished: nobody reads its mailbox until a sibling's failure starts it again.
    Rest { key: ChildKey },
    /// Forget a child.
    Remove { key: ChildKey },
    /// Each of the first children has been started; told once.
    Up,
    /// All children are down; the supervisor ends.
    End { exit: Exit },
}
