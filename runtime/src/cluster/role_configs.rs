//! What the configuration and the program mean to the roles of the driver.

use crate::{
    config::{BatchInterval, Checked},
    graph::Pipeline,
};
use std::time::Duration;
use tidemill_actors::{
    batch_generator::GeneratorConfig,
    rate_controller::{InputKey, RateConfig},
    scheduler::{SchedulerConfig, SpeculationLimits},
    seam::{Program, StreamInfo, StreamKind},
};
use tidemill_protocol::{
    id::{Epoch, ReceiverIndex},
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
        // Receivers get theirs from the rate controller; planned sources are read as fast as batches are decided.
        rate_initial: u64::MAX,
        ..GeneratorConfig::default()
    }
}

pub(super) fn scheduler_config(config: &Checked, epoch: Epoch) -> SchedulerConfig {
    SchedulerConfig {
        epoch,
        failures_max: config.task_attempts_max,
        speculation: config.speculation.then(SpeculationLimits::default),
        ..SchedulerConfig::default()
    }
}

pub(super) fn rate_config(config: &Checked) -> RateConfig {
    RateConfig {
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

/// What is throttled: every receiver.
pub(super) fn rate_inputs(pipeline: &Pipeline) -> Vec<InputKey> {
    let of_stream = |stream: &StreamInfo| {
        let id = stream.id;
        (0..stream.receivers).map(move |index| InputKey { stream: id, receiver: ReceiverIndex(index) })
    };
    Program::streams(pipeline).iter().flat_map(of_stream).collect()
}
