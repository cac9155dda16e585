//! The data that comes with the program: flights and airports, so that the demo runs from any folder and without a network.

use serde::Deserialize;
use std::collections::BTreeMap;

/// What the airports' file tells about one of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Airport {
    /// The IATA code, or what stands for it at small airports.
    pub iata: String,
    /// The city it serves.
    pub city: String,
    /// The state, by its two letters.
    pub state: String,
}

/// The first 50,000 flights of 2001 as lines `date,delay,distance,origin,destination`, without the file's header.
pub fn flights() -> Vec<&'static str> {
    include_str!("../../data/flights-50k.csv").lines().skip(1).collect()
}

/// The airports by their IATA code.
///
/// # Panics
/// Never: the file is part of the program, and a test reads it.
pub fn airports() -> BTreeMap<String, Airport> {
    let mut reader = csv::Reader::from_reader(include_bytes!("../../data/airports.csv").as_slice());
    let airports = reader.deserialize().map(|row| row.expect("the bundled file is sound, a test reads it"));
    airports.map(|airport: Airport| (airport.iata.clone(), airport)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flights_are_the_known_ones() {
        let flights = flights();
        assert_eq!(flights.len(), 50_000);
        assert_eq!(flights[0], "2001-01-01T00:01,33,2176,LAS,PHL");
        let mut origins: BTreeMap<&str, (u64, i64)> = BTreeMap::new();
        for line in &flights {
            let fields: Vec<&str> = line.split(',').collect();
            assert_eq!(fields.len(), 5, "{line}");
            let origin = origins.entry(fields[3]).or_default();
            origin.0 += 1;
            origin.1 += fields[1].parse::<i64>().expect("a delay is a number");
        }
        assert_eq!(origins.len(), 223);
        assert_eq!(origins.values().map(|o| o.1).sum::<i64>(), 738_907);
        let known = [
            ("ORD", 2774, 45_763),
            ("DFW", 2526, 68_125),
            ("LAX", 1954, 36_851),
            ("ATL", 1935, 43_571),
            ("PHX", 1576, 27_203),
        ];
        for (origin, flights, minutes) in known {
            assert_eq!(origins[origin], (flights, minutes), "{origin}");
        }
        let airports = airports();
        assert!(origins.keys().all(|origin| airports.contains_key(*origin)));
    }

    #[test]
    fn the_airports_are_read_with_their_quotes() {
        let airports = airports();
        assert_eq!(airports.len(), 3_376);
        assert_eq!(airports["ORD"].city, "Chicago");
        assert_eq!(airports["BTR"].city, "Baton Rouge");
        assert_eq!((airports["N25"].city.as_str(), airports["N25"].state.as_str()), ("Westport, NY", "NY"));
    }
}
