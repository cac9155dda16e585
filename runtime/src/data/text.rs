//! The record of text sources: a range of a shared buffer that behaves as a `str`.

use super::TextBuffer;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{
    borrow::Borrow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

/// A string that shares its buffer: cloning is one atomic increment, comparing and hashing are those of `str`, and on the
/// wire it is a string.
///
/// A `Text` keeps its whole buffer alive; what shall outlive its batch is [`compact`](Text::compact)ed.
///
/// ```
/// use tidemill::data::Text;
/// let text = Text::from("to be or not");
/// assert!(text.starts_with("to be"));
/// assert_eq!(text, "to be or not");
/// ```
#[derive(Clone)]
pub struct Text {
    buffer: Arc<TextBuffer>,
    start: u32,
    end: u32,
}

impl Text {
    /// The part `range` (bytes, at borders of characters) of `buffer`.
    pub(crate) fn slice(buffer: Arc<TextBuffer>, (start, end): (u32, u32)) -> Self {
        Text { buffer, start, end }
    }

    /// The text as a `str`.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.buffer.as_str()[self.start as usize..self.end as usize]
    }

    /// The same text in an allocation of its own, so that the buffer it was cut from can be freed.
    #[must_use]
    pub fn compact(&self) -> Text {
        Text::from(self.as_str())
    }

    /// Moves the view to another range of the same buffer.
    #[inline]
    pub(crate) fn move_to(&mut self, (start, end): (u32, u32)) {
        self.start = start;
        self.end = end;
    }

    /// The buffer it is cut from.
    pub(crate) fn buffer(&self) -> &Arc<TextBuffer> {
        &self.buffer
    }
}

impl Deref for Text {
    type Target = str;
    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    /// Copies `text`.
    ///
    /// # Panics
    /// If it is longer than [`TEXT_BUFFER_BYTES_MAX`](super::TEXT_BUFFER_BYTES_MAX).
    fn from(text: &str) -> Self {
        Text::from(text.to_owned())
    }
}

impl From<String> for Text {
    /// Takes `text` over.
    ///
    /// # Panics
    /// If it is longer than [`TEXT_BUFFER_BYTES_MAX`](super::TEXT_BUFFER_BYTES_MAX).
    fn from(text: String) -> Self {
        let end = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let buffer = TextBuffer::from_string(text).expect("a record is shorter than the largest buffer");
        Text { buffer: Arc::new(buffer), start: 0, end }
    }
}

impl PartialEq for Text {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let end = u32::try_from(text.len()).map_err(de::Error::custom)?;
        let buffer = TextBuffer::from_string(text).map_err(de::Error::custom)?;
        Ok(Text { buffer: Arc::new(buffer), start: 0, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_behaves_as_the_string_it_shows() {
        let buffer = Arc::new(TextBuffer::from_string("one two".into()).unwrap());
        let two = Text::slice(buffer, (4, 7));
        assert_eq!(two, Text::from("two"));
        assert_eq!(BTreeSet::from([two.clone()]).get("two"), Some(&two));
        assert_eq!(rmp_serde::to_vec(&two).unwrap(), rmp_serde::to_vec("two").unwrap());
        assert_eq!(two.compact().buffer().as_str(), "two");
    }
}
