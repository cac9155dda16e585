//! Data that are large for one message, or that own much memory, over a simulated network: they cross in pieces, and what cannot
//! cross ends the pipeline with both lengths.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidemill::{
    ClusterEvent, DStream, Data, StreamContext, Text,
    cluster::sim::{Mtu, SimCluster},
    sources::{Generator, Outlet, Receiver, ReceiverStart, SourceError, StreamOptions},
};

/// What came of a run.
struct Outcome<T> {
    end: Result<(), String>,
    published: Vec<T>,
    failed_attempts: usize,
}

/// Runs `pipeline` on two executors until it ends, and gathers what it publishes.
fn run<T: Data>(seed: u64, pipeline: impl Fn(&StreamContext) -> DStream<T> + 'static) -> Outcome<T> {
    let gathered = Arc::new(Mutex::new(Vec::new()));
    let into = gathered.clone();
    let build = move |context: &StreamContext| {
        let into = into.clone();
        pipeline(context).foreach_batch(move |all, _| {
            into.lock().unwrap_or_else(PoisonError::into_inner).extend(all);
            Ok(())
        });
        Ok(())
    };
    let builder = SimCluster::builder(seed).mtu(Mtu::Probe(1_452)).configure(|config| {
        config.executors = 2;
        // All records in one batch.
        config.rate_records_per_s_initial = 1_000_000_000;
    });
    let failed = Arc::new(Mutex::new(0));
    let count = failed.clone();
    let ran = builder.run(build, async |cluster| {
        cluster.progress().listen(move |event| {
            if matches!(event, ClusterEvent::TaskFailed { .. }) {
                *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            }
        });
        cluster.wait_until_ended(Duration::from_secs(60)).await
    });
    let end = match ran.expect("the cluster starts") {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("it has not ended within 60 s".to_owned()),
    };
    let published = std::mem::take(&mut *gathered.lock().unwrap_or_else(PoisonError::into_inner));
    let failed_attempts = *failed.lock().unwrap_or_else(PoisonError::into_inner);
    Outcome { end, published, failed_attempts }
}

/// `total` records of two partitions, in one batch: each executor makes one of them.
fn of_two<T: Data>(context: &StreamContext, total: u64, make: fn(u32, u64) -> T) -> DStream<T> {
    let source = Generator::new(2, make).records_per_batch(total).records_total(total);
    context.generator("records", source)
}

/// A plain loop's records of both partitions, in order.
fn expected<T>(total: u64, make: fn(u32, u64) -> T) -> Vec<T> {
    (0..2).flat_map(|partition| (0..total / 2).map(move |offset| make(partition, offset))).collect()
}

#[test]
fn records_that_own_memory_cross_a_shuffle() {
    const TOTAL: u64 = 5_000;
    fn line(partition: u32, offset: u64) -> String {
        format!("{partition} {offset} {}", "x".repeat(200))
    }
    // 2,500 records in each part: 60 KB by their own size, 560 KB with what they own.
    let outcome = run(31, |context| of_two(context, TOTAL, line).repartition(1));
    assert_eq!((outcome.end, outcome.failed_attempts), (Ok(()), 0));
    assert!(outcome.published == expected(TOTAL, line));
}

#[test]
fn outputs_of_more_than_a_piece_cross_a_shuffle_and_reach_the_driver() {
    const TOTAL: u64 = 2_000_000;
    fn noise(partition: u32, offset: u64) -> u64 {
        (u64::from(partition) << 32 | offset).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63
    }
    // Nine bytes each on the wire: 9 MB between the executors, 18 MB to the driver.
    let outcome = run(32, |context| of_two(context, TOTAL, noise).repartition(1));
    assert_eq!((outcome.end, outcome.failed_attempts), (Ok(()), 0));
    assert!(outcome.published == expected(TOTAL, noise));
}

#[test]
fn twenty_megabytes_of_equal_lines_cross_compressed() {
    const TOTAL: u64 = 200_000;
    const LINE: &str = "the tide comes in, the tide goes out; all that the tide brings, the tide takes; and the mill turns on";
    let outcome = run(33, |context| of_two(context, TOTAL, |_, _| Text::from(LINE)).repartition(1));
    assert_eq!((outcome.end, outcome.failed_attempts), (Ok(()), 0));
    assert_eq!(outcome.published.len() as u64, TOTAL);
    assert!(outcome.published.iter().all(|line| line == LINE));
}

/// A record of 9 MiB and the text that its loss ends with: an array of one string has six bytes more.
fn giant(_: u32, _: u64) -> String {
    "x".repeat(9 << 20)
}
const BOTH_LENGTHS: &str = "one record of 9437190 bytes: at most 8387584 can cross machines";

#[test]
fn a_record_too_long_for_a_piece_fails_the_task_that_reads_it_with_both_lengths() {
    let outcome = run(34, |context| of_two(context, 2, giant).repartition(1).map(|record| record.len()));
    let text = outcome.end.expect_err("it cannot cross");
    assert!(text.contains(BOTH_LENGTHS) && text.contains("failed 4 times"), "{text}");
    assert_eq!(outcome.failed_attempts, 4, "nothing was made again: {text}");
    assert!(outcome.published.is_empty());
}

#[test]
fn a_record_too_long_for_a_piece_ends_the_pipeline_of_its_sink_with_both_lengths() {
    let outcome = run(35, |context| of_two(context, 2, giant));
    let text = outcome.end.expect_err("it cannot reach the driver");
    assert!(text.contains(BOTH_LENGTHS) && text.contains("sink-0 cannot be given batch-"), "{text}");
    assert_eq!((outcome.failed_attempts, outcome.published.len()), (0, 0), "nothing was made again: {text}");
}

/// Pushes 80 records of a mebibyte at once, with one of 9 MiB among them.
struct Lump;

const LUMP: u64 = 80;

impl Receiver for Lump {
    type Record = String;

    async fn run(&self, _start: ReceiverStart, out: Outlet<String>) -> Result<(), SourceError> {
        let mut records: Vec<String> = (0..LUMP).map(lump).collect();
        records.insert(40, giant(0, 0));
        let _ = out.push(records).await;
        Ok(())
    }
}

/// A digit and many more of it.
fn lump(number: u64) -> String {
    format!("{number:02}").repeat(1 << 19)
}

#[test]
fn what_is_received_at_once_is_cut_into_blocks_that_cross_and_without_what_cannot() {
    let lines = |context: &StreamContext| context.receiver_stream(Lump, StreamOptions::default());
    // 80 MiB in one block would be refused by the other executor for ever, and so would 9 MiB in one record.
    let outcome = run(36, move |context| lines(context).map(|record| (record[..2].to_owned(), record.len())));
    assert_eq!((outcome.end, outcome.failed_attempts), (Ok(()), 0));
    let expected: Vec<_> = (0..LUMP).map(|number| (format!("{number:02}"), 1 << 20)).collect();
    assert!(outcome.published == expected, "{:?}", outcome.published);
}
