//! A hash table that keeps its keys in order of first appearance, so that no result ever depends on hashes.
//!
//! ```text
//!   index: hash -> number      entries: (hash, place of the key, value), in order      keys: a vector, or one text
//! ```
//! The hash of a key is computed once, on the map side: the table, the key's partition and the reduce side all use it.

use super::{
    Data, Text, TextArena, as_text, from_text, is_text,
    key_index::{KeyIndex, find_text},
};
use tidemill_actors::seam::TaskError;

/// One key's share: its hash, where a text key stands in the arena, and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry<C> {
    pub(crate) hash: u64,
    pub(crate) place: (u32, u32),
    pub(crate) value: C,
}

/// The keys of the entries. Texts stand end to end in one arena: a key is copied once, and found with a `&str`.
#[derive(Clone, Debug)]
pub(crate) enum Keys<K> {
    Plain(Vec<K>),
    Text(TextArena),
}

impl<K: Data> Keys<K> {
    pub(crate) fn new() -> Self {
        if is_text::<K>() { Keys::Text(TextArena::default()) } else { Keys::Plain(Vec::new()) }
    }

    /// Appends a key; where it stands, if it is a text.
    pub(crate) fn push(&mut self, key: K) -> Result<(u32, u32), TaskError> {
        match self {
            Keys::Plain(keys) => {
                keys.push(key);
                Ok((0, 0))
            }
            Keys::Text(arena) => arena.push(as_text(&key).map_or("", Text::as_str)),
        }
    }
}

/// See the page.
#[derive(Debug)]
pub(crate) struct KeyedTable<K, C> {
    index: KeyIndex,
    entries: Vec<Entry<C>>,
    keys: Keys<K>,
}

impl<K: Data + Eq, C> KeyedTable<K, C> {
    /// An empty table with room for `capacity` keys.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        KeyedTable {
            index: KeyIndex::with_capacity(capacity, is_text::<K>()),
            entries: Vec::with_capacity(capacity),
            keys: Keys::new(),
        }
    }

    /// How many keys.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many bytes its keys and entries have, with their places in the index, without what keys and values own.
    pub(crate) fn bytes(&self) -> u64 {
        const PLACE_BYTES: usize = 16;
        let keys = match &self.keys {
            Keys::Plain(keys) => keys.len() * size_of::<K>(),
            Keys::Text(arena) => arena.len(),
        };
        (keys + self.entries.len() * (size_of::<Entry<C>>() + PLACE_BYTES)) as u64
    }

    /// The value of `key`.
    #[inline]
    pub(crate) fn get_mut(&mut self, hash: u64, key: &K) -> Option<&mut C> {
        if let Some(text) = as_text(key) {
            return self.get_mut_bytes(hash, text.as_bytes());
        }
        let (KeyIndex::Plain(index), Keys::Plain(keys)) = (&self.index, &self.keys) else {
            return None;
        };
        let entries = &self.entries;
        let found = index.find(hash, |&i| entries[i as usize].hash == hash && keys[i as usize] == *key);
        found.map(|&i| &mut self.entries[i as usize].value)
    }

    /// The value of a text key, by its bytes.
    #[inline]
    pub(crate) fn get_mut_bytes(&mut self, hash: u64, key: &[u8]) -> Option<&mut C> {
        let (KeyIndex::Text(index), Keys::Text(arena)) = (&self.index, &self.keys) else {
            return None;
        };
        let entries = &self.entries;
        let found = find_text(index, hash, key, |i| {
            let entry = &entries[i as usize];
            entry.hash == hash && arena.get(entry.place).as_bytes() == key
        });
        found.map(|i| &mut self.entries[i as usize].value)
    }

    /// Appends a key that is not there.
    pub(crate) fn insert(&mut self, hash: u64, key: K, value: C) -> Result<(), TaskError> {
        let place = self.keys.push(key)?;
        self.append(Entry { hash, place, value });
        Ok(())
    }

    /// Appends a text key that is not there.
    pub(crate) fn insert_str(&mut self, hash: u64, key: &str, value: C) -> Result<(), TaskError> {
        if let Keys::Text(arena) = &mut self.keys {
            let place = arena.push(key)?;
            self.append(Entry { hash, place, value });
        }
        Ok(())
    }

    fn append(&mut self, entry: Entry<C>) {
        self.entries.push(entry);
        self.enter(self.entries.len() - 1);
    }

    /// Enters the key of entry `number` into the index.
    fn enter(&mut self, number: usize) {
        let KeyedTable { index, entries, keys } = self;
        let entry = &entries[number];
        let text = if let Keys::Text(arena) = keys { arena.get(entry.place).as_bytes() } else { &[] };
        index.insert(entry.hash, number as u32, text, |i| entries[i as usize].hash);
    }

    /// Takes over the keys and values of another table, into this one, which must be empty.
    pub(crate) fn adopt(&mut self, entries: Vec<Entry<C>>, keys: Keys<K>) {
        debug_assert!(self.entries.is_empty());
        self.index = KeyIndex::with_capacity(entries.len(), is_text::<K>());
        self.entries = entries;
        self.keys = keys;
        (0..self.entries.len()).for_each(|number| self.enter(number));
    }

    /// Keys and values, in order of first appearance.
    pub(crate) fn into_parts(self) -> (Vec<Entry<C>>, Keys<K>) {
        (self.entries, self.keys)
    }

    /// Hands out keys and values, in order of first appearance.
    pub(crate) fn into_each(self, mut f: impl FnMut(K, C) -> Result<(), TaskError>) -> Result<(), TaskError> {
        match self.keys {
            Keys::Plain(keys) => keys.into_iter().zip(self.entries).try_for_each(|(key, e)| f(key, e.value)),
            Keys::Text(arena) => {
                let buffer = arena.freeze();
                self.entries
                    .into_iter()
                    .try_for_each(|e| f(from_text(Text::slice(buffer.clone(), e.place)), e.value))
            }
        }
    }
}
