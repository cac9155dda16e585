//! How long a source waits before it tries again: doubling from 50 ms to 2 s, with seeded jitter, from the start again
//! after a connection that brought something.

use std::time::Duration;
use tidemill_protocol::world::SeededRng;

const FIRST: Duration = Duration::from_millis(50);
const MAX: Duration = Duration::from_secs(2);

/// The waits between tries.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    rng: SeededRng,
}

impl Backoff {
    pub(crate) fn new(rng: SeededRng) -> Self {
        Backoff { next: FIRST, rng }
    }

    /// The wait before the next try: between half and the whole of the current step.
    pub(crate) fn next(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(MAX);
        step / 2 + Duration::from_micros(self.rng.range(0, step.as_micros() as u64 / 2))
    }

    /// A try has succeeded.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_start_again_after_success() {
        let mut backoff = Backoff::new(SeededRng::new(1));
        for step_ms in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
            let wait = backoff.next().as_millis();
            assert!((step_ms / 2..=step_ms).contains(&wait), "{wait} ms at step {step_ms} ms");
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
