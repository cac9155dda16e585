//! What a sender of numbered lines knows: how far it has written, how far it was told that lines are safe, what to send next. Pure:
//! the [`feeder`](super::feeder) asks it and does the sending.
//!
//! ```text
//!   0 ......... safe ......... cursor ......... written ......... due
//!     forgotten      in flight        to be repeated     to be written for the first time
//! ```

use std::time::Duration;

/// Lines handed to the network at once; small enough that an acknowledgement is read soon.
const LINES_OF_A_STEP_MAX: u64 = 1_000;

/// How long after the end lines that were due before it are still written for the first time: enough for what is on its way, while a
/// receiver that cannot keep up does not hold the end up for ever.
const GRACE: Duration = Duration::from_secs(1);

/// What the peer asked for cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A line was named that has not been written; the peer's books are wrong.
    #[error("the receiver names line {line}, but only {written} lines were written")]
    NeverWritten {
        /// The line.
        line: u64,
        /// How many lines there are.
        written: u64,
    },
    /// The peer wants to go on at a line that it has acknowledged as safe before: it has lost what it promised to keep.
    #[error(
        "the receiver wants line {line} again, but has reported all before {safe} as safe: they are forgotten here"
    )]
    Forgotten {
        /// The line it wants.
        line: u64,
        /// The first line that is kept.
        safe: u64,
    },
}

/// What to do next on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these lines.
    Lines(std::ops::Range<u64>),
    /// Send that no more lines come.
    End,
    /// Nothing until the next line is due.
    WaitForDue,
    /// Nothing until the receiver tells that more is safe.
    WaitForSafe,
    /// All is told and all is safe.
    Done,
}

/// The books of a sender.
#[derive(Clone, Debug)]
pub struct Ledger {
    rate_lines_per_s: u64,
    duration: Duration,
    safe: u64,
    cursor: u64,
    written: u64,
    repeated: u64,
    end_told: bool,
}

impl Ledger {
    /// New books for `rate_lines_per_s` until `duration` is over.
    pub fn new(rate_lines_per_s: u64, duration: Duration) -> Self {
        Ledger { rate_lines_per_s, duration, safe: 0, cursor: 0, written: 0, repeated: 0, end_told: false }
    }

    /// No line is due any more that was not by `elapsed`.
    pub fn end_at(&mut self, elapsed: Duration) {
        self.duration = self.duration.min(elapsed);
    }

    /// How many different lines have been given to the network.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How many lines the receiver has told to be safe.
    pub fn safe(&self) -> u64 {
        self.safe
    }

    /// How many lines were sent once more.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// A new connection goes on after the line `after` (`None`: from the start): the last line that the receiver holds, which
    /// is no promise to keep it. Only [`acknowledge`](Self::acknowledge) lets lines be forgotten.
    pub fn resume(&mut self, after: Option<u64>) -> Result<(), LedgerError> {
        let next = after.map_or(0, |line| line.saturating_add(1));
        if next > self.written {
            return Err(LedgerError::NeverWritten { line: next - 1, written: self.written });
        }
        if next < self.safe {
            return Err(LedgerError::Forgotten { line: next, safe: self.safe });
        }
        self.cursor = next;
        self.end_told = false;
        Ok(())
    }

    /// The receiver tells that all lines up to and with `line` are safe.
    pub fn acknowledge(&mut self, line: u64) -> Result<(), LedgerError> {
        if line >= self.written {
            return Err(LedgerError::NeverWritten { line, written: self.written });
        }
        self.safe = self.safe.max(line + 1);
        Ok(())
    }

    /// What to do next, `elapsed` after the first connection.
    pub fn next(&self, elapsed: Duration) -> Step {
        let limit =
            if elapsed >= self.duration + GRACE { self.written } else { self.due(elapsed).max(self.written) };
        if self.cursor < limit {
            return Step::Lines(self.cursor..limit.min(self.cursor + LINES_OF_A_STEP_MAX));
        }
        match (elapsed >= self.duration, self.end_told, self.safe == self.written) {
            (false, _, _) => Step::WaitForDue,
            (true, false, _) => Step::End,
            (true, true, false) => Step::WaitForSafe,
            (true, true, true) => Step::Done,
        }
    }

    /// The step was begun: from here on its lines count as written, whatever becomes of the connection, because the receiver may
    /// have seen them.
    pub fn begin(&mut self, step: &Step) {
        match step {
            Step::Lines(lines) => {
                self.repeated += lines.end.min(self.written).saturating_sub(lines.start);
                self.written = self.written.max(lines.end);
                self.cursor = lines.end;
            }
            Step::End => self.end_told = true,
            Step::WaitForDue | Step::WaitForSafe | Step::Done => {}
        }
    }

