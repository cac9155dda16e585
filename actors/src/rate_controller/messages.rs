//! What the rate controller is told (batch infos, which users see too), what it asks for, and its limits.

use super::pid::Gains;
use crate::seam::{BatchPlan, StreamInput};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};
use tidemill_protocol::{
    id::{BatchNumber, ReceiverIndex, StreamId},
    time::BatchTime,
};

/// What a rate is set for: a receiver of a stream, in whichever life. A planned stream has one, of index 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InputKey {
    /// The stream.
    pub stream: StreamId,
    /// Which of its receivers.
    pub receiver: ReceiverIndex,
}

/// What one input brought into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputLoad {
    /// Which.
    pub input: InputKey,
    /// How many records (0 where a planned source does not know).
    pub records: u64,
    /// How many bytes in memory (0 for planned sources).
    pub bytes: u64,
}

/// A completed batch, as the rate controller and the users of progress events see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchInfo {
    /// Its number.
    pub batch: BatchNumber,
    /// Its time.
    pub time: BatchTime,
    /// Its records, of all inputs.
    pub records: u64,
    /// The inputs that brought any, by key.
    pub inputs: Vec<InputLoad>,
    /// From its cut until its first task was launched.
    pub scheduling_delay: Duration,
    /// From then until it was published.
    pub processing_time: Duration,
    /// From its cut until it was published.
    pub total_delay: Duration,
}

impl BatchInfo {
    /// The info of the batch that `plan` describes; its inputs' loads are read from the plan.
    pub fn new(
        plan: &BatchPlan,
        scheduling_delay: Duration,
        processing_time: Duration,
        total_delay: Duration,
    ) -> Self {
        let mut loads: BTreeMap<InputKey, (u64, u64)> = BTreeMap::new();
        let mut add = |stream, receiver, records, bytes| {
            let load = loads.entry(InputKey { stream, receiver }).or_default();
            *load = (load.0 + records, load.1 + bytes);
        };
        for (stream, input) in &plan.inputs {
            match input {
                StreamInput::Blocks(blocks) => {
                    blocks.iter().for_each(|b| add(*stream, b.id.receiver.index, b.rows, b.bytes));
                }
                StreamInput::Ranges(ranges) => {
                    ranges.iter().for_each(|r| add(*stream, ReceiverIndex(0), r.rows, 0));
                }
            }
        }
        let inputs: Vec<InputLoad> =
            loads.into_iter().map(|(input, (records, bytes))| InputLoad { input, records, bytes }).collect();
        BatchInfo {
            batch: plan.batch,
            time: plan.time,
            records: inputs.iter().map(|load| load.records).sum(),
            inputs,
            scheduling_delay,
            processing_time,
            total_delay,
        }
    }
}

/// The limits of rate control.
#[derive(Clone, Debug, PartialEq)]
pub struct RateConfig {
    /// Whether rates follow the batches' delays; if not, every input has `rate_max`.
    pub enabled: bool,
    /// The weights of the PID formula.
    pub gains: Gains,
    /// An input's rate at the start, in records per second.
    pub rate_initial: u64,
    /// An input's lowest rate that is not 0, in records per second.
    pub rate_min: u64,
    /// An input's highest rate, in records per second.
    pub rate_max: u64,
    /// All inputs' highest rate, in bytes per second.
    pub bytes_per_s_max: u64,
    /// A rate grows at most by this factor before its effect has been seen.
    pub growth_max: f64,
    /// The share of an interval that a batch may take.
    pub utilisation: f64,
}

impl Default for RateConfig {
    fn default() -> Self {
        RateConfig {
            enabled: true,
            gains: Gains::default(),
            rate_initial: 10_000,
            rate_min: 100,
            rate_max: u64::MAX,
            bytes_per_s_max: u64::MAX,
            growth_max: 4.0,
            utilisation: 0.9,
        }
    }
}

/// What the rate controller is told.
#[derive(Clone, Debug)]
pub enum RateEvent {
    /// Begin: every input gets its first rate.
    Start,
    /// A batch was published.
    BatchCompleted(BatchInfo),
    /// An input shall not be read at all until it is resumed.
    Pause(InputKey),
    /// The reverse of `Pause`.
    Resume(InputKey),
    /// An input has ended; its share goes to the others.
    InputEnded(InputKey),
    /// A deadline has come.
    Wake,
}

/// What the rate controller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateAction {
    /// This rate from now on.
    SetRate {
        /// Whose.
        input: InputKey,
        /// Records per second; 0: paused; `u64::MAX`: no limit.
        records_per_s_max: u64,
    },
}

/// Who passes rates on.
pub trait RateOutlet: Send + Sync {
    /// Sets an input's rate in records per second; 0 pauses it.
    fn set_rate(&self, input: InputKey, records_per_s_max: u64);
}
