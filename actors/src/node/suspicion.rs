//! The failure detector: what an executor's silence means. Kept by membership, one [`Suspicion`] for each executor and one
//! [`WakingClock`] for the driver itself.
//!
//! An executor is **green** (trusted), **yellow** (suspected: others are preferred) or **red** (declared dead). Any message of
//! it is a sign of life; the pings only see to it that there is something to hear. Membership looks once a tick, every
//! `ping_every` (250 ms): it judges, then it asks.
//!
//! **The estimate** is the one of TCP's retransmission timer (RFC 6298): cheap, robust, two numbers. A sample is the *longest*
//! pause between two signs of life that ended since the last tick, one sample a tick whatever the traffic, so that a busy
//! executor does not teach the detector that pauses are microseconds long:
//!
//! ```text
//!   mean'      = mean + (sample - mean) / 8             begins as ping_every
//!   deviation' = deviation + (|sample - mean| - deviation) / 4    begins as ping_every / 2
//!   yellow after mean + 4 deviation, but between  500 ms and 1,000 ms, and 2 pings without any answer
//!   red    after mean + 8 deviation, but between 1,500 ms and 1,750 ms, and 4 pings without any answer
//!   green again once 4 ticks in a row found no such silence: a doubtful executor does not flap
//! ```
//!
//! So the lower bounds decide for a regular executor, and one whose answers jitter gets more patience, never beyond the upper
//! bounds. Whoever is silent is red at the first tick after at most 1,750 ms, which is within 2 s.
//!
//! **The driver's own sleep is nobody's silence.** Time is counted as the driver's waking time: between two events of
//! membership at most 300 ms count (a tick, and a fifth for a late timer). A sleep of a minute adds 300 ms to everybody's
//! silence, and who has been asked less than four times in vain is not judged. So whoever answers each ping within 800 ms is
//! never red, however slow or sleepy the driver is: between two answers that it reads lie at most 300 + 800 + 300 ms.

use std::time::Duration;
use tidemill_protocol::time::Time;

/// Bounds of the silence after which an executor is suspected.
const YELLOW: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(1_000));
/// Bounds of the silence after which it is declared dead.
const RED: (Duration, Duration) = (Duration::from_millis(1_500), Duration::from_millis(1_750));
/// So many pings must be without any answer before an executor is suspected …
const YELLOW_PINGS: u32 = 2;
/// … and so many before it is declared dead.
const RED_PINGS: u32 = 4;
/// After so many ticks without suspicious silence it is trusted again.
const CALM_TICKS: u32 = 4;

/// How an executor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Trusted.
    Green,
    /// Suspected.
    Yellow,
    /// Dead, with the silence that showed it.
    Red(Duration),
}

/// Time as far as the driver was awake: since the first event, sleeps left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct WakingClock {
    last: Option<Time>,
    awake: Duration,
    gap_max: Duration,
}

impl WakingClock {
    pub(super) fn new(ping_every: Duration) -> Self {
        WakingClock { last: None, awake: Duration::ZERO, gap_max: ping_every * 6 / 5 }
    }

    /// An event has come; gives the waking time now.
    pub(super) fn advance(&mut self, now: Time) -> Duration {
        let gap = self.last.map_or(Duration::ZERO, |last| now.since(last));
        self.last = Some(now);
        self.awake += gap.min(self.gap_max);
        self.awake
    }
}

/// What is known of the signs of life of one executor. All times are waking times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspicion {
    level: Level,
    last_heard: Duration,
    /// The longest pause that ended since the last tick.
    pause: Option<Duration>,
    mean: Duration,
    deviation: Duration,
    /// Pings since it was last heard.
    unanswered: u32,
    calm_ticks: u32,
}

impl Suspicion {
    /// An executor that has just been heard for the first time.
    pub(super) fn new(awake: Duration, ping_every: Duration) -> Self {
        Suspicion {
            level: Level::Green,
            last_heard: awake,
            pause: None,
            mean: ping_every,
            deviation: ping_every / 2,
            unanswered: 0,
            calm_ticks: 0,
        }
    }

    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// A sign of life.
    pub(super) fn heard(&mut self, awake: Duration) {
        let pause = awake.saturating_sub(self.last_heard);
        self.pause = Some(self.pause.map_or(pause, |longest| longest.max(pause)));
        self.last_heard = awake;
        self.unanswered = 0;
    }

    /// It was asked.
    pub(super) fn asked(&mut self) {
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// A tick: learns, and judges. Gives the new level if it has changed.
    pub(super) fn judge(&mut self, awake: Duration) -> Option<Level> {
        let silence = awake.saturating_sub(self.last_heard);
        let yellow = self.limit(4, YELLOW);
        let longest = self.pause.map_or(silence, |pause| pause.max(silence));
        let (is_yellow, is_red) = (
            silence >= yellow && self.unanswered >= YELLOW_PINGS,
            silence >= self.limit(8, RED) && self.unanswered >= RED_PINGS,
        );
        if let Some(sample) = self.pause.take() {
            self.learn(sample);
        }
        self.calm_ticks = if longest < yellow { (self.calm_ticks + 1).min(CALM_TICKS) } else { 0 };
        let level = match self.level {
            Level::Red(silence) => Level::Red(silence),
            _ if is_red => Level::Red(silence),
            _ if is_yellow => Level::Yellow,
            Level::Yellow if self.calm_ticks < CALM_TICKS => Level::Yellow,
            _ => Level::Green,
        };
        (std::mem::replace(&mut self.level, level) != level).then_some(level)
    }

    fn limit(&self, deviations: u32, (min, max): (Duration, Duration)) -> Duration {
        (self.mean + self.deviation * deviations).clamp(min, max)
    }

    fn learn(&mut self, sample: Duration) {
        // A pause that outlived every limit says nothing about how the next one will be.
        let sample = sample.min(RED.1);
        let error = sample.abs_diff(self.mean);
        self.mean = self.mean * 7 / 8 + sample / 8;
        self.deviation = self.deviation * 3 / 4 + error / 4;
    }
}
