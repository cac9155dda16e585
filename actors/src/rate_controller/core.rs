//! The rate of all inputs together: slow start, PID under overload, halved in silence; then dealt out.

use super::{
    cost::CostModel,
    messages::{BatchInfo, InputKey, RateAction as Action, RateConfig, RateEvent as Event},
    pid::{Measured, Pid},
    share::Shares,
};
use crate::core::Core;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidemill_protocol::time::{BatchTime, Time};

/// A rate counts as used up from this part on.
const USED_UP: f64 = 0.8;
/// A rate that is not used decays, batch by batch, towards this multiple of what is used.
const HEADROOM: f64 = 4.0;
/// By this factor.
const UNUSED_DECAY: f64 = 0.95;
/// The least part of what the pipeline can do that is left to the inputs when overhead alone fills the interval: then the
/// delay is not the records' fault, and no rate repairs it.
const CAPACITY_FLOOR: f64 = 0.05;
/// Growth where the model has no more to say: batches overlap, none waits.
const PROBE: f64 = 1.05;
/// A probe after which batches take so many times as long is not followed by another: they took no longer for being larger, but
/// for sharing what there is. None of them waits before all places in flight are taken, and that is late.
const PROBE_LONGER_MAX: f64 = 1.1;
/// For so many batches; then what they take is taken for normal.
const PROBE_HELD_MAX: u32 = 20;
/// After so many batches of one size a larger one is tried: they do not tell what a record costs.
const ALIKE_MAX: u32 = 20;
/// How much larger. From the share of the interval that is aimed at this leads to its end, and not into waiting.
const TRIAL: f64 = 1.15;
/// A price found from sizes that lie so far apart is believed for sizes beyond them by this many times as much.
const REACH: f64 = 5.0;
/// Where batches overlap, the times between their ends jump: the mean of them is right, a slope through them is not. So for
/// this many batches after one that did, the rate grows by probes only.
const OVERLAP_MEMORY: u32 = 5;
/// Waiting of less than this is noise at any interval.
const QUEUED_NOISE: Duration = Duration::from_millis(10);
/// A rate that differs less than this from the one told is not told.
const CHANGE_MIN: f64 = 0.02;
/// How long the first batch may take, beyond ten intervals, before silence counts: executors are still coming up.
const START_GRACE: Duration = Duration::from_secs(5);

/// The decisions of rate control.
#[derive(Debug)]
pub struct RateControllerCore {
    config: RateConfig,
    interval: Duration,
    inputs: BTreeSet<InputKey>,
    paused: BTreeSet<InputKey>,
    told: BTreeMap<InputKey, u64>,
    /// The rate of all inputs that are not paused, in records per second.
    total: f64,
    pid: Pid,
    cost: CostModel,
    shares: Shares,
    bytes_per_record: Option<f64>,
    last_time: Option<BatchTime>,
    last_done: Time,
    raised_at: Time,
    /// The rate before the larger batches that are being tried.
    tried_from: Option<f64>,
    probe: Option<Probe>,
    /// Records per second that went through when batches waited last.
    proven: f64,
    /// Records per second that nobody throttles, in the last batch.
    others: f64,
    /// For how many batches only the mean of what they take is believed.
    overlapping: u32,
    silent_at: Option<Time>,
}

/// The last growth beyond what the model says.
#[derive(Clone, Copy, Debug)]
struct Probe {
    /// What a batch took before.
    took: Duration,
    /// Batches since that took too long for another one.
    held: u32,
}

impl RateControllerCore {
    /// Control of `inputs` at batch interval `interval`.
    pub fn new(config: RateConfig, interval: Duration, inputs: impl IntoIterator<Item = InputKey>) -> Self {
        let inputs: BTreeSet<InputKey> = inputs.into_iter().collect();
        RateControllerCore {
            total: config.rate_initial as f64 * inputs.len() as f64,
            pid: Pid::new(config.gains),
            shares: Shares::new(inputs.iter().copied()),
            config,
            interval: interval.max(Duration::from_millis(1)),
            inputs,
            paused: BTreeSet::new(),
            told: BTreeMap::new(),
            cost: CostModel::default(),
            bytes_per_record: None,
            last_time: None,
            last_done: Time::ZERO,
            raised_at: Time::ZERO,
            tried_from: None,
            probe: None,
            proven: 0.0,
            others: 0.0,
            overlapping: 0,
            silent_at: None,
        }
    }

    fn interval_s(&self) -> f64 {
        self.interval.as_secs_f64()
    }

    fn active(&self) -> Vec<InputKey> {
        self.inputs.difference(&self.paused).copied().collect()
    }

