//! What a batch costs: a fixed overhead and a price per record, told apart by weighted least squares over the batches of
//! late. Without this, small batches look slow, the rate is lowered, batches become smaller still, and the rate ends at
//! its minimum.

/// How much an older batch counts against the next one.
const DECAY: f64 = 0.85;
/// Below this relative spread of the batches' sizes a slope through them means nothing.
const SPREAD_MIN: f64 = 0.05;

/// An estimate of a batch's cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Seconds that a batch takes whatever is in it.
    pub overhead_s: f64,
    /// Records per second beyond that.
    pub records_per_s: f64,
}

/// Exponentially weighted sums over (records, seconds).
#[derive(Clone, Debug, Default)]
pub struct CostModel {
    weight: f64,
    n: f64,
    t: f64,
    nn: f64,
    nt: f64,
    overhead_s: f64,
    alike: u32,
}

impl CostModel {
    /// A batch of `records` took `seconds`.
    pub fn add(&mut self, records: f64, seconds: f64) {
        for sum in [&mut self.weight, &mut self.n, &mut self.t, &mut self.nn, &mut self.nt] {
            *sum *= DECAY;
        }
        self.weight += 1.0;
        self.n += records;
        self.t += seconds;
        self.nn += records * records;
        self.nt += records * seconds;
        self.update_overhead();
    }

    /// Batches of one size do not tell overhead from price; then the overhead found before stands.
    fn update_overhead(&mut self) {
        let (n, t) = (self.n / self.weight, self.t / self.weight);
        if self.spread() > SPREAD_MIN {
            let slope = (self.nt / self.weight - n * t) / self.variance();
            // More records in less time: their price is lost in the noise, and overhead is all there is.
            self.overhead_s = t - slope.max(0.0) * n;
            self.alike = 0;
        } else {
            self.alike = self.alike.saturating_add(1);
        }
        self.overhead_s = self.overhead_s.clamp(0.0, 0.98 * t);
    }

    fn variance(&self) -> f64 {
        let n = self.n / self.weight;
        (self.nn / self.weight - n * n).max(0.0)
    }

    /// How far the sizes of the batches of late lie apart: their standard deviation as a part of their mean.
    pub fn spread(&self) -> f64 {
        if self.weight > 0.0 { self.variance().sqrt() / (self.n / self.weight).max(1.0) } else { 0.0 }
    }

    /// How many batches in a row were too much alike to tell overhead from price.
    pub fn alike(&self) -> u32 {
        self.alike
    }

    /// Counts them anew: another size is being tried.
    pub fn forget_alike(&mut self) {
        self.alike = 0;
    }

    /// Records per second if all the time of the batches of late had been their records': never too much to expect.
    pub fn records_per_s_at_least(&self) -> f64 {
        if self.t > 0.0 { self.n / self.t } else { 0.0 }
    }

    /// The estimate; `None` before there was a record or a time to measure.
    pub fn cost(&self) -> Option<Cost> {
        let priced = self.t - self.weight * self.overhead_s;
        (self.n > 0.0 && priced > 0.0)
            .then(|| Cost { overhead_s: self.overhead_s, records_per_s: self.n / priced })
    }
}
