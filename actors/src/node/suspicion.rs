//! The failure detector: what an executor's silence means. Kept by membership, one [`Suspicion`] for each executor and one
//! [`WakingClock`] for the driver itself.
//!
//! An executor is **green** (trusted), **yellow** (suspected: others are preferred) or **red** (declared dead). Any message of
//! it is a sign of life, so whoever reports on tasks is not asked: membership looks at everybody every `look_every` (125 ms),
//! judges, and asks whoever has said nothing for 600 ms, and whoever is suspected. A question costs three datagrams; among hundreds
//! of executors that is more than the work itself.
//!
//! ```text
//!   heard           silent for 600 ms: asked      asked at each look, until it is heard
//!     |---------------------|-------|-------|-------|-------|-------|-------|-------|-------|
//!                           0                              500 (yellow)                    1,000 (red)    waited, in ms
//! ```
//!
//! **The estimate** is the one of TCP's retransmission timer (RFC 6298): cheap, robust, two numbers. A sample is how long an executor
//! was waited for: from the first question that it left without an answer to the next sign of life.
//!
//! ```text
//!   mean'      = mean + (sample - mean) / 8             begins as 250 ms
//!   deviation' = deviation + (|sample - mean| - deviation) / 4    begins as a quarter of that
//!   yellow once waited for mean + 4 deviation, but between   500 ms and   750 ms, with 2 questions without any answer
//!   red    once waited for mean + 8 deviation, but between 1,000 ms and 1,125 ms, with 8 questions without any answer
//!   green again after 8 looks in a row at which it was not waited for that long: a doubtful executor does not flap
//! ```
//!
//! So the lower bounds decide for one who answers at once, and one whose answers jitter gets more patience, never beyond the upper
//! bounds. Whoever falls silent is asked within 725 ms, and red at the first look 1,125 ms later at the latest, which is within 2 s
//! where looks are punctual. Late ones add as much; QUIC's own 2 s of silence end the link then.
//!
//! **The driver's own sleep is nobody's silence.** Time is counted as the driver's waking time: between two events of
//! membership at most 175 ms count (a look, and two fifths for a late timer). A sleep of a minute adds 175 ms to everybody's
//! silence, and who has been asked less than eight times in vain is not judged. So whoever answers each question within 800 ms is
//! never red, however slow or sleepy the driver is: it is waited for at most 800 + 175 ms.

use std::time::Duration;
use tidemill_protocol::time::Time;

/// Who was silent for so long is asked. Above the commonest batch interval, 500 ms, and what its reports may vary.
const QUIET: Duration = Duration::from_millis(600);
/// What an answer is thought to take before there was one.
const FIRST_MEAN: Duration = Duration::from_millis(250);
/// Bounds of the wait after which an executor is suspected.
const YELLOW: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(750));
/// Bounds of the wait after which it is declared dead.
const RED: (Duration, Duration) = (Duration::from_millis(1_000), Duration::from_millis(1_125));
/// So many questions must be without any answer before an executor is suspected …
const YELLOW_QUESTIONS: u32 = 2;
/// … and so many before it is declared dead.
const RED_QUESTIONS: u32 = 8;
/// After so many looks without a suspicious wait it is trusted again.
const CALM_LOOKS: u32 = 8;

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
    pub(super) fn new(look_every: Duration) -> Self {
        WakingClock { last: None, awake: Duration::ZERO, gap_max: look_every * 7 / 5 }
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
    asked: Option<Asked>,
    mean: Duration,
    deviation: Duration,
    calm_looks: u32,
}

/// Questions without any answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    first: Duration,
    questions: u32,
}

impl Suspicion {
    /// An executor that has just been heard for the first time.
    pub(super) fn new(awake: Duration) -> Self {
        Suspicion {
            level: Level::Green,
            last_heard: awake,
            asked: None,
            mean: FIRST_MEAN,
            deviation: FIRST_MEAN / 4,
            calm_looks: 0,
        }
    }

    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// A sign of life.
    pub(super) fn heard(&mut self, awake: Duration) {
        self.last_heard = awake;
        if let Some(Asked { first, .. }) = self.asked.take() {
            let waited = awake.saturating_sub(first);
            if waited >= self.limit(4, YELLOW) {
                self.calm_looks = 0;
            }
            self.learn(waited);
        }
    }

    /// Whether it is to be asked now.
    pub(super) fn is_due(&self, awake: Duration) -> bool {
        self.level != Level::Green || awake.saturating_sub(self.last_heard) >= QUIET
    }

    /// It was asked.
    pub(super) fn asked(&mut self, awake: Duration) {
        self.asked.get_or_insert(Asked { first: awake, questions: 0 }).questions += 1;
    }

    /// A look: judges. Gives the new level if it has changed.
    pub(super) fn judge(&mut self, awake: Duration) -> Option<Level> {
        let (waited, questions) = match self.asked {
            Some(Asked { first, questions }) => (awake.saturating_sub(first), questions),
            None => (Duration::ZERO, 0),
        };
        let yellow = self.limit(4, YELLOW);
        let is_yellow = waited >= yellow && questions >= YELLOW_QUESTIONS;
        let is_red = waited >= self.limit(8, RED) && questions >= RED_QUESTIONS;
        self.calm_looks = if waited < yellow { (self.calm_looks + 1).min(CALM_LOOKS) } else { 0 };
        let level = match self.level {
            Level::Red(silence) => Level::Red(silence),
            _ if is_red => Level::Red(awake.saturating_sub(self.last_heard)),
            _ if is_yellow => Level::Yellow,
            Level::Yellow if self.calm_looks < CALM_LOOKS => Level::Yellow,
            _ => Level::Green,
        };
        (std::mem::replace(&mut self.level, level) != level).then_some(level)
    }

    fn limit(&self, deviations: u32, (min, max): (Duration, Duration)) -> Duration {
        (self.mean + self.deviation * deviations).clamp(min, max)
    }

    fn learn(&mut self, sample: Duration) {
        // A wait that outlived every limit says nothing about how the next one will be.
        let sample = sample.min(RED.1);
        let error = sample.abs_diff(self.mean);
        self.mean = self.mean * 7 / 8 + sample / 8;
        self.deviation = self.deviation * 3 / 4 + error / 4;
    }
}
