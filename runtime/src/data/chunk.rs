//! What flows between two operators of a task: at most 1,024 records, in a buffer that the upper operator uses again.

use super::{Data, Text, TextChunk, weigh};
use std::{any::Any, ops::Range, sync::Arc};

/// Some records of a partition, in order. The receiver may take them out; what it leaves is cleared by the sender.
#[derive(Clone, Debug)]
pub enum Chunk<T> {
    /// Records that the chunk owns.
    Rows(Vec<T>),
    /// Records of a stored partition; they are cloned when taken.
    Shared(Arc<Vec<T>>, Range<usize>),
    /// Texts by offsets: only where `T` is [`Text`].
    Text(TextChunk),
}

impl<T: Data> Chunk<T> {
    /// How many records.
    pub fn len(&self) -> usize {
        match self {
            Chunk::Rows(rows) => rows.len(),
            Chunk::Shared(_, range) => range.len(),
            Chunk::Text(texts) => texts.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes its records have where they are kept. Of texts only what they show: whoever keeps them copies it.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Chunk::Rows(rows) => rows_bytes(rows),
            Chunk::Shared(rows, range) => rows_bytes(&rows[range.clone()]),
            Chunk::Text(texts) => {
                let shown = |&(start, end): &(u32, u32)| u64::from(end - start);
                size_of_val(texts.ranges.as_slice()) as u64 + texts.ranges.iter().map(shown).sum::<u64>()
            }
        }
    }

    /// Takes the records out, in order: moved if the chunk owns them, else cloned. Stops at the first error.
    ///
    /// # Errors
    /// Those of `f`.
    #[inline]
    pub fn take_each<E>(&mut self, mut f: impl FnMut(T) -> Result<(), E>) -> Result<(), E> {
        match self {
            Chunk::Rows(rows) => rows.drain(..).try_for_each(f),
            Chunk::Shared(rows, range) => rows[range.clone()].iter().cloned().try_for_each(f),
            Chunk::Text(texts) => texts.texts().try_for_each(|text| f(own(text))),
        }
    }

    /// Shows the records, in order.
    #[inline]
    pub fn show_each(&self, mut f: impl FnMut(&T)) {
        match self {
            Chunk::Rows(rows) => rows.iter().for_each(f),
            Chunk::Shared(rows, range) => rows[range.clone()].iter().for_each(f),
            Chunk::Text(texts) => {
                let mut cursor = Cursor::new(texts);
                texts.ranges.iter().for_each(|&range| f(lend(cursor.at(range))));
            }
        }
    }

    /// Keeps the records that `f` says true of. Texts are shown through one view that moves, so that no count of shares is
    /// touched for a record.
    #[inline]
    pub fn retain(&mut self, mut f: impl FnMut(&T) -> bool) {
        match self {
            Chunk::Rows(rows) => rows.retain(f),
            Chunk::Shared(rows, range) => {
                let kept = rows[range.clone()].iter().filter(|row| f(row)).cloned().collect();
                *self = Chunk::Rows(kept);
            }
            Chunk::Text(texts) => {
                let mut cursor = Cursor::new(texts);
                texts.ranges.retain(|&range| f(lend(cursor.at(range))));
            }
        }
    }
}

/// About how many bytes records have, with what they own.
pub(crate) fn rows_bytes<T: Data>(rows: &[T]) -> u64 {
    (size_of_val(rows) as u64).saturating_add(weigh::owned(rows.iter()))
}

/// A view that moves over the texts of a chunk.
struct Cursor {
    base_len: u32,
    base: Text,
    extra: Option<Text>,
}

impl Cursor {
    fn new(texts: &TextChunk) -> Self {
        Cursor {
            base_len: texts.base().as_str().len() as u32,
            base: Text::slice(texts.base().clone(), (0, 0)),
            extra: texts.extra().map(|buffer| Text::slice(buffer.clone(), (0, 0))),
        }
    }

    #[inline]
    fn at(&mut self, (start, end): (u32, u32)) -> &Text {
        match &mut self.extra {
            Some(extra) if end > self.base_len => {
                extra.move_to((start - self.base_len, end - self.base_len));
                extra
            }
            _ => {
                self.base.move_to((start, end));
                &self.base
            }
        }
    }
}

const ONLY_TEXT: &str = "a chunk of texts is only ever made where the record type is Text";

/// `text` as the `T` that it is; the check is resolved when the code is generated.
#[inline]
fn lend<T: Data>(text: &Text) -> &T {
    (text as &dyn Any).downcast_ref().expect(ONLY_TEXT)
}

#[inline]
fn own<T: Data>(text: Text) -> T {
    let mut slot = Some(text);
    (&mut slot as &mut dyn Any).downcast_mut::<Option<T>>().and_then(Option::take).expect(ONLY_TEXT)
}

/// `value` as a text, if `T` is [`Text`].
#[inline]
pub(crate) fn as_text<T: Data>(value: &T) -> Option<&Text> {
    (value as &dyn Any).downcast_ref()
}

/// A text as a `T`, where the caller knows that `T` is [`Text`].
#[inline]
pub(crate) fn from_text<T: Data>(text: Text) -> T {
    own(text)
}

/// Whether `T` is [`Text`].
#[inline]
pub(crate) fn is_text<T: 'static>() -> bool {
    std::any::TypeId::of::<T>() == std::any::TypeId::of::<Text>()
}
