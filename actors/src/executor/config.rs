//! What an executor is told once.

use std::time::Duration;
use tidemill_protocol::{
    id::{Member, ProgramId},
    message::NOTICE_BYTES_MAX,
};

/// The settings of an [`ExecutorCore`](super::ExecutorCore).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutorConfig {
    /// Which life of which node it is.
    pub member: Member,
    /// The program it was built with: tasks of others are refused.
    pub program: ProgramId,
    /// How many tasks it runs at once; at least 1.
    pub slots: u16,
    /// Whether all inputs are within reach without a fetch: [`Transport::is_immediate`](crate::transport::Transport::is_immediate).
    pub inputs_immediate: bool,
    /// A task that makes no progress for this long has failed and its slot is replaced.
    pub task_stuck_after: Duration,
    /// A cancelled task that makes no progress for this long has its slot replaced.
    pub cancel_ignored_after: Duration,
    /// How many cancelled attempts are remembered whose `Run` has not come (yet).
    pub cancelled_memory_max: usize,
    /// How many notices of others, and outputs in them, are remembered until their batch is released.
    pub notices_max: usize,
    /// How many bytes of outputs travel inside notices to one executor in one batch; those beyond it are fetched.
    pub notice_bytes_max: u64,
}

impl ExecutorConfig {
    /// The defaults: 30 s, 5 s, 4,096 attempts; 262,144 notices, 64 KiB inside them; inputs may be elsewhere.
    pub fn new(member: Member, program: ProgramId, slots: u16) -> Self {
        ExecutorConfig {
            member,
            program,
            slots: slots.max(1),
            inputs_immediate: false,
            task_stuck_after: Duration::from_secs(30),
            cancel_ignored_after: Duration::from_secs(5),
            cancelled_memory_max: 4_096,
            notices_max: 262_144,
            notice_bytes_max: NOTICE_BYTES_MAX,
        }
    }
}
