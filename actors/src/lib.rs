//! **tidemill-actors**: who does what, when. Decisions are pure cores, actors are thin shells around them.
//!
//! ```text
//!   core            the one shape of every decision: event in, actions out, no clock, no socket
//!   supervision     trees of actors on actix: restart strategies, intensity, backoff, exits, mailboxes
//!   shell           the one actor that drives every core
//!   seam            the traits that the crate above implements: Program, Tasks, Payload, SourceHost, SinkHost
//!
//!   receiver         reads a source, cuts blocks, acknowledges what is safe
//!   batch_generator  announces cuts, gathers blocks, writes the plan of a batch
//!   scheduler        turns a plan into tasks, places them, retries, decides
//!   executor         runs tasks on slots
//!   rate_controller  sets the receivers' rates by the batches' delays
//!   node             who is in the cluster, and which of their lives
//!
//!   block_store     blocks and outputs by id, under one memory budget
//!   transport       how they travel between executors
//!   slots           the threads that run tasks, and the inputs on their way to them
//! ```
//!
//! This crate must not know user types, operators, connectors or SQL: it sees ids, sizes and opaque payloads.
#![deny(missing_docs)]

#[macro_use]
pub mod planted;

pub mod core;
pub mod seam;
pub mod shell;
pub mod supervision;

pub mod block_store;
pub mod slots;
pub mod transport;

pub mod batch_generator;
pub mod executor;
pub mod node;
pub mod rate_controller;
pub mod receiver;
pub mod scheduler;
