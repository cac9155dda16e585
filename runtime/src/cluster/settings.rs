//! What of the driver's configuration executors need, as named texts: it travels to them before they build their graph.

use crate::config::{BatchInterval, Config};
use std::{collections::BTreeMap, str::FromStr, time::Duration};
use tidemill_protocol::message::NamedValue;

/// The driver's configuration for executors. What is an executor's own (its slots, its metrics) is not in it.
pub(crate) fn to_wire(config: &Config) -> Vec<NamedValue> {
    let interval = match config.batch_interval {
        BatchInterval::Every(interval) => interval.as_nanos().to_string(),
        BatchInterval::AvailableNow => "available_now".to_owned(),
    };
    let mut settings = vec![
        ("batch_interval_ns", interval),
        ("executors", config.executors.to_string()),
        // Said outright: what an executor would derive from its own slots may differ.
        ("partitions", config.default_partitions().to_string()),
        ("block_interval_ns", config.block_interval.as_nanos().to_string()),
        ("memory_bytes_max", config.memory_bytes_max.to_string()),
        ("task_stuck_after_ns", config.task_stuck_after.as_nanos().to_string()),
    ];
    if let Some(bytes) = config.rate_bytes_per_s_max {
        settings.push(("rate_bytes_per_s_max", bytes.to_string()));
    }
    if let Some(seed) = config.seed {
        settings.push(("seed", seed.to_string()));
    }
    let value = |(name, value): (&str, String)| NamedValue { name: name.to_owned(), value };
    settings.into_iter().map(value).collect()
}

/// An executor's configuration: its own, with the driver's settings.
///
/// # Errors
/// The setting that cannot be read: the driver is of another release.
pub(crate) fn apply(config: &Config, settings: &[NamedValue]) -> Result<Config, String> {
    let known: BTreeMap<&str, &str> = settings.iter().map(|s| (s.name.as_str(), s.value.as_str())).collect();
    let duration = |name: &str| number::<u64>(&known, name).map(Duration::from_nanos);
    let batch_interval = match known.get("batch_interval_ns") {
        Some(&"available_now") => BatchInterval::AvailableNow,
        _ => BatchInterval::Every(duration("batch_interval_ns")?),
    };
    Ok(Config {
        batch_interval,
        executors: number(&known, "executors")?,
        partitions: Some(number(&known, "partitions")?),
        block_interval: duration("block_interval_ns")?,
        memory_bytes_max: number(&known, "memory_bytes_max")?,
        task_stuck_after: duration("task_stuck_after_ns")?,
        rate_bytes_per_s_max: optional(&known, "rate_bytes_per_s_max")?,
        seed: optional(&known, "seed")?,
        ..config.clone()
    })
}

fn optional<T: FromStr>(known: &BTreeMap<&str, &str>, name: &str) -> Result<Option<T>, String> {
    known.get(name).map(|_| number(known, name)).transpose()
}

fn number<T: FromStr>(known: &BTreeMap<&str, &str>, name: &str) -> Result<T, String> {
    let value = known
        .get(name)
        .ok_or_else(|| format!("the driver does not say `{name}`: it is of another release"))?;
    value.parse().map_err(|_| format!("the driver says {name}={value}, which is no number that fits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executor_has_the_drivers_settings_and_its_own_slots() {
        let driver = Config {
            batch_interval: BatchInterval::Every(Duration::from_millis(250)),
            executors: 4,
            slots_per_executor: 3,
            block_interval: Duration::from_micros(1_500),
            rate_bytes_per_s_max: Some(1_000_000),
            seed: Some(u64::MAX),
            ..Config::default()
        };
        let own = Config { slots_per_executor: 7, ..Config::default() };
        let found = apply(&own, &to_wire(&driver)).unwrap();
        assert_eq!(found, Config { slots_per_executor: 7, partitions: Some(12), ..driver });
        let available = Config { batch_interval: BatchInterval::AvailableNow, ..Config::default() };
        assert_eq!(apply(&own, &to_wire(&available)).unwrap().batch_interval, BatchInterval::AvailableNow);
    }

    #[test]
    fn settings_of_another_release_are_refused_by_name() {
        let mut settings = to_wire(&Config::default());
        settings.retain(|setting| setting.name != "partitions");
        let error = apply(&Config::default(), &settings).unwrap_err();
        assert_eq!(error, "the driver does not say `partitions`: it is of another release");
    }
}
