//! How long to wait before a restart: exponential, with seeded jitter, so that what failed together does not come back
//! together, and the same seed waits the same.

use std::time::Duration;
use tidemill_protocol::world::SeededRng;

/// The waits before restarts. They begin anew once a child has run for `healthy_after`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The wait before the first restart.
    pub initial: Duration,
    /// By how much each further wait is longer (at least 1.0).
    pub factor: f64,
    /// The longest wait, jitter included.
    pub max: Duration,
    /// How far a wait is spread around its middle, as a share of it: 0.0 not at all, 0.2 by up to 20 % both ways.
    pub jitter: f64,
    /// A child that has run this long is taken for healthy: its next failure waits `initial` again.
    pub healthy_after: Duration,
}

impl Default for Backoff {
    /// 20 ms, doubled up to 10 s, spread by 20 %, forgotten after 10 s.
    fn default() -> Self {
        Backoff {
            initial: Duration::from_millis(20),
            factor: 2.0,
            max: Duration::from_secs(10),
            jitter: 0.2,
            healthy_after: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// No wait at all; intensity is then the only brake.
    pub const NONE: Backoff = Backoff {
        initial: Duration::ZERO,
        factor: 1.0,
        max: Duration::ZERO,
        jitter: 0.0,
        healthy_after: Duration::ZERO,
    };

    /// The wait before the restart that follows the `failures`-th failure in a row (from 1). Draws from `rng` once, also
    /// when the jitter is nothing, so that a changed setting does not shift later draws.
    pub fn delay(&self, failures: u32, rng: &mut SeededRng) -> Duration {
        let longest = self.max.as_nanos() as f64;
        let mut nanos = self.initial.as_nanos() as f64;
        // Multiplied step by step: `powi` may differ in the last bit between machines, and a replay must not.
        for _ in 1..failures {
            if nanos >= longest {
                break;
            }
            nanos *= self.factor.max(1.0);
        }
        let spread = 1.0 + self.jitter.clamp(0.0, 1.0) * (2.0 * rng.unit() - 1.0);
        Duration::from_nanos((nanos.min(longest) * spread).min(longest) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(backoff: Backoff, seed: u64) -> Vec<u128> {
        let mut rng = SeededRng::new(seed);
        (1..=7).map(|failures| backoff.delay(failures, &mut rng).as_millis()).collect()
    }

    #[test]
    fn it_doubles_up_to_the_longest() {
        let backoff = Backoff { jitter: 0.0, max: Duration::from_millis(500), ..Backoff::default() };
        assert_eq!(millis(backoff, 1), [20, 40, 80, 160, 320, 500, 500]);
    }

    #[test]
    fn jitter_follows_the_seed_and_stays_in_its_bounds() {
        let backoff = Backoff { jitter: 0.5, ..Backoff::default() };
        assert_eq!(millis(backoff, 7), millis(backoff, 7));
        assert_ne!(millis(backoff, 7), millis(backoff, 8));
        for seed in 0..200 {
            for (place, wait) in millis(backoff, seed).into_iter().enumerate() {
                let middle = 20u128 << place;
                assert!(
                    (middle / 2..=middle * 3 / 2).contains(&wait),
                    "seed {seed}: wait {place} is {wait} ms"
                );
            }
        }
    }

    #[test]
    fn no_number_of_failures_overflows() {
        assert!(Backoff::default().delay(u32::MAX, &mut SeededRng::new(3)) <= Duration::from_secs(10));
    }
}
