//! The controller against a pipeline in virtual time: overload, breakdown, overhead, backlog.

use super::input;
use crate::{
    core::Core,
    rate_controller::{BatchInfo, InputLoad, RateAction, RateConfig, RateControllerCore, RateEvent},
};
use std::{collections::VecDeque, time::Duration};
use tidemill_protocol::{
    id::BatchNumber,
    time::{BatchTime, Time},
};

/// A batch on its way: records, cut at, first task at, done at (ns), share of its work that is done.
struct Batch {
    number: u64,
    records: u64,
    cut: u64,
    started: u64,
    done: u64,
    progress: f64,
}

/// A pipeline that processes one batch at a time, and publishes one at a time, beside a source that is never slower than
/// it may be.
struct Pipeline {
    core: RateControllerCore,
    interval: u64,
    step: u64,
    now: u64,
    rate: u64,
    received: f64,
    batches: u64,
    waiting: VecDeque<Batch>,
    publishing: VecDeque<Batch>,
    overhead_s: f64,
    publish_per_s: f64,
    outstanding: u64,
    /// The worst since the last look.
    delay_max: Duration,
    outstanding_max: u64,
    batch_max: u64,
    published: u64,
}

impl Pipeline {
    fn new(interval: Duration, overhead_s: f64) -> Self {
        Pipeline::with(RateConfig::default(), interval, overhead_s)
    }

    fn with(config: RateConfig, interval: Duration, overhead_s: f64) -> Self {
        let core = RateControllerCore::new(config, interval, [input(0)]);
        let interval = interval.as_nanos() as u64;
        let mut pipeline = Pipeline {
            core,
            interval,
            step: interval / 20,
            now: 0,
            rate: 0,
            received: 0.0,
            batches: 0,
            waiting: VecDeque::new(),
            publishing: VecDeque::new(),
            overhead_s,
            publish_per_s: f64::INFINITY,
            outstanding: 0,
            delay_max: Duration::ZERO,
            outstanding_max: 0,
            batch_max: 0,
            published: 0,
        };
        pipeline.tell(RateEvent::Start);
        pipeline
    }

    fn tell(&mut self, event: RateEvent) {
        let mut out = Vec::new();
        self.core.on_event(Time(self.now), event, &mut out);
        self.core.assert_invariants();
        for RateAction::SetRate { records_per_s_max, .. } in out {
            self.rate = records_per_s_max;
        }
    }

    fn look(&mut self) -> (Duration, u64) {
        self.batch_max = 0;
        (std::mem::take(&mut self.delay_max), std::mem::take(&mut self.outstanding_max))
    }

    /// Lets `seconds` pass, with `offered` records per second wanting in and `capacity` going out.
    fn run(&mut self, seconds: u64, offered: f64, capacity: f64) {
        let end = self.now + seconds * 1_000_000_000;
        while self.now < end {
            self.now += self.step;
            let step_s = self.step as f64 / 1e9;
            self.received += offered.min(self.rate as f64) * step_s;
            if self.now.is_multiple_of(self.interval) {
                self.cut();
            }
            self.process(step_s, capacity);
            self.publish(step_s);
            if self.core.next_deadline().is_some_and(|at| at.0 <= self.now) {
                self.tell(RateEvent::Wake);
            }
        }
    }

    fn cut(&mut self) {
        let records = self.received as u64;
        self.received -= records as f64;
        self.outstanding += records;
        self.outstanding_max = self.outstanding_max.max(self.outstanding);
        self.batch_max = self.batch_max.max(records);
        let (number, cut) = (self.batches, self.now);
        self.batches += 1;
        self.waiting.push_back(Batch { number, records, cut, started: 0, done: 0, progress: 0.0 });
    }

    fn process(&mut self, step_s: f64, capacity: f64) {
        let mut left = step_s;
        while let Some(batch) = self.waiting.front_mut() {
            if batch.started == 0 {
                batch.started = self.now;
            }
            let cost = self.overhead_s + batch.records as f64 / capacity;
            let needs = (1.0 - batch.progress) * cost;
            if needs > left {
                batch.progress += left / cost;
                return;
            }
            left -= needs;
            batch.done = self.now;
            batch.progress = 0.0;
            self.publishing.extend(self.waiting.pop_front());
        }
    }

    fn publish(&mut self, step_s: f64) {
        while let Some(batch) = self.publishing.front_mut() {
            batch.progress += step_s * self.publish_per_s / batch.records.max(1) as f64;
            if batch.progress < 1.0 {
                return;
            }
            let Some(batch) = self.publishing.pop_front() else {
                return;
            };
            let total_delay = Duration::from_nanos(self.now - batch.cut);
            self.outstanding -= batch.records;
            self.published += batch.records;
            self.delay_max = self.delay_max.max(total_delay);
            self.tell(RateEvent::BatchCompleted(BatchInfo {
                batch: BatchNumber(batch.number),
                time: BatchTime(batch.cut / 1_000_000),
                records: batch.records,
                inputs: vec![InputLoad { input: input(0), records: batch.records, bytes: 0 }],
                scheduling_delay: Duration::from_nanos(batch.started - batch.cut),
                processing_time: Duration::from_nanos(batch.done - batch.started),
                total_delay,
            }));
            if self.publish_per_s.is_finite() {
                return;
            }
        }
    }
}

const INTERVALS_MS: [u64; 3] = [10, 500, 2_000];
const CAPACITY: f64 = 50_000.0;

