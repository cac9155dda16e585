//! Chance, from one seed: every consumer draws from a generator of its own, named by a label, so that adding a consumer
//! changes nobody else's draws.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The source of all seeds of a world.
#[derive(Clone, Copy, Debug)]
pub struct Entropy {
    seed: u64,
}

impl Entropy {
    /// All chance derived from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Entropy { seed }
    }

    /// The seed for `label`: the same label gives the same seed in the same world.
    pub fn seed(&self, label: &str) -> u64 {
        xxh3_64_with_seed(label.as_bytes(), self.seed)
    }

    /// A generator of its own for `label`.
    pub fn rng(&self, label: &str) -> SeededRng {
        SeededRng::new(self.seed(label))
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and the same on every machine. Not for secrets.
#[derive(Clone, Debug)]
pub struct SeededRng(u64);

impl SeededRng {
    /// A generator that starts at `seed`.
    pub fn new(seed: u64) -> Self {
        SeededRng(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `low..high`; `low` if the range is empty.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        if high <= low { low } else { low + self.next_u64() % (high - low) }
    }

    /// True with probability `p` (0.0 to 1.0).
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A number in 0.0..1.0.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}
