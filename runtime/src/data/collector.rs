//! Gathers a partition's records for storing. Texts are copied end to end, so that a few lines that passed a filter do not
//! keep the whole block alive that they were cut from.

use super::{Chunk, Data, Rows, TextArena, TextChunk, as_text, is_text};
use tidemill_actors::seam::TaskError;

/// Records on their way into a [`Rows`].
#[derive(Debug)]
pub struct Collector<T> {
    rows: Vec<T>,
    arena: TextArena,
    ranges: Vec<(u32, u32)>,
}

impl<T> Default for Collector<T> {
    fn default() -> Self {
        Collector { rows: Vec::new(), arena: TextArena::default(), ranges: Vec::new() }
    }
}

impl<T: Data> Collector<T> {
    /// Takes one record.
    ///
    /// # Errors
    /// [`TaskError::Failed`] if a partition of texts grows beyond a gibibyte.
    pub fn push(&mut self, record: T) -> Result<(), TaskError> {
        match as_text(&record) {
            Some(text) => {
                let range = self.arena.push(text)?;
                self.ranges.push(range);
            }
            None => self.rows.push(record),
        }
        Ok(())
    }

    /// Takes the records of a chunk.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_chunk(&mut self, chunk: &mut Chunk<T>) -> Result<(), TaskError> {
        match chunk {
            Chunk::Rows(rows) if !is_text::<T>() => self.rows.append(rows),
            Chunk::Text(texts) => {
                for text in texts.iter() {
                    let range = self.arena.push(text)?;
                    self.ranges.push(range);
                }
            }
            other => other.take_each(|record| self.push(record))?,
        }
        Ok(())
    }

    /// How many records were taken.
    pub fn len(&self) -> usize {
        self.rows.len() + self.ranges.len()
    }

    /// Whether none was taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The records, ready to be stored.
    pub fn finish(self) -> Rows<T> {
        if !is_text::<T>() {
            return Rows::new(self.rows);
        }
        let mut texts = TextChunk::new(self.arena.freeze(), None);
        texts.ranges = self.ranges;
        Rows::of_texts(texts)
    }
}
