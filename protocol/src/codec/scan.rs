//! The pre-scan: one pass over MessagePack bytes, in a loop and with no recursion, that finds depth, number of values,
//! truncation and trailing bytes. It builds nothing; its memory is one counter for each open container.
//!
//! Source of the markers: the MessagePack specification (github.com/msgpack/msgpack, spec.md, "Formats").

use super::{CodecError, Limits};

/// What a value looks like from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The most arrays and maps inside one another.
    pub depth: usize,
    /// How many values in all, the containers and the keys of maps included.
    pub elements: u64,
}

/// What follows a marker.
enum Body {
    /// That many bytes.
    Bytes(u64),
    /// That many values.
    Values(u64),
}

/// Checks that `bytes` are exactly one MessagePack value within `limits`.
///
/// Whether strings are UTF-8 and whether the value has the expected type is left to serde.
///
/// # Errors
/// `TooLong`, `TooDeep`, `TooManyElements`, `Truncated`, `Trailing` and `Reserved` of [`CodecError`]. A container that
/// announces more values than are allowed is refused at its header; so is one that announces more than there are bytes.
pub fn scan(bytes: &[u8], limits: &Limits) -> Result<Shape, CodecError> {
    if bytes.len() > limits.bytes {
        return Err(CodecError::TooLong { bytes: bytes.len(), max: limits.bytes });
    }
    let mut shape = Shape { depth: 0, elements: 1 };
    // `left` values are still to come in the innermost open container; `outer` says the same of those around it.
    let (mut left, mut outer) = (1u64, Vec::new());
    let mut at = 0;
    if limits.elements == 0 {
        return Err(CodecError::TooManyElements { max: 0, at });
    }
    loop {
        while left == 0 {
            match outer.pop() {
                Some(values) => left = values,
                None if at == bytes.len() => return Ok(shape),
                None => {
                    return Err(CodecError::Trailing { extra: bytes.len() - at });
                }
            }
        }
        left -= 1;
        let (header, body) = head(bytes, at)?;
        let room = (bytes.len() - at - header) as u64;
        match body {
            Body::Bytes(n) if n > room => return Err(CodecError::Truncated { at }),
            // No cast can lose anything: `n` is at most `room`, which came from a usize.
            Body::Bytes(n) => at += header + n as usize,
            Body::Values(n) => {
                if outer.len() >= limits.depth {
                    return Err(CodecError::TooDeep { max: limits.depth, at });
                }
                shape.elements += n;
                if shape.elements > limits.elements {
                    return Err(CodecError::TooManyElements { max: limits.elements, at });
                }
                if n > room {
                    return Err(CodecError::Truncated { at });
                }
                outer.push(left);
                shape.depth = shape.depth.max(outer.len());
                left = n;
                at += header;
            }
        }
    }
}

/// The marker at `at`: how long it is with its length field, and what follows.
fn head(bytes: &[u8], at: usize) -> Result<(usize, Body), CodecError> {
    let marker = *bytes.get(at).ok_or(CodecError::Truncated { at })?;
    // The length field of `width` bytes after the marker, and with it the length of both.
    let sized = |width: usize| -> Result<(usize, u64), CodecError> {
        let field = bytes.get(at + 1..at + 1 + width).ok_or(CodecError::Truncated { at })?;
        Ok((1 + width, field.iter().fold(0u64, |n, b| n << 8 | u64::from(*b))))
    };
    Ok(match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (1, Body::Bytes(0)),
        0x80..=0x8f => (1, Body::Values(2 * u64::from(marker & 0x0f))),
        0x90..=0x9f => (1, Body::Values(u64::from(marker & 0x0f))),
        0xa0..=0xbf => (1, Body::Bytes(u64::from(marker & 0x1f))),
        0xc1 => return Err(CodecError::Reserved { at }),
        // bin and str: a length, then that many bytes
        0xc4 | 0xd9 => sized(1).map(|(h, n)| (h, Body::Bytes(n)))?,
        0xc5 | 0xda => sized(2).map(|(h, n)| (h, Body::Bytes(n)))?,
        0xc6 | 0xdb => sized(4).map(|(h, n)| (h, Body::Bytes(n)))?,
        // ext: a length, one byte of type, then that many bytes
        0xc7 => sized(1).map(|(h, n)| (h, Body::Bytes(n + 1)))?,
        0xc8 => sized(2).map(|(h, n)| (h, Body::Bytes(n + 1)))?,
        0xc9 => sized(4).map(|(h, n)| (h, Body::Bytes(n + 1)))?,
        // numbers
        0xcc | 0xd0 => (1, Body::Bytes(1)),
        0xcd | 0xd1 => (1, Body::Bytes(2)),
        0xca | 0xce | 0xd2 => (1, Body::Bytes(4)),
        0xcb | 0xcf | 0xd3 => (1, Body::Bytes(8)),
        // fixext: one byte of type, then 1, 2, 4, 8 or 16 bytes
        0xd4..=0xd8 => (1, Body::Bytes(1 + (1 << (marker - 0xd4)))),
        0xdc => sized(2).map(|(h, n)| (h, Body::Values(n)))?,
        0xdd => sized(4).map(|(h, n)| (h, Body::Values(n)))?,
        0xde => sized(2).map(|(h, n)| (h, Body::Values(2 * n)))?,
        0xdf => sized(4).map(|(h, n)| (h, Body::Values(2 * n)))?,
    })
}
