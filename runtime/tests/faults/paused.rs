//! A stream that is paused on request.

use super::support::{config, end, events, published};
use std::time::Duration;
use tidemill::{BatchInterval, ClusterEvent, Config, StreamContext, sources::Generator};

const NUMBERS: u64 = 20_000;

#[test]
fn a_paused_stream_is_not_read_until_it_is_resumed_and_every_record_counts_once() {
    let interval = BatchInterval::Every(Duration::from_millis(20));
    // 200 records a batch: the stream is far from its end when it is paused.
    let context = StreamContext::with_config(Config {
        batch_interval: interval,
        rate_records_per_s_initial: 10_000,
        rate_records_per_s_max: Some(10_000),
        ..config()
    });
    let numbers =
        published(&context.generator("numbers", Generator::new(1, |_, n| n).records_total(NUMBERS)));
    let events = events(&context);
    let running = context.start().unwrap();
    assert!(!running.pause("letters"), "there is no such stream");
    numbers.wait_until("some records", |numbers| !numbers.is_empty());

    assert!(running.pause("numbers"));
    let is_idle =
        |event: &&ClusterEvent| matches!(event, ClusterEvent::BatchCompleted(info) if info.records == 0);
    let idle_batches = |events: &[ClusterEvent]| events.iter().filter(is_idle).count();
    let before = idle_batches(&events.all());
    events.wait_until("ten batches without records", |events| idle_batches(events) >= before + 10);
    let read = numbers.all().len();
    events.wait_until("ten more", |events| idle_batches(events) >= before + 20);
    assert_eq!(numbers.all().len(), read, "nothing was read meanwhile");
    assert!((read as u64) < NUMBERS, "it was paused before its end");

    assert!(running.resume("numbers"));
    end(running).unwrap();
    let mut all = numbers.all();
    all.sort_unstable();
    assert_eq!(all, (0..NUMBERS).collect::<Vec<_>>());
}
