//! **tidemill-protocol**: the words that Tidemill's processes exchange, and the world they run in.
//!
//! ```text
//!   ids, time          what things are called, and when
//!   message, frame,    what crosses machines, how it is cut into frames,
//!   codec              and how hostile bytes are refused before serde sees them
//!   endpoint           QUIC endpoints with mutual TLS: control, bulk, joining
//!   identity           who may be in a cluster: its authority on disk, names, tokens, denied nodes
//!   world              clock, entropy, sockets, files, spawner, faults: the one source of everything
//!                      that waits, talks, starts or draws lots; real, and (feature `sim`) simulated
//! ```
//!
//! This crate must not know DStreams, schedulers or actors.
#![deny(missing_docs)]

pub mod id;
pub mod time;

pub mod codec;
pub mod endpoint;
pub mod frame;
pub mod identity;
pub mod message;

pub mod world;