    fn on_completed(&mut self, now: Time, info: &BatchInfo) {
        if self.last_time.is_some_and(|last| info.time <= last) {
            return;
        }
        let records = info.records as f64;
        let read: u64 =
            info.inputs.iter().filter(|load| self.inputs.contains(&load.input)).map(|l| l.records).sum();
        let read = read as f64;
        let (service, queued) = self.service_and_queue(now, info);
        let overlaps = info.processing_time > self.interval + self.interval / 10;
        self.overlapping = if overlaps { OVERLAP_MEMORY } else { self.overlapping.saturating_sub(1) };
        self.cost.add(records, service);
        self.shares.add_batch(&info.inputs.iter().map(|load| (load.input, load.records)).collect());
        self.see_bytes(info);
        let since_last_s =
            self.last_time.map_or(0.0, |last| (info.time.as_millis() - last.as_millis()) as f64 / 1_000.0);
        self.last_time = Some(info.time);
        self.last_done = now;
        self.silent_at = Some(now + 2 * self.interval + QUEUED_NOISE);

        let used = read / self.interval_s();
        // Records that nobody throttles have to be processed too: what they take is not there for the others.
        let others = (records - read) / self.interval_s();
        self.others = others;
        let tolerated = (self.interval / 2).max(QUEUED_NOISE).as_secs_f64();
        let next = match self.processing_rate(records, service, others) {
            Some(processing_rate) if queued > tolerated => {
                self.proven = self.went_through();
                let queued_intervals = queued / self.interval_s();
                let latest_rate = self.total;
                let next = self.pid.next_rate(Measured {
                    latest_rate,
                    processing_rate,
                    queued_intervals,
                    since_last_s,
                });
                // Never a rise: an estimate from before a breakdown must not undo the descent.
                next.max((CAPACITY_FLOOR * self.capacity()).min(self.total))
            }
            Some(target) if used >= USED_UP * self.total => self.raised(now, info, target),
            _ => {
                let enough =
                    (HEADROOM * used).max(self.config.rate_initial as f64 * self.inputs.len() as f64);
                if self.total > enough { (self.total * UNUSED_DECAY).max(enough) } else { self.total }
            }
        };
        self.set_total(next);
    }

    /// How long the batch held the pipeline up, and how long it was held up itself, in seconds. Where batches overlap, a
    /// batch costs the time since the one before, not the time from its own start. Publishing is part of both.
    fn service_and_queue(&self, now: Time, info: &BatchInfo) -> (f64, f64) {
        let gap = if self.last_time.is_some() { now.since(self.last_done) } else { Duration::MAX };
        let work = info.total_delay.saturating_sub(info.scheduling_delay).max(info.processing_time);
        let publishing = work - info.processing_time;
        let queued = info.scheduling_delay + publishing.saturating_sub(gap);
        (work.min(gap).as_secs_f64(), queued.as_secs_f64())
    }

    /// The rate whose batches fit into the interval, beside `others` that come anyway.
    fn processing_rate(&self, records: f64, service: f64, others: f64) -> Option<f64> {
        let cost = self.cost.cost()?;
        if self.overlapping > 0 {
            let fits = self.config.utilisation * self.cost.records_per_s_at_least();
            return Some((fits - others).max(CAPACITY_FLOOR * fits));
        }
        let room = self.config.utilisation - cost.overhead_s / self.interval_s();
        let fits = cost.records_per_s * room.max(CAPACITY_FLOOR);
        // Whatever the model says: what took longer than an interval is too much for one. Where overhead alone takes
        // that long, the measurement says nothing about records.
        let is_proof = service >= self.interval_s() && records > 0.0 && room > CAPACITY_FLOOR;
        let fits = if is_proof { fits.min(records / service) } else { fits };
        Some(if others > 0.0 { (fits - others).max(CAPACITY_FLOOR * cost.records_per_s) } else { fits })
    }

    /// The next rate when the permitted one is used up and nothing waits: it grows, but only after a batch that was
    /// received under it has been seen.
    fn raised(&mut self, now: Time, info: &BatchInfo, target: f64) -> f64 {
        let begun = Time(now.0.saturating_sub((info.total_delay + self.interval).as_nanos() as u64));
        if begun < self.raised_at {
            return self.total;
        }
        if let Some(before) = self.tried_from.take()
            && target < self.total
        {
            return before.max(target).min(self.total);
        }
        let believed = (self.config.utilisation * self.cost.records_per_s_at_least())
            .max(self.total * (1.0 + REACH * self.cost.spread()));
        let next = if self.overlapping > 0 {
            // What went through while batches waited can go through again.
            let proven = self.config.utilisation * self.proven;
            match self.total < proven {
                true => proven.min(self.total * self.config.growth_max),
                false if self.may_probe(info) => self.total * PROBE,
                false => self.total,
            }
        } else if self.cost.alike() >= ALIKE_MAX && target < TRIAL * self.total {
            self.cost.forget_alike();
            self.tried_from = Some(self.total);
            self.total * TRIAL
        } else if target > self.total {
            target.min(self.total * self.config.growth_max).min(believed.max(self.total))
        } else {
            self.total
        };
        if next > self.total {
            self.raised_at = now;
        }
        next
    }

