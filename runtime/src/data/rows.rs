//! The payload of a partition's records: a vector, or texts by offsets.

use super::{CHUNK_RECORDS_MAX, Chunk, Data, Stored, Text, TextArena, TextChunk, codec, is_text};
use serde::{Deserializer, Serializer, de, ser::SerializeSeq};
use std::{any::Any, fmt, sync::Arc};
use tidemill_actors::seam::{Payload, PayloadError, TaskError};
use tidemill_protocol::id::DatasetId;

/// Stored records: what a receiver puts into a block, and what a task keeps for a shuffle or a sink.
#[derive(Clone)]
pub struct Rows<T>(Form<T>);

#[derive(Clone)]
enum Form<T> {
    Vec(Arc<Vec<T>>),
    Text(TextChunk),
}

impl<T: Data> Rows<T> {
    /// These records.
    pub fn new(rows: Vec<T>) -> Self {
        Rows(Form::Vec(Arc::new(rows)))
    }

    /// How many records.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Vec(rows) => rows.len(),
            Form::Text(texts) => texts.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The records as chunks, in order.
    pub(crate) fn each_chunk(
        &self,
        mut f: impl FnMut(&mut Chunk<T>) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        match &self.0 {
            Form::Vec(rows) => {
                for from in (0..rows.len()).step_by(CHUNK_RECORDS_MAX) {
                    let to = rows.len().min(from + CHUNK_RECORDS_MAX);
                    f(&mut Chunk::Shared(rows.clone(), from..to))?;
                }
            }
            Form::Text(texts) => {
                let mut chunk = TextChunk::new(texts.base().clone(), texts.extra().cloned());
                for ranges in texts.ranges.chunks(CHUNK_RECORDS_MAX) {
                    chunk.ranges.extend_from_slice(ranges);
                    let mut lent = Chunk::Text(chunk);
                    f(&mut lent)?;
                    chunk = match lent {
                        Chunk::Text(mut used) => {
                            used.reset(texts.base(), texts.extra().cloned());
                            used
                        }
                        _ => TextChunk::new(texts.base().clone(), texts.extra().cloned()),
                    };
                }
            }
        }
        Ok(())
    }

    /// Appends clones of the records to `out`.
    pub(crate) fn copy_to(&self, out: &mut Vec<T>) {
        match &self.0 {
            Form::Vec(rows) => out.extend_from_slice(rows),
            Form::Text(texts) => out.extend(texts.texts().map(super::from_text::<T>)),
        }
    }
}

impl Rows<Text> {
    /// These texts, still in their buffers.
    pub fn from_texts(texts: TextChunk) -> Self {
        Rows(Form::Text(texts))
    }
}

impl<T: Data> Rows<T> {
    /// Texts as records of type `T`, where the caller knows that `T` is [`Text`].
    pub(crate) fn of_texts(texts: TextChunk) -> Self {
        debug_assert!(is_text::<T>());
        Rows(Form::Text(texts))
    }
}

impl<T: Data> fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rows<{}>({})", std::any::type_name::<T>(), self.len())
    }
}

impl<T: Data> Payload for Rows<T> {
    fn rows(&self) -> u64 {
        self.len() as u64
    }

    fn heap_bytes(&self) -> u64 {
        let bytes = match &self.0 {
            Form::Vec(rows) => rows.capacity() * size_of::<T>(),
            Form::Text(texts) => {
                let extra = texts.extra().map_or(0, |e| e.as_str().len());
                texts.ranges.capacity() * size_of::<(u32, u32)>() + texts.base().as_str().len() + extra
            }
        };
        bytes as u64
    }

    fn dataset(&self) -> DatasetId {
        Self::dataset_id()
    }

    fn encode(&self) -> Result<Vec<u8>, PayloadError> {
        match &self.0 {
            Form::Vec(rows) => codec::to_bytes(self.dataset(), rows.as_ref()),
            Form::Text(texts) => codec::to_bytes(self.dataset(), &Strings(texts)),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl<T: Data> Stored for Rows<T> {
    fn type_label() -> String {
        format!("rows of {}", std::any::type_name::<T>())
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        if is_text::<T>() {
            return codec::read(bytes, |d| d.deserialize_seq(TextsVisitor)).map(Rows::of_texts);
        }
        codec::read(bytes, |d| serde::Deserialize::deserialize(d)).map(Rows::new)
    }
}

/// Texts, written as an array of strings.
struct Strings<'a>(&'a TextChunk);

impl serde::Serialize for Strings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for text in self.0.iter() {
            seq.serialize_element(text)?;
        }
        seq.end()
    }
}

/// Reads an array of strings into one arena.
struct TextsVisitor;

impl<'de> de::Visitor<'de> for TextsVisitor {
    type Value = TextChunk;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<TextChunk, A::Error> {
        let (mut arena, mut ranges) = (TextArena::default(), Vec::new());
        while let Some(range) = seq.next_element_seed(IntoArena(&mut arena))? {
            ranges.push(range);
        }
        let mut chunk = TextChunk::new(arena.freeze(), None);
        chunk.ranges = ranges;
        Ok(chunk)
    }
}

/// Reads one string to the end of an arena.
pub(super) struct IntoArena<'a>(pub(super) &'a mut TextArena);

impl<'de> de::DeserializeSeed<'de> for IntoArena<'_> {
    type Value = (u32, u32);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        struct Visitor<'a>(&'a mut TextArena);
        impl de::Visitor<'_> for Visitor<'_> {
            type Value = (u32, u32);
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                self.0.push(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor(self.0))
    }
}
