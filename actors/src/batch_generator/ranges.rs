//! Planned streams: how far each is planned, and whose answer is waited for. One batch is asked for at a time, because
//! the next one begins where it ends.

use super::{allowance::Allowance, messages::GeneratorAction};
use crate::seam::{PlannedRange, RangesFound};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidemill_protocol::{
    id::{BatchNumber, PartitionId, StreamId},
    time::Time,
};

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// One planned stream.
#[derive(Clone, Debug)]
struct Planned {
    offsets: BTreeMap<PartitionId, u64>,
    exhausted: bool,
    failures: u32,
    /// Records per second; 0: paused; `u64::MAX`: no limit.
    rate: u64,
    allowance: Allowance,
}

impl Planned {
    /// How many records the batch that is asked for at `now` may hold; `None`: no limit.
    fn permitted(&mut self, now: Time, interval: Option<Duration>) -> Option<u64> {
        match interval {
            _ if self.rate == 0 => {
                self.allowance.forgo(now);
                Some(0)
            }
            Some(interval) if self.rate != u64::MAX => Some(self.allowance.take(now, interval, self.rate)),
            _ => None,
        }
    }
}

/// A question to a planned source.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    pub(super) batch: BatchNumber,
    pub(super) stream: StreamId,
    pub(super) planned: BTreeMap<PartitionId, u64>,
    pub(super) records_max: Option<u64>,
}

impl From<Question> for GeneratorAction {
    fn from(question: Question) -> Self {
        let Question { batch, stream, planned, records_max } = question;
        GeneratorAction::AskRanges { batch, stream, planned, records_max }
    }
}

/// The batch whose ranges are being gathered.
#[derive(Debug)]
struct Asked {
    batch: BatchNumber,
    open: BTreeSet<StreamId>,
    /// How many records each stream may give.
    records_max: BTreeMap<StreamId, Option<u64>>,
    retry_at: BTreeMap<StreamId, Time>,
    found: BTreeMap<StreamId, Vec<PlannedRange>>,
}

/// All planned streams of a pipeline.
#[derive(Debug)]
pub(super) struct Ranges {
    streams: BTreeMap<StreamId, Planned>,
    interval: Option<Duration>,
    records_max: Option<u64>,
    asked: Option<Asked>,
}

impl Ranges {
    /// Planned streams, each with its rate until another one is set. Without an interval, rates count for nothing.
    pub(super) fn new(
        streams: impl IntoIterator<Item = (StreamId, u64)>,
        interval: Option<Duration>,
        records_max: Option<u64>,
    ) -> Self {
        let new = |rate| {
            let allowance = Allowance::default();
            Planned { offsets: BTreeMap::new(), exhausted: false, failures: 0, rate, allowance }
        };
        Ranges {
            streams: streams.into_iter().map(|(stream, rate)| (stream, new(rate))).collect(),
            interval,
            records_max,
            asked: None,
        }
    }

    pub(super) fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether no stream will ever give a range again.
    pub(super) fn is_exhausted(&self) -> bool {
        self.asked.is_none() && self.streams.values().all(|planned| planned.exhausted)
    }

    pub(super) fn set_rate(&mut self, stream: StreamId, rate: u64) {
        if let Some(planned) = self.streams.get_mut(&stream) {
            planned.rate = rate;
        }
    }

    /// Asks every stream that may have more, is not paused, and is permitted something, for its share of `batch`.
    pub(super) fn ask(&mut self, now: Time, batch: BatchNumber) -> Vec<Question> {
        let (interval, limit) = (self.interval, self.records_max);
        let mut records_max = BTreeMap::new();
        for (stream, planned) in self.streams.iter_mut().filter(|(_, planned)| !planned.exhausted) {
            let by_rate = planned.permitted(now, interval);
            if by_rate != Some(0) {
                records_max.insert(*stream, by_rate.into_iter().chain(limit).min());
            }
        }
        let open: BTreeSet<StreamId> = records_max.keys().copied().collect();
        let asked = Asked {
            batch,
            open: open.clone(),
            records_max,
            retry_at: BTreeMap::new(),
            found: BTreeMap::new(),
        };
        let questions = open.into_iter().map(|stream| self.question(&asked, stream)).collect();
        self.asked = Some(asked);
        questions
    }

    fn question(&self, asked: &Asked, stream: StreamId) -> Question {
        let planned = self.streams[&stream].offsets.clone();
        Question { batch: asked.batch, stream, planned, records_max: asked.records_max[&stream] }
    }

    /// An answer. `Err` gives how often in a row the stream has failed; it is asked again later.
    pub(super) fn answer(
        &mut self,
        now: Time,
        batch: BatchNumber,
        stream: StreamId,
        result: Result<RangesFound, String>,
    ) -> Result<(), (u32, String)> {
        let (Some(asked), Some(planned)) = (&mut self.asked, self.streams.get_mut(&stream)) else {
            return Ok(());
        };
        if asked.batch != batch || !asked.open.contains(&stream) || asked.retry_at.contains_key(&stream) {
            return Ok(());
        }
        match result {
            Ok(found) => {
                planned.failures = 0;
                planned.exhausted = found.exhausted;
                for range in &found.ranges {
                    let offset = planned.offsets.entry(range.partition).or_default();
                    *offset = range.to.max(*offset);
                }
                asked.open.remove(&stream);
                asked.found.insert(stream, found.ranges);
                Ok(())
            }
            Err(why) => {
                planned.failures += 1;
                let delay = RETRY_MIN * 2u32.saturating_pow(planned.failures.min(16) - 1);
                asked.retry_at.insert(stream, now + delay.min(RETRY_MAX));
                Err((planned.failures, why))
            }
        }
    }

    /// The questions whose time has come again.
    pub(super) fn retry(&mut self, now: Time) -> Vec<Question> {
        let Some(asked) = &mut self.asked else {
            return Vec::new();
        };
        let due: Vec<StreamId> =
            asked.retry_at.iter().filter(|(_, at)| **at <= now).map(|(s, _)| *s).collect();
        asked.retry_at.retain(|_, at| *at > now);
        let asked = self.asked.as_ref();
        due.into_iter().filter_map(|stream| asked.map(|asked| self.question(asked, stream))).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.asked.as_ref().and_then(|asked| asked.retry_at.values().min().copied())
    }

    /// The ranges of the asked batch, once all have answered.
    pub(super) fn take(&mut self) -> Option<(BatchNumber, BTreeMap<StreamId, Vec<PlannedRange>>)> {
        self.asked.take_if(|asked| asked.open.is_empty()).map(|asked| (asked.batch, asked.found))
    }
}
