//! The payload of a partition's records: a vector, or texts by offsets.

use super::{
    CHUNK_RECORDS_MAX, Chunk, Data, Stored, Text, TextArena, TextChunk, codec, is_text, parts, weigh,
};
use serde::{Deserializer, Serializer, de, ser::SerializeSeq};
use std::{any::Any, fmt, sync::Arc};
use tidemill_actors::seam::{Payload, PayloadError, TaskError};
use tidemill_protocol::id::DatasetId;

/// Stored records: what a receiver puts into a block, and what a task keeps for a shuffle or a sink.
#[derive(Clone)]
pub struct Rows<T>(Form<T>);

#[derive(Clone)]
enum Form<T> {
    /// The records, and about how many bytes they own beside themselves.
    Vec(Arc<Vec<T>>, u64),
    Text(TextChunk),
}

impl<T: Data> Rows<T> {
    /// These records.
    pub fn new(rows: Vec<T>) -> Self {
        let owned = weigh::owned(rows.iter());
        Rows(Form::Vec(Arc::new(rows), owned))
    }

    /// How many records.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Vec(rows, _) => rows.len(),
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
            Form::Vec(rows, _) => {
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
            Form::Vec(rows, _) => out.extend_from_slice(rows),
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
        match &self.0 {
            Form::Vec(rows, owned) => ((rows.capacity() * size_of::<T>()) as u64).saturating_add(*owned),
            Form::Text(texts) => {
                let extra = texts.extra().map_or(0, |e| e.as_str().len());
                let ranges = texts.ranges.capacity() * size_of::<(u32, u32)>();
                (ranges + texts.base().as_str().len() + extra) as u64
            }
        }
    }

    fn encoded_bytes(&self) -> u64 {
        match &self.0 {
            Form::Vec(rows, _) => with_margin(weigh::encoded(rows.iter())),
            Form::Text(texts) => parts::HEADER_BYTES as u64 + texts.iter().map(string_bytes).sum::<u64>(),
        }
    }

    fn dataset(&self) -> DatasetId {
        Self::dataset_id()
    }

    fn encode(&self) -> Result<Vec<u8>, PayloadError> {
        match &self.0 {
            Form::Vec(rows, _) => codec::to_bytes(self.dataset(), rows.as_ref()),
            Form::Text(texts) => codec::to_bytes(self.dataset(), &Strings(texts)),
        }
    }

    fn encode_parts(&self, bytes_max: usize) -> Result<parts::Parts, PayloadError> {
        let parts = match &self.0 {
            Form::Vec(rows, _) => parts::of_rows(rows.iter(), bytes_max),
            Form::Text(texts) => parts::of_rows(texts.iter(), bytes_max),
        };
        parts.map_err(|e| PayloadError { dataset: self.dataset(), reason: e.to_string() })
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

/// An estimate from a sample, and a sixteenth: asking twice costs more than room that is kept for a moment.
pub(super) fn with_margin(bytes: u64) -> u64 {
    parts::HEADER_BYTES as u64 + bytes.saturating_add(bytes / 16)
}

/// How many bytes a string has as MessagePack.
pub(super) fn string_bytes(text: &str) -> u64 {
    let header = match text.len() {
        0..32 => 1,
        32..256 => 2,
        256..65_536 => 3,
        _ => 5,
    };
    header + text.len() as u64
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Codec;
    use tidemill_actors::seam::Held;
    use tidemill_protocol::codec::PIECE_BYTES_MAX;

    fn texts(lines: &str) -> Rows<Text> {
        Rows::from_texts(TextChunk::lines(Arc::new(
            crate::data::TextBuffer::from_string(lines.into()).unwrap(),
        )))
    }

    fn codec<P: Stored>() -> Codec {
        let codec = Codec::default();
        assert!(codec.register::<P>());
        codec
    }

    /// The records after a journey, and the lengths of the pieces in which they made it.
    fn journey<T: Data>(rows: Rows<T>) -> (Vec<T>, Vec<usize>) {
        let sent = Held::new(vec![Arc::new(rows)]).encode().unwrap();
        let came = Held::decode(&codec::<Rows<T>>(), &sent).unwrap();
        assert_eq!(came.encode().unwrap(), sent, "what came is not cut again");
        let mut all = Vec::new();
        crate::graph::each_held(&came, |rows: &Rows<T>| {
            rows.copy_to(&mut all);
            Ok(())
        })
        .unwrap();
        (all, sent.iter().map(|piece| piece.bytes.len()).collect())
    }

    #[test]
    fn what_is_longer_than_a_mebibyte_travels_in_pieces() {
        let numbers: Vec<u64> = (0..1_200_000).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let (came, pieces) = journey(Rows::new(numbers.clone()));
        assert!(came == numbers);
        assert_eq!(pieces.len(), 11, "10.8 MB: {pieces:?}");
        assert!(pieces.iter().all(|bytes| *bytes <= 1 << 20), "{pieces:?}");
        let lines = "all that the tide brings, the tide takes\n".repeat(60_000);
        let (came, pieces) = journey(texts(&lines));
        assert_eq!((came.len(), pieces.len()), (60_000, 3), "2.5 MB: {pieces:?}");
        assert!(came.iter().all(|line| line == "all that the tide brings, the tide takes"));
        let (came, pieces) = journey(Rows::<String>::new(Vec::new()));
        assert_eq!((came.len(), pieces), (0, vec![1]));
    }

    #[test]
    fn a_record_that_is_longer_than_a_piece_is_refused_with_both_lengths() {
        let fits = "x".repeat(PIECE_BYTES_MAX - 6);
        let (came, pieces) = journey(Rows::new(vec!["a".to_owned(), fits.clone(), "b".to_owned()]));
        assert!(came[1] == fits && pieces.len() == 3, "{pieces:?}");
        for long in [
            Held::new(vec![Arc::new(Rows::new(vec!["x".repeat(9 << 20), "b".to_owned()]))]),
            Held::new(vec![Arc::new(texts(&"x".repeat(9 << 20)))]),
        ] {
            let reason = long.encode().expect_err("9 MiB").to_string();
            assert!(reason.contains("one record of 9437190 bytes: at most 8387584"), "{reason}");
        }
    }

    #[test]
    fn records_weigh_what_they_own_and_texts_what_they_share() {
        assert_eq!(Rows::new(vec![1u64; 1_000]).heap_bytes(), 8_000);
        assert_eq!(Rows::new(vec!["x".repeat(1_000); 100]).heap_bytes(), 102_400);
        assert_eq!(
            texts("one\ntwo\n").heap_bytes(),
            8 + 4 * 8,
            "a vector of ranges begins with room for four"
        );
        let lines = format!("{}\n", "x".repeat(300)).repeat(5_000);
        for (estimate, exact) in [
            (texts(&lines).encoded_bytes(), texts(&lines).encode().unwrap().len() as u64),
            (Rows::new(vec![u64::MAX; 5_000]).encoded_bytes(), 9 * 5_000),
            (Rows::new(vec!["x".repeat(200); 5_000]).encoded_bytes(), 202 * 5_000),
        ] {
            assert!((exact..=exact + exact / 10).contains(&estimate), "{estimate} for {exact}");
        }
    }
}
