//! The task slots of an executor: the part of it that runs on threads. It stands outside the role's folder because
//! nothing here decides; the executor core says what starts where, and this carries it out.
//!
//! ```text
//!   Performer ── start ──> Slots ── Job ──> slot thread: inputs ─> Tasks::run ─> BlockStore ─> SlotFree
//!             ── fetch ──> Fetches ── bulk runtime: Transport::fetch ─> InputsReady
//!             ── notify ─> Notifications ── bulk runtime: Transport::notify
//! ```

mod background;
mod cost;
mod fetches;
mod inputs;
mod notifications;
mod pool;
#[cfg(test)]
mod rig;
mod room;
mod run;
#[cfg(test)]
mod tests;

pub use background::{Waste, in_background, let_go};
pub use cost::CostModel;
pub use fetches::Fetches;
pub use inputs::{Fetched, InputError, InputSource};
pub use notifications::Notifications;
pub use pool::{Flags, Slots};
pub use run::{Assignment, SlotWork};
