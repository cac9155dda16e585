//! The demo's verdict: are the totals those of the plain loop, and was there anything to survive at all?

use super::oracle::OriginTotal;
use crate::bench::statistics::percentile;
use serde::Serialize;
use std::collections::BTreeMap;

/// What the comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// The totals are equal although something was lost on the way.
    #[serde(rename = "equal")]
    Equal,
    /// The totals differ.
    #[serde(rename = "different")]
    Different,
    /// The totals are equal, but nothing was lost: that proves nothing about losses.
    #[serde(rename = "not proven")]
    NotProven,
}

/// What the kill took along.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Restarts of supervised actors.
    pub restarts: u64,
    /// Tasks that were running, or whose outputs were lost, and ran again.
    pub tasks_lost: u64,
    /// Blocks that were in the killed executor's store.
    pub blocks_lost: u64,
    /// Outputs of tasks that were in the killed executor's store; tasks whose outputs are still needed run again.
    pub outputs_lost: u64,
    /// From the kill to the respawned executor; `None` if none came.
    pub respawn_ms: Option<f64>,
}

/// The demo's end; its JSON is the last line of `tidemill demo --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// What the comparison found.
    pub verdict: Verdict,
    /// Records counted.
    pub records: u64,
    /// Batches published.
    pub batches: u64,
    /// See [`Losses::restarts`].
    pub restarts: u64,
    /// See [`Losses::tasks_lost`].
    pub tasks_lost: u64,
    /// See [`Losses::blocks_lost`].
    pub blocks_lost: u64,
    /// See [`Losses::respawn_ms`].
    pub respawn_ms: Option<f64>,
    /// Half of the batches had no longer total delay; `None` without batches.
    pub total_delay_ms_p50: Option<f64>,
    /// 99 of 100 batches had no longer total delay; `None` without batches.
    pub total_delay_ms_p99: Option<f64>,
}

/// Totals by origin.
pub type Totals = BTreeMap<String, OriginTotal>;

/// Compares the totals.
pub fn judge(counted: &Totals, expected: &Totals, losses: &Losses) -> Verdict {
    let lost = losses.tasks_lost + losses.blocks_lost + losses.outputs_lost;
    match (counted == expected, lost > 0) {
        (false, _) => Verdict::Different,
        (true, false) => Verdict::NotProven,
        (true, true) => Verdict::Equal,
    }
}

/// The first origin, by name, in which the totals differ: counted and expected. `None` if they are equal.
pub fn first_difference(counted: &Totals, expected: &Totals) -> Option<String> {
    let origins: std::collections::BTreeSet<&String> = counted.keys().chain(expected.keys()).collect();
    origins.into_iter().find(|&origin| counted.get(origin) != expected.get(origin)).map(|origin| {
        let say = |total: Option<&OriginTotal>| match total {
            Some(t) => format!("{} flights, {} minutes", t.flights, t.delay_min),
            None => "nothing".to_string(),
        };
        format!(
            "{origin}: counted {}, the plain loop {}",
            say(counted.get(origin)),
            say(expected.get(origin))
        )
    })
}

impl Summary {
    /// Sums up a demo whose batches had these total delays.
    pub fn new(verdict: Verdict, records: u64, losses: &Losses, total_delays_ms: &[f64]) -> Self {
        let rounded = |ms: f64| (ms * 1_000.0).round() / 1_000.0;
        Summary {
            verdict,
            records,
            batches: total_delays_ms.len() as u64,
            restarts: losses.restarts,
            tasks_lost: losses.tasks_lost,
            blocks_lost: losses.blocks_lost,
            respawn_ms: losses.respawn_ms.map(rounded),
            total_delay_ms_p50: percentile(total_delays_ms, 50.0).map(rounded),
            total_delay_ms_p99: percentile(total_delays_ms, 99.0).map(rounded),
        }
    }

