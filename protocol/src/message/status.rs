//! What a driver tells of itself and its cluster, as a list of entries that is cut into pages.

use crate::id::{BatchNumber, Member, ReceiverId};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// One line of a cluster's status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StatusEntry {
    /// The driver.
    Driver {
        /// Which build and graph runs, in 16 hexadecimal digits.
        program: String,
        /// `running`, `ended`, or `failed: …`.
        state: String,
    },
    /// A live executor; executors of one address are on one machine.
    Executor {
        /// Which life of which node.
        member: Member,
        /// How many tasks it runs at once.
        slots: u16,
        /// Where it serves blocks and outputs.
        bulk_address: Option<SocketAddr>,
    },
    /// A receiver.
    Receiver {
        /// Which life of which receiver.
        receiver: ReceiverId,
        /// The stream's name.
        stream: String,
        /// Where it runs.
        on: Member,
        /// Records per second in the last batches.
        records_per_s: f64,
        /// Records per second that it is permitted; `None`: no limit.
        permitted_records_per_s: Option<u64>,
    },
    /// One of the last batches.
    Batch {
        /// Which.
        batch: BatchNumber,
        /// Its input.
        records: u64,
        /// From its cut to its start, in milliseconds.
        scheduling_delay_ms: f64,
        /// From its start to its end, in milliseconds.
        processing_ms: f64,
        /// From its cut to its publication, in milliseconds.
        total_delay_ms: f64,
    },
    /// A supervisor or actor of the driver's process.
    Actor {
        /// The ids from the root down, separated by `/`.
        path: String,
        /// `running`, `waiting`, `stopping`, `down`.
        state: String,
        /// How often it was started again.
        restarts: u64,
        /// Messages that wait for it.
        mailbox_depth: u64,
        /// How its last life ended.
        last_exit: Option<String>,
    },
}
