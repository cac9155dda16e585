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

    /// How many bytes were copied to it.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
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
