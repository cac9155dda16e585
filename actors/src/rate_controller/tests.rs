//! The plain formula against a table computed by hand, each repair by its name, and the closed loop.

mod closed_loop;
mod lag;
mod planned;

use super::{
    BatchInfo, InputKey, InputLoad, RateAction, RateConfig, RateControllerCore, RateEvent,
    cost::CostModel,
    pid::{Gains, Measured, Pid},
    share::Shares,
};
use crate::core::Core;
use std::{collections::BTreeMap, time::Duration};
use tidemill_protocol::{
    id::{BatchNumber, ReceiverIndex, StreamId},
    time::{BatchTime, Time},
};

pub(super) fn input(receiver: u16) -> InputKey {
    InputKey { stream: StreamId(0), receiver: ReceiverIndex(receiver) }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A batch that was published when the clock says `time`, of `loads` (records, bytes) by input.
fn info(
    time: u64,
    loads: &[(u16, u64, u64)],
    scheduling: u64,
    processing: u64,
    publishing: u64,
) -> BatchInfo {
    BatchInfo {
        batch: BatchNumber(time),
        time: BatchTime(time),
        records: loads.iter().map(|l| l.1).sum(),
        inputs: loads.iter().map(|l| InputLoad { input: input(l.0), records: l.1, bytes: l.2 }).collect(),
        scheduling_delay: ms(scheduling),
        processing_time: ms(processing),
        total_delay: ms(scheduling + processing + publishing),
    }
}

fn tell(core: &mut RateControllerCore, at_ms: u64, event: RateEvent) -> BTreeMap<InputKey, u64> {
    let mut out = Vec::new();
    core.on_event(Time(at_ms * 1_000_000), event, &mut out);
    core.assert_invariants();
    out.into_iter()
        .map(|RateAction::SetRate { input, records_per_s_max }| (input, records_per_s_max))
        .collect()
}

fn started(config: RateConfig, interval_ms: u64, inputs: u16) -> RateControllerCore {
    let mut core = RateControllerCore::new(config, ms(interval_ms), (0..inputs).map(input));
    tell(&mut core, 0, RateEvent::Start);
    core
}

#[test]
fn the_plain_formula_gives_what_the_table_says() {
    // latest, processing, queued intervals → next; P = 1, I = 0.2, D = 0
    let table = [
        (1_000.0, 800.0, 0.0, 800.0),     // 1000 − 200
        (1_000.0, 800.0, 0.5, 720.0),     // 1000 − 200 − 0.2 · 400
        (500.0, 2_000.0, 1.0, 1_600.0),   // 500 + 1500 − 0.2 · 2000
        (2_000.0, 2_000.0, 2.0, 1_200.0), // 2000 − 0 − 0.2 · 4000
        (100.0, 50.0, 0.0, 50.0),         // below any minimum, which is not the formula's affair
    ];
    for (latest_rate, processing_rate, queued_intervals, expected) in table {
        let mut pid = Pid::new(Gains::default());
        let next =
            pid.next_rate(Measured { latest_rate, processing_rate, queued_intervals, since_last_s: 1.0 });
        assert!((next - expected).abs() < 1e-9, "{latest_rate} {processing_rate} {queued_intervals}: {next}");
    }
}

#[test]
fn the_derivative_follows_the_change_of_the_error() {
    let mut pid = Pid::new(Gains { proportional: 0.5, integral: 0.0, derivative: 0.1 });
    let measured = |latest_rate| Measured {
        latest_rate,
        processing_rate: 600.0,
        queued_intervals: 0.0,
        since_last_s: 2.0,
    };
    // error 400, change 200 per second: 1000 − 200 − 20
    assert!((pid.next_rate(measured(1_000.0)) - 780.0).abs() < 1e-9);
    // error 180, change −110 per second: 780 − 90 + 11
    assert!((pid.next_rate(measured(780.0)) - 701.0).abs() < 1e-9);
}

#[test]
fn a_long_delay_does_not_wind_the_integral_up() {
    let mut pid = Pid::new(Gains::default());
    let measured = Measured {
        latest_rate: 1_000.0,
        processing_rate: 800.0,
        queued_intervals: 1_000.0,
        since_last_s: 1.0,
    };
    // As with four intervals: 1000 − 200 − 0.2 · 3200. Spark's gives −159,000, that is, the minimum.
    assert!((pid.next_rate(measured) - 160.0).abs() < 1e-9);
}

#[test]
fn overhead_and_price_are_told_apart() {
    let mut model = CostModel::default();
    assert_eq!(model.cost(), None);
    // 40 ms + n / 10,000 per second
    for n in [100.0, 300.0, 200.0, 500.0] {
        model.add(n, 0.04 + n / 10_000.0);
    }
    let cost = model.cost().expect("there were records");
    assert!(
        (cost.overhead_s - 0.04).abs() < 1e-9 && (cost.records_per_s - 10_000.0).abs() < 1e-3,
        "{cost:?}"
    );
    // Batches of one size change nothing about that.
    for _ in 0..100 {
        model.add(400.0, 0.08);
    }
    let cost = model.cost().expect("there were records");
    assert!(
        (cost.overhead_s - 0.04).abs() < 1e-3 && (cost.records_per_s - 10_000.0).abs() < 300.0,
        "{cost:?}"
    );
}

#[test]
fn the_first_batch_is_bounded_by_the_initial_rate() {
    let mut core = RateControllerCore::new(RateConfig::default(), ms(1_000), [input(0), input(1)]);
    let told = tell(&mut core, 0, RateEvent::Start);
    assert_eq!(told, BTreeMap::from([(input(0), 10_000), (input(1), 10_000)]));
}

#[test]
fn a_used_rate_grows_by_the_growth_factor_and_waits_for_its_effect() {
    let mut core = started(RateConfig::default(), 1_000, 1);
    let told = tell(&mut core, 1_010, RateEvent::BatchCompleted(info(1_000, &[(0, 10_000, 0)], 0, 10, 0)));
    assert_eq!(told, BTreeMap::from([(input(0), 40_000)]));
    // This batch was received from 1,000 to 2,000: ten milliseconds of it under the old rate.
    let told = tell(&mut core, 2_010, RateEvent::BatchCompleted(info(2_000, &[(0, 40_000, 0)], 0, 10, 0)));
    assert_eq!(told, BTreeMap::new());
    let told = tell(&mut core, 3_010, RateEvent::BatchCompleted(info(3_000, &[(0, 40_000, 0)], 0, 10, 0)));
    assert_eq!(told, BTreeMap::from([(input(0), 160_000)]));
}

/// A batch each second that uses up the permitted rate and takes so many milliseconds; what is permitted after each.
fn rates_after(core: &mut RateControllerCore, from_s: u64, took_ms: &[u64]) -> Vec<u64> {
    let mut rate = 10_000;
    let batches = (from_s..).zip(took_ms);
    let after = batches.map(|(second, took)| {
        let batch = info(second * 1_000, &[(0, rate, 0)], 0, *took, 0);
        let told = tell(core, second * 1_000 + took, RateEvent::BatchCompleted(batch));
        rate = told.get(&input(0)).copied().unwrap_or(rate);
        rate
    });
    after.collect()
}

#[test]
fn where_batches_overlap_the_rate_grows_in_small_steps_and_not_while_they_only_take_longer() {
    let mut core = started(RateConfig::default(), 1_000, 1);
    // Two seconds each: a step after each batch that was received under the last one.
    let steady = rates_after(&mut core, 1, &[2_000; 9]);
    assert_eq!(steady, [10_500, 10_500, 10_500, 11_025, 11_025, 11_025, 11_576, 11_576, 11_576]);
    // Longer by more than a tenth since the last step: the slots are shared, not idle.
    let mut core = started(RateConfig::default(), 1_000, 1);
    let longer = rates_after(&mut core, 1, &[2_000, 2_100, 2_250, 2_400, 2_500, 2_600, 2_700, 2_800, 2_900]);
    assert_eq!(longer, [10_500; 9]);
}

/// Batches of 10,000 records that overlap, and a silence of three halvings; what is permitted after each batch from then on.
/// Of each batch, `others` records are of a stream that is not throttled.
fn rates_after_silence(others: u64) -> Vec<u64> {
    let mut core = started(RateConfig::default(), 1_000, 1);
    let batch = |second: u64, own: u64| info(second * 1_000, &[(0, own, 0), (7, others, 0)], 0, 2_000, 0);
    for second in 1..=10 {
        tell(&mut core, second * 1_000 + 2_000, RateEvent::BatchCompleted(batch(second, 10_000 - others)));
    }
    let mut rate = 0;
    for second in 15..=17 {
        rate = tell(&mut core, second * 1_000, RateEvent::Wake)[&input(0)];
    }
    let permitted = (18..=26).map(|second| {
        let told = tell(&mut core, second * 1_000 + 2_000, RateEvent::BatchCompleted(batch(second, rate)));
        rate = told.get(&input(0)).copied().unwrap_or(rate);
        rate
    });
    permitted.collect()
}

#[test]
fn where_batches_overlap_the_rate_comes_back_to_what_went_through() {
    // Four steps to 12,155, three halvings, four times as much; then nine tenths of what went through, and a step. The first
    // batch took two seconds and the other nine one each: the weighted mean is 10,000 S / (S + w), where w = 0.85^9 is the
    // first one's weight and S = 5.354 that of all, so 9,585.
    assert_eq!(rates_after_silence(0), [6_078, 6_078, 6_078, 8_627, 8_627, 8_627, 9_058, 9_058, 9_058]);
    // 585 went through beside the other stream: less than is permitted, so there are only steps.
    assert_eq!(rates_after_silence(9_000), [1_313, 1_313, 1_313, 1_378, 1_378, 1_378, 1_447, 1_447, 1_447]);
}

#[test]
fn a_rate_that_is_not_used_does_not_grow_but_decays() {
    let mut core = started(RateConfig::default(), 1_000, 1);
    for second in 1..=8 {
        let records = [10_000, 40_000, 40_000, 160_000, 160_000, 100, 100, 100][second as usize - 1];
        let batch = info(second * 1_000, &[(0, records, 0)], 0, 10, 0);
        tell(&mut core, second * 1_000 + 10, RateEvent::BatchCompleted(batch));
    }
    let used: u64 = *core_rates(&mut core, 9).get(&input(0)).expect("it decays still");
    assert!(used < 640_000, "{used}");
    for second in 10..200 {
        core_rates(&mut core, second);
    }
    // Slow start from the beginning, however long the silence was.
    tell(&mut core, 200_500, RateEvent::Pause(input(0)));
    let told = tell(&mut core, 200_501, RateEvent::Resume(input(0)));
    assert_eq!(told, BTreeMap::from([(input(0), 10_000)]));
}

fn core_rates(core: &mut RateControllerCore, second: u64) -> BTreeMap<InputKey, u64> {
    let batch = info(second * 1_000, &[(0, 100, 0)], 0, 10, 0);
    tell(core, second * 1_000 + 10, RateEvent::BatchCompleted(batch))
}

#[test]
fn a_paused_input_gets_nothing_and_comes_back() {
    let mut core = started(RateConfig::default(), 1_000, 2);
    let told = tell(&mut core, 10, RateEvent::Pause(input(1)));
    assert_eq!(told, BTreeMap::from([(input(0), 20_000), (input(1), 0)]));
    let batch = info(1_000, &[(0, 5_000, 0)], 0, 10, 0);
    assert_eq!(tell(&mut core, 1_010, RateEvent::BatchCompleted(batch)).get(&input(1)), None);
    let told = tell(&mut core, 1_020, RateEvent::Resume(input(1)));
    assert!(told[&input(1)] > 0, "{told:?}");
    let told = tell(&mut core, 1_030, RateEvent::InputEnded(input(1)));
    assert_eq!(told.get(&input(1)), None);
}

#[test]
fn a_slow_sink_counts() {
    let mut core = started(RateConfig::default(), 100, 1);
    // Each batch of 1,000 is processed in 10 ms, but published in 200, one after the other.
    let mut rate = 10_000;
    for batch in 1..=10 {
        let published_at = 110 + 200 * batch;
        let publishing = published_at - 100 * batch - 10;
        let batch = info(100 * batch, &[(0, 1_000, 0)], 0, 10, publishing);
        rate = tell(&mut core, published_at, RateEvent::BatchCompleted(batch))
            .get(&input(0))
            .copied()
            .unwrap_or(rate);
    }
    // 1,000 in 200 ms are 5,000 a second; less, because batches wait.
    assert!((100..5_000).contains(&rate), "{rate}");
}

#[test]
fn inputs_share_by_use_with_a_floor() {
    let mut shares = Shares::new([input(0), input(1)]);
    let all = [input(0), input(1)];
    assert_eq!(shares.deal(1_000.0, 100.0, &all), vec![(input(0), 500.0), (input(1), 500.0)]);
    shares.add_batch(&BTreeMap::from([(input(0), 900), (input(1), 100)]));
    // Each has 100; of the 800 left, a tenth equally (40 each), the rest (720) as 9 to 1.
    let dealt = shares.deal(1_000.0, 100.0, &all);
    assert!((dealt[0].1 - 788.0).abs() < 1e-6 && (dealt[1].1 - 212.0).abs() < 1e-6, "{dealt:?}");
    // One that used nothing still has something.
    shares.add_batch(&BTreeMap::from([(input(0), 100_000)]));
    assert!(shares.deal(1_000.0, 1.0, &all)[1].1 >= 50.0);
}

#[test]
fn equal_hunger_ends_in_equal_shares() {
    let mut shares = Shares::new([input(0), input(1)]);
    shares.add_batch(&BTreeMap::from([(input(0), 1_000)]));
    let all = [input(0), input(1)];
    for _ in 0..200 {
        let dealt = shares.deal(1_000.0, 1.0, &all);
        shares.add_batch(&dealt.into_iter().map(|(i, rate)| (i, rate as u64)).collect());
    }
    let dealt = shares.deal(1_000.0, 1.0, &all);
    assert!((dealt[0].1 - dealt[1].1).abs() < 20.0, "{dealt:?}");
}

#[test]
fn a_tiny_rate_never_rounds_to_nothing() {
    let config = RateConfig { rate_min: 0, rate_initial: 1, ..RateConfig::default() };
    let mut core = RateControllerCore::new(config, ms(100), (0..900).map(input));
    let told = tell(&mut core, 0, RateEvent::Start);
    assert_eq!(told.len(), 900);
    assert!(told.values().all(|rate| *rate == 1));
}

#[test]
fn the_rate_keeps_its_limits_in_records_and_in_bytes() {
    let config = RateConfig { rate_max: 15_000, ..RateConfig::default() };
    let mut core = started(config, 1_000, 1);
    let told = tell(&mut core, 1_010, RateEvent::BatchCompleted(info(1_000, &[(0, 10_000, 0)], 0, 10, 0)));
    assert_eq!(told, BTreeMap::from([(input(0), 15_000)]));

    let config = RateConfig { bytes_per_s_max: 1_000_000, ..RateConfig::default() };
    let mut core = started(config, 1_000, 1);
    // 200 bytes a record: 5,000 records a second
    let batch = info(1_000, &[(0, 10_000, 2_000_000)], 0, 10, 0);
    let told = tell(&mut core, 1_010, RateEvent::BatchCompleted(batch));
    assert_eq!(told, BTreeMap::from([(input(0), 5_000)]));
}

#[test]
fn silence_halves_the_rate_down_to_the_minimum() {
    let mut core = started(RateConfig::default(), 1_000, 1);
    tell(&mut core, 1_010, RateEvent::BatchCompleted(info(1_000, &[(0, 10_000, 0)], 0, 10, 0)));
    assert_eq!(core.next_deadline(), Some(Time(3_020 * 1_000_000)));
    assert_eq!(tell(&mut core, 3_020, RateEvent::Wake), BTreeMap::from([(input(0), 20_000)]));
    assert_eq!(tell(&mut core, 4_020, RateEvent::Wake), BTreeMap::from([(input(0), 10_000)]));
    for second in 5..40 {
        tell(&mut core, second * 1_000 + 20, RateEvent::Wake);
    }
    let told = tell(&mut core, 50_000, RateEvent::Pause(input(0)));
    assert_eq!(told, BTreeMap::from([(input(0), 0)]));
    assert_eq!(core.next_deadline(), None);
    assert_eq!(tell(&mut core, 51_000, RateEvent::Resume(input(0))), BTreeMap::from([(input(0), 100)]));
}

#[test]
fn without_control_every_input_has_its_highest_rate() {
    let config = RateConfig { enabled: false, rate_max: 7, ..RateConfig::default() };
    let mut core = RateControllerCore::new(config, ms(100), [input(0)]);
    assert_eq!(tell(&mut core, 0, RateEvent::Start), BTreeMap::from([(input(0), 7)]));
    let batch = info(100, &[(0, 10_000, 0)], 5_000, 5_000, 0);
    assert_eq!(tell(&mut core, 10_100, RateEvent::BatchCompleted(batch)), BTreeMap::new());
    assert_eq!(core.next_deadline(), None);
}

#[test]
fn records_that_nobody_throttles_leave_less_for_the_others() {
    // 10,000 records a second go through. Of each batch of 100 ms, `others` records are of a stream that is not throttled.
    let rate_beside = |others: u64| {
        let mut core = started(RateConfig { rate_initial: 1_000, ..RateConfig::default() }, 100, 1);
        let (mut rate, mut rates) = (1_000, Vec::new());
        for batch in 1..=60 {
            let records = rate / 10;
            let took = (records + others) / 10;
            let loads = [(0, records, 0), (7, others, 0)];
            let completed = RateEvent::BatchCompleted(info(100 * batch, &loads, 0, took, 0));
            let told = tell(&mut core, 100 * batch + took, completed);
            rate = told.get(&input(0)).copied().unwrap_or(rate);
            assert!(!told.contains_key(&input(7)), "what is not throttled gets no rate");
            rates.push(rate);
        }
        // Larger batches are tried now and then: half of the last ones had no higher rate than this.
        let last = &mut rates[40..];
        last.sort_unstable();
        last[last.len() / 2]
    };
    // Nine tenths of the interval are used: 9,000 records a second.
    let (alone, beside, crowded) = (rate_beside(0), rate_beside(500), rate_beside(890));
    assert!((8_500..=9_500).contains(&alone), "{alone}");
    assert!((3_500..=4_500).contains(&beside), "{beside}");
    // A twentieth of what the pipeline can do is left in any case.
    assert!((400..=1_000).contains(&crowded), "{crowded}");
}

#[test]
fn a_batch_info_reads_its_loads_from_the_plan() {
    use crate::seam::{BatchPlan, PlannedBlock, PlannedRange, StreamInput};
    use tidemill_protocol::id::{BlockId, Incarnation, PartitionId, ProgramId, ReceiverId};
    let block = |index, incarnation, rows| PlannedBlock {
        id: BlockId {
            receiver: ReceiverId {
                stream: StreamId(0),
                index: ReceiverIndex(index),
                incarnation: Incarnation(incarnation),
            },
            sequence: 0,
        },
        rows,
        bytes: rows * 10,
    };
    let range = |partition, rows| PlannedRange { partition: PartitionId(partition), from: 0, to: rows, rows };
    let plan = BatchPlan {
        batch: BatchNumber(3),
        time: BatchTime(4_000),
        program: ProgramId(1),
        seed: 0,
        default_partitions: 2,
        inputs: BTreeMap::from([
            (StreamId(0), StreamInput::Blocks(vec![block(0, 0, 5), block(0, 1, 6), block(1, 0, 7)])),
            (StreamId(1), StreamInput::Ranges(vec![range(0, 8), range(1, 9)])),
        ]),
    };
    let info = BatchInfo::new(&plan, ms(1), ms(2), ms(4));
    let loads: Vec<_> =
        info.inputs.iter().map(|l| (l.input.stream.0, l.input.receiver.0, l.records, l.bytes)).collect();
    assert_eq!(loads, vec![(0, 0, 11, 110), (0, 1, 7, 70), (1, 0, 17, 0)]);
    assert_eq!((info.batch, info.time, info.records), (BatchNumber(3), BatchTime(4_000), 35));
}
