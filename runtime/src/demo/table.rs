//! The live table: in place on a terminal, plain lines when piped, one JSON object a batch when asked. At most 100 columns.

use serde::Serialize;
use std::{
    collections::VecDeque,
    io::{self, Write},
    time::Duration,
};

/// The widest line.
pub const COLUMNS_MAX: usize = 100;
/// Batches that stay on the screen.
const ROWS_IN_PLACE: usize = 10;
/// Plain lines: after how many batches the busiest origins are shown again.
const BATCHES_PER_TOP: u64 = 10;
const CITY_COLUMNS: usize = 24;

/// How the table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On a terminal, drawn over itself.
    InPlace {
        /// Whether colours may be used (`NO_COLOR` is not set).
        colour: bool,
        /// The terminal's width; lines are cut to it.
        columns: usize,
    },
    /// Line after line, without escape codes.
    Plain,
    /// One JSON object for each batch, and nothing else.
    Json,
}

impl Mode {
    /// What suits an output: `json` if it was asked for, in place if it is a terminal that can move its cursor, else plain.
    pub fn of(json: bool, is_terminal: bool, no_color: bool, columns: Option<usize>) -> Self {
        match (json, is_terminal) {
            (true, _) => Mode::Json,
            (false, true) => {
                Mode::InPlace { colour: !no_color, columns: columns.unwrap_or(80).min(COLUMNS_MAX) }
            }
            (false, false) => Mode::Plain,
        }
    }
}

/// A batch, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchRow {
    /// The batch's number.
    pub batch: u64,
    /// Its records.
    pub records: u64,
    /// From its cut to the start of its first task.
    pub scheduling_delay: Duration,
    /// From there to its publication.
    pub processing_time: Duration,
    /// Both together.
    pub total_delay: Duration,
    /// What the receivers may read from now on, in records per second; `None`: no limit.
    pub permitted_records_per_s: Option<f64>,
}

/// An origin, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopRow {
    /// Its IATA code.
    pub origin: String,
    /// Its city.
    pub city: String,
    /// Flights in total.
    pub flights: u64,
    /// The mean delay in total, in minutes.
    pub mean_delay_min: f64,
}

/// A batch in JSON.
#[derive(Serialize)]
struct BatchJson<'a> {
    batch: u64,
    records: u64,
    scheduling_delay_ms: f64,
    processing_time_ms: f64,
    total_delay_ms: f64,
    permitted_records_per_s: Option<f64>,
    top: &'a [TopRow],
}

/// A table on an output.
pub struct Table<W> {
    out: W,
    mode: Mode,
    rows: VecDeque<BatchRow>,
    top: Vec<TopRow>,
    batches: u64,
    /// Lines that stand on the screen and will be drawn over.
    drawn: usize,
}

impl<W: Write> Table<W> {
    /// A table on `out`; nothing is written yet.
    pub fn new(out: W, mode: Mode) -> Self {
        Table { out, mode, rows: VecDeque::new(), top: Vec::new(), batches: 0, drawn: 0 }
    }

    /// Shows a batch and the busiest origins so far.
    ///
    /// # Errors
    /// If the output fails; a reader that has gone away is a `BrokenPipe`.
    pub fn batch(&mut self, row: BatchRow, top: Vec<TopRow>) -> io::Result<()> {
        self.batches += 1;
        self.top = top;
        match self.mode {
            Mode::Json => writeln!(self.out, "{}", json(&row, &self.top))?,
            Mode::Plain => {
                if self.batches % BATCHES_PER_TOP == 1 {
                    writeln!(self.out, "{}", head())?;
                }
                writeln!(self.out, "{}", line(&row, &self.top))?;
                if self.batches.is_multiple_of(BATCHES_PER_TOP) {
                    self.plain_top()?;
                }
            }
            Mode::InPlace { .. } => {
                self.rows.push_back(row);
                if self.rows.len() > ROWS_IN_PLACE {
                    self.rows.pop_front();
                }
                self.erase()?;
                self.draw()?;
            }
        }
        self.out.flush()
    }

