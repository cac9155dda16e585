//! Text in memory: bytes that were validated once, in one pass, and stay where they are. No copy, no `unsafe`: the checked
//! `&str` and the bytes that it borrows from travel together in a `Yoke`.

use bytes::Bytes;
use std::{fmt, sync::Arc};
use yoke::Yoke;

/// The largest buffer: ranges are 32-bit, and a chunk lays two buffers end to end.
pub const TEXT_BUFFER_BYTES_MAX: usize = 1 << 30;

/// Why bytes did not become a [`TextBuffer`]. Not retryable: the same bytes fail again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The bytes are no UTF-8; use [`TextBuffer::from_bytes_lossy`] to replace what is not.
    #[error("the bytes are not UTF-8")]
    NotUtf8,
    /// More than [`TEXT_BUFFER_BYTES_MAX`] bytes; cut them into several buffers.
    #[error("{0} bytes are more than a text buffer holds")]
    TooLong(usize),
}

enum Origin {
    Bytes(Bytes),
    Owned(String),
}

/// An immutable piece of UTF-8, shared by all the [`Text`](super::Text) that are cut from it.
///
/// ```
/// use tidemill::data::TextBuffer;
/// let buffer = TextBuffer::from_bytes(bytes::Bytes::from_static(b"a line\n")).unwrap();
/// assert_eq!(buffer.as_str(), "a line\n");
/// ```
pub struct TextBuffer(Yoke<&'static str, Arc<Origin>>);

impl TextBuffer {
    /// Validates `bytes` and keeps them without a copy.
    ///
    /// # Errors
    /// [`TextError::NotUtf8`] and [`TextError::TooLong`].
    pub fn from_bytes(bytes: Bytes) -> Result<Self, TextError> {
        if bytes.len() > TEXT_BUFFER_BYTES_MAX {
            return Err(TextError::TooLong(bytes.len()));
        }
        let text = Yoke::try_attach_to_cart(Arc::new(Origin::Bytes(bytes)), |origin| match origin {
            Origin::Bytes(bytes) => simdutf8::basic::from_utf8(bytes).map_err(|_| TextError::NotUtf8),
            Origin::Owned(text) => Ok(text.as_str()),
        })?;
        Ok(TextBuffer(text))
    }

    /// Keeps `text`, which is known to be UTF-8.
    ///
    /// # Errors
    /// [`TextError::TooLong`].
    pub fn from_string(text: String) -> Result<Self, TextError> {
        if text.len() > TEXT_BUFFER_BYTES_MAX {
            return Err(TextError::TooLong(text.len()));
        }
        let text = Yoke::attach_to_cart(Arc::new(Origin::Owned(text)), |origin| match origin {
            Origin::Owned(text) => text.as_str(),
            Origin::Bytes(_) => "",
        });
        Ok(TextBuffer(text))
    }

    /// As [`from_bytes`](Self::from_bytes), but what is no UTF-8 is replaced by U+FFFD. The second value is how many lines
    /// had something to replace: 0 in the fast path, which copies nothing.
    ///
    /// # Errors
    /// [`TextError::TooLong`].
    pub fn from_bytes_lossy(bytes: Bytes) -> Result<(Self, u64), TextError> {
        match Self::from_bytes(bytes.clone()) {
            Ok(buffer) => Ok((buffer, 0)),
            Err(TextError::NotUtf8) => {
                let bad =
                    bytes.split(|&b| b == b'\n').filter(|line| std::str::from_utf8(line).is_err()).count();
                let text = String::from_utf8_lossy(&bytes).into_owned();
                Ok((Self::from_string(text)?, bad as u64))
            }
            Err(too_long) => Err(too_long),
        }
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl fmt::Debug for TextBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextBuffer({} bytes)", self.as_str().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_bytes_are_replaced_and_their_lines_counted() {
        let bytes = Bytes::from_static(b"good\nb\xffd\nfine\n\xfe\xfe\n");
        assert_eq!(TextBuffer::from_bytes(bytes.clone()).err(), Some(TextError::NotUtf8));
        let (buffer, bad) = TextBuffer::from_bytes_lossy(bytes).unwrap();
        assert_eq!(bad, 2);
        assert_eq!(buffer.as_str(), "good\nb\u{fffd}d\nfine\n\u{fffd}\u{fffd}\n");
    }
}