    fn due(&self, elapsed: Duration) -> u64 {
        let nanos = elapsed.min(self.duration).as_nanos() * u128::from(self.rate_lines_per_s);
        u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Takes the next step and says which it was.
    fn step(ledger: &mut Ledger, ms: u64) -> Step {
        let step = ledger.next(at(ms));
        ledger.begin(&step);
        step
    }

    #[test]
    fn lines_come_at_the_rate_then_the_end_then_done_when_all_is_safe() {
        let mut ledger = Ledger::new(1_000, at(2_000));
        ledger.resume(None).expect("a new start");
        assert_eq!(step(&mut ledger, 0), Step::WaitForDue);
        assert_eq!(step(&mut ledger, 10), Step::Lines(0..10));
        assert_eq!(step(&mut ledger, 10), Step::WaitForDue);
        assert_eq!(step(&mut ledger, 1_500), Step::Lines(10..1_010));
        assert_eq!(step(&mut ledger, 1_500), Step::Lines(1_010..1_500));
        assert_eq!(step(&mut ledger, 2_001), Step::Lines(1_500..2_000));
        assert_eq!(step(&mut ledger, 2_001), Step::End);
        assert_eq!(step(&mut ledger, 2_001), Step::WaitForSafe);
        ledger.acknowledge(1_998).expect("written");
        assert_eq!(step(&mut ledger, 2_002), Step::WaitForSafe);
        ledger.acknowledge(1_999).expect("written");
        assert_eq!(step(&mut ledger, 2_002), Step::Done);
        assert_eq!((ledger.written(), ledger.safe(), ledger.repeated()), (2_000, 2_000, 0));
    }

    #[test]
    fn a_feed_that_is_ended_early_has_the_lines_that_were_due_by_then() {
        let mut ledger = Ledger::new(1_000, at(2_000));
        ledger.resume(None).expect("a new start");
        assert_eq!(step(&mut ledger, 10), Step::Lines(0..10));
        for ms in [30, 50] {
            ledger.end_at(at(ms));
        }
        assert_eq!(step(&mut ledger, 50), Step::Lines(10..30));
        assert_eq!(step(&mut ledger, 50), Step::End);
        ledger.acknowledge(29).expect("written");
        assert_eq!(step(&mut ledger, 51), Step::Done);
    }

    #[test]
    fn a_new_connection_gets_what_is_not_safe_once_more() {
        let mut ledger = Ledger::new(1_000, at(1_000));
        ledger.resume(None).expect("a new start");
        assert_eq!(step(&mut ledger, 100), Step::Lines(0..100));
        ledger.acknowledge(39).expect("written");
        ledger.resume(Some(49)).expect("it holds more than is safe");
        assert_eq!(ledger.safe(), 40);
        assert_eq!(step(&mut ledger, 110), Step::Lines(50..110));
        assert_eq!((ledger.written(), ledger.repeated()), (110, 50));
    }

    /// The same receiver reconnects and goes on after what it holds; then its executor dies, and its successor holds less.
    #[test]
    fn what_a_receiver_held_when_it_reconnected_is_not_safe() {
        let mut ledger = Ledger::new(1_000, at(1_000));
        ledger.resume(None).expect("a new start");
        assert_eq!(step(&mut ledger, 100), Step::Lines(0..100));
        ledger.acknowledge(39).expect("written");
        ledger.resume(Some(79)).expect("it holds more than is safe");
        ledger.resume(Some(39)).expect("its successor holds what is safe");
        assert_eq!(step(&mut ledger, 100), Step::Lines(40..100));
    }

    #[test]
    fn a_receiver_that_lost_what_it_called_safe_is_refused() {
        let mut ledger = Ledger::new(1_000, at(1_000));
        ledger.resume(None).expect("a new start");
        step(&mut ledger, 100);
        ledger.acknowledge(39).expect("written");
        assert_eq!(ledger.resume(Some(38)), Err(LedgerError::Forgotten { line: 39, safe: 40 }));
        assert_eq!(ledger.resume(None), Err(LedgerError::Forgotten { line: 0, safe: 40 }));
        assert_eq!(ledger.resume(Some(39)), Ok(()));
    }

    #[test]
    fn a_line_that_was_never_written_is_refused() {
        let mut ledger = Ledger::new(1_000, at(1_000));
        assert_eq!(ledger.resume(Some(0)), Err(LedgerError::NeverWritten { line: 0, written: 0 }));
        assert_eq!(ledger.acknowledge(0), Err(LedgerError::NeverWritten { line: 0, written: 0 }));
        assert!(ledger.resume(Some(u64::MAX)).is_err());
    }

    #[test]
    fn who_cannot_keep_up_gets_no_new_lines_after_the_grace() {
        let mut ledger = Ledger::new(1_000_000, at(1_000));
        ledger.resume(None).expect("a new start");
        assert_eq!(step(&mut ledger, 1_999), Step::Lines(0..1_000));
        assert_eq!(step(&mut ledger, 2_000), Step::End);
        assert_eq!(ledger.written(), 1_000);
        // What was written is repeated at any time.
        ledger.resume(None).expect("nothing is safe");
        assert_eq!(step(&mut ledger, 60_000), Step::Lines(0..1_000));
        assert_eq!(step(&mut ledger, 60_000), Step::End);
    }

    #[test]
    fn the_end_is_told_on_every_connection() {
        let mut ledger = Ledger::new(10, at(100));
        ledger.resume(None).expect("a new start");
        assert_eq!([step(&mut ledger, 100), step(&mut ledger, 100)], [Step::Lines(0..1), Step::End]);
        ledger.resume(Some(0)).expect("written");
        ledger.acknowledge(0).expect("written");
        assert_eq!([step(&mut ledger, 100), step(&mut ledger, 100)], [Step::End, Step::Done]);
    }
}
