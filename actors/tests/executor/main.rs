//! The executor's core, without threads, clocks or data.

mod any_order;
mod desk;
mod notices;
mod orders;
mod stuck;