    /// One JSON object, on one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a summary holds only names and numbers")
    }

    /// 0 only if the totals are equal and something was lost; else 1.
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Equal => 0,
            Verdict::Different | Verdict::NotProven => 1,
        }
    }

    /// The end in two lines for people, of at most 100 columns.
    pub fn text(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Equal => "equal: the totals are those of a plain loop over the lines that were sent",
            Verdict::Different => {
                "DIFFERENT: the totals are not those of a plain loop over the lines that were sent"
            }
            Verdict::NotProven => {
                "not proven: the totals are equal, but the kill took nothing along; try a higher --rate"
            }
        };
        let respawn = self.respawn_ms.map_or("not respawned".into(), |ms| format!("respawned in {ms:.0} ms"));
        format!(
            "{verdict}\n{} records, {} batches; lost {} tasks and {} blocks, {} restarts, {respawn}",
            self.records, self.batches, self.tasks_lost, self.blocks_lost, self.restarts
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(of: &[(&str, u64, i64)]) -> Totals {
        of.iter()
            .map(|&(origin, flights, delay_min)| (origin.to_string(), OriginTotal { flights, delay_min }))
            .collect()
    }

    fn losses(tasks_lost: u64, blocks_lost: u64) -> Losses {
        Losses { restarts: 3, tasks_lost, blocks_lost, outputs_lost: 0, respawn_ms: Some(12.3456) }
    }

    #[test]
    fn only_equal_totals_after_a_loss_give_exit_code_0() {
        let expected = totals(&[("AAA", 2, 15), ("BBB", 1, -4)]);
        let table = [
            (expected.clone(), losses(1, 0), Verdict::Equal, 0),
            (expected.clone(), losses(0, 1), Verdict::Equal, 0),
            (expected.clone(), Losses { outputs_lost: 1, ..losses(0, 0) }, Verdict::Equal, 0),
            (expected.clone(), losses(0, 0), Verdict::NotProven, 1),
            (totals(&[("AAA", 2, 15)]), losses(1, 1), Verdict::Different, 1),
            (totals(&[("AAA", 2, 15), ("BBB", 1, -3)]), losses(0, 0), Verdict::Different, 1),
            (totals(&[]), losses(1, 1), Verdict::Different, 1),
        ];
        for (counted, losses, verdict, code) in table {
            assert_eq!(judge(&counted, &expected, &losses), verdict);
            assert_eq!(Summary::new(verdict, 1, &losses, &[1.0]).exit_code(), code);
        }
    }

    #[test]
    fn the_json_has_the_agreed_shape() {
        let delays: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(
            Summary::new(Verdict::Equal, 400_000, &losses(4, 50), &delays).json(),
            "{\"verdict\":\"equal\",\"records\":400000,\"batches\":20,\"restarts\":3,\"tasks_lost\":4,\"blocks_lost\":50,\
             \"respawn_ms\":12.346,\"total_delay_ms_p50\":10.0,\"total_delay_ms_p99\":20.0}"
        );
        let nothing = Summary::new(Verdict::NotProven, 0, &Losses::default(), &[]).json();
        assert!(
            nothing.starts_with("{\"verdict\":\"not proven\",") && nothing.contains("\"respawn_ms\":null"),
            "{nothing}"
        );
        assert!(
            Summary::new(Verdict::Different, 0, &Losses::default(), &[])
                .json()
                .starts_with("{\"verdict\":\"different\",")
        );
    }

    #[test]
    fn the_first_difference_is_named() {
        let (counted, expected) =
            (totals(&[("AAA", 1, 1), ("BBB", 2, 2)]), totals(&[("AAA", 1, 1), ("BBB", 2, 3), ("CCC", 1, 1)]));
        assert_eq!(first_difference(&expected, &expected), None);
        assert_eq!(
            first_difference(&counted, &expected).as_deref(),
            Some("BBB: counted 2 flights, 2 minutes, the plain loop 2 flights, 3 minutes")
        );
        assert_eq!(
            first_difference(&totals(&[]), &counted).as_deref(),
            Some("AAA: counted nothing, the plain loop 1 flights, 1 minutes")
        );
    }

    #[test]
    fn the_text_fits_100_columns() {
        for verdict in [Verdict::Equal, Verdict::Different, Verdict::NotProven] {
            let text = Summary::new(verdict, 9_999_999_999, &losses(99_999, 999_999), &[1.0; 999]).text();
            assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        }
    }
}
