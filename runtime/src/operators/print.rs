//! `print`: the first records of each batch, for people.

use crate::{
    data::{Chunk, Data},
    dstream::{DStream, Output},
    graph::Push,
};
use std::{
    fmt::{Debug, Write as _},
    io::Write as _,
};
use tidemill_actors::seam::TaskError;
use tidemill_protocol::time::BatchTime;

/// How many records are shown.
const SHOWN: usize = 10;

impl<T: Data + Debug> DStream<T> {
    /// Writes the first ten records of each batch, under a headline with its time, to the standard output of the driver.
    ///
    /// ```text
    /// -------------------------------------------
    /// Time: 1357008430000 ms
    /// -------------------------------------------
    /// ("hello", 1)
    /// ("world", 1)
    /// ```
    pub fn print(&self) -> Output {
        let few = self.narrow("take", |down, _| Box::new(Take { left: SHOWN + 1, down }));
        few.driver_sink("print", |rows, time| {
            // A closed standard output is no reason to stop a pipeline.
            let _ = std::io::stdout().lock().write_all(shown(&rows, time).as_bytes());
            Ok(())
        })
    }
}

fn shown<T: Debug>(rows: &[T], time: BatchTime) -> String {
    let line = "-".repeat(43);
    let mut text = format!("{line}\nTime: {time}\n{line}\n");
    for row in rows.iter().take(SHOWN) {
        let _ = writeln!(text, "{row:?}");
    }
    if rows.len() > SHOWN {
        text.push_str("...\n");
    }
    text.push('\n');
    text
}

/// Passes the first records of a partition: the driver shall not gather what is never shown.
struct Take<T> {
    left: usize,
    down: Box<dyn Push<T>>,
}

impl<T: Data> Push<T> for Take<T> {
    fn push(&mut self, chunk: &mut Chunk<T>) -> Result<(), TaskError> {
        if self.left == 0 {
            return Ok(());
        }
        chunk.retain(|_| {
            let keep = self.left > 0;
            self.left -= usize::from(keep);
            keep
        });
        self.down.push(chunk)
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        self.down.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_records_are_shown_and_more_are_hinted_at() {
        let head = "-------------------------------------------\nTime: 5 ms\n-------------------------------------------\n";
        assert_eq!(shown(&[("a", 1)], BatchTime(5)), format!("{head}(\"a\", 1)\n\n"));
        let eleven: Vec<u32> = (0..11).collect();
        assert_eq!(shown(&eleven, BatchTime(5)), format!("{head}0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n...\n\n"));
        assert_eq!(shown(&eleven[..0], BatchTime(5)), format!("{head}\n"));
    }
}
