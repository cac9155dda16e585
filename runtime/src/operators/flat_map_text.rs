//! `flat_map_text`: strings in, strings out, without a copy where the one is cut from the other.

use crate::{
    data::{CHUNK_RECORDS_MAX, Chunk, Text, TextArena, TextBuffer, TextChunk},
    dstream::DStream,
    graph::Push,
};
use std::sync::Arc;
use tidemill_actors::seam::TaskError;

impl<S: 'static> DStream<Text, S> {
    /// Calls `f` with each text; what it pushes goes on. A slice of the text becomes a pair of offsets, anything else is
    /// copied.
    ///
    /// ```
    /// use tidemill::{DStream, data::Text, testing::check};
    /// let words = |lines: &DStream<Text>| lines.flat_map_text(|line, out| line.split(' ').for_each(|w| out.push(w)));
    /// check(
    ///     vec![vec![Text::from("to be"), Text::from("or not")]],
    ///     move |lines| words(&lines),
    ///     vec![["to", "be", "or", "not"].map(Text::from).to_vec()],
    /// );
    /// ```
    pub fn flat_map_text(&self, f: impl Fn(&str, &mut TextOut) + Send + Sync + 'static) -> DStream<Text, S> {
        let f = Arc::new(f);
        self.narrow("flat_map_text", move |down, _| {
            Box::new(FlatMapText { f: f.clone(), out: TextOut::new(down) })
        })
    }
}

struct FlatMapText<F> {
    f: Arc<F>,
    out: TextOut,
}

impl<F: Fn(&str, &mut TextOut)> Push<Text> for FlatMapText<F> {
    fn push(&mut self, chunk: &mut Chunk<Text>) -> Result<(), TaskError> {
        match chunk {
            Chunk::Text(texts) => {
                self.out.over(texts.base());
                for text in texts.iter() {
                    (self.f)(text, &mut self.out);
                }
            }
            other => {
                // Texts with buffers of their own: consecutive ones often share a buffer.
                let mut each = |text: Text| {
                    self.out.over(text.buffer());
                    (self.f)(&text, &mut self.out);
                    Ok::<(), TaskError>(())
                };
                other.take_each(&mut each)?;
            }
        }
        self.out.outcome()
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        self.out.flush();
        self.out.outcome()?;
        self.out.down.finish()
    }
}

/// Takes the strings that a [`flat_map_text`](DStream::flat_map_text) function gives.
pub struct TextOut {
    /// Where the base buffer lies in memory: a string is recognised as a slice of it by its address.
    base_at: usize,
    base_len: usize,
    base: Arc<TextBuffer>,
    copied: TextArena,
    ranges: Vec<(u32, u32)>,
    chunk: Chunk<Text>,
    down: Box<dyn Push<Text>>,
    outcome: Result<(), TaskError>,
}

impl TextOut {
    fn new(down: Box<dyn Push<Text>>) -> Self {
        let nothing = Text::from("");
        let base = nothing.buffer().clone();
        TextOut {
            base_at: base.as_str().as_ptr() as usize,
            base_len: 0,
            copied: TextArena::default(),
            ranges: Vec::with_capacity(CHUNK_RECORDS_MAX),
            chunk: Chunk::Text(TextChunk::new(base.clone(), None)),
            base,
            down,
            outcome: Ok(()),
        }
    }

    /// Lets `text` go on: as a pair of offsets if it is a slice of the text that was given, else as a copy.
    #[inline]
    pub fn push(&mut self, text: &str) {
        let from = (text.as_ptr() as usize).wrapping_sub(self.base_at);
        // An empty string may lie anywhere, also inside a character of the base.
        if from < self.base_len && text.len() <= self.base_len - from && !text.is_empty() {
            self.ranges.push((from as u32, (from + text.len()) as u32));
        } else {
            self.copy(text);
        }
        if self.ranges.len() == CHUNK_RECORDS_MAX {
            self.flush();
        }
    }

    #[cold]
    fn copy(&mut self, text: &str) {
        if text.is_empty() {
            self.ranges.push((0, 0));
            return;
        }
        match self.copied.push(text) {
            Ok((start, end)) => {
                let after = self.base_len as u32;
                self.ranges.push((after + start, after + end));
            }
            Err(error) => self.fail(error),
        }
    }

    /// Strings that come next are slices of `base`, or copied.
    fn over(&mut self, base: &Arc<TextBuffer>) {
        if Arc::ptr_eq(&self.base, base) {
            return;
        }
        self.flush();
        self.base_at = base.as_str().as_ptr() as usize;
        self.base_len = base.as_str().len();
        self.base = base.clone();
    }

    fn flush(&mut self) {
        if self.ranges.is_empty() || self.outcome.is_err() {
            self.ranges.clear();
            return;
        }
        let extra =
            if self.copied.is_empty() { None } else { Some(std::mem::take(&mut self.copied).freeze()) };
        let mut chunk = match std::mem::replace(&mut self.chunk, Chunk::Rows(Vec::new())) {
            Chunk::Text(chunk) => chunk,
            _ => TextChunk::new(self.base.clone(), None),
        };
        chunk.reset(&self.base, extra);
        std::mem::swap(&mut chunk.ranges, &mut self.ranges);
        self.chunk = Chunk::Text(chunk);
        if let Err(error) = self.down.push(&mut self.chunk) {
            self.fail(error);
        }
        if let Chunk::Text(chunk) = &mut self.chunk {
            std::mem::swap(&mut chunk.ranges, &mut self.ranges);
        }
        self.ranges.clear();
    }

    #[cold]
    fn fail(&mut self, error: TaskError) {
        if self.outcome.is_ok() {
            self.outcome = Err(error);
        }
    }

    fn outcome(&self) -> Result<(), TaskError> {
        self.outcome.clone()
    }
}

#[cfg(test)]
mod tests {
    use crate::{data::Text, dstream::DStream, testing::check};

    #[test]
    fn slices_copies_and_empty_strings_all_arrive_in_order() {
        let op = |lines: DStream<Text>| {
            lines.flat_map_text(|line, out| {
                out.push(line);
                out.push(&line.to_uppercase());
                out.push("");
                out.push(&line[line.len() / 2..]);
                out.push("constant");
            })
        };
        let texts = |all: &[&str]| all.iter().map(|t| Text::from(*t)).collect::<Vec<_>>();
        check(
            vec![texts(&["abcd", "ef"]), texts(&[])],
            op,
            vec![texts(&["abcd", "ABCD", "", "cd", "constant", "ef", "EF", "", "f", "constant"]), texts(&[])],
        );
    }

    #[test]
    fn texts_that_were_cut_are_cut_again() {
        let words = |line: &str, out: &mut super::TextOut| {
            line.split(' ').for_each(|word| out.push(&format!("{word}!")))
        };
        let halves = |word: &str, out: &mut super::TextOut| {
            let (left, right) = word.split_at(1);
            out.push(left);
            out.push(right);
        };
        check(
            vec![vec![Text::from("ab cd")]],
            move |lines: DStream<Text>| lines.flat_map_text(words).flat_map_text(halves),
            vec![["a", "b!", "c", "d!"].map(Text::from).to_vec()],
        );
    }
}
