//! How long records are as MessagePack, without writing them.

use rmp_serde::Serializer;
use serde::Serialize;
use std::io::{self, Write};
use tidemill_protocol::codec::{BLOCK_DEPTH, Guarded, PIECE_BYTES_MAX};

/// The longest record that can cross machines, as MessagePack: a piece, less the header of an array of one.
pub(crate) const RECORD_BYTES_MAX: usize = PIECE_BYTES_MAX - 1;

/// A record as it is written among others: one that nests deeper than can be read again refuses to be.
pub(super) fn as_record<T: Serialize + ?Sized>(record: &T) -> Guarded<'_, T> {
    // It stands in an array, and that in a pair of two if the records have keys.
    Guarded::new(record, BLOCK_DEPTH - 2)
}

/// Takes bytes and keeps their number.
#[derive(Default)]
struct Counted(usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many bytes a record has.
///
/// # Errors
/// In words, if it refuses to be written.
pub(crate) fn wire_bytes(record: &impl Serialize) -> Result<usize, String> {
    let mut out = Serializer::new(Counted::default());
    as_record(record).serialize(&mut out).map_err(|error| error.to_string())?;
    Ok(out.get_ref().0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Rows;
    use std::{collections::BTreeMap, sync::Arc};
    use tidemill_actors::seam::Held;

    #[test]
    fn a_record_has_the_bytes_that_serde_writes() {
        fn check<T: Serialize>(record: &T) {
            assert_eq!(wire_bytes(record), Ok(rmp_serde::to_vec(record).unwrap().len()));
        }
        check(&5u64);
        check(&u64::MAX);
        check(&("x".repeat(70_000), [1.5f64; 3], Some('é')));
        check(&BTreeMap::from([(1u8, vec!["a".to_owned(); 20])]));
        check(&Ok::<u8, String>(3));
    }

    #[test]
    fn a_record_that_refuses_to_be_written_says_why() {
        struct Shy;
        impl Serialize for Shy {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("not today"))
            }
        }
        assert_eq!(wire_bytes(&Shy), Err("not today".to_owned()));
    }

    #[test]
    fn a_record_that_would_overflow_the_stack_refuses_to_be_written() {
        #[derive(Serialize)]
        struct Link {
            next: Option<Box<Link>>,
        }
        // Written as nil, however deep it is.
        #[derive(Serialize)]
        struct Shell(Option<Box<Shell>>);

        let link = (0..1_000_000).fold(Link { next: None }, |next, _| Link { next: Some(Box::new(next)) });
        assert_eq!(wire_bytes(&link), Err("nested deeper than 126".to_owned()));
        let shell = (0..1_000_000).fold(Shell(None), |inner, _| Shell(Some(Box::new(inner))));
        assert_eq!(wire_bytes(&shell), Err("too many options and newtypes inside one another".to_owned()));
        // Dropping them would recurse too.
        std::mem::forget((link, shell));
    }

    #[test]
    fn the_longest_record_that_crosses_is_as_long_as_is_said() {
        let held = |length: usize| Held::new(vec![Arc::new(Rows::new(vec!["x".repeat(length)]))]);
        // A string of this length has five bytes before it.
        let longest = RECORD_BYTES_MAX - 5;
        assert_eq!(wire_bytes(&"x".repeat(longest)), Ok(RECORD_BYTES_MAX));
        assert!(held(longest).encode().is_ok());
        assert!(held(longest + 1).encode().is_err());
    }
}
