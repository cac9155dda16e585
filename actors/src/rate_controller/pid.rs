//! Spark's formula for the rate of the next batch (`PIDRateEstimator`), with one repair: the integral term is bounded.

/// A delay of more intervals than this says no more than this many: with the default weight of 0.2 the rate falls to a
/// fifth of the processing rate and no further, which drains any backlog, and what comes after finds a pipeline at work.
pub const QUEUED_INTERVALS_MAX: f64 = 4.0;

/// The weights of the formula.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gains {
    /// Of the error: how far the latest rate is above the processing rate.
    pub proportional: f64,
    /// Of the accumulated error: the records that are waiting.
    pub integral: f64,
    /// Of the error's change.
    pub derivative: f64,
}

impl Default for Gains {
    fn default() -> Self {
        Gains { proportional: 1.0, integral: 0.2, derivative: 0.0 }
    }
}

/// What is known when a batch has completed. Rates in records per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The rate that was permitted.
    pub latest_rate: f64,
    /// The rate that the pipeline can do.
    pub processing_rate: f64,
    /// How many intervals long the batch waited for others.
    pub queued_intervals: f64,
    /// Seconds since the last measurement; 0 if there was none.
    pub since_last_s: f64,
}

/// The formula and the error it saw last.
#[derive(Clone, Debug, Default)]
pub struct Pid {
    gains: Gains,
    latest_error: f64,
}

impl Pid {
    /// The formula with these weights.
    pub fn new(gains: Gains) -> Self {
        Pid { gains, latest_error: 0.0 }
    }

    /// `latest − P·error − I·historical − D·dError`, in records per second; may be below any minimum.
    pub fn next_rate(&mut self, m: Measured) -> f64 {
        let error = m.latest_rate - m.processing_rate;
        let historical = m.queued_intervals.min(QUEUED_INTERVALS_MAX) * m.processing_rate;
        let d_error = if m.since_last_s > 0.0 { (error - self.latest_error) / m.since_last_s } else { 0.0 };
        self.latest_error = error;
        let g = self.gains;
        m.latest_rate - g.proportional * error - g.integral * historical - g.derivative * d_error
    }
}
