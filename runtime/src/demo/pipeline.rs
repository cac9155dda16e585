//! The demo's pipeline: flights and mean delay for each origin, joined with the airports' cities.
//!
//! ```text
//!   numbered lines ── parse ── (origin, tally) ── reduce_by_key ──┐
//!                                                                 join ── foreach_batch: totals
//!   airports (static) ── (iata, city) ────────────────────────────┘
//! ```

use super::{bundled, table::TopRow};
use crate::{GraphError, StreamContext};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// How many origins are shown.
pub const TOP: usize = 5;

/// What one batch, or all of them, say of an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many flights left there.
    pub flights: u64,
    /// The sum of their delays in minutes.
    pub delay_min: i64,
}

impl Tally {
    fn plus(self, other: Tally) -> Tally {
        Tally { flights: self.flights + other.flights, delay_min: self.delay_min + other.delay_min }
    }
}

/// One origin of one batch.
pub type OriginRow = (String, (Tally, String));

/// Builds the pipeline on numbered lines from `address`; `publish` gets the origins of each batch.
///
/// # Errors
/// None today; the signature is that of every pipeline.
pub fn build(
    ctx: &StreamContext,
    address: &str,
    publish: impl Fn(Vec<OriginRow>) + Send + Sync + 'static,
) -> Result<(), GraphError> {
    let cities = ctx.static_dataset("airports", || {
        bundled::airports().into_values().map(|airport| (airport.iata, airport.city)).collect()
    });
    ctx.numbered_lines(address)
        .flat_map(|line| parse(&line))
        .named("parse")
        .reduce_by_key(Tally::plus)
        .named("by origin")
        .join(&cities)
        .foreach_batch(move |rows, _time| {
            publish(rows);
            Ok(())
        })
        .named("totals");
    Ok(())
}

/// `date,delay,distance,origin,destination`; a line that is none of these is left out.
fn parse(line: &str) -> Option<(String, Tally)> {
    let mut fields = line.split(',').skip(1);
    let delay_min = fields.next()?.parse().ok()?;
    let origin = fields.nth(1)?;
    Some((origin.to_owned(), Tally { flights: 1, delay_min }))
}

/// Totals over all batches, folded on the driver from each batch's accepted result.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    origins: BTreeMap<String, (Tally, String)>,
}

impl Totals {
    /// Adds the origins of a batch.
    pub fn fold(&mut self, rows: Vec<OriginRow>) {
        for (origin, (tally, city)) in rows {
            let total = self.origins.entry(origin).or_insert((Tally::default(), city));
            total.0 = total.0.plus(tally);
        }
    }

    /// All origins.
    pub fn origins(&self) -> impl Iterator<Item = (&str, Tally)> {
        self.origins.iter().map(|(origin, (tally, _))| (origin.as_str(), *tally))
    }

    /// Flights in total.
    pub fn flights(&self) -> u64 {
        self.origins.values().map(|(tally, _)| tally.flights).sum()
    }

    /// The busiest origins, busiest first.
    pub fn top(&self) -> Vec<TopRow> {
        let mut rows: Vec<_> = self.origins.iter().collect();
        rows.sort_by(|a, b| b.1.0.flights.cmp(&a.1.0.flights).then(a.0.cmp(b.0)));
        let row = |(origin, (tally, city)): (&String, &(Tally, String))| TopRow {
            origin: origin.clone(),
            city: city.clone(),
            flights: tally.flights,
            mean_delay_min: tally.delay_min as f64 / tally.flights.max(1) as f64,
        };
        rows.into_iter().take(TOP).map(row).collect()
    }
}

/// What `tidemill local` and `tidemill driver` do with each batch that has flights: print how many there are, and the busiest
/// origins of all batches so far. Batches are published in order, so the last lines are the totals.
pub fn print_totals() -> impl Fn(Vec<OriginRow>) + Send + Sync + 'static {
    let totals = Mutex::new(Totals::default());
    move |rows| {
        let flights: u64 = rows.iter().map(|(_, (tally, _))| tally.flights).sum();
        if flights > 0 {
            let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
            totals.fold(rows);
            print!("{}", lines_of(flights, &totals));
        }
    }
}

fn lines_of(flights: u64, totals: &Totals) -> String {
    let mut text = format!("{flights} more flights, {} in all\n", totals.flights());
    for row in totals.top() {
        let TopRow { origin, city, flights, mean_delay_min } = row;
        text += &format!("{origin:<4} {city:<24} {flights:>8} flights {mean_delay_min:>8.2} min late\n");
    }
    text
}
