//! Which role gets which message of an executor: the table, as a pure function.
//!
//! | message | destination |
//! |---|---|
//! | `Register`, `Alive`, `Leaving` | node |
//! | `ReceiverStarted`, `BlockAdded`, `BlockSafe`, `BlockCopied`, `EndOfBatch`, `ReceiverExited` | batch generator |
//! | `TaskDone`, `TaskFailed`, `SlotLeaked`, `NoticeLost` | scheduler |
//! | `SourceReport` | reports |

use tidemill_protocol::{id::Member, message::ToDriver};

/// A role on the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// Membership itself.
    Node,
    /// Blocks, receivers, ends of batches.
    BatchGenerator,
    /// Tasks.
    Scheduler,
    /// What is counted and logged only.
    Reports,
}

/// Whose tasks `message` speaks of, if it says so: that must be who sends it.
pub fn speaks_for(message: &ToDriver) -> Option<Member> {
    match message {
        ToDriver::TaskDone(outcome) => Some(outcome.holder),
        ToDriver::TaskFailed(failure) => Some(failure.reporter),
        _ => None,
    }
}

/// Who gets `message`.
pub fn destination(message: &ToDriver) -> Destination {
    match message {
        ToDriver::Register(_) | ToDriver::Alive { .. } | ToDriver::Leaving => Destination::Node,
        ToDriver::ReceiverStarted { .. }
        | ToDriver::BlockAdded(_)
        | ToDriver::BlockSafe { .. }
        | ToDriver::BlockCopied { .. }
        | ToDriver::EndOfBatch { .. }
        | ToDriver::ReceiverExited { .. } => Destination::BatchGenerator,
        ToDriver::TaskDone(_)
        | ToDriver::TaskFailed(_)
        | ToDriver::SlotLeaked { .. }
        | ToDriver::NoticeLost { .. } => Destination::Scheduler,
        ToDriver::SourceReport { .. } => Destination::Reports,
    }
}
