//! What a context is told before it starts: a plain struct with defaults, checked once.
//!
//! ```
//! use tidemill::{BatchInterval, Config};
//! use std::time::Duration;
//!
//! let config = Config { batch_interval: BatchInterval::Every(Duration::from_millis(100)), ..Config::default() };
//! assert!(config.check().is_ok());
//! let config = Config { executors: 0, ..Config::default() };
//! assert_eq!(config.check().unwrap_err().to_string(), "`executors` is 0; at least 1 is needed");
//! ```

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use tidemill_actors::batch_generator::BatchInterval;

/// The shortest batch interval.
pub const BATCH_INTERVAL_MIN: Duration = Duration::from_millis(5);
/// The longest batch interval.
pub const BATCH_INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// The least memory budget of an executor: one read of every receiver must fit.
pub const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// The most executors of one process.
pub const LOCAL_EXECUTORS_MAX: u16 = 512;

/// How a context runs. Plain values; [`check`](Config::check) tells whether they go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// When batches are cut. Default: every 500 ms.
    pub batch_interval: BatchInterval,
    /// Executors in this process (`local`). Default 2, so that received blocks can be held twice.
    pub executors: u16,
    /// Tasks that one executor runs at once. Default: the machine's cores shared among the executors, at least 1.
    pub slots_per_executor: u16,
    /// Partitions of a shuffle where the program does not say. Default: all slots.
    pub partitions: Option<u32>,
    /// How often a receiver cuts a block within a batch; each block becomes a task. Default 200 ms.
    pub block_interval: Duration,
    /// What one executor may hold in blocks and outputs; beyond it, receivers stop reading, and already when three eighths of it
    /// are received and not released. What is on its way, and what tasks build, has shares of its own beside it; see
    /// docs/ARCHITECTURE.md. Texts and plain values count as they are, records that own memory (strings, lists) by a sample:
    /// leave room for what that does not see, and for what user code holds while it runs. Default 256 MiB.
    pub memory_bytes_max: u64,
    /// From which part of `memory_bytes_max` on an executor moves cold data to disk, in percent (1 to 100). Default 75.
    pub spill_from_percent: u8,
    /// What one executor may have on disk, in bytes; 0: nothing is moved to disk. Default 1 GiB. Senders are held back as early
    /// as without a disk: it makes room for copies and outputs, not for a longer backlog.
    pub spill_bytes_max: u64,
    /// Where each executor makes a folder of its own for that, readable by its user only and gone when it ends. Default:
    /// where the system keeps temporary files.
    pub spill_dir: Option<PathBuf>,
    /// Batches that run at the same time. Default 4.
    pub batches_in_flight_max: usize,
    /// Records per second that each input is permitted at the start. Default 10,000; grows up to fourfold at a time while
    /// batches keep up. An input is a receiver, or a planned stream whose records are counted before they are read (a
    /// [`Generator`](crate::sources::Generator)); under [`BatchInterval::AvailableNow`] planned streams have no limit.
    pub rate_records_per_s_initial: u64,
    /// Records per second that each input is permitted at most. Default: no limit.
    pub rate_records_per_s_max: Option<u64>,
    /// Bytes per second that each receiver reads at most, as records take them in memory. Default: no limit but that in records.
    pub rate_bytes_per_s_max: Option<u64>,
    /// What one output of one batch may bring to the driver, in bytes as executors hold it: the records for `foreach_batch`,
    /// `print` or a custom sink. A batch with more ends the pipeline. Default 256 MiB.
    pub result_bytes_max: u64,
    /// A task without progress for this long is named, failed, and its slot replaced. Default 30 s.
    pub task_stuck_after: Duration,
    /// Tries of a task before the pipeline stops. Default 4.
    pub task_attempts_max: u16,
    /// Whether a task that takes much longer than others is started a second time elsewhere; the first to end counts. Default:
    /// yes. Switch it off where a task acts on the outside itself and repeating that is dear.
    pub speculation: bool,
    /// The seed of tasks' generators and of every other draw. Default: from the operating system.
    pub seed: Option<u64>,
    /// Where Prometheus may scrape, on loopback. [`App::main`](crate::App::main) serves it, in `local` and `driver`; whoever starts
    /// a context or an application otherwise calls [`install_metrics`](crate::app::install_metrics), or brings a recorder of
    /// the `metrics` facade. Default: nowhere.
    pub metrics_address: Option<SocketAddr>,
}

impl Default for Config {
    fn default() -> Self {
        let executors = 2;
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        Config {
            batch_interval: BatchInterval::Every(Duration::from_millis(500)),
            executors,
            slots_per_executor: u16::try_from(cores / usize::from(executors)).unwrap_or(u16::MAX).max(1),
            partitions: None,
            block_interval: Duration::from_millis(200),
            memory_bytes_max: 256 << 20,
            spill_from_percent: 75,
            spill_bytes_max: 1 << 30,
            spill_dir: None,
            batches_in_flight_max: 4,
            rate_records_per_s_initial: 10_000,
            rate_records_per_s_max: None,
            rate_bytes_per_s_max: None,
            result_bytes_max: 256 << 20,
            task_stuck_after: Duration::from_secs(30),
            task_attempts_max: 4,
            speculation: true,
            seed: None,
            metrics_address: None,
        }
    }
}

