//! The payload between the two sides of a keyed shuffle: keys with partly combined values, in columns.

use super::{Data, Entry, Keys, Stored, TextArena, codec, is_text, rows::IntoArena};
use serde::{
    Serialize, Serializer, de,
    ser::{SerializeSeq, SerializeTuple},
};
use std::{any::Any, fmt, marker::PhantomData};
use tidemill_actors::seam::{Payload, PayloadError};
use tidemill_protocol::id::DatasetId;

/// Keys in order of first appearance, with their values. The hashes are there unless it came over the wire, where they are
/// not sent.
pub(crate) struct Keyed<K, C> {
    pub(crate) entries: Vec<Entry<C>>,
    pub(crate) keys: Keys<K>,
    pub(crate) hashed: bool,
}

impl<K: Data, C: Data> fmt::Debug for Keyed<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyed<{}>({})", std::any::type_name::<(K, C)>(), self.entries.len())
    }
}

impl<K: Data, C: Data> Payload for Keyed<K, C> {
    fn rows(&self) -> u64 {
        self.entries.len() as u64
    }

    fn heap_bytes(&self) -> u64 {
        let keys = match &self.keys {
            Keys::Plain(keys) => keys.capacity() * size_of::<K>(),
            Keys::Text(arena) => arena.capacity(),
        };
        (keys + self.entries.capacity() * size_of::<Entry<C>>()) as u64
    }

    fn dataset(&self) -> DatasetId {
        Self::dataset_id()
    }

    fn encode(&self) -> Result<Vec<u8>, PayloadError> {
        codec::to_bytes(self.dataset(), self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl<K: Data, C: Data> Stored for Keyed<K, C> {
    fn type_label() -> String {
        format!("keyed {}", std::any::type_name::<(K, C)>())
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        codec::read(bytes, |d| de::Deserializer::deserialize_tuple(d, 2, KeyedVisitor(PhantomData)))
    }
}

impl<K: Data, C: Data> Serialize for Keyed<K, C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut columns = serializer.serialize_tuple(2)?;
        match &self.keys {
            Keys::Plain(keys) => columns.serialize_element(keys)?,
            Keys::Text(arena) => {
                columns.serialize_element(&Column(self.entries.iter().map(|e| arena.get(e.place))))?
            }
        }
        columns.serialize_element(&Column(self.entries.iter().map(|e| &e.value)))?;
        columns.end()
    }
}

/// One column of the entries, written as an array.
struct Column<I>(I);

impl<R: Serialize, I: ExactSizeIterator<Item = R> + Clone> Serialize for Column<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for item in self.0.clone() {
            seq.serialize_element(&item)?;
        }
        seq.end()
    }
}

struct KeyedVisitor<K, C>(PhantomData<(K, C)>);

impl<'de, K: Data, C: Data> de::Visitor<'de> for KeyedVisitor<K, C> {
    type Value = Keyed<K, C>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column of keys and a column of values")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let missing = || de::Error::invalid_length(0, &"two columns");
        let (keys, places) = if is_text::<K>() {
            let (arena, places) = seq.next_element_seed(ArenaColumn)?.ok_or_else(missing)?;
            (Keys::Text(arena), places)
        } else {
            let keys: Vec<K> = seq.next_element()?.ok_or_else(missing)?;
            let places = vec![(0, 0); keys.len()];
            (Keys::Plain(keys), places)
        };
        let values: Vec<C> = seq.next_element()?.ok_or_else(missing)?;
        if values.len() != places.len() {
            return Err(de::Error::invalid_length(values.len(), &"as many values as keys"));
        }
        let entries =
            places.into_iter().zip(values).map(|(place, value)| Entry { hash: 0, place, value }).collect();
        Ok(Keyed { entries, keys, hashed: false })
    }
}

/// Reads an array of strings into an arena.
struct ArenaColumn;

impl<'de> de::DeserializeSeed<'de> for ArenaColumn {
    type Value = (TextArena, Vec<(u32, u32)>);

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> de::Visitor<'de> for ArenaColumn {
    type Value = (TextArena, Vec<(u32, u32)>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (mut arena, mut places) = (TextArena::default(), Vec::new());
        while let Some(place) = seq.next_element_seed(IntoArena(&mut arena))? {
            places.push(place);
        }
        Ok((arena, places))
    }
}
