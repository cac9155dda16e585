//! A cluster of real processes: the built program as driver, agents and executors on loopback, with kill -9. Totals are
//! compared with a plain count; nothing here waits for a time, only for conditions with a deadline.

mod agents;
mod demo;
mod kills;
mod metrics;
mod refused;
mod status;
mod support;
