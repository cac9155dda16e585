//! Users' own receivers, with and without positions.

use super::support::{config, end, events, published, reports};
use std::sync::{Arc, Mutex};
use tidemill::{
    ClusterEvent, StreamContext,
    cluster::GeneratorNote,
    sources::{Outlet, Position, Receiver, ReceiverStart, SourceError, StreamOptions},
};

const RECORDS: u64 = 3_000;

/// Pushes numbers and ends.
struct Counter;

impl Receiver for Counter {
    type Record = u64;

    async fn run(&self, _start: ReceiverStart, out: Outlet<u64>) -> Result<(), SourceError> {
        for ten in 0..RECORDS / 10 {
            if out.push((ten * 10..ten * 10 + 10).collect()).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

#[test]
fn a_receiver_of_ones_own_without_positions_brings_every_record_once() {
    let context = StreamContext::with_config(config());
    let records = published(&context.receiver_stream(Counter, StreamOptions::default()));
    end(context.start().unwrap()).unwrap();
    assert_eq!(records.all(), (0..RECORDS).collect::<Vec<u64>>());
}

/// Numbers with positions, from wherever it is told to go on. Its first life ends with an error when a third is safe, its
/// second one panics when two thirds are, each with records pushed beyond that.
struct Unsteady {
    resumed: Arc<Mutex<Vec<Option<u64>>>>,
}

impl Unsteady {
    /// Pushes the numbers up to `to`, after `from`.
    async fn push(&self, from: Option<u64>, to: u64, out: &Outlet<u64>) -> Result<(), SourceError> {
        for n in from.map_or(0, |from| from + 1)..to {
            let position = Position(n);
            out.push_at(vec![n], Some((position, position)))
                .await
                .map_err(|closed| SourceError(closed.to_string()))?;
        }
        Ok(())
    }
}

impl Receiver for Unsteady {
    type Record = u64;

    fn acknowledges(&self) -> bool {
        true
    }

    async fn run(&self, start: ReceiverStart, out: Outlet<u64>) -> Result<(), SourceError> {
        let after = start.resume_after.map(|Position(n)| n);
        let life = {
            let mut resumed = self.resumed.lock().unwrap();
            resumed.push(after);
            resumed.len() as u64
        };
        if life > 2 {
            return self.push(after, RECORDS, &out).await;
        }
        let goal = life * RECORDS / 3;
        self.push(after, goal, &out).await?;
        out.safe()
            .wait_for(|safe| *safe >= Some(Position(goal - 1)))
            .await
            .map_err(|_| SourceError("stopped".into()))?;
        self.push(Some(goal - 1), goal + 100, &out).await?;
        match life {
            1 => Err(SourceError("the first life is over".into())),
            _ => panic!("so is the second"),
        }
    }
}

#[test]
fn a_receiver_of_ones_own_with_positions_goes_on_after_the_last_safe_one_when_it_fails_or_panics() {
    const PANIC_LINE: u32 = line!() - 7;
    let context = StreamContext::with_config(config());
    let resumed = Arc::new(Mutex::new(Vec::new()));
    let receiver = Unsteady { resumed: resumed.clone() };
    let records = published(&context.receiver_stream(receiver, StreamOptions::default()));
    let events = events(&context);
    end(context.start().unwrap()).unwrap();
    assert_eq!(records.all(), (0..RECORDS).collect::<Vec<u64>>());

    let resumed = resumed.lock().unwrap();
    assert_eq!(resumed.len(), 3, "{resumed:?}");
    assert_eq!(resumed[0], None);
    for (life, after) in resumed.iter().enumerate().skip(1) {
        let safe = life as u64 * RECORDS / 3;
        let after = after.expect("it goes on after a position");
        assert!(
            (safe - 1..safe + 100).contains(&after),
            "life {life} goes on after {after}, {safe} were safe"
        );
    }
    let reason = |event: ClusterEvent| match event {
        ClusterEvent::Note(GeneratorNote::ReceiverRestarts { reason, .. }) => Some(reason),
        _ => None,
    };
    let reasons: Vec<String> = events.all().into_iter().filter_map(reason).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].contains("the first life is over"), "{reasons:?}");
    let said = format!("so is the second at {}:{PANIC_LINE}:", file!());
    assert!(reasons[1].contains(&said), "{reasons:?} lack {said}");
}

/// Pushes a record of 9 MiB among others; with positions, if it is told so.
struct Overlong {
    has_positions: bool,
}

impl Receiver for Overlong {
    type Record = String;

    fn acknowledges(&self) -> bool {
        self.has_positions
    }

