//! Planned streams under the permitted rate.

use super::*;

/// Batches of `ms` of one planned stream, which begins at `rate` records per second.
fn throttled(ms: u64, rate: u64) -> GeneratorConfig {
    GeneratorConfig {
        rate_initial: rate,
        throttled: [StreamId(0)].into(),
        ..every(ms, vec![stream(0, StreamKind::Planned, 0)])
    }
}

/// What is asked for, as (batch, stream, limit).
fn asked(actions: &[Action]) -> Vec<(u64, u16, Option<u64>)> {
    let question = |action: &Action| match action {
        Action::AskRanges { batch, stream, records_max, .. } => Some((batch.0, stream.0, *records_max)),
        _ => None,
    };
    actions.iter().filter_map(question).collect()
}

fn rate(stream: u16, records_per_s_max: u64) -> Event {
    Event::SetRate { stream: StreamId(stream), receiver: ReceiverIndex(0), records_per_s_max }
}

#[test]
fn the_first_batch_of_a_throttled_stream_is_bounded_and_other_streams_have_no_limit() {
    let streams = vec![stream(0, StreamKind::Planned, 0), stream(1, StreamKind::Planned, 0)];
    let (mut desk, _) = Desk::new(GeneratorConfig { streams, ..throttled(500, 1_000) }, 1_000, &[]);
    assert_eq!(asked(&desk.wake(500)), vec![(0, 0, Some(500)), (0, 1, None)]);
}

#[test]
fn a_new_rate_holds_from_the_next_batch_on() {
    let (mut desk, _) = Desk::new(throttled(500, 1_000), 1_000, &[]);
    assert_eq!(asked(&desk.wake(500)), vec![(0, 0, Some(500))]);
    desk.tell(501, rate(0, 300));
    assert_eq!(asked(&desk.found(510, 0, vec![range(0, 0, 500)], false)), vec![]);
    assert_eq!(asked(&desk.wake(1_000)), vec![(1, 0, Some(150))]);
}

#[test]
fn a_paused_stream_is_not_asked_and_a_batch_without_it_is_planned() {
    let (mut desk, _) = Desk::new(throttled(500, 1_000), 1_000, &[]);
    desk.tell(1, rate(0, 0));
    for (batch, ms) in [(0, 500), (1, 1_000), (2, 1_500)] {
        let out = desk.wake(ms);
        assert_eq!((asked(&out), plans(&out)), (vec![], vec![(batch, vec![])]));
    }
    // The time of the pause is not made up for.
    desk.tell(1_600, rate(0, 1_000));
    assert_eq!(asked(&desk.wake(2_000)), vec![(3, 0, Some(500))]);
}

#[test]
fn batches_that_are_cut_late_and_at_once_hold_two_intervals_worth_together() {
    let (mut desk, _) = Desk::new(throttled(10, 1_000), 1_000, &[]);
    desk.wake(0);
    assert_eq!(asked(&desk.wake(50)), vec![(0, 0, Some(10))]);
    desk.found(50, 0, vec![range(0, 0, 10)], false);
    // A halt of five seconds: the cuts that were announced before are all reached now.
    let mut out = desk.wake(5_000);
    let (mut batches, mut records, mut planned) = (0, 0, 10);
    while let Some((batch, _, records_max)) = asked(&out).first().copied() {
        let limit = records_max.expect("the stream is throttled");
        assert!(limit <= 10, "{limit} records in a batch of 10 ms");
        batches += 1;
        records += limit;
        out = desk.found(5_000, batch, vec![range(0, planned, planned + limit)], false);
        planned += limit;
    }
    assert_eq!((batches, records), (2, 20));
    let next = desk.0.next_deadline().expect("cuts go on");
    assert!(next > at(5_000), "every late cut has its batch");
}

#[test]
fn a_question_that_is_repeated_permits_what_it_did() {
    let (mut desk, _) = Desk::new(throttled(500, 1_000), 1_000, &[]);
    assert_eq!(asked(&desk.wake(500)), vec![(0, 0, Some(500))]);
    let failed = Err("no such table".to_owned());
    desk.tell(501, Event::RangesReady { batch: BatchNumber(0), stream: StreamId(0), result: failed });
    desk.tell(502, rate(0, 10));
    assert_eq!(asked(&desk.wake(601)), vec![(0, 0, Some(500))]);
}

#[test]
fn without_an_interval_a_rate_counts_for_nothing() {
    let config = GeneratorConfig { interval: BatchInterval::AvailableNow, ..throttled(500, 1_000) };
    let (_, out) = Desk::new(config, 1_000, &[]);
    assert_eq!(asked(&out), vec![(0, 0, None)]);
}
