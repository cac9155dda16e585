//! What a driver tells of its cluster.

use super::progress::{Progress, ReceiverState};
use crate::graph::Pipeline;
use std::time::Duration;
use tidemill_actors::{
    rate_controller::{BatchInfo, InputKey},
    seam::Program,
    supervision::{Tree, TreeEntry},
};
use tidemill_protocol::{
    id::{Member, ReceiverId},
    message::{StatusEntry, short_text},
};

/// How many of the last batches are told.
const BATCHES_TOLD: usize = 20;

/// Everything, in the order of [`StatusEntry`]'s kinds.
pub(super) fn entries(progress: &Progress, pipeline: &Pipeline, tree: &Tree) -> Vec<StatusEntry> {
    let state = match progress.outcome() {
        None => "running".to_owned(),
        Some(Ok(())) => "ended".to_owned(),
        Some(Err(error)) => short_text(format!("failed: {error}")),
    };
    let mut entries =
        vec![StatusEntry::Driver { program: format!("{:016x}", Program::id(pipeline).0), state }];
    entries.extend(progress.executors().into_iter().map(|executor| StatusEntry::Executor {
        member: executor.member,
        slots: executor.slots,
        bulk_address: executor.bulk_address,
    }));
    let batches = progress.batches();
    let last = &batches[batches.len().saturating_sub(BATCHES_TOLD)..];
    let receivers = progress.receivers().into_iter();
    entries.extend(receivers.map(|(receiver, on)| receiver_entry(progress, pipeline, last, receiver, on)));
    entries.extend(last.iter().map(batch_entry));
    entries.extend(actor_entries(progress, pipeline, tree));
    entries
}

/// The tree; a receiver that waits for its next life stands below the batch generator, which starts it.
fn actor_entries(progress: &Progress, pipeline: &Pipeline, tree: &Tree) -> Vec<StatusEntry> {
    let mut entries = Vec::new();
    for entry in &tree.entries {
        entries.push(actor_entry(entry));
        if entry.path.ends_with("/batch_generator") {
            let all = progress.all_receivers().into_iter();
            let waiting = all.filter_map(|(receiver, state)| match state {
                ReceiverState::Waiting(reason) => Some((receiver, reason)),
                ReceiverState::Running(_) => None,
            });
            entries.extend(waiting.map(|(receiver, reason)| StatusEntry::Actor {
                path: format!("{}/{} {}", entry.path, stream_name(pipeline, receiver), receiver.index.0),
                state: "waiting".to_owned(),
                restarts: u64::from(receiver.incarnation.0),
                mailbox_depth: 0,
                last_exit: Some(short_text(reason)),
            }));
        }
    }
    entries
}

fn stream_name(pipeline: &Pipeline, receiver: ReceiverId) -> String {
    let streams = Program::streams(pipeline);
    streams.get(usize::from(receiver.stream.0)).map_or_else(String::new, |info| info.name.clone())
}

fn receiver_entry(
    progress: &Progress,
    pipeline: &Pipeline,
    last: &[BatchInfo],
    receiver: ReceiverId,
    on: Member,
) -> StatusEntry {
    let input = InputKey { stream: receiver.stream, receiver: receiver.index };
    StatusEntry::Receiver {
        receiver,
        stream: stream_name(pipeline, receiver),
        on,
        records_per_s: records_per_s(last, input),
        permitted_records_per_s: progress.permitted(input).filter(|rate| *rate != u64::MAX),
    }
}

/// The mean over the batches that are told: what was received from the first one's time to the last one's.
fn records_per_s(last: &[BatchInfo], input: InputKey) -> f64 {
    let (Some(first), Some(end)) = (last.first(), last.last()) else { return 0.0 };
    let span_ms = end.time.as_millis().saturating_sub(first.time.as_millis());
    if span_ms == 0 {
        return 0.0;
    }
    let loads = last.iter().skip(1).flat_map(|batch| &batch.inputs);
    let records: u64 = loads.filter(|load| load.input == input).map(|load| load.records).sum();
    records as f64 * 1e3 / span_ms as f64
}

fn batch_entry(batch: &BatchInfo) -> StatusEntry {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    StatusEntry::Batch {
        batch: batch.batch,
        records: batch.records,
        scheduling_delay_ms: ms(batch.scheduling_delay),
        processing_ms: ms(batch.processing_time),
        total_delay_ms: ms(batch.total_delay),
    }
}

fn actor_entry(entry: &TreeEntry) -> StatusEntry {
    StatusEntry::Actor {
        path: entry.path.clone(),
        state: format!("{:?}", entry.state).to_lowercase(),
        restarts: entry.restarts,
        mailbox_depth: entry.mailbox_depth as u64,
        last_exit: entry.last_exit.as_ref().map(|exit| short_text(exit.to_string())),
    }
}