    /// Says something that stays, such as a kill; not in JSON.
    ///
    /// # Errors
    /// As [`Table::batch`].
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        match self.mode {
            Mode::Json => {}
            Mode::Plain => writeln!(self.out, "-- {}", cut(text, COLUMNS_MAX - 3))?,
            Mode::InPlace { colour, columns } => {
                self.erase()?;
                let text = cut(text, columns);
                if colour {
                    writeln!(self.out, "\x1b[33m{text}\x1b[0m")?
                } else {
                    writeln!(self.out, "{text}")?
                }
                self.draw()?;
            }
        }
        self.out.flush()
    }

    /// Ends the table: what is on the screen stays, plain lines end with the busiest origins. Gives the output back.
    ///
    /// # Errors
    /// As [`Table::batch`].
    pub fn finish(mut self) -> io::Result<W> {
        if self.mode == Mode::Plain && !self.batches.is_multiple_of(BATCHES_PER_TOP) {
            self.plain_top()?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn plain_top(&mut self) -> io::Result<()> {
        for row in &self.top {
            writeln!(self.out, "{}", top_line(row))?;
        }
        Ok(())
    }

    /// Moves to the table's first line and clears what follows.
    fn erase(&mut self) -> io::Result<()> {
        if self.drawn > 0 {
            write!(self.out, "\x1b[{}A\x1b[J", self.drawn)?;
        }
        self.drawn = 0;
        Ok(())
    }

    fn draw(&mut self) -> io::Result<()> {
        let Mode::InPlace { colour, columns } = self.mode else {
            return Ok(());
        };
        let mut lines = vec![head()];
        lines.extend(self.rows.iter().map(|row| line(row, &[])));
        lines.push(String::new());
        lines.extend(self.top.iter().map(top_line));
        for (i, line) in lines.iter().enumerate() {
            let line = cut(line, columns);
            match (i, colour) {
                (0, true) => writeln!(self.out, "\x1b[1m{line}\x1b[0m")?,
                _ => writeln!(self.out, "{line}")?,
            }
        }
        self.drawn = lines.len();
        Ok(())
    }
}

fn head() -> String {
    format!(
        "{:>7} {:>10} {:>11} {:>11} {:>11} {:>13}  busiest",
        "batch", "records", "scheduling", "processing", "total", "permitted/s"
    )
    .trim_end_matches(' ')
    .to_string()
}

fn line(row: &BatchRow, top: &[TopRow]) -> String {
    let permitted =
        row.permitted_records_per_s.map_or("no limit".into(), |rate| thousands(rate.round().max(0.0) as u64));
    let busiest: Vec<&str> = top.iter().map(|row| row.origin.as_str()).collect();
    let line = format!(
        "{:>7} {:>10} {:>11} {:>11} {:>11} {permitted:>13}  {}",
        row.batch,
        thousands(row.records),
        milliseconds(row.scheduling_delay),
        milliseconds(row.processing_time),
        milliseconds(row.total_delay),
        busiest.join(" "),
    );
    cut(&line, COLUMNS_MAX).trim_end().to_string()
}

fn top_line(row: &TopRow) -> String {
    let city = cut(&row.city, CITY_COLUMNS);
    format!(
        "        {:<4} {city:<CITY_COLUMNS$} {:>12} flights {:>8.2} min late",
        row.origin,
        thousands(row.flights),
        row.mean_delay_min
    )
}

fn json(row: &BatchRow, top: &[TopRow]) -> String {
    let ms = |duration: Duration| duration.as_micros() as f64 / 1_000.0;
    let batch = BatchJson {
        batch: row.batch,
        records: row.records,
        scheduling_delay_ms: ms(row.scheduling_delay),
        processing_time_ms: ms(row.processing_time),
        total_delay_ms: ms(row.total_delay),
        permitted_records_per_s: row.permitted_records_per_s,
        top,
    };
    serde_json::to_string(&batch).expect("a batch holds only names and numbers")
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// 1234567 as 1,234,567.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The first `columns` characters.
fn cut(text: &str, columns: usize) -> String {
    text.chars().take(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(batch: u64) -> BatchRow {
        let ms = Duration::from_millis;
        let (scheduling_delay, processing_time, total_delay) =
            (Duration::from_micros(250), ms(12), Duration::from_micros(12_250));
        BatchRow {
            batch,
            records: 20_000,
            scheduling_delay,
            processing_time,
            total_delay,
            permitted_records_per_s: Some(20_123.4),
        }
    }

    fn top() -> Vec<TopRow> {
        let of = |origin: &str, city: &str| TopRow {
            origin: origin.into(),
            city: city.into(),
            flights: 44_384,
            mean_delay_min: 16.497,
        };
        vec![
            of("ORD", "Chicago"),
            of("DFW", "Dallas-Fort Worth"),
            of("LAX", "Los Angeles"),
            of("ATL", "Atlanta"),
            of("PHX", "Phoenix"),
        ]
    }

    fn shown(mode: Mode, batches: u64) -> String {
        let mut table = Table::new(Vec::new(), mode);
        for batch in 0..batches {
            table.batch(row(batch), top()).expect("memory takes everything");
        }
        table.note("executor 2 killed").expect("memory takes everything");
        String::from_utf8(table.finish().expect("memory takes everything")).expect("the table is UTF-8")
    }

    #[test]
    fn piped_output_is_plain_lines_of_at_most_100_columns() {
        let text = shown(Mode::Plain, 12);
        assert!(!text.contains('\x1b'));
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS_MAX), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  batch    records  scheduling  processing       total   permitted/s  busiest");
        assert_eq!(
            lines[1],
            "      0     20,000      0.2 ms     12.0 ms     12.2 ms        20,123  ORD DFW LAX ATL PHX"
        );
        assert_eq!(lines[11], "        ORD  Chicago                        44,384 flights    16.50 min late");
        assert_eq!(lines[16], lines[0], "the head comes again");
        assert_eq!(lines[19], "-- executor 2 killed");
        assert_eq!(lines.len(), 1 + 10 + 5 + 1 + 2 + 1 + 5);
    }

    #[test]
    fn on_a_terminal_the_table_is_drawn_over_itself() {
        let text = shown(Mode::InPlace { colour: true, columns: 80 }, 2);
        // First drawing: head, 1 batch, an empty line, 5 origins; the second has 2 batches.
        assert!(text.contains("\x1b[8A\x1b[J"), "{text:?}");
        assert!(text.contains("\x1b[9A\x1b[J\x1b[33mexecutor 2 killed\x1b[0m\n\x1b[1m  batch"), "{text:?}");
    }

    #[test]
    fn no_more_than_ten_batches_stay_on_the_screen() {
        let text = shown(Mode::InPlace { colour: false, columns: 80 }, 15);
        let last = text.rsplit("\x1b[J").next().expect("there is a last drawing");
        assert_eq!(last.lines().count(), 1 + 1 + 10 + 1 + 5, "the note and the table: {last}");
        assert!(last.contains("     14     20,000") && !last.contains("      4     20,000"));
    }

    #[test]
    fn no_color_leaves_the_cursor_alone_to_move_and_colours_nothing() {
        let text = shown(Mode::InPlace { colour: false, columns: 80 }, 3);
        let codes =
            text.split("\x1b[").skip(1).filter_map(|code| code.chars().find(char::is_ascii_alphabetic));
        let colours = codes.filter(|&last| last == 'm');
        assert_eq!(colours.count(), 0, "{text:?}");
    }

    #[test]
    fn a_narrow_terminal_cuts_lines_instead_of_breaking_them() {
        let text = shown(Mode::InPlace { colour: false, columns: 30 }, 2);
        let last = text.rsplit("\x1b[J").next().expect("there is a last drawing");
        assert!(last.lines().all(|line| line.chars().count() <= 30), "{last}");
    }

    #[test]
    fn json_is_one_object_for_each_batch_and_no_notes() {
        let text = shown(Mode::Json, 2);
        assert_eq!(text.lines().count(), 2);
        let first: serde_json::Value =
            serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        assert_eq!(first["batch"], 0);
        assert_eq!(first["records"], 20_000);
        assert_eq!(first["scheduling_delay_ms"], 0.25);
        assert_eq!(first["total_delay_ms"], 12.25);
        assert_eq!(first["top"][1]["city"], "Dallas-Fort Worth");
    }

    #[test]
    fn the_mode_follows_the_output() {
        assert_eq!(Mode::of(true, true, false, None), Mode::Json);
        assert_eq!(Mode::of(false, false, false, Some(200)), Mode::Plain);
        assert_eq!(Mode::of(false, true, true, Some(200)), Mode::InPlace { colour: false, columns: 100 });
        assert_eq!(Mode::of(false, true, false, None), Mode::InPlace { colour: true, columns: 80 });
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let table =
            [(0, "0"), (999, "999"), (1_000, "1,000"), (123_456, "123,456"), (1_234_567, "1,234,567")];
        for (number, expected) in table {
            assert_eq!(thousands(number), expected);
        }
    }
}
