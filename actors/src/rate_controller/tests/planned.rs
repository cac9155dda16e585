//! Rate controller and batch generator together, in virtual time: a planned stream with a huge backlog before a pipeline
//! that processes one batch at a time, and a sink that takes one at a time.

use super::input;
use crate::{
    batch_generator::{
        BatchInterval, GeneratorAction, GeneratorConfig, GeneratorCore, GeneratorEvent, RangesFound,
    },
    core::Core,
    rate_controller::{BatchInfo, RateAction, RateConfig, RateControllerCore, RateEvent, share::by_lag},
    seam::{BatchPlan, PlannedRange, StorageLevel, StreamInfo, StreamKind},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tidemill_protocol::{
    id::{PartitionId, StreamId},
    time::Time,
};

const INTERVAL_MS: u64 = 500;
const CAPACITY_PER_S: u64 = 50_000;

enum Told {
    Generator(GeneratorEvent),
    Rates(RateEvent),
}

/// A batch that was published.
#[derive(Clone, Copy, Debug)]
struct Done {
    cut_ms: u64,
    records: u64,
    delay_ms: u64,
}

struct Loop {
    generator: GeneratorCore,
    rates: RateControllerCore,
    now_ms: u64,
    sink_per_s: u64,
    /// What the partitions hold in all.
    held: BTreeMap<PartitionId, u64>,
    permitted: u64,
    told: VecDeque<Told>,
    /// Batches on their way, with the time when they will be published.
    under_way: VecDeque<(u64, RateEvent, Done)>,
    processed_ms: u64,
    published_ms: u64,
    done: Vec<Done>,
}

impl Loop {
    fn new(sink_per_s: u64) -> Self {
        let stream = StreamInfo {
            id: StreamId(0),
            name: "backlog".into(),
            kind: StreamKind::Planned,
            receivers: 0,
            storage: StorageLevel::Replicated,
        };
        let config = RateConfig::default();
        let permitted = config.rate_initial;
        let generator = GeneratorConfig {
            interval: BatchInterval::Every(Duration::from_millis(INTERVAL_MS)),
            streams: vec![stream],
            rate_initial: permitted,
            throttled: [StreamId(0)].into(),
            ..GeneratorConfig::default()
        };
        let start =
            [Told::Rates(RateEvent::Start), Told::Generator(GeneratorEvent::Start { wall: Duration::ZERO })];
        Loop {
            generator: GeneratorCore::new(generator),
            rates: RateControllerCore::new(config, Duration::from_millis(INTERVAL_MS), [input(0)]),
            now_ms: 0,
            sink_per_s,
            held: [(PartitionId(0), 100_000_000), (PartitionId(1), 10_000_000), (PartitionId(2), 60)].into(),
            permitted,
            told: start.into(),
            under_way: VecDeque::new(),
            processed_ms: 0,
            published_ms: 0,
            done: Vec::new(),
        }
    }

    fn run(&mut self, seconds: u64) {
        for ms in self.now_ms..self.now_ms + seconds * 1_000 {
            self.now_ms = ms;
            while self.under_way.front().is_some_and(|batch| batch.0 <= ms)
                && let Some((_, completed, done)) = self.under_way.pop_front()
            {
                let RateEvent::BatchCompleted(info) = &completed else { unreachable!("batches only") };
                self.told.push_back(Told::Generator(GeneratorEvent::BatchReleased(info.batch)));
                self.told.push_back(Told::Rates(completed));
                self.done.push(done);
            }
            let due = |deadline: Option<Time>| deadline.is_some_and(|at| at.0 <= ms * 1_000_000);
            if due(self.rates.next_deadline()) {
                self.told.push_back(Told::Rates(RateEvent::Wake));
            }
            if due(self.generator.next_deadline()) {
                self.told.push_back(Told::Generator(GeneratorEvent::Wake));
            }
            self.deliver();
        }
        self.now_ms += 1;
    }

    fn tell(&mut self, event: RateEvent) {
        self.told.push_back(Told::Rates(event));
        self.deliver();
    }

    fn deliver(&mut self) {
        let now = Time(self.now_ms * 1_000_000);
        while let Some(told) = self.told.pop_front() {
            match told {
                Told::Rates(event) => {
                    let mut out = Vec::new();
                    self.rates.on_event(now, event, &mut out);
                    for RateAction::SetRate { input, records_per_s_max } in out {
                        self.permitted = records_per_s_max;
                        let (stream, receiver) = (input.stream, input.receiver);
                        let rate = GeneratorEvent::SetRate { stream, receiver, records_per_s_max };
                        self.told.push_back(Told::Generator(rate));
                    }
                }
                Told::Generator(event) => {
                    let mut out = Vec::new();
                    self.generator.on_event(now, event, &mut out);
                    self.generator.assert_invariants();
                    out.into_iter().for_each(|action| self.perform(action));
                }
            }
        }
    }

    fn perform(&mut self, action: GeneratorAction) {
        match action {
            GeneratorAction::AskRanges { batch, stream, planned, records_max } => {
                let limit = records_max.expect("the stream is throttled");
                let permitted = (self.permitted * INTERVAL_MS).div_ceil(1_000);
                assert!(limit <= permitted, "{limit} records; permitted are {permitted}");
                let ranges = self.ranges(&planned, limit);
                let result = Ok(RangesFound { ranges, exhausted: false });
                self.told.push_back(Told::Generator(GeneratorEvent::RangesReady { batch, stream, result }));
            }
            GeneratorAction::PlanReady { plan, .. } => self.process(&plan),
            _ => {}
        }
    }

    fn ranges(&self, planned: &BTreeMap<PartitionId, u64>, limit: u64) -> Vec<PlannedRange> {
        let from = |partition: &PartitionId| planned.get(partition).copied().unwrap_or(0);
        let lags = self.held.iter().map(|(partition, held)| (*partition, held - from(partition))).collect();
        let shares = by_lag(limit, &lags, planned.values().sum());
        let range = |(partition, rows)| {
            let from = from(&partition);
            PlannedRange { partition, from, to: from + rows, rows }
        };
        shares.into_iter().map(range).collect()
    }

    fn process(&mut self, plan: &Arc<BatchPlan>) {
        let records = BatchInfo::new(plan, Duration::ZERO, Duration::ZERO, Duration::ZERO).records;
        let (cut_ms, started_ms) = (plan.time.0, self.now_ms.max(self.processed_ms));
        self.processed_ms = started_ms + 20 + records * 1_000 / CAPACITY_PER_S;
        self.published_ms = self.processed_ms.max(self.published_ms) + records * 1_000 / self.sink_per_s;
        let ms = Duration::from_millis;
        let info = BatchInfo::new(
            plan,
            ms(started_ms - cut_ms),
            ms(self.processed_ms - started_ms),
            ms(self.published_ms - cut_ms),
        );
        let done = Done { cut_ms, records, delay_ms: self.published_ms - cut_ms };
        self.under_way.push_back((self.published_ms, RateEvent::BatchCompleted(info), done));
    }

    /// The longest delay, the most records of a batch, and all records, of the batches that were cut since `from_ms`.
    fn since(&self, from_ms: u64) -> (u64, u64, u64) {
        let batches = || self.done.iter().filter(|done| done.cut_ms >= from_ms);
        let delay_ms = batches().map(|done| done.delay_ms).max().unwrap_or(0);
        let records_max = batches().map(|done| done.records).max().unwrap_or(0);
        (delay_ms, records_max, batches().map(|done| done.records).sum())
    }
}

#[test]
fn a_huge_planned_backlog_is_read_at_what_the_pipeline_can_do() {
    let mut pipeline = Loop::new(u64::MAX);
    pipeline.run(60);
    // The first batch: 500 ms of 10,000 records a second.
    assert_eq!(pipeline.done[0].records, 5_000);
    let (delay_ms, records_max, records) = pipeline.since(0);
    assert!(delay_ms <= 2 * INTERVAL_MS, "{delay_ms} ms");
    assert!(records_max <= CAPACITY_PER_S * INTERVAL_MS / 1_000, "{records_max} records in a batch");
    assert!(records >= 60 * CAPACITY_PER_S * 7 / 10, "{records} records");
}

#[test]
fn a_slow_sink_holds_a_planned_stream_back() {
    let sink_per_s = CAPACITY_PER_S / 10;
    let mut pipeline = Loop::new(sink_per_s);
    pipeline.run(90);
    let (delay_ms, ..) = pipeline.since(0);
    assert!(delay_ms <= 12 * INTERVAL_MS, "{delay_ms} ms");
    let (delay_ms, _, records) = pipeline.since(30_000);
    assert!(delay_ms <= 6 * INTERVAL_MS, "{delay_ms} ms");
    assert!(records >= 60 * sink_per_s / 2, "{records} records");
}

#[test]
fn a_paused_planned_stream_is_not_read_until_it_is_resumed() {
    let mut pipeline = Loop::new(u64::MAX);
    pipeline.run(10);
    pipeline.tell(RateEvent::Pause(input(0)));
    let paused_ms = pipeline.now_ms;
    pipeline.run(20);
    assert_eq!(pipeline.since(paused_ms + INTERVAL_MS).2, 0);
    assert!(pipeline.since(0).2 > 0, "it was read before");
    pipeline.tell(RateEvent::Resume(input(0)));
    let resumed_ms = pipeline.now_ms;
    pipeline.run(10);
    let (delay_ms, _, records) = pipeline.since(resumed_ms);
    assert!(records > 10 * CAPACITY_PER_S / 4 && delay_ms <= 2 * INTERVAL_MS, "{records} in {delay_ms} ms");
    // Batches are cut all the time, with or without records.
    let cuts: Vec<u64> = pipeline.done.iter().map(|done| done.cut_ms).collect();
    assert!(cuts.len() >= 78 && cuts.windows(2).all(|pair| pair[1] - pair[0] == INTERVAL_MS), "{cuts:?}");
}