    async fn run(&self, start: ReceiverStart, out: Outlet<String>) -> Result<(), SourceError> {
        assert_eq!(start.resume_after, None, "its first life does it all");
        let long = "x".repeat(9 << 20);
        let pushes = [
            vec!["a".to_owned(), long.clone(), "b".to_owned()],
            vec![long.clone()],
            vec!["c".to_owned()],
            // Nothing comes after it: its positions become safe all the same.
            vec![long],
        ];
        for (number, records) in (0..).step_by(10).zip(pushes) {
            let positions = (Position(number), Position(number + 9));
            let pushed = out.push_at(records, self.has_positions.then_some(positions)).await;
            pushed.map_err(|closed| SourceError(closed.to_string()))?;
        }
        if self.has_positions {
            let safe = out.safe().wait_for(|safe| *safe >= Some(Position(39))).await.is_ok();
            assert!(safe, "what was refused does not hold up the acknowledgement");
        }
        Ok(())
    }
}

#[test]
fn a_record_that_cannot_cross_machines_is_refused_counted_and_reported_and_the_stream_goes_on() {
    for has_positions in [false, true] {
        let context = StreamContext::with_config(config());
        let records =
            published(&context.receiver_stream(Overlong { has_positions }, StreamOptions::default()));
        let events = events(&context);
        end(context.start().unwrap()).unwrap();
        assert_eq!(records.all(), ["a", "b", "c"], "positions: {has_positions}");
        assert_eq!(reports(&events.all(), "record_too_long"), 3);
        assert!(restarts(&events.all()).is_empty());
    }
}

/// Pushes 72 MiB at once with positions.
struct TooMuchAtOnce;

impl Receiver for TooMuchAtOnce {
    type Record = String;

    fn acknowledges(&self) -> bool {
        true
    }

    async fn run(&self, _start: ReceiverStart, out: Outlet<String>) -> Result<(), SourceError> {
        let pushed = out.push_at(vec!["x".repeat(1 << 20); 72], Some((Position(5), Position(76)))).await;
        pushed.map_err(|closed| SourceError(closed.to_string()))
    }
}

#[test]
fn a_push_with_positions_that_is_more_than_a_block_ends_its_receiver_with_the_numbers() {
    let context = StreamContext::with_config(config());
    let records = published(&context.receiver_stream(TooMuchAtOnce, StreamOptions::default()));
    let events = events(&context);
    let running = context.start().unwrap();
    let said = "75497832 bytes were pushed at once with the positions @5 to @76, more than a block may have \
                (66060288 bytes): push fewer records at once";
    events.wait_until("the restart of the receiver", |events| {
        restarts(events).iter().any(|reason| reason.contains(said))
    });
    running.stop_now().unwrap();
    assert!(records.all().is_empty());
}

/// Why receivers were started again.
fn restarts(events: &[ClusterEvent]) -> Vec<String> {
    let reason = |event: &ClusterEvent| match event {
        ClusterEvent::Note(GeneratorNote::ReceiverRestarts { reason, .. }) => Some(reason.clone()),
        _ => None,
    };
    events.iter().filter_map(reason).collect()
}

/// A field that is left out where it is empty: records are written as arrays, in which the next field takes its place.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Gappy {
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
    second: String,
}

/// Reads back with a panic.
#[derive(Clone, Debug, serde::Serialize)]
struct Explosive(u64);

impl<'de> serde::Deserialize<'de> for Explosive {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("not a number of mine")
    }
}

/// Pushes one record, and waits to be stopped.
struct One<T>(T);

impl<T: tidemill::Data + Sync> Receiver for One<T> {
    type Record = T;

    async fn run(&self, _start: ReceiverStart, out: Outlet<T>) -> Result<(), SourceError> {
        let _ = out.push(vec![self.0.clone()]).await;
        out.closed().await;
        Ok(())
    }
}

fn fails_with<T: tidemill::Data + Sync>(record: T, words: &[&str]) {
    let context = StreamContext::with_config(config());
    let options = StreamOptions { name: Some("ticks".into()), ..StreamOptions::default() };
    let stream = context.receiver_stream(One(record), options);
    stream.foreach_batch(|_, _| Ok(()));
    let error = end(context.start().unwrap()).expect_err("no block of it is ever safe").to_string();
    for word in words {
        assert!(error.contains(word), "{error} lacks {word}");
    }
}

#[test]
fn a_receiver_whose_records_do_not_survive_the_wire_fails_the_pipeline_and_says_which() {
    let words = ["the stream \"ticks\"", "Gappy", "does not survive the wire", "testing::round_trip"];
    fails_with(Gappy { first: None, second: "two".into() }, &words);
    let words = ["the stream \"ticks\"", "Explosive", "not a number of mine", "testing::round_trip"];
    fails_with(Explosive(7), &words);
}
