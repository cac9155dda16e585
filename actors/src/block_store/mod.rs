//! Blocks and task outputs by id, under one memory budget per executor. It stands beside the actors, not in one: slots,
//! receivers and the bulk endpoint use it from their own threads. It belongs to one incarnation of its executor, and is cleared with it.
//!
//! ```text
//!   receiver ──put_block──>  ┌────────────┐  <──put_output── slot
//!   (waits for room)         │ BlockStore │
//!   replica  ──put_block──>  │  by DataKey│  ──get, load, pieces──> slot, bulk endpoint, sinks
//!                            └────────────┘  <──release_outputs, remove── executor core
//!                               │      ^
//!                    coldest first     on demand
//!                               v      │
//!                             spill files
//! ```
//!
//! **Who gives way.** Blocks are refused first, at `bytes_max`: a receiver that gets no room stops reading, which its peer
//! feels as backpressure. Outputs of tasks that are already under way may go beyond it by `outputs_over_max`, because a
//! batch that cannot write its outputs can never be finished and released: refusing both at one mark would be a deadlock.
//! Beyond that an output goes to disk, and if there is no disk its task fails with that reason. What is on its way
//! (inputs, answers to others) has shares of its own, and so has what tasks build: see [`Budget`].
//!
//! **What goes to disk.** From a mark below `bytes_max` on, what is needed last: copies of others' blocks, then received
//! blocks with the youngest first (older batches run first), then outputs. Reading it back is transparent and counted where
//! it is read; it does not come back into the store. A disk that refuses changes nothing: the data stay in memory, what
//! does not fit is refused as without a disk, and the disk is asked again a second later.

mod budget;
mod errors;
mod ledger;
#[cfg(test)]
pub(crate) mod numbers;
mod read;
mod spill;
mod spiller;
mod store;
#[cfg(test)]
mod tests;
mod work;

pub use budget::{Budget, Reserved, ResourcesExhausted, Share};
pub use errors::{Lost, PutBlockError, PutOutputError};
pub use spill::{ReadSpillError, SpillConfig, SpillError};
pub use store::{BlockStore, Weight, Withdrawn};
pub use work::WorkMeter;
