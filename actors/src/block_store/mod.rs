//! Blocks and task outputs by id, under one memory budget per executor. It stands beside the actors, not in one: slots,
//! receivers and the bulk endpoint use it from their own threads, and it outlives a restart of the executor's actor.
//!
//! ```text
//!   receiver ──put_block──>  ┌────────────┐  <──put_output── slot
//!   (waits for room)         │ BlockStore │
//!   replica  ──put_block──>  │  by DataKey│  ──get──> slot, bulk endpoint, sinks
//!                            └────────────┘  <──release_outputs, remove── executor core
//!
//!   0 ───────────────────────────── bytes_max ──────────── bytes_max + outputs_over_max
//!        blocks and outputs               outputs only             nothing
//! ```
//!
//! **Who gives way.** Blocks are refused first, at `bytes_max`: a receiver that gets no room stops reading, which its peer
//! feels as backpressure. Outputs of tasks that are already under way may go beyond it by `outputs_over_max`, because a
//! batch that cannot write its outputs can never be finished and released: refusing both at one mark would be a deadlock.
//! Beyond that an output is refused too, and its task fails with that reason.

mod ledger;
#[cfg(test)]
pub(crate) mod numbers;
mod store;
#[cfg(test)]
mod tests;

pub use store::{BlockStore, Budget, Lost, PutBlockError, PutOutputError, Reserved};
