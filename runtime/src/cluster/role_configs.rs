//! What the configuration and the program mean to the roles of the driver.

use crate::{
    config::{BatchInterval, Checked},
    graph::Pipeline,
};
use std::{collections::BTreeMap, time::Duration};
use tidemill_actors::{
    batch_generator::GeneratorConfig,
    rate_controller::{InputKey, RateConfig},
    scheduler::{SchedulerConfig, SpeculationLimits},
    seam::{Program, StreamInfo, StreamKind},
};
use tidemill_protocol::{
    id::{Epoch, ReceiverIndex, RunId},
    world::World,
};

pub(super) fn generator_config(config: &Checked, pipeline: &Pipeline, world: &World) -> GeneratorConfig {
    GeneratorConfig {
        interval: config.batch_interval,
        program: Program::id(pipeline),
        seed: world.entropy.seed("batches"),
        default_partitions: config.default_partitions(),
        streams: Program::streams(pipeline)
            .iter()
            .filter(|s| s.kind != StreamKind::Static)
            .cloned()
            .collect(),
        executors_expected: usize::from(config.executors),
        in_flight_max: config.batches_in_flight_max,
        rate_initial: config.rate_records_per_s_initial,
        throttled: throttled(config, pipeline).map(|info| info.id).collect(),
        ..GeneratorConfig::default()
    }
}

pub(super) fn scheduler_config(config: &Checked, epoch: Epoch, world: &World) -> SchedulerConfig {
    SchedulerConfig {
        epoch,
        run: this_run(world),
        failures_max: config.task_attempts_max,
        speculation: config.speculation.then(SpeculationLimits::default),
        result_bytes_max: config.result_bytes_max,
        ..SchedulerConfig::default()
    }
}

/// The name of this start: its time in milliseconds, and in the last 16 bits chance, for two that start at once.
fn this_run(world: &World) -> RunId {
    let started_ms = u64::try_from(world.clock.wall().as_millis()).unwrap_or(u64::MAX);
    RunId((started_ms << 16) | (world.entropy.seed("run") & 0xffff))
}

/// `inputs` is how many there are: the controller's limit in bytes is for all of them.
pub(super) fn rate_config(config: &Checked, inputs: usize) -> RateConfig {
    let bytes_per_s_max = config.rate_bytes_per_s_max.map(|each| each.saturating_mul(inputs.max(1) as u64));
    RateConfig {
        bytes_per_s_max: bytes_per_s_max.unwrap_or(u64::MAX),
        rate_initial: config.rate_records_per_s_initial,
        rate_max: config.rate_records_per_s_max.unwrap_or(u64::MAX),
        ..RateConfig::default()
    }
}

/// How long a batch may take.
pub(super) fn rate_interval(config: &Checked) -> Duration {
    match config.batch_interval {
        BatchInterval::Every(interval) => interval,
        BatchInterval::AvailableNow => Duration::from_secs(1),
    }
}

/// What is throttled: every receiver, and every planned stream that counts its records and is read by the clock.
pub(super) fn rate_inputs(config: &Checked, pipeline: &Pipeline) -> Vec<InputKey> {
    let receivers = Program::streams(pipeline).iter().flat_map(|stream: &StreamInfo| {
        let id = stream.id;
        (0..stream.receivers).map(move |index| InputKey { stream: id, receiver: ReceiverIndex(index) })
    });
    let planned =
        throttled(config, pipeline).map(|info| InputKey { stream: info.id, receiver: ReceiverIndex(0) });
    receivers.chain(planned).collect()
}

/// The same by the name of their stream.
pub(super) fn inputs_by_name(config: &Checked, pipeline: &Pipeline) -> BTreeMap<String, Vec<InputKey>> {
    let inputs = rate_inputs(config, pipeline);
    let of = |info: &StreamInfo| inputs.iter().filter(|input| input.stream == info.id).copied().collect();
    Program::streams(pipeline).iter().map(|info| (info.name.clone(), of(info))).collect()
}

/// The planned streams that are throttled. `AvailableNow` drains what there is, so there none is.
fn throttled<'a>(config: &Checked, pipeline: &'a Pipeline) -> impl Iterator<Item = &'a StreamInfo> {
    let has_interval = matches!(config.batch_interval, BatchInterval::Every(_));
    Program::streams(pipeline).iter().filter(move |info| {
        has_interval && info.kind == StreamKind::Planned && pipeline.counts_records(info.id)
    })
}
