//! Metrics of the cluster whose names shall be there before anything has happened: whoever looks at them must be able to tell
//! "never" from "not measured". Labels come from fixed sets, so nothing that is received can make their number grow.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use tidemill_actors::rate_controller::InputKey;

/// What the sources of the library report; anything else, of users' own receivers, counts as `other`.
const REPORTS: [&str; 9] = [
    "bad_utf8",
    "line_too_long",
    "record_too_long",
    "cut_line",
    "connect_failed",
    "reconnect",
    "lost_connection",
    "sender_does_not_read",
    "window_lost",
];

/// Declares names, units and meanings, and sets the counters that exist from the start to nothing.
pub(super) fn declare() {
    describe_gauge!("tidemill_mailbox_depth", "Messages that wait in the mailboxes of a role");
    describe_histogram!(
        "tidemill_batch_total_delay_seconds",
        Unit::Seconds,
        "From a batch's cut to its publication"
    );
    describe_histogram!(
        "tidemill_batch_scheduling_delay_seconds",
        Unit::Seconds,
        "From a batch's cut to its first task"
    );
    describe_histogram!(
        "tidemill_batch_processing_seconds",
        Unit::Seconds,
        "From a batch's first task to its publication"
    );
    describe_gauge!("tidemill_rate_permitted_records_per_s", "What a receiver may read in a second");
    let counters = [
        ("tidemill_records_total", "Records of published batches"),
        (
            "tidemill_receiver_restarts_total",
            "Lives of receivers that have ended and were followed by another",
        ),
        ("tidemill_blocks_struck_total", "Blocks that were not safe and were struck from their batches"),
        (
            "tidemill_blocks_copied_total",
            "Blocks that had lost a holder, or were to lose one, and have another",
        ),
        ("tidemill_blocks_lost_total", "Blocks that are gone with all their holders"),
        ("tidemill_words_refused_total", "Messages in which an executor spoke of what is another's"),
        ("tidemill_received_bytes_total", "What the blocks of receivers take in memory"),
    ];
    counters.into_iter().for_each(|(name, meaning)| declare_counter(name, meaning));
    declare_of_executor();
    describe_counter!(
        "tidemill_source_reports_total",
        "What sources report: bad input, connections lost and made"
    );
    for what in REPORTS {
        counter!("tidemill_source_reports_total", "what" => what).increment(0);
    }
}

/// Those of an executor, which may have a process of its own.
pub(super) fn declare_of_executor() {
    describe_gauge!(
        "tidemill_executor_store_bytes",
        Unit::Bytes,
        "What an executor's blocks and outputs take"
    );
    let counters = [
        ("tidemill_transport_sent_bytes_total", "Blocks and outputs sent to other nodes, as encoded"),
        ("tidemill_transport_received_bytes_total", "Blocks and outputs got from other nodes, as encoded"),
        ("tidemill_frames_refused_total", "Frames of other nodes that were refused"),
    ];
    counters.into_iter().for_each(|(name, meaning)| declare_counter(name, meaning));
}

fn declare_counter(name: &'static str, meaning: &'static str) {
    describe_counter!(name, meaning);
    counter!(name).increment(0);
}

/// A source has reported something.
pub(super) fn source_report(what: &str, count: u64) {
    let what = REPORTS.into_iter().find(|known| *known == what).unwrap_or("other");
    counter!("tidemill_source_reports_total", "what" => what).increment(count);
}

/// A receiver has closed a block.
pub(super) fn block_received(bytes: u64) {
    counter!("tidemill_received_bytes_total").increment(bytes);
}

/// A receiver is permitted another rate.
pub(super) fn rate_set(input: InputKey, records_per_s_max: u64) {
    let InputKey { stream, receiver } = input;
    gauge!("tidemill_rate_permitted_records_per_s", "stream" => stream.0.to_string(), "receiver" => receiver.0.to_string())
        .set(records_per_s_max as f64);
}

/// A block that had lost a holder, or is to lose one, has another.
pub(super) fn block_copied() {
    counter!("tidemill_blocks_copied_total").increment(1);
}
