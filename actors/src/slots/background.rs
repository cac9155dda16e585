//! What an executor does beside its slots and off the control thread: files, and the destructors of records.

use crate::{block_store::Withdrawn, seam::Held, supervision::panic::catch};
use std::time::Duration;
use tidemill_protocol::{
    time::Time,
    world::{Clock, Spawner},
};

/// Of data that wait to be dropped there are at most so many bytes, which no budget counts …
const LITTLE_BYTES_MAX: u64 = 64 * 1024;
/// … and so many of them …
const LITTLE_MAX: usize = 256;
/// … for about so long.
const LITTLE_WAITS: Duration = Duration::from_millis(100);

/// Does `work` in the pool for what blocks. Nobody hears of its end.
pub fn in_background(spawner: &Spawner, work: impl FnOnce() + Send + 'static) {
    let pool = spawner.clone();
    // The answer says only that it was done.
    spawner.spawn(async move { _ = pool.blocking(work).await });
}

/// Drops data there: their destructors are user code, which may take a while, and may panic.
pub fn let_go<T: Send + 'static>(spawner: &Spawner, data: impl IntoIterator<Item = T>) {
    let data: Vec<T> = data.into_iter().collect();
    if !data.is_empty() {
        in_background(spawner, move || drop_all(data));
    }
}

fn drop_all<T>(data: T) {
    if let Err(panic) = catch(|| drop(data)) {
        tracing::error!(%panic, "a record panicked while it was dropped");
    }
}

/// Data that nobody needs any more. Waking two threads for a few records costs more than a small batch: what is little waits for
/// company, and goes with what is released later, or when the executor ends.
pub struct Waste {
    spawner: Spawner,
    clock: Clock,
    little: Vec<Held>,
    bytes: u64,
    emptied: Time,
}

impl Waste {
    /// None yet.
    pub fn new(spawner: Spawner, clock: Clock) -> Waste {
        let emptied = clock.now();
        Waste { spawner, clock, little: Vec::new(), bytes: 0, emptied }
    }

    /// Takes what was withdrawn from a store. Also called with nothing, from time to time, so that nothing waits for long.
    pub fn take(&mut self, withdrawn: impl IntoIterator<Item = Withdrawn>) {
        let mut much = Vec::new();
        for mut data in withdrawn {
            match data.take_little(LITTLE_BYTES_MAX.saturating_sub(self.bytes)) {
                Some(held) => {
                    self.bytes += held.bytes();
                    self.little.push(held);
                }
                None => much.push(data),
            }
        }
        let now = self.clock.now();
        let is_due = self.little.len() >= LITTLE_MAX || now.since(self.emptied) >= LITTLE_WAITS;
        if much.is_empty() && !is_due {
            return;
        }
        self.emptied = now;
        self.bytes = 0;
        let little = std::mem::take(&mut self.little);
        if !(much.is_empty() && little.is_empty()) {
            in_background(&self.spawner, move || {
                drop_all(much);
                little.into_iter().for_each(drop_all);
            });
        }
    }
}

impl Drop for Waste {
    fn drop(&mut self) {
        self.little.drain(..).for_each(drop_all);
    }
}
