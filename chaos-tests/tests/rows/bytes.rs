//! A limit in bytes a second holds whatever the rate in records permits.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tidemill::{
    StreamContext,
    cluster::sim::SimCluster,
    sources::{Outlet, Receiver, ReceiverStart, SourceError, StreamOptions},
};

/// Of a record, so large that what a string takes beside its text does not matter.
const RECORD_BYTES: usize = 10_000;
const BYTES_PER_S_MAX: u64 = 200_000;
const SECONDS: u64 = 20;

/// Has always more.
struct Endless;

impl Receiver for Endless {
    type Record = String;

    async fn run(&self, _start: ReceiverStart, out: Outlet<String>) -> Result<(), SourceError> {
        while out.push(vec!["x".repeat(RECORD_BYTES)]).await.is_ok() {}
        Ok(())
    }
}

#[test]
fn what_is_received_keeps_to_the_limit_in_bytes_although_more_records_are_permitted() {
    let bytes: Arc<Mutex<u64>> = Arc::default();
    let sum = bytes.clone();
    let pipeline = move |context: &StreamContext| {
        let sum = sum.clone();
        let records = context.receiver_stream(Endless, StreamOptions::default());
        records.map(|record| record.len() as u64).foreach_batch(move |lengths, _| {
            *sum.lock().map_err(|_| "a test has failed")? += lengths.iter().sum::<u64>();
            Ok(())
        });
        Ok(())
    };
    let builder = SimCluster::builder(7).configure(|config| {
        config.rate_records_per_s_initial = 1_000_000;
        config.rate_bytes_per_s_max = Some(BYTES_PER_S_MAX);
    });
    let outcome = builder.run(pipeline, async |cluster| {
        cluster.sleep(Duration::from_secs(SECONDS)).await;
        cluster.stop_gracefully();
        cluster.wait_until_ended(Duration::from_secs(60)).await
    });
    assert_eq!(outcome.unwrap(), Some(Ok(())));
    let (read, limit) = (*bytes.lock().unwrap(), BYTES_PER_S_MAX * SECONDS);
    // What may be saved up is 50 ms' worth; a second more is what the end takes.
    assert!(read <= limit + BYTES_PER_S_MAX, "{read} bytes in {SECONDS} s, {limit} are permitted");
    assert!(read >= limit * 8 / 10, "{read} bytes in {SECONDS} s: the limit of {limit} is used");
}
