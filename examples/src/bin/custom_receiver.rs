//! Teaches: a source of one's own. A `Receiver` reads the outside world on an executor, supervised; with positions it is
//! *acknowledged*: it may forget a record only when two executors hold it.
//!
//! Run it: `cargo run -p tidemill-examples --bin custom_receiver`

use std::sync::{Arc, Mutex};
use tidemill::{
    StreamContext,
    sources::{Outlet, Position, Receiver, ReceiverStart, SourceError, StreamOptions},
};

/// A sensor with a memory: it gives reading n as often as it is asked for it.
struct Thermometer {
    readings: u64,
}

impl Receiver for Thermometer {
    type Record = u64;

    fn acknowledges(&self) -> bool {
        true
    }

    async fn run(&self, start: ReceiverStart, out: Outlet<u64>) -> Result<(), SourceError> {
        // A fresh life, after a panic or the loss of an executor, goes on behind what is safe.
        let next = start.resume_after.map_or(0, |position| position.0 + 1);
        for n in next..self.readings {
            let degrees = 15 + n % 10;
            if out.push_at(vec![degrees], Some((Position(n), Position(n)))).await.is_err() {
                break; // We are being stopped.
            }
        }
        Ok(()) // There is no more to read.
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let context = StreamContext::new();
    let totals = Arc::new(Mutex::new((0, 0)));
    let folded = totals.clone();
    context.receiver_stream(Thermometer { readings: 1_000 }, StreamOptions::default()).foreach_batch(
        move |degrees, _time| {
            let mut totals = folded.lock().map_err(|_| "a batch before this one panicked")?;
            *totals = (totals.0 + degrees.len(), totals.1 + degrees.iter().sum::<u64>());
            Ok(())
        },
    );
    context.start()?.await_termination()?;
    let (readings, sum) = *totals.lock().map_err(|_| "a batch panicked")?;
    println!("{readings} readings, {:.1} degrees on average", sum as f64 / readings as f64);
    Ok(())
}
