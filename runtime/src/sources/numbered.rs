//! Numbered lines: TCP lines that a sender can repeat, acknowledged only when they are safe. Exactly once.
//!
//! ```text
//!   receiver                                      sender
//!      │ ── RESUME 41 ─────────────────────────────> │   (RESUME - : from the beginning)
//!      │ <────────────────────────────── 42\tline ── │
//!      │ <────────────────────────────── 43\tline ── │
//!      │ ── SAFE 42 ───────────────────────────────> │   it may forget everything up to 42
//!      │ <──────────────────────────────────── END ─ │   there are no more
//! ```
//!
//! A receiver that is told to stop, because its executor leaves or the pipeline ends, closes its own side first. The sender closes the other
//! one, and what it had sent by then is read to its end: so the successor goes on where this one has stopped, and nothing is sent
//! twice.
//!
//! A sender must read what it is told. One that has not for 10 s is reported (`sender_does_not_read`), and connected to anew.
//!
//! Numbers grow by one. After a broken connection the same receiver asks to go on after the last line it *holds*; a receiver
//! that was started anew asks to go on after the last line that is *safe*, and the sender repeats what it has not been told
//! is safe. Lines at or below what is held are dropped, so nothing is counted twice.

use crate::data::Text;
use crate::sources::{
    Outlet, OutletClosed, ReceiverStart, SourceError, backoff::Backoff, lines::LINE_BYTES_LIMIT,
    lines::LineSplitter, lines::Lines, tcp_client::READ_BYTES,
};
use std::time::Duration;
use tidemill_protocol::{
    id::Position,
    time::Time,
    world::{ByteStream, World},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

type Reading = ReadHalf<Box<dyn ByteStream>>;
type Writing = WriteHalf<Box<dyn ByteStream>>;

/// How long a receiver that stops waits for the sender to close its side.
const ON_THE_WAY_MAX: Duration = Duration::from_millis(500);
/// How long a sender may take to read what it is told. One that never reads would never hear what it may forget, and would hold up
/// its stream without a word.
const SENDER_READS_MAX: Duration = Duration::from_secs(10);
/// How much it reads meanwhile; what is beyond that is sent again.
const ON_THE_WAY_BYTES_MAX: usize = 1 << 20;

/// What a numbered line source is told.
#[derive(Clone, Debug)]
pub(crate) struct NumberedLines {
    /// `host:port` of the sender.
    pub(crate) address: String,
    /// Longer lines end the connection: a numbered line cannot be left out.
    pub(crate) line_bytes_max: usize,
}

/// How one connection ended.
enum Ended {
    /// The sender said `END`, and everything is safe.
    Complete,
    /// It broke; whether it had brought something.
    Broken { brought_something: bool },
}

impl NumberedLines {
    /// Reads until the sender says `END` and everything is safe, or the receiver is stopped.
    ///
    /// # Errors
    /// The sender breaks the protocol; the receiver is started again, with backoff.
    pub(crate) async fn run(
        self,
        start: ReceiverStart,
        world: World,
        out: Outlet<Text>,
    ) -> Result<(), SourceError> {
        let mut backoff = Backoff::new(world.entropy.rng(&format!("numbered-lines-{}", start.receiver)));
        let mut held = start.resume_after;
        let mut connections = 0u64;
        loop {
            let connected = tokio::select! {
                biased;
                () = out.closed() => return Ok(()),
                connected = world.tcp.connect(self.address.clone()) => connected,
            };
            if let Ok(stream) = connected {
                out.report("reconnect", u64::from(connections > 0));
                connections += 1;
                match self.converse(stream, &mut held, (&out, &world)).await? {
                    None | Some(Ended::Complete) => return Ok(()),
                    Some(Ended::Broken { brought_something: true }) => backoff.reset(),
                    Some(Ended::Broken { brought_something: false }) => {}
                }
                out.report("lost_connection", 1);
            } else {
                out.report("connect_failed", 1);
            }
            tokio::select! {
                biased;
                () = out.closed() => return Ok(()),
                () = world.clock.sleep(backoff.next()) => {}
            }
        }
    }

    /// One connection; `None` when the receiver is being stopped.
    async fn converse(
        &self,
        stream: Box<dyn ByteStream>,
        held: &mut Option<Position>,
        (out, world): (&Outlet<Text>, &World),
    ) -> Result<Option<Ended>, SourceError> {
        let resume = held.map_or("-".to_owned(), |p| p.0.to_string());
        let broken = |brought_something| Ok(Some(Ended::Broken { brought_something }));
        let (mut stream, mut words) = tokio::io::split(stream);
        let mut said = Saying::new(format!("RESUME {resume}\n"), world);
        let mut splitter = LineSplitter::new(self.line_bytes_max);
        let mut buffer = vec![0; READ_BYTES];
        let (mut brought_something, mut complete) = (false, false);
        let mut safe = out.safe();
        let mut told = None;
        loop {
            let acknowledged = *safe.borrow_and_update();
            // While one is being written the next may come: only the newest is told.
            if let Some(position) = acknowledged.filter(|_| acknowledged != told && said.is_over()) {
                said = Saying::new(format!("SAFE {}\n", position.0), world);
                told = acknowledged;
            }
            if complete && said.is_over() && (held.is_none() || acknowledged >= *held) {
                let _ = words.flush().await;
                return Ok(Some(Ended::Complete));
            }
            let length = tokio::select! {
                biased;
                () = out.closed() => {
                    let rest = self.read_to_its_end((&mut stream, &mut words), &mut splitter, held, out);
                    tokio::select! {
                        biased;
                        () = rest => {}
                        () = world.clock.sleep(ON_THE_WAY_MAX) => {}
                    }
                    return Ok(None);
                }
                written = words.write(&said.rest), if !said.is_over() => match written {
                    Ok(bytes @ 1..) => {
                        said.rest.drain(..bytes);
                        continue;
                    }
                    _ => return broken(brought_something),
                },
                () = world.clock.sleep_until(said.until), if !said.is_over() => {
                    out.report("sender_does_not_read", 1);
                    return broken(brought_something);
                }
                changed = safe.changed() => match changed { Ok(()) => continue, Err(_) => return Ok(None) },
                read = stream.read(&mut buffer), if !complete => match read { Ok(n) if n > 0 => n, _ => {
                    out.report("cut_line", u64::from(splitter.finish()));
                    return broken(brought_something);
                }},
            };
            let lines = splitter.push(&buffer[..length]);
            brought_something |= !lines.is_empty();
            let batch = Numbered::parse(lines, *held, self.line_bytes_max)?;
            complete |= batch.end;
            if let Some((first, last)) = batch.positions {
                match out.push_lines_always(batch.lines, Some((first, last))).await {
                    Err(OutletClosed) => return Ok(None),
                    Ok(()) => *held = Some(last),
                }
            }
        }
    }

    /// Tells the sender that nothing more is read, by the end of our side, and takes what it had sent until then.
    async fn read_to_its_end(
        &self,
        (stream, words): (&mut Reading, &mut Writing),
        splitter: &mut LineSplitter,
        held: &mut Option<Position>,
        out: &Outlet<Text>,
    ) {
        let (mut buffer, mut taken) = (vec![0; READ_BYTES], 0);
        if words.shutdown().await.is_err() {
            return;
        }
        while taken < ON_THE_WAY_BYTES_MAX {
            let Ok(length @ 1..) = stream.read(&mut buffer).await else { return };
            taken += length;
            let lines = splitter.push(&buffer[..length]);
            let Ok(batch) = Numbered::parse(lines, *held, self.line_bytes_max) else { return };
            if let Some((first, last)) = batch.positions {
                match out.push_lines_always(batch.lines, Some((first, last))).await {
                    Err(OutletClosed) => return,
                    Ok(()) => *held = Some(last),
                }
            }
        }
    }
}

/// A line for the sender, on its way.
struct Saying {
    rest: Vec<u8>,
    until: Time,
}

impl Saying {
    fn new(line: String, world: &World) -> Self {
        Saying { rest: line.into_bytes(), until: world.clock.now() + SENDER_READS_MAX }
    }

    fn is_over(&self) -> bool {
        self.rest.is_empty()
    }
}

/// What a read brought, without the numbers and without what is held already.
#[derive(Debug, Default, PartialEq, Eq)]
struct Numbered {
    lines: Lines,
    positions: Option<(Position, Position)>,
    end: bool,
}

impl Numbered {
    fn parse(lines: Lines, mut held: Option<Position>, limit: usize) -> Result<Self, SourceError> {
        if lines.too_long > 0 {
            let (length, remedy) = match limit {
                _ if lines.outgrown > 0 => (
                    LINE_BYTES_LIMIT,
                    "what is no UTF-8 becomes U+FFFD, three bytes each: let its sender write UTF-8",
                ),
                LINE_BYTES_LIMIT.. => (limit, "no longer one can cross machines: let its sender cut it"),
                _ => (limit, "raise `line_bytes_max`"),
            };
            return Err(SourceError(format!(
                "a numbered line is longer than {length} bytes; {remedy}, for it cannot be left out"
            )));
        }
        let mut kept = Numbered::default();
        let mut ranges = Vec::with_capacity(lines.ranges.len());
        for &(from, to) in &lines.ranges {
            let line = &lines.text[from as usize..to as usize];
            if line == "END" {
                kept.end = true;
                break;
            }
            let (number, text) = split_number(line)?;
            match held {
                Some(Position(last)) if number <= last => continue,
                Some(Position(last)) if number != last + 1 => {
                    return Err(SourceError(format!(
                        "line {number} came after line {last}: the sender left some out"
                    )));
                }
                _ => {}
            }
            held = Some(Position(number));
            kept.positions = Some((kept.positions.map_or(Position(number), |p| p.0), Position(number)));
            ranges.push((to - text.len() as u32, to));
        }
        kept.lines = Lines { ranges, ..lines };
        Ok(kept)
    }
}

fn split_number(line: &str) -> Result<(u64, &str), SourceError> {
    line.split_once('\t').and_then(|(number, text)| Some((number.parse().ok()?, text))).ok_or_else(|| {
        let begin: String = line.chars().take(40).collect();
        SourceError(format!("expected `NUMBER<tab>TEXT` or `END`, got `{begin}`"))
    })
}

#[cfg(all(test, feature = "sim"))]
mod told {
    use super::*;
    use crate::sources::rig::{Rig, in_virtual_time};
    use tidemill_actors::receiver::{ReceiverAction as Action, SourceEnd};

    #[test]
    fn a_sender_that_never_reads_is_reported_after_10_s_and_what_it_sent_is_kept() {
        in_virtual_time(async |world| {
            let (mut sender, stream) = tokio::io::duplex(64);
            let (its, source) =
                (world.clone(), NumberedLines { address: String::new(), line_bytes_max: 100 });
            let mut rig = Rig::new(&world, stream, async move |stream, out| {
                let ended = source.converse(stream, &mut None, (&out, &its)).await?;
                assert!(matches!(ended, Some(Ended::Broken { brought_something: true })), "it reconnects");
                Ok(())
            });
            rig.perform(Action::RunSource);
            // Twelve such lines are more than the 64 bytes between the two.
            for number in 0..12 {
                rig.perform(Action::Acknowledge(Position(number)));
                rig.settle().await;
            }
            sender.write_all(b"0\tnought\n1\tone\n").await.expect("the receiver reads all the time");
            let began = world.clock.now();
            assert_eq!(rig.end().await, SourceEnd::Returned);
            let waited = world.clock.now().since(began);
            assert!(waited.as_secs() == SENDER_READS_MAX.as_secs(), "{waited:?}");
            rig.perform(Action::CloseBlock);
            assert_eq!(rig.lines(), ["nought", "one"]);
            assert_eq!(rig.reports(), [("sender_does_not_read".to_owned(), 1)]);
            drop(sender);
        });
    }

    #[test]
    fn a_sender_that_does_not_read_does_not_keep_its_receiver_from_stopping() {
        in_virtual_time(async |world| {
            let (sender, stream) = tokio::io::duplex(4);
            let (its, source) =
                (world.clone(), NumberedLines { address: String::new(), line_bytes_max: 100 });
            let mut rig = Rig::new(&world, stream, async move |stream, out| {
                let ended = source.converse(stream, &mut None, (&out, &its)).await?;
                assert!(ended.is_none(), "it was told to stop");
                Ok(())
            });
            rig.perform(Action::RunSource);
            rig.settle().await;
            let began = world.clock.now();
            rig.perform(Action::CloseSink);
            assert_eq!(rig.end().await, SourceEnd::Returned);
            assert!(world.clock.now().since(began) <= ON_THE_WAY_MAX * 2);
            assert_eq!(rig.reports(), []);
            drop(sender);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts, first and last position, and whether something was repeated.
    type Parsed = (Vec<String>, Option<(u64, u64)>, bool);

    fn parse(text: &str, held: Option<u64>) -> Result<Parsed, String> {
        let lines = LineSplitter::new(100).push(text.as_bytes());
        let n = Numbered::parse(lines, held.map(Position), 100).map_err(|e| e.0)?;
        let texts = n.lines.iter().map(str::to_owned).collect();
        Ok((texts, n.positions.map(|(a, b)| (a.0, b.0)), n.end))
    }

    #[test]
    fn numbers_are_taken_off_and_what_is_held_is_dropped() {
        let got = parse("4\tfour\n5\tfive\n6\tsix\n", Some(4));
        assert_eq!(got, Ok((vec!["five".into(), "six".into()], Some((5, 6)), false)));
        assert_eq!(parse("0\tzero\nEND\n", None), Ok((vec!["zero".into()], Some((0, 0)), true)));
    }

    #[test]
    fn a_gap_is_an_error_that_names_both_lines() {
        let error = parse("7\tseven\n", Some(5)).expect_err("a gap");
        assert_eq!(error, "line 7 came after line 5: the sender left some out");
    }

    #[test]
    fn a_line_without_a_number_is_an_error_that_shows_it() {
        let error = parse("hello\n", None).expect_err("no number");
        assert_eq!(error, "expected `NUMBER<tab>TEXT` or `END`, got `hello`");
    }

    #[test]
    fn a_line_that_is_too_long_is_an_error_with_its_remedy() {
        let error = |line: &[u8], limit| {
            let lines = LineSplitter::new(limit).push(&[b"0\t", line, b"\n"].concat());
            Numbered::parse(lines, None, limit).expect_err("too long").0
        };
        for (line, limit, length, remedy) in [
            (vec![b'x'; 100], 100, 100, "raise `line_bytes_max`"),
            (vec![b'x'; LINE_BYTES_LIMIT], LINE_BYTES_LIMIT, LINE_BYTES_LIMIT, "let its sender cut it"),
            // Each of these becomes three bytes.
            (
                vec![0xff; LINE_BYTES_LIMIT / 2],
                LINE_BYTES_LIMIT - 1,
                LINE_BYTES_LIMIT,
                "let its sender write UTF-8",
            ),
        ] {
            let said = error(&line, limit);
            assert!(said.contains(&format!("longer than {length} bytes")) && said.contains(remedy), "{said}");
        }
    }
}
