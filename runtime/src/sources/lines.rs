//! Cutting a byte stream into lines: pure, fed by the TCP sources with whatever a read brought.
//!
//! ```text
//!   read ─> [ rest of the line before | line \n | line \n | begun… ]
//!                       \_______ one `Lines` _______/      kept for the next read
//! ```
//!
//! A line ends at `\n` (a `\r` before it is dropped). A line that is not UTF-8 is kept with U+FFFD in place of what cannot be
//! read, and counted; a line over the limit is dropped and counted; what stands after the last `\n` when the peer closes is not a
//! line, is dropped and counted. So a record is never made of half a line. U+FFFD is longer than what it stands for: a line
//! that becomes longer with it than can cross machines is over the limit as well.

use crate::data::RECORD_BYTES_MAX;

/// The highest limit that lines may have: a longer text, with its header, cannot cross machines.
pub const LINE_BYTES_LIMIT: usize = RECORD_BYTES_MAX - 5;

/// What a read completed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The lines' bytes, valid UTF-8, one after another.
    pub text: String,
    /// Where each line stands in `text`, without its end.
    pub ranges: Vec<(u32, u32)>,
    /// Lines that were not UTF-8.
    pub bad_utf8: u64,
    /// Lines over the limit.
    pub too_long: u64,
    /// Those among them that came within it, and cannot cross machines with U+FFFD in them.
    pub outgrown: u64,
}

impl Lines {
    /// Whether nothing was completed.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The lines as text.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.ranges.iter().map(|&(from, to)| &self.text[from as usize..to as usize])
    }
}

/// The state between two reads: the line that has begun.
#[derive(Debug)]
pub struct LineSplitter {
    begun: Vec<u8>,
    line_bytes_max: usize,
    /// The line that has begun is over the limit: it is skipped up to its end.
    skipping: bool,
}

impl LineSplitter {
    /// A splitter that drops lines of more than `line_bytes_max` bytes.
    pub fn new(line_bytes_max: usize) -> Self {
        LineSplitter { begun: Vec::new(), line_bytes_max, skipping: false }
    }

    /// Takes the bytes of one read and gives the lines that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Lines {
        let mut lines = Lines::default();
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            self.complete(&bytes[from..end], &mut lines);
            from = end + 1;
        }
        self.keep(&bytes[from..]);
        lines
    }

    /// The peer has closed: whether it cut a line short.
    pub fn finish(&mut self) -> bool {
        let cut = self.skipping || !self.begun.is_empty();
        self.begun.clear();
        self.skipping = false;
        cut
    }

    fn complete(&mut self, tail: &[u8], lines: &mut Lines) {
        let last = tail.last().or(self.begun.last());
        // What ends the line is no part of it.
        let length = self.begun.len() + tail.len() - usize::from(last == Some(&b'\r'));
        let too_long = self.skipping || length > self.line_bytes_max;
        if too_long {
            lines.too_long += 1;
        } else if self.begun.is_empty() {
            append(tail, lines);
        } else {
            self.begun.extend_from_slice(tail);
            append(&self.begun, lines);
        }
        self.begun.clear();
        self.skipping = false;
    }

    fn keep(&mut self, tail: &[u8]) {
        // One more than a line may have: it may be the `\r` of its end.
        if self.begun.len() + tail.len() > self.line_bytes_max.saturating_add(1) {
            self.begun.clear();
            self.skipping = true;
        } else if !self.skipping {
            self.begun.extend_from_slice(tail);
        }
    }
}

fn append(line: &[u8], lines: &mut Lines) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let from = lines.text.len();
    match simdutf8::basic::from_utf8(line) {
        Ok(text) => lines.text.push_str(text),
        Err(_) => {
            let text = String::from_utf8_lossy(line);
            if text.len() > LINE_BYTES_LIMIT {
                lines.too_long += 1;
                lines.outgrown += 1;
                return;
            }
            lines.bad_utf8 += 1;
            lines.text.push_str(&text);
        }
    }
    // A read is at most `READ_BYTES` long and a line at most `LINE_BYTES_LIMIT`; lossy text grows threefold at most, so
    // offsets stay below 4 GiB.
    lines.ranges.push((from as u32, lines.text.len() as u32));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(limit: usize, reads: &[&[u8]]) -> (Vec<String>, u64, u64, bool) {
        let mut splitter = LineSplitter::new(limit);
        let (mut all, mut bad, mut long) = (Vec::new(), 0, 0);
        for read in reads {
            let lines = splitter.push(read);
            all.extend(lines.iter().map(str::to_owned));
            bad += lines.bad_utf8;
            long += lines.too_long;
        }
        (all, bad, long, splitter.finish())
    }

    #[test]
    fn lines_do_not_depend_on_where_reads_end() {
        let text = b"one\r\ntwo\n\nthree\n";
        let whole = split(100, &[text]);
        assert_eq!(whole, (vec!["one".into(), "two".into(), "".into(), "three".into()], 0, 0, false));
        for at in 0..text.len() {
            assert_eq!(split(100, &[&text[..at], &text[at..]]), whole, "cut at {at}");
        }
    }

    #[test]
    fn bad_utf8_is_replaced_and_counted() {
        assert_eq!(split(100, &[b"a\xffb\nok\n"]), (vec!["a\u{fffd}b".into(), "ok".into()], 1, 0, false));
    }

    #[test]
    fn a_line_over_the_limit_is_dropped_and_counted_once() {
        let expected = (vec!["1234".to_string(), "ok".into()], 0, 1, false);
        assert_eq!(split(4, &[b"1234\n12345\nok\n"]), expected);
        assert_eq!(split(4, &[b"1234\n123", b"45", b"678901\nok\n"]), expected);
    }

    #[test]
    fn the_end_of_a_line_does_not_count_against_its_limit() {
        let text = b"1234\r\n1234\r5\n12345\r\n12345\n\r\n";
        let whole = (vec!["1234".to_string(), "".into()], 0, 3, false);
        assert_eq!(split(4, &[text]), whole);
        for at in 0..text.len() {
            assert_eq!(split(4, &[&text[..at], &text[at..]]), whole, "cut at {at}");
        }
    }

    #[test]
    fn a_line_that_becomes_too_long_for_the_wire_is_dropped() {
        // Each bad byte becomes three.
        let third = LINE_BYTES_LIMIT / 3;
        let line = |bad: usize, good: usize| [vec![0xff; bad], vec![b'x'; good], b"\nok\n".to_vec()].concat();
        let mut splitter = LineSplitter::new(LINE_BYTES_LIMIT);
        let fits = splitter.push(&line(third, LINE_BYTES_LIMIT % 3));
        assert_eq!((fits.iter().next().map(str::len), fits.bad_utf8), (Some(LINE_BYTES_LIMIT), 1));
        let long = splitter.push(&line(third, LINE_BYTES_LIMIT % 3 + 1));
        let counted = (long.bad_utf8, long.too_long, long.outgrown);
        assert_eq!((long.iter().collect::<Vec<_>>(), counted), (vec!["ok"], (0, 1, 1)));
    }

    #[test]
    fn a_line_that_the_peer_cut_short_is_no_line() {
        assert_eq!(split(100, &[b"one\ntw"]), (vec!["one".into()], 0, 0, true));
    }
}
