//! Many texts in one piece: ranges over a base buffer, and over a second one for strings that are not slices of the first.
//! The two are addressed as if the second were appended to the first.

use super::{Text, TextBuffer};
use memchr::memchr_iter;
use std::sync::Arc;

/// Texts in order: pairs of offsets into shared buffers.
///
/// ```
/// use std::sync::Arc;
/// use tidemill::data::{TextBuffer, TextChunk};
/// let buffer = TextBuffer::from_string("one\ntwo\r\nthree".into()).unwrap();
/// let lines = TextChunk::lines(Arc::new(buffer));
/// assert_eq!(lines.iter().collect::<Vec<_>>(), ["one", "two", "three"]);
/// ```
#[derive(Clone, Debug)]
pub struct TextChunk {
    base: Arc<TextBuffer>,
    extra: Option<Arc<TextBuffer>>,
    pub(crate) ranges: Vec<(u32, u32)>,
}

impl TextChunk {
    /// The lines of `buffer`, without their ends (`\n` or `\r\n`). A last line needs no end; an empty rest is no line.
    pub fn lines(buffer: Arc<TextBuffer>) -> Self {
        let mut chunk = TextChunk::new(buffer.clone(), None);
        each_line(buffer.as_str(), |range| {
            chunk.ranges.push(range);
            Ok::<(), std::convert::Infallible>(())
        })
        .unwrap_or_else(|never| match never {});
        chunk
    }

    /// A chunk without records over these buffers.
    pub(crate) fn new(base: Arc<TextBuffer>, extra: Option<Arc<TextBuffer>>) -> Self {
        TextChunk { base, extra, ranges: Vec::new() }
    }

    /// How many texts.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The buffer that most ranges point into.
    pub(crate) fn base(&self) -> &Arc<TextBuffer> {
        &self.base
    }

    /// The buffer of the strings that are no slices of the base.
    pub(crate) fn extra(&self) -> Option<&Arc<TextBuffer>> {
        self.extra.as_ref()
    }

    /// Points the chunk, emptied, at other buffers; the room for ranges is kept.
    pub(crate) fn reset(&mut self, base: &Arc<TextBuffer>, extra: Option<Arc<TextBuffer>>) {
        if !Arc::ptr_eq(&self.base, base) {
            self.base = base.clone();
        }
        self.extra = extra;
        self.ranges.clear();
    }

    /// The texts in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let base = self.base.as_str();
        let extra = self.extra.as_ref().map_or("", |e| e.as_str());
        self.ranges.iter().map(move |&(start, end)| {
            let (start, end) = (start as usize, end as usize);
            if end <= base.len() { &base[start..end] } else { &extra[start - base.len()..end - base.len()] }
        })
    }

    /// Calls `f` with the buffer and the range in it of each text, in order, without cutting the text out.
    #[inline]
    pub(crate) fn try_each<E>(
        &self,
        mut f: impl FnMut(&str, (usize, usize)) -> Result<(), E>,
    ) -> Result<(), E> {
        let base = self.base.as_str();
        let extra = self.extra.as_ref().map_or("", |e| e.as_str());
        for &(start, end) in &self.ranges {
            let (start, end) = (start as usize, end as usize);
            if end <= base.len() {
                f(base, (start, end))?;
            } else {
                f(extra, (start - base.len(), end - base.len()))?;
            }
        }
        Ok(())
    }

    /// The texts in order, each with a share in its buffer.
    pub fn texts(&self) -> impl Iterator<Item = Text> {
        let base_len = self.base.as_str().len() as u32;
        self.ranges.iter().map(move |&(start, end)| match &self.extra {
            Some(extra) if end > base_len => Text::slice(extra.clone(), (start - base_len, end - base_len)),
            _ => Text::slice(self.base.clone(), (start, end)),
        })
    }
}

/// Calls `f` with the range of each line of `text`.
#[inline]
pub(crate) fn each_line<E>(text: &str, f: impl FnMut((u32, u32)) -> Result<(), E>) -> Result<(), E> {
    let bytes = text.as_bytes();
    // Lines are short: memchr's choice of instructions, made anew for each of them, would cost a tenth of the search.
    #[cfg(target_arch = "x86_64")]
    if let Some(newline) = memchr::arch::x86_64::avx2::memchr::One::new(b'\n') {
        return cut_at(bytes, newline.iter(bytes), f);
    }
    cut_at(bytes, memchr_iter(b'\n', bytes), f)
}

#[inline]
fn cut_at<E>(
    bytes: &[u8],
    ends: impl Iterator<Item = usize>,
    mut f: impl FnMut((u32, u32)) -> Result<(), E>,
) -> Result<(), E> {
    let mut from = 0;
    for end in ends {
        let cut = if end > from && bytes[end - 1] == b'\r' { end - 1 } else { end };
        f((from as u32, cut as u32))?;
        from = end + 1;
    }
    if from < bytes.len() { f((from as u32, bytes.len() as u32)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_lf_or_crlf_and_the_last_may_lack_both() {
        for (text, expected) in [
            ("", vec![]),
            ("a", vec!["a"]),
            ("a\n", vec!["a"]),
            ("\n\nb\r\n", vec!["", "", "b"]),
            ("a\r\n\r\nb", vec!["a", "", "b"]),
            ("ä\nö", vec!["ä", "ö"]),
        ] {
            let chunk = TextChunk::lines(Arc::new(TextBuffer::from_string(text.into()).unwrap()));
            assert_eq!(chunk.iter().collect::<Vec<_>>(), expected, "{text:?}");
            assert_eq!(chunk.texts().map(|t| t.to_string()).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }

    #[test]
    fn ranges_beyond_the_base_lie_in_the_extra_buffer() {
        let base = Arc::new(TextBuffer::from_string("base".into()).unwrap());
        let extra = Arc::new(TextBuffer::from_string("extra".into()).unwrap());
        let mut chunk = TextChunk::new(base, Some(extra));
        chunk.ranges = vec![(0, 2), (4, 6), (6, 9), (4, 4)];
        assert_eq!(chunk.iter().collect::<Vec<_>>(), ["ba", "ex", "tra", ""]);
        assert_eq!(chunk.texts().collect::<Vec<_>>(), ["ba", "ex", "tra", ""]);
    }
}
