//! The flight recorder: the last events of a core with what they led to. As a core is deterministic, the events of a life
//! replay it; the actions say whether the replay went the same way.

use crate::core::Core;
use std::{
    collections::VecDeque,
    fmt::{self, Write},
};
use tidemill_protocol::time::Time;

/// Events that the flight recorder of a shell holds. What an event shares (`Arc`) is kept alive that long.
pub const FLIGHT_RECORDS: usize = 256;
/// Of those, how many go into the log when a core panics.
const EXCERPT_RECORDS: usize = 32;

/// One event and its actions.
pub struct FlightRecord<C: Core> {
    /// When the core was given the event.
    pub time: Time,
    /// The event.
    pub event: C::Event,
    /// The actions, in order; none if the core panicked on the event.
    pub actions: Vec<C::Action>,
}

impl<C: Core> Clone for FlightRecord<C> {
    fn clone(&self) -> Self {
        FlightRecord { time: self.time, event: self.event.clone(), actions: self.actions.clone() }
    }
}

impl<C: Core> fmt::Debug for FlightRecord<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} -> {:?}", self.time, self.event, self.actions)
    }
}

/// Gives the events of `records` to `core` at their times, and returns the actions of each. With a core as it was before
/// the first record, and from the same seed, they are those recorded.
pub fn replay<C: Core>(core: &mut C, records: &[FlightRecord<C>]) -> Vec<Vec<C::Action>> {
    let step = |record: &FlightRecord<C>| {
        let mut out = Vec::new();
        core.on_event(record.time, record.event.clone(), &mut out);
        core.assert_invariants();
        out
    };
    records.iter().map(step).collect()
}

/// The records of a shell's life, and of the one before.
pub(super) struct Flight<C: Core> {
    pub(super) current: VecDeque<FlightRecord<C>>,
    pub(super) last: VecDeque<FlightRecord<C>>,
}

impl<C: Core> Flight<C> {
    pub(super) fn new() -> Self {
        Flight { current: VecDeque::new(), last: VecDeque::new() }
    }

    /// A fresh core: its records are not mixed with those of its predecessor.
    pub(super) fn begin_life(&mut self) {
        if !self.current.is_empty() {
            self.last = std::mem::take(&mut self.current);
        }
    }

    /// Recorded before the core sees it, so that the event on which it panics is there.
    pub(super) fn event(&mut self, time: Time, event: C::Event) {
        let mut actions = Vec::new();
        if self.current.len() == FLIGHT_RECORDS
            && let Some(oldest) = self.current.pop_front()
        {
            actions = oldest.actions;
            actions.clear();
        }
        self.current.push_back(FlightRecord { time, event, actions });
    }

    pub(super) fn actions(&mut self, actions: &[C::Action]) {
        if let Some(record) = self.current.back_mut() {
            record.actions.extend_from_slice(actions);
        }
    }

    /// The last few records, one a line.
    pub(super) fn excerpt(&self) -> String {
        let skipped = self.current.len().saturating_sub(EXCERPT_RECORDS);
        let mut text = String::new();
        for record in self.current.iter().skip(skipped) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {record:?}");
        }
        text
    }
}
