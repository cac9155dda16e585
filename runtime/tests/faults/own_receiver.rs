//! Users' own receivers, with and without positions.

use super::support::{config, end, events, published};
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
