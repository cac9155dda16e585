//! The executor: runs tasks on slots. It takes orders from the driver and answers it; the data go their own way.
//!
//! ```text
//!   driver ── Run, Cancel, Drop, ReleaseOutputs ──> ExecutorCore ── Fetch ──> transport
//!     ^                                              │   ^   └──── Start ──> slot threads
//!     └──────── TaskDone, TaskFailed, SlotLeaked ────┘   └── InputsReady, SlotFree, Progress
//!   other executors <── Notify ── a task has ended whose outputs are read there ── Noticed ──> ExecutorCore
//! ```
//!
//! Who starts it: the node, once it knows its incarnation. A restart is a new incarnation: what ran is forgotten, and the block store,
//! which stands beside it, was cleared and is another one.
//!
//! The life of an attempt; every other move is ignored, since orders and ends may cross:
//!
//! | from | event | to |
//! |---|---|---|
//! | — | `Run`, inputs at hand | ready |
//! | — | `Run`, inputs elsewhere | fetching |
//! | — | `Run`, inputs not all told by notices | expecting |
//! | — | `Run` after its `Cancel` | — |
//! | expecting | the last notice, or `NameInputs` | ready or fetching |
//! | expecting | `Cancel` | — |
//! | fetching | `InputsReady` | ready |
//! | fetching | `InputsFailed` | — (failed) |
//! | fetching, ready | `Cancel` | — |
//! | ready | a slot is free | running |
//! | running | `SlotFree` | — (done or failed) |
//! | running | `SlotFree`, an input was not at hand after all | fetching |
//! | running | `Cancel` | cancelled |
//! | cancelled | `SlotFree` | — |
//! | running, cancelled | no progress for too long | leaked: its slot is replaced |
//! | leaked | `SlotFree` | — |

mod actor;
mod cancelled;
mod config;
mod decide;
mod expect;
mod messages;
mod notices;
mod stuck;
mod tasks;

pub use actor::Performer;
pub use config::ExecutorConfig;
pub use decide::ExecutorCore;
pub use messages::{Action, Counted, Event, Lifecycle, Report, SlotIndex, TaskEnd, TellDriver};
