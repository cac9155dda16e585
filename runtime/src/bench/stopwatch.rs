//! The one place of the benchmarks that reads a clock: they measure the machine, so they take its time and not a world's.

use std::time::{Duration, Instant};

/// Measures real time from its start.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// A stopwatch that starts now.
    #[allow(
        clippy::disallowed_methods,
        reason = "a benchmark measures the machine's time, which no simulation has"
    )]
    pub fn start() -> Self {
        Stopwatch(Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// How many of `count` were done in a second since the start.
    pub fn per_s(&self, count: u64) -> f64 {
        count as f64 / self.elapsed().as_secs_f64()
    }
}
