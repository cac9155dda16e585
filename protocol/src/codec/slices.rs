//! Byte strings that share the memory of the body they are read from: for `#[serde(with = …)]` on a [`Bytes`] field.
//!
//! serde hands a visitor a slice, and not whose it is. So [`decode_shared`](super::decode_shared) says for the time of one
//! decoding which body that slice may lie in, and a slice is known by its address. Without it, and for a string that is shorter
//! than half of the body and so would keep alive more than itself, the bytes are copied: the value is the same.

use bytes::Bytes;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserializer, Serializer};
use std::cell::RefCell;
use std::fmt;

thread_local! {
    static BODY: RefCell<Option<Bytes>> = const { RefCell::new(None) };
}

/// Calls `read`, in which byte strings of `body` are shared.
pub(super) fn reading<T>(body: &Bytes, read: impl FnOnce() -> T) -> T {
    /// Puts back what was there, after a panic as well.
    struct Before(Option<Bytes>);
    impl Drop for Before {
        fn drop(&mut self) {
            BODY.set(self.0.take());
        }
    }
    let _before = Before(BODY.replace(Some(body.clone())));
    read()
}

/// As MessagePack's `bin`.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// From a `bin`, or an array of numbers.
///
/// # Errors
/// The deserializer's.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    deserializer.deserialize_bytes(Reader)
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(BODY.with_borrow(|body| match body {
            Some(body) if bytes.len() * 2 >= body.len() && lies_in(bytes, body) => body.slice_ref(bytes),
            _ => Bytes::copy_from_slice(bytes),
        }))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(bytes.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Bytes, A::Error> {
        // What the sequence promises is nothing to take memory for.
        let mut bytes = Vec::new();
        while let Some(byte) = numbers.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes.into())
    }
}

fn lies_in(bytes: &[u8], body: &[u8]) -> bool {
    let (inner, outer) = (bytes.as_ptr_range(), body.as_ptr_range());
    outer.start <= inner.start && inner.end <= outer.end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Limits, decode, decode_shared, encode};
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Two {
        #[serde(with = "crate::codec::slices")]
        long: Bytes,
        #[serde(with = "crate::codec::slices")]
        short: Bytes,
    }

    fn two() -> Two {
        Two { long: Bytes::from(vec![7; 1_000]), short: Bytes::from_static(b"ebb") }
    }

    #[test]
    fn a_long_string_is_shared_and_a_short_one_copied() {
        let body = Bytes::from(encode(&two()).unwrap());
        let read: Two = decode_shared(&body, &Limits::CONTROL).unwrap();
        assert_eq!(read, two());
        assert!(lies_in(&read.long, &body));
        assert!(!lies_in(&read.short, &body));
        // Nothing of the body is left behind for the next one.
        assert!(BODY.with_borrow(Option::is_none));
    }

    #[test]
    fn without_a_body_to_share_all_is_copied() {
        let body = encode(&two()).unwrap();
        let read: Two = decode(&body, &Limits::CONTROL).unwrap();
        assert_eq!(read, two());
        assert!(!lies_in(&read.long, &body));
    }

    #[test]
    fn the_body_is_forgotten_after_a_panic() {
        let panicked = std::panic::catch_unwind(|| reading(&Bytes::from_static(b"ebb"), || panic!("flood")));
        assert!(panicked.is_err());
        assert!(BODY.with_borrow(Option::is_none));
    }

    #[test]
    fn an_array_of_numbers_is_read_as_well() {
        let read: Two = decode(&encode(&(vec![1u8, 200], vec![3u8])).unwrap(), &Limits::CONTROL).unwrap();
        assert_eq!(read, Two { long: Bytes::from_static(&[1, 200]), short: Bytes::from_static(&[3]) });
    }
}
