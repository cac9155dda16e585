//! The payload between the two sides of a keyed shuffle: keys with partly combined values, in columns.

use super::{
    Data, Entry, Keys, Stored, TextArena, codec, is_text, parts,
    rows::{IntoArena, string_bytes, with_margin},
    weigh,
};
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
    /// About how many bytes keys and values own beside themselves.
    owned: u64,
}

impl<K: Data, C: Data> Keyed<K, C> {
    /// Keys and values of a table; `hashed`: with their hashes.
    pub(crate) fn new(entries: Vec<Entry<C>>, keys: Keys<K>, hashed: bool) -> Self {
        let of_keys = match &keys {
            Keys::Plain(keys) => weigh::owned(keys.iter()),
            // The arena is counted in full.
            Keys::Text(_) => 0,
        };
        let owned = of_keys.saturating_add(weigh::owned(entries.iter().map(|entry| &entry.value)));
        Keyed { entries, keys, hashed, owned }
    }

    /// About how many bytes keys and values own beside themselves.
    pub(crate) fn owned(&self) -> u64 {
        self.owned
    }
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
        ((keys + self.entries.capacity() * size_of::<Entry<C>>()) as u64).saturating_add(self.owned)
    }

    fn encoded_bytes(&self) -> u64 {
        let keys = match &self.keys {
            Keys::Plain(keys) => weigh::encoded(keys.iter()),
            Keys::Text(arena) => self.entries.iter().map(|entry| string_bytes(arena.get(entry.place))).sum(),
        };
        with_margin(keys.saturating_add(weigh::encoded(self.entries.iter().map(|entry| &entry.value))))
    }

    fn dataset(&self) -> DatasetId {
        Self::dataset_id()
    }

    fn encode(&self) -> Result<Vec<u8>, PayloadError> {
        codec::to_bytes(self.dataset(), self)
    }

    fn encode_parts(&self, bytes_max: usize) -> Result<parts::Parts, PayloadError> {
        let values = self.entries.iter().map(|entry| &entry.value);
        let parts = match &self.keys {
            Keys::Plain(keys) => parts::of_columns(keys.iter().zip(values), bytes_max),
            Keys::Text(arena) => parts::of_columns(
                self.entries.iter().map(|entry| (arena.get(entry.place), &entry.value)),
                bytes_max,
            ),
        };
        parts.map_err(|e| PayloadError { dataset: self.dataset(), reason: e.to_string() })
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
        Ok(Keyed::new(entries, keys, false))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Codec, KeyedTable, Text, key_hash};
    use std::{hash::Hash, sync::Arc};
    use tidemill_actors::seam::Held;

    fn keyed<K: Data + Eq + Hash, C: Data>(pairs: Vec<(K, C)>) -> Keyed<K, C> {
        let (mut table, mut scratch) = (KeyedTable::with_capacity(0), Vec::new());
        for (key, value) in pairs {
            table.insert(key_hash(&key, 7, &mut scratch).unwrap(), key, value).unwrap();
        }
        let (entries, keys) = table.into_parts();
        Keyed::new(entries, keys, true)
    }

    /// Sends it, and checks that keys and values come in order, in this many pieces.
    fn journey<K: Data + Eq + Hash + std::fmt::Debug>(keys: Vec<K>, pieces: usize) {
        let pairs: Vec<(K, u64)> = keys.into_iter().zip(0..).collect();
        let sent = Held::new(vec![Arc::new(keyed(pairs.clone()))]).encode().unwrap();
        assert_eq!(sent.len(), pieces);
        assert!(sent.iter().all(|piece| piece.bytes.len() <= 1 << 20));
        let codec = Codec::default();
        codec.register::<Keyed<K, u64>>();
        let came = Held::decode(&codec, &sent).unwrap();
        assert_eq!(came.encode().unwrap(), sent, "what came is not cut again");
        let mut all = Vec::new();
        crate::graph::each_held(&came, |keyed: &Keyed<K, u64>| {
            let mut table = KeyedTable::with_capacity(0);
            table.adopt(keyed.entries.clone(), keyed.keys.clone());
            table.into_each(|key, value| {
                all.push((key, value));
                Ok(())
            })
        })
        .unwrap();
        assert!(all == pairs);
    }

    #[test]
    fn a_record_is_written_as_deep_as_it_can_be_read() {
        #[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
        enum Tree {
            Leaf,
            Inner(Box<Tree>),
            Two(u8, Box<Tree>),
        }
        let deep = |maps: usize, around: fn(Tree) -> Tree| {
            let record = (0..maps).fold(Tree::Leaf, |inner, _| around(inner));
            let pair = keyed(vec![(1u8, record.clone())]);
            let back = pair.encode().map(|bytes| Keyed::<u8, Tree>::decode(&bytes).is_ok());
            (crate::data::wire_bytes(&record).is_ok(), back.ok())
        };
        let inner = |tree| Tree::Inner(Box::new(tree));
        let two = |tree| Tree::Two(1, Box::new(tree));
        assert_eq!((deep(126, inner), deep(127, inner)), ((true, Some(true)), (false, None)));
        assert_eq!((deep(63, two), deep(64, two)), ((true, Some(true)), (false, None)));
    }

    #[test]
    fn a_large_table_travels_in_pieces() {
        journey(
            (0..30_000u32).map(|n| format!("a key of about fifty characters, number {n:0>10}")).collect(),
            2,
        );
        journey(
            (0..30_000u32)
                .map(|n| Text::from(format!("a text of the same length, number {n:0>15}").as_str()))
                .collect(),
            2,
        );
        journey(vec![1u64, 2, 3], 1);
    }

    #[test]
    fn keys_and_values_weigh_what_they_own() {
        let plain = keyed((0..100u64).map(|n| (n, n)).collect::<Vec<_>>());
        let entries = plain.entries.capacity() as u64 * size_of::<Entry<u64>>() as u64;
        assert_eq!(plain.heap_bytes(), entries + 128 * 8);
        let lists = keyed((0..100u64).map(|n| (n.to_string().repeat(50), vec![n; 20])).collect::<Vec<_>>());
        let entries = lists.entries.capacity() as u64 * size_of::<Entry<Vec<u64>>>() as u64;
        // Strings of 50 and 100 characters, of which a sample tells about; lists of 160 bytes.
        let owned = lists.heap_bytes() - entries - 128 * 24 - 100 * 160;
        assert!((9_000..=10_000).contains(&owned), "{owned} of 9,500");
    }
}
