//! Placeholder.
#![deny(missing_docs)]

pub mod bench;
pub mod demo;
