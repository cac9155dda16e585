//! Bad input and faults, each clause on a real cluster in this process: driver, executors, sockets, threads. What is expected
//! comes from plain code; nothing sleeps, everything waits for what it wants to see, with a deadline.
//!
//! The clauses with what is printed stand in docs/FAULTS.md; those that need virtual time are in chaos-tests.

mod asked_actor;
mod bad_lines;
mod exhausted;
mod feeder_gone;
mod overload;
mod own_receiver;
mod panics;
mod paused;
mod plain_window;
mod refused;
mod senders;
mod static_data;
mod stuck;
mod support;
mod text_files;
