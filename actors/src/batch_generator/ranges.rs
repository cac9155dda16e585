//! Planned streams: how far each is planned, and whose answer is waited for. One batch is asked for at a time, because
//! the next one begins where it ends.

use super::messages::{GeneratorAction, RangesFound};
use crate::seam::PlannedRange;
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
    /// Records per second.
    rate: u64,
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
    pub(super) fn new(
        streams: impl IntoIterator<Item = StreamId>,
        interval: Option<Duration>,
        records_max: Option<u64>,
        rate: u64,
    ) -> Self {
        let new = || Planned { offsets: BTreeMap::new(), exhausted: false, failures: 0, rate };
        Ranges {
            streams: streams.into_iter().map(|stream| (stream, new())).collect(),
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

    /// Asks every stream that may have more, and is not paused, for its share of `batch`.
    pub(super) fn ask(&mut self, batch: BatchNumber) -> Vec<Question> {
        let open: BTreeSet<StreamId> = self
            .streams
            .iter()
            .filter(|(_, p)| !p.exhausted && p.rate > 0)
            .map(|(stream, _)| *stream)
            .collect();
        let questions = open.iter().map(|stream| self.question(batch, *stream)).collect();
        self.asked = Some(Asked { batch, open, retry_at: BTreeMap::new(), found: BTreeMap::new() });
        questions
    }

    fn question(&self, batch: BatchNumber, stream: StreamId) -> Question {
        let planned = &self.streams[&stream];
        let by_rate = self.interval.filter(|_| planned.rate != u64::MAX).map(|interval| {
            let records = u128::from(planned.rate) * interval.as_nanos() / 1_000_000_000;
            u64::try_from(records).unwrap_or(u64::MAX).max(1)
        });
        let records_max = by_rate.into_iter().chain(self.records_max).min();
        Question { batch, stream, planned: planned.offsets.clone(), records_max }
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
        let batch = asked.batch;
        let due: Vec<StreamId> =
            asked.retry_at.iter().filter(|(_, at)| **at <= now).map(|(s, _)| *s).collect();
        asked.retry_at.retain(|_, at| *at > now);
        due.into_iter().map(|stream| self.question(batch, stream)).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.asked.as_ref().and_then(|asked| asked.retry_at.values().min().copied())
    }

    /// The ranges of the asked batch, once all have answered.
    pub(super) fn take(&mut self) -> Option<(BatchNumber, BTreeMap<StreamId, Vec<PlannedRange>>)> {
        self.asked.take_if(|asked| asked.open.is_empty()).map(|asked| (asked.batch, asked.found))
    }
}
