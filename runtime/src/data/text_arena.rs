//! A growing text to which strings are copied one after the other; it becomes a buffer when it is full.

use super::{TEXT_BUFFER_BYTES_MAX, TextBuffer};
use std::sync::Arc;
use tidemill_actors::seam::TaskError;

/// Strings laid end to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextArena(String);

impl TextArena {
    /// Copies `text` to the end and says where it stands.
    pub(crate) fn push(&mut self, text: &str) -> Result<(u32, u32), TaskError> {
        let start = self.0.len();
        let end = start + text.len();
        if end > TEXT_BUFFER_BYTES_MAX {
            return Err(TaskError::Failed(format!(
                "a partition holds more than {TEXT_BUFFER_BYTES_MAX} bytes of text; use more partitions"
            )));
        }
        self.0.push_str(text);
        Ok((start as u32, end as u32))
    }

    /// The string at a place that [`push`](Self::push) gave.
    #[inline]
    pub(crate) fn get(&self, (start, end): (u32, u32)) -> &str {
        &self.0[start as usize..end as usize]
    }

    /// Whether `bytes` stand at a place that [`push`](Self::push) gave. On bytes, because both are known to be texts, and in
    /// line for short ones: a call to compare a word costs more than the comparison.
    #[inline]
    pub(crate) fn is_at(&self, (start, end): (u32, u32), bytes: &[u8]) -> bool {
        let mine = &self.0.as_bytes()[start as usize..end as usize];
        if mine.len() != bytes.len() {
            return false;
        }
        match (
            mine.first_chunk::<8>(),
            bytes.first_chunk::<8>(),
            mine.last_chunk::<8>(),
            bytes.last_chunk::<8>(),
        ) {
            (Some(a), Some(b), Some(c), Some(d)) if mine.len() <= 16 => a == b && c == d,
            (Some(_), ..) => mine == bytes,
            _ => match (
                mine.first_chunk::<4>(),
                bytes.first_chunk::<4>(),
                mine.last_chunk::<4>(),
                bytes.last_chunk::<4>(),
            ) {
                (Some(a), Some(b), Some(c), Some(d)) => a == b && c == d,
                _ => mine.iter().eq(bytes),
            },
        }
    }

    /// How many bytes it has room for.
    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Whether nothing was copied to it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The arena as an immutable buffer, for `Text` to share.
    pub(crate) fn freeze(mut self) -> Arc<TextBuffer> {
        self.0.shrink_to_fit();
        Arc::new(TextBuffer::from_string(self.0).expect("push refuses what a buffer cannot hold"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_are_told_apart_at_every_place() {
        for length in 0..40 {
            let text: String = (0..length).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
            let mut arena = TextArena::default();
            arena.push("before").unwrap();
            let place = arena.push(&text).unwrap();
            assert!(arena.is_at(place, text.as_bytes()));
            assert!(!arena.is_at(place, format!("{text}x").as_bytes()));
            for at in 0..length {
                let mut other = text.clone().into_bytes();
                other[at] = b'#';
                assert!(!arena.is_at(place, &other), "{length} {at}");
            }
        }
    }
}
