//! The index of a hash table: from a key's hash to its number. A text of up to 16 bytes stands in its slot as a whole, so that a
//! word is found without a look at where the words are kept: that look is what counting words waits for.

use hashbrown::HashTable;

/// Keys by hash.
#[derive(Debug)]
pub(super) enum KeyIndex {
    /// The numbers alone.
    Plain(HashTable<u32>),
    /// With what tells a text from others.
    Text(HashTable<TextSlot>),
}

/// A text key: its number, its length and both its ends. Up to [`WHOLE`] bytes two texts of one length and with the same ends are
/// the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextSlot {
    number: u32,
    bytes: u32,
    ends: [u64; 2],
}

/// Texts of so many bytes are their ends.
const WHOLE: usize = 16;

impl TextSlot {
    #[inline]
    fn looks_like(&self, bytes: usize, ends: [u64; 2]) -> bool {
        self.ends == ends && self.bytes as usize == bytes
    }
}

/// The first and the last bytes of a text.
#[inline]
fn ends_of(text: &[u8]) -> [u64; 2] {
    if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        [u64::from_le_bytes(*first), u64::from_le_bytes(*last)]
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        [u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last))]
    } else {
        [text.iter().fold(0, |before, byte| before << 8 | u64::from(*byte)), 0]
    }
}

impl KeyIndex {
    /// An empty one with room for `capacity` keys, for texts or for others.
    pub(super) fn with_capacity(capacity: usize, is_text: bool) -> Self {
        if is_text {
            KeyIndex::Text(HashTable::with_capacity(capacity))
        } else {
            KeyIndex::Plain(HashTable::with_capacity(capacity))
        }
    }

    /// Enters key `number`, which is not there; `text` are its bytes if it is a text, `hash_of` gives the hash of a number that
    /// is there.
    pub(super) fn insert(&mut self, hash: u64, number: u32, text: &[u8], hash_of: impl Fn(u32) -> u64) {
        match self {
            KeyIndex::Plain(index) => drop(index.insert_unique(hash, number, |&number| hash_of(number))),
            KeyIndex::Text(index) => {
                // An arena holds less than 4 GiB.
                let slot = TextSlot { number, bytes: text.len() as u32, ends: ends_of(text) };
                index.insert_unique(hash, slot, |slot| hash_of(slot.number));
            }
        }
    }
}

/// The number of the text `key`; `is_it` says of one that only looks like it whether it is.
#[inline]
pub(super) fn find_text(
    index: &HashTable<TextSlot>,
    hash: u64,
    key: &[u8],
    is_it: impl Fn(u32) -> bool,
) -> Option<u32> {
    let ends = ends_of(key);
    let found = index
        .find(hash, |slot| slot.looks_like(key.len(), ends) && (key.len() <= WHOLE || is_it(slot.number)));
    found.map(|slot| slot.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks_like(one: &[u8], other: &[u8]) -> bool {
        let slot = TextSlot { number: 0, bytes: one.len() as u32, ends: ends_of(one) };
        slot.looks_like(other.len(), ends_of(other))
    }

    #[test]
    fn texts_of_up_to_sixteen_bytes_are_told_apart_by_their_ends_and_length_alone() {
        for length in 0..=WHOLE {
            let text: Vec<u8> = (0..length as u8).map(|i| b'a' + i).collect();
            assert!(looks_like(&text, &text));
            assert!(!looks_like(&text, &[&text[..], b"x"].concat()), "{length}");
            assert!(!looks_like(&text, &[&text[..], b"\0"].concat()), "{length}");
            for at in 0..length {
                let mut other = text.clone();
                other[at] = 0;
                assert!(!looks_like(&text, &other), "{length} {at}");
            }
        }
    }

    #[test]
    fn longer_texts_that_look_alike_are_asked_for() {
        let (one, other) =
            (b"beginning-one-ending-of-it".as_slice(), b"beginning-two-ending-of-it".as_slice());
        assert!(looks_like(one, other));
        let mut index = KeyIndex::with_capacity(0, true);
        index.insert(7, 0, one, |_| 7);
        index.insert(7, 1, other, |_| 7);
        let KeyIndex::Text(index) = index else { panic!("an index of texts") };
        let texts = [one, other];
        for (number, text) in (0..).zip(texts) {
            assert_eq!(find_text(&index, 7, text, |at| texts[at as usize] == text), Some(number));
        }
        assert_eq!(find_text(&index, 7, b"beginning-new-ending-of-it", |_| false), None);
        assert_eq!(find_text(&index, 7, b"short", |_| panic!("it looks like none")), None);
    }
}