    /// Whether a larger rate may be tried where batches overlap: not if the last trial made them longer than it made them larger.
    fn may_probe(&mut self, info: &BatchInfo) -> bool {
        let took = info.processing_time;
        if let Some(probe) = &mut self.probe
            && took > probe.took.mul_f64(PROBE_LONGER_MAX)
            && probe.held < PROBE_HELD_MAX
        {
            probe.held += 1;
            return false;
        }
        self.probe = Some(Probe { took, held: 0 });
        true
    }

    /// Records per second of all inputs together that went through of late.
    fn went_through(&self) -> f64 {
        (self.cost.records_per_s_at_least() - self.others).max(0.0)
    }

    fn capacity(&self) -> f64 {
        self.cost.cost().map_or(0.0, |cost| cost.records_per_s)
    }

    fn see_bytes(&mut self, info: &BatchInfo) {
        let bytes: u64 = info.inputs.iter().map(|load| load.bytes).sum();
        if info.records > 0 && bytes > 0 {
            let latest = bytes as f64 / info.records as f64;
            let known = self.bytes_per_record.unwrap_or(latest);
            self.bytes_per_record = Some(known + 0.3 * (latest - known));
        }
    }

    fn set_total(&mut self, total: f64) {
        if total < self.total {
            self.probe = None;
        }
        let count = self.inputs.len().max(1) as f64;
        let low = (self.config.rate_min as f64 * count).max(1.0);
        let mut high = self.config.rate_max as f64 * count;
        if let Some(size) = self.bytes_per_record {
            high = high.min(self.config.bytes_per_s_max as f64 / size);
        }
        self.total = total.max(low).min(high.max(1.0));
    }

    /// No batch has come to its end for long: the one that runs is too large, and the next ones shall not be.
    fn on_silence(&mut self, now: Time) {
        let low = (self.config.rate_min as f64 * self.inputs.len() as f64).max(1.0);
        self.total = (self.total / 2.0).max(low).min(self.total);
        self.probe = None;
        if self.overlapping > 0 {
            self.proven = self.went_through();
        }
        self.silent_at = Some(now + self.interval.max(QUEUED_NOISE));
    }

    /// Tells the rates that have changed enough to be worth a message.
    fn tell(&mut self, out: &mut Vec<Action>) {
        let active = self.active();
        let mut rates: Vec<(InputKey, u64)> = self.paused.iter().map(|input| (*input, 0)).collect();
        if self.config.enabled {
            let floor = (self.config.rate_min as f64).min(self.total / active.len().max(1) as f64);
            let dealt = self.shares.deal(self.total, floor, &active);
            rates.extend(
                dealt.into_iter().map(|(i, r)| (i, (r.round() as u64).clamp(1, self.config.rate_max.max(1)))),
            );
        } else {
            rates.extend(active.iter().map(|input| (*input, self.config.rate_max)));
        }
        for (input, rate) in rates {
            let worth_it = self.told.get(&input).is_none_or(|told| {
                let (old, new) = (*told as f64, rate as f64);
                (*told == 0) != (rate == 0) || (old - new).abs() > CHANGE_MIN * old
            });
            if worth_it {
                self.told.insert(input, rate);
                out.push(Action::SetRate { input, records_per_s_max: rate });
            }
        }
    }
}

impl Core for RateControllerCore {
    type Event = Event;
    type Action = Action;
    const NAME: &'static str = "rate_controller";

    fn on_event(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Start => {
                self.silent_at = Some(now + 10 * self.interval + START_GRACE);
                self.set_total(self.total);
            }
            Event::BatchCompleted(info) => self.on_completed(now, &info),
            Event::Pause(input) => {
                if self.inputs.contains(&input) {
                    self.paused.insert(input);
                }
            }
            Event::Resume(input) => {
                self.paused.remove(&input);
            }
            Event::InputEnded(input) => {
                self.inputs.remove(&input);
                self.paused.remove(&input);
                self.told.remove(&input);
                self.shares.remove(input);
            }
            Event::Wake => {
                if self.silent_at.is_some_and(|at| at <= now) {
                    self.on_silence(now);
                }
            }
        }
        self.tell(out);
    }

    fn wake() -> Event {
        Event::Wake
    }

    fn next_deadline(&self) -> Option<Time> {
        self.silent_at.filter(|_| self.config.enabled && self.inputs.len() > self.paused.len())
    }

    fn assert_invariants(&self) {
        assert!(self.total.is_finite() && self.total >= 0.0, "a rate is a number: {}", self.total);
        assert!(self.paused.is_subset(&self.inputs), "only inputs are paused");
        assert!(self.told.keys().all(|input| self.inputs.contains(input)), "only inputs have rates");
    }
}
