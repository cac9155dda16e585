//! The watchdog of the control thread: all roles of a node share it, so one that computes for long delays the others' heartbeats
//! and deadlines. It judges after the fact; what never gives the thread back is found by who waits for this node.

use crate::core::Core;
use std::{fmt, time::Duration};
use tidemill_protocol::time::Time;

/// How long one event may hold the control thread; what holds it longer is named. Unoptimised code is given more.
pub const CONTROL_HELD_MAX: Duration = Duration::from_millis(if cfg!(debug_assertions) { 20 } else { 1 });

/// Of an event, how many bytes are shown: enough for its name and its first ids.
const EXCERPT_BYTES: usize = 120;

/// How long the thread was held, if that was too long.
pub(super) fn held(began: Time, ended: Time) -> Option<Duration> {
    Some(ended.since(began)).filter(|held| *held > CONTROL_HELD_MAX)
}

/// Names who held the thread, and with what.
pub(super) fn report<C: Core>(held: Duration, event: Option<&C::Event>) {
    let event = event.map_or_else(|| "no event".to_owned(), excerpt);
    tracing::info!(
        core = C::NAME,
        event,
        ?held,
        "held the control thread for more than {CONTROL_HELD_MAX:?}"
    );
    metrics::counter!("tidemill_control_held_total", "role" => C::NAME).increment(1);
}

/// The beginning of what `Debug` says; the rest is not even formatted, for an event may be long.
fn excerpt(event: &impl fmt::Debug) -> String {
    struct Beginning(String);
    impl fmt::Write for Beginning {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = text.floor_char_boundary(EXCERPT_BYTES - self.0.len());
            self.0.push_str(&text[..room]);
            if room < text.len() { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut text = Beginning(String::new());
    match fmt::write(&mut text, format_args!("{event:?}")) {
        Ok(()) => text.0,
        Err(fmt::Error) => text.0 + "…",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_longer_than_the_limit_is_held_too_long() {
        let began = Time(5);
        let just = began + CONTROL_HELD_MAX;
        assert_eq!(held(began, began), None);
        assert_eq!(held(began, just), None);
        assert_eq!(held(began, Time(just.0 + 1)), Some(CONTROL_HELD_MAX + Duration::from_nanos(1)));
        assert_eq!(held(just, began), None, "a clock that went back accuses nobody");
    }

    #[test]
    fn a_long_event_is_cut_at_a_character() {
        assert_eq!(excerpt(&Some(7)), "Some(7)");
        let long = "ä".repeat(1_000);
        assert_eq!(excerpt(&long), format!("\"{}…", "ä".repeat(59)));
    }
}
