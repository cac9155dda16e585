//! What the demo's totals have to be, by a plain loop over the lines that the feeder wrote. It shares no code with the pipeline, not even
//! the reading of a line.

use std::collections::BTreeMap;

/// The total of one origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginTotal {
    /// How many flights left there.
    pub flights: u64,
    /// The sum of their delays, in minutes; negative when they were early.
    pub delay_min: i64,
}

impl OriginTotal {
    /// The mean delay in minutes; 0 without flights.
    pub fn mean_delay_min(&self) -> f64 {
        if self.flights == 0 { 0.0 } else { self.delay_min as f64 / self.flights as f64 }
    }
}

/// The totals of the lines numbered `0..count`, where line n is `lines[n % len]`.
///
/// # Panics
/// If `lines` is empty, or a line is not `date,delay,distance,origin,destination`.
pub fn totals(lines: &[&str], count: u64) -> BTreeMap<String, OriginTotal> {
    let mut totals: BTreeMap<String, OriginTotal> = BTreeMap::new();
    for line in lines.iter().cycle().zip(0..count).map(|(line, _)| line) {
        let mut fields = line.split(',');
        let delay = fields.nth(1).and_then(|field| field.parse::<i64>().ok());
        let origin = fields.nth(1);
        let (Some(delay), Some(origin)) = (delay, origin) else { panic!("not a flight: {line}") };
        if !totals.contains_key(origin) {
            totals.insert(origin.to_string(), OriginTotal::default());
        }
        let total = totals.get_mut(origin).expect("it was just put there");
        total.flights += 1;
        total.delay_min += delay;
    }
    assert!(count == 0 || !lines.is_empty(), "lines that were written were given");
    totals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::bundled;

    const LINES: [&str; 3] =
        ["2001-01-01T00:01,10,7,AAA,BBB", "2001-01-01T00:02,-4,7,BBB,AAA", "2001-01-01T00:03,5,7,AAA,CCC"];

    #[test]
    fn totals_go_round_and_round_the_lines() {
        let total = |flights, delay_min| OriginTotal { flights, delay_min };
        let table = [
            (0, vec![]),
            (1, vec![("AAA", total(1, 10))]),
            (3, vec![("AAA", total(2, 15)), ("BBB", total(1, -4))]),
            (7, vec![("AAA", total(5, 40)), ("BBB", total(2, -8))]),
        ];
        for (count, expected) in table {
            let expected: BTreeMap<String, OriginTotal> =
                expected.into_iter().map(|(o, t)| (o.to_string(), t)).collect();
            assert_eq!(totals(&LINES, count), expected, "{count} lines");
        }
    }

    #[test]
    fn twice_the_bundled_flights_are_twice_the_known_totals() {
        let totals = totals(&bundled::flights(), 100_000);
        assert_eq!(totals.len(), 223);
        assert_eq!(totals["ORD"], OriginTotal { flights: 2 * 2774, delay_min: 2 * 45_763 });
        assert_eq!(totals.values().map(|t| t.delay_min).sum::<i64>(), 2 * 738_907);
    }

    #[test]
    fn the_mean_is_the_sum_over_the_flights() {
        assert_eq!(OriginTotal { flights: 4, delay_min: -6 }.mean_delay_min(), -1.5);
        assert_eq!(OriginTotal::default().mean_delay_min(), 0.0);
    }

    #[test]
    #[should_panic(expected = "not a flight: nonsense")]
    fn a_line_that_is_no_flight_is_named() {
        totals(&["nonsense"], 1);
    }
}