/// A configuration that contradicts itself or the limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number that must not be 0 is 0.
    #[error("`{0}` is 0; at least 1 is needed")]
    Zero(&'static str),
    /// Outside of what is allowed.
    #[error("`{field}` is {value}; allowed is {allowed}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What it was.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// The metrics would be visible to other machines.
    #[error(
        "`metrics_address` {0} is not on loopback; use 127.0.0.1 and let a local agent fetch the metrics"
    )]
    MetricsNotLocal(SocketAddr),
}

/// A configuration whose rules hold; the only form that the cluster is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked(Config);

impl std::ops::Deref for Checked {
    type Target = Config;
    fn deref(&self) -> &Config {
        &self.0
    }
}

impl Config {
    /// Checks the rules between the fields.
    ///
    /// # Errors
    /// [`ConfigError`] names the field, its value and what is allowed.
    pub fn check(&self) -> Result<Checked, ConfigError> {
        let counts = [
            ("executors", u64::from(self.executors)),
            ("slots_per_executor", u64::from(self.slots_per_executor)),
            ("partitions", u64::from(self.partitions.unwrap_or(1))),
            ("batches_in_flight_max", self.batches_in_flight_max as u64),
            ("rate_records_per_s_initial", self.rate_records_per_s_initial),
            ("rate_bytes_per_s_max", self.rate_bytes_per_s_max.unwrap_or(1)),
            ("result_bytes_max", self.result_bytes_max),
            ("task_attempts_max", u64::from(self.task_attempts_max)),
        ];
        if let Some((field, _)) = counts.into_iter().find(|&(_, value)| value == 0) {
            return Err(ConfigError::Zero(field));
        }
        let out_of_range =
            |field, value: String, allowed| Err(ConfigError::OutOfRange { field, value, allowed });
        if let BatchInterval::Every(interval) = self.batch_interval {
            let whole_ms = interval.subsec_nanos() % 1_000_000 == 0;
            if interval < BATCH_INTERVAL_MIN || interval > BATCH_INTERVAL_MAX || !whole_ms {
                let value = format!("{interval:?}");
                return out_of_range("batch_interval", value, "5 ms to 1 h in whole milliseconds");
            }
        }
        if self.executors > LOCAL_EXECUTORS_MAX {
            return out_of_range("executors", self.executors.to_string(), "1 to 512");
        }
        if self.memory_bytes_max < MEMORY_BYTES_MIN {
            return out_of_range("memory_bytes_max", self.memory_bytes_max.to_string(), "1 MiB or more");
        }
        if !(1..=100).contains(&self.spill_from_percent) {
            return out_of_range("spill_from_percent", self.spill_from_percent.to_string(), "1 to 100");
        }
        if self.block_interval.is_zero() {
            return out_of_range("block_interval", "0".into(), "more than 0");
        }
        check_metrics_address(self.metrics_address).map(|()| Checked(self.clone()))
    }

    /// Partitions of a shuffle where the program does not say.
    pub(crate) fn default_partitions(&self) -> u32 {
        self.partitions.unwrap_or(u32::from(self.executors) * u32::from(self.slots_per_executor))
    }
}

/// Metrics are for an agent on this machine.
pub(crate) fn check_metrics_address(address: Option<SocketAddr>) -> Result<(), ConfigError> {
    match address {
        Some(address) if !address.ip().is_loopback() => Err(ConfigError::MetricsNotLocal(address)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(config: Config) -> String {
        config.check().expect_err("must be refused").to_string()
    }

    #[test]
    fn each_rule_names_the_field_and_the_remedy() {
        let every = |ms| BatchInterval::Every(Duration::from_millis(ms));
        let d = Config::default;
        assert_eq!(
            complaint(Config { slots_per_executor: 0, ..d() }),
            "`slots_per_executor` is 0; at least 1 is needed"
        );
        assert_eq!(
            complaint(Config { batch_interval: every(4), ..d() }),
            "`batch_interval` is 4ms; allowed is 5 ms to 1 h in whole milliseconds"
        );
        let zero = "`rate_bytes_per_s_max` is 0; at least 1 is needed";
        assert_eq!(complaint(Config { rate_bytes_per_s_max: Some(0), ..d() }), zero);
        assert_eq!(
            complaint(Config { result_bytes_max: 0, ..d() }),
            "`result_bytes_max` is 0; at least 1 is needed"
        );
        assert_eq!(complaint(Config { executors: 600, ..d() }), "`executors` is 600; allowed is 1 to 512");
        assert_eq!(
            complaint(Config { metrics_address: Some(([0, 0, 0, 0], 9000).into()), ..d() }),
            "`metrics_address` 0.0.0.0:9000 is not on loopback; use 127.0.0.1 and let a local agent fetch the metrics"
        );
        assert_eq!(
            complaint(Config { spill_from_percent: 0, ..d() }),
            "`spill_from_percent` is 0; allowed is 1 to 100"
        );
        assert!(Config { batch_interval: every(5), ..d() }.check().is_ok());
    }
}