#[test]
fn tenfold_overload_keeps_delay_and_memory_bounded_and_passes() {
    for interval_ms in INTERVALS_MS {
        let interval = Duration::from_millis(interval_ms);
        let mut pipeline = Pipeline::new(interval, 0.1 * interval.as_secs_f64());
        pipeline.run(30, CAPACITY / 2.0, CAPACITY);
        pipeline.look();
        pipeline.run(30, CAPACITY * 10.0, CAPACITY);
        let published = std::mem::take(&mut pipeline.published);
        let (delay, outstanding) = pipeline.look();
        assert!(delay <= 3 * interval, "{interval_ms} ms: delay {delay:?}");
        let per_interval = CAPACITY * interval.as_secs_f64();
        assert!(
            (outstanding as f64) < 4.0 * per_interval,
            "{interval_ms} ms: {outstanding} records outstanding"
        );
        assert!(published as f64 > 0.7 * 30.0 * CAPACITY, "{interval_ms} ms: only {published} published");
        // Back to normal within twice the overload's length: at its end not one batch waits for another.
        pipeline.run(58, CAPACITY / 2.0, CAPACITY);
        pipeline.look();
        pipeline.run(2, CAPACITY / 2.0, CAPACITY);
        assert!(pipeline.look().0 <= interval, "{interval_ms} ms: not back to normal");
    }
}

#[test]
fn a_breakdown_to_a_tenth_keeps_delay_bounded_and_passes() {
    for interval_ms in INTERVALS_MS {
        let interval = Duration::from_millis(interval_ms);
        let mut pipeline = Pipeline::new(interval, 0.1 * interval.as_secs_f64());
        pipeline.run(60, CAPACITY * 2.0, CAPACITY);
        pipeline.look();
        pipeline.run(30, CAPACITY * 2.0, CAPACITY / 10.0);
        let (_, outstanding) = pipeline.look();
        // Until the first batch of the breakdown ends there is only silence to go by: about four intervals' worth comes in.
        let per_interval = CAPACITY * interval.as_secs_f64();
        assert!(
            (outstanding as f64) < 8.0 * per_interval,
            "{interval_ms} ms: {outstanding} records outstanding"
        );
        pipeline.run(50, CAPACITY * 2.0, CAPACITY);
        pipeline.look();
        pipeline.published = 0;
        pipeline.run(10, CAPACITY * 2.0, CAPACITY);
        let (delay, _) = pipeline.look();
        assert!(delay <= 3 * interval, "{interval_ms} ms: delay {delay:?} after the breakdown");
        let published = pipeline.published as f64;
        assert!(
            published > 0.7 * 10.0 * CAPACITY,
            "{interval_ms} ms: {published} published after the breakdown"
        );
    }
}

#[test]
fn a_backlog_at_the_start_is_throttled() {
    for interval_ms in INTERVALS_MS {
        let interval = Duration::from_millis(interval_ms);
        let mut pipeline = Pipeline::new(interval, 0.0);
        pipeline.run(60, f64::INFINITY, CAPACITY);
        let batch_max = pipeline.batch_max as f64;
        let (delay, _) = pipeline.look();
        assert!(
            batch_max <= 1.5 * CAPACITY * interval.as_secs_f64(),
            "{interval_ms} ms: a batch of {batch_max}"
        );
        assert!(delay <= 3 * interval, "{interval_ms} ms: delay {delay:?}");
    }
}

#[test]
fn overhead_near_the_interval_does_not_collapse_the_rate() {
    for (share, at_least) in [(0.5, 0.3), (0.8, 0.06), (1.0, 0.04)] {
        let interval = Duration::from_millis(100);
        let mut pipeline = Pipeline::new(interval, share * interval.as_secs_f64());
        pipeline.run(60, CAPACITY * 2.0, CAPACITY);
        let rate = pipeline.rate as f64;
        assert!(rate >= at_least * CAPACITY, "overhead {share}: rate {rate}");
    }
}

#[test]
fn a_slow_sink_holds_the_source_back() {
    let interval = Duration::from_millis(500);
    let mut pipeline = Pipeline::new(interval, 0.0);
    pipeline.publish_per_s = CAPACITY / 10.0;
    pipeline.run(60, CAPACITY, CAPACITY);
    pipeline.look();
    pipeline.run(30, CAPACITY, CAPACITY);
    let (delay, _) = pipeline.look();
    assert!(delay <= 6 * interval, "{delay:?}");
}

#[test]
fn a_rate_comes_up_from_its_minimum_beside_overhead_near_the_interval() {
    let interval = Duration::from_millis(100);
    // Small batches of one size say nothing about what a record costs: believed, they hold the rate where it is.
    for (share, at_least) in [(0.3, 0.5), (0.6, 0.2), (0.85, 0.03), (0.95, 0.03)] {
        let config = RateConfig { rate_initial: RateConfig::default().rate_min, ..RateConfig::default() };
        let mut pipeline = Pipeline::with(config, interval, share * interval.as_secs_f64());
        // What ten records take beyond the overhead is to be seen, and not lost between two looks.
        pipeline.step = pipeline.interval / 1_000;
        pipeline.run(60, CAPACITY * 2.0, CAPACITY);
        let rate = pipeline.rate as f64;
        assert!(rate >= at_least * CAPACITY, "overhead {share}: rate {rate}");
        pipeline.run(60, CAPACITY * 2.0, CAPACITY);
        let (delay, _) = pipeline.look();
        assert!(delay <= 3 * interval, "overhead {share}: delay {delay:?}");
    }
}
