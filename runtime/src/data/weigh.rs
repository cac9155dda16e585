//! How many bytes records occupy, with what they own, and about how many they have when they are written: from a sample, because
//! it is asked of everything that is stored. A record is weighed by walking over it as if it were written.

use super::wire_sizes::as_record;
use serde::{Serialize, ser};
use std::fmt;
use tidemill_protocol::codec::BLOCK_DEPTH;

/// Every so manieth record is looked at. A prime number, so that patterns in the data do not meet it.
const STRIDE_MAX: usize = 61;
/// At least so many are looked at, if there are.
const SAMPLE_MIN: usize = 16;
/// What a string, a vector or a map has beside what is in it: where it is, how long, and how much room.
const OWNER_BYTES: u64 = 24;

/// About how many bytes `records` own beyond their own size. Nothing is looked at where a type cannot own any.
pub(super) fn owned<'a, T: Serialize + 'a>(records: impl ExactSizeIterator<Item = &'a T>) -> u64 {
    if !std::mem::needs_drop::<T>() {
        return 0;
    }
    sampled(records, |record| weight(record).saturating_sub(size_of::<T>() as u64))
}

/// About how many bytes `records` have as MessagePack.
pub(super) fn encoded<R: Serialize>(records: impl ExactSizeIterator<Item = R>) -> u64 {
    let mut scratch = Vec::new();
    sampled(records, |record| {
        scratch.clear();
        // One that refuses to be written is found when it is written.
        let _ = as_record(&record).serialize(&mut rmp_serde::Serializer::new(&mut scratch));
        scratch.len() as u64
    })
}

/// What `bytes` says of all records, as far as a sample tells.
fn sampled<R>(records: impl ExactSizeIterator<Item = R>, mut bytes: impl FnMut(R) -> u64) -> u64 {
    let count = records.len();
    let stride = (count / SAMPLE_MIN).clamp(1, STRIDE_MAX);
    let (mut sum, mut seen) = (0u64, 0u64);
    for record in records.step_by(stride) {
        sum = sum.saturating_add(bytes(record));
        seen += 1;
    }
    let all = u128::from(sum) * count as u128 / u128::from(seen.max(1));
    u64::try_from(all).unwrap_or(u64::MAX)
}

/// About how many bytes one value occupies, with what it owns.
fn weight(value: &impl Serialize) -> u64 {
    let mut weigher = Weigher { bytes: 0, depth_left: BLOCK_DEPTH };
    // One that refuses to be written was weighed up to there.
    let _ = value.serialize(&mut weigher);
    weigher.bytes
}

/// Adds up what is shown to it.
struct Weigher {
    bytes: u64,
    depth_left: u16,
}

impl Weigher {
    fn add(&mut self, bytes: u64) -> Result<(), fmt::Error> {
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    fn inner<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.depth_left = self.depth_left.checked_sub(1).ok_or(fmt::Error)?;
        value.serialize(&mut *self)?;
        self.depth_left += 1;
        Ok(())
    }
}

/// `$method` for values of this type, which own nothing.
macro_rules! plain {
    ($($method:ident: $type:ty),+) => {
        $(fn $method(self, _: $type) -> Result<(), fmt::Error> {
            self.add(size_of::<$type>() as u64)
        })+
    };
}

impl<'a> ser::Serializer for &'a mut Weigher {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = &'a mut Weigher;
    type SerializeTuple = &'a mut Weigher;
    type SerializeTupleStruct = &'a mut Weigher;
    type SerializeTupleVariant = &'a mut Weigher;
    type SerializeMap = &'a mut Weigher;
    type SerializeStruct = &'a mut Weigher;
    type SerializeStructVariant = &'a mut Weigher;

    plain!(
        serialize_bool: bool, serialize_char: char, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64, serialize_u128: u128, serialize_f32: f32, serialize_f64: f64
    );

    fn serialize_str(self, text: &str) -> Result<(), fmt::Error> {
        self.add(OWNER_BYTES + text.len() as u64)
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), fmt::Error> {
        self.add(OWNER_BYTES + bytes.len() as u64)
    }

    fn serialize_none(self) -> Result<(), fmt::Error> {
        self.add(1)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), fmt::Error> {
        self.inner(value)
    }

    fn serialize_unit(self) -> Result<(), fmt::Error> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), fmt::Error> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), fmt::Error> {
        self.add(1)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), fmt::Error> {
        self.inner(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), fmt::Error> {
        self.add(1)?;
        self.inner(value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, fmt::Error> {
        self.add(OWNER_BYTES)?;
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, fmt::Error> {
        self.add(1)?;
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, fmt::Error> {
        self.add(OWNER_BYTES)?;
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, fmt::Error> {
        self.add(1)?;
        Ok(self)
    }

    fn is_human_readable(&self) -> bool {
        // As MessagePack, or other values would be weighed than are written.
        false
    }
}

/// `$trait`, whose `$method` shows one inner value, and `end` of which nothing follows.
macro_rules! shows {
    ($($trait:ident $method:ident ($($name:ident)?);)+) => {
        $(impl ser::$trait for &mut Weigher {
            type Ok = ();
            type Error = fmt::Error;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($name: &'static str,)?
                value: &T,
            ) -> Result<(), fmt::Error> {
                $(let _ = $name;)?
                self.inner(value)
            }

            fn end(self) -> Result<(), fmt::Error> {
                Ok(())
            }
        })+
    };
}

shows!(
    SerializeSeq serialize_element ();
    SerializeTuple serialize_element ();
    SerializeTupleStruct serialize_field ();
    SerializeTupleVariant serialize_field ();
    SerializeStruct serialize_field (name);
    SerializeStructVariant serialize_field (name);
);

impl ser::SerializeMap for &mut Weigher {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), fmt::Error> {
        self.inner(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.inner(value)
    }

    fn end(self) -> Result<(), fmt::Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// What `records` occupy in all, a vector's own fields aside.
    fn occupied<T: Serialize>(records: &[T]) -> u64 {
        size_of_val(records) as u64 + owned(records.iter())
    }

    #[test]
    fn plain_values_own_nothing() {
        assert_eq!(occupied(&[(1i64, 2.0f64); 100]), 1_600);
        assert_eq!(occupied(&[Some(1u64); 10]), 160);
        assert_eq!(occupied(&[[1u8; 32]; 10]), 320);
    }

    #[test]
    fn what_records_own_is_counted() {
        // A string of 1,000 bytes occupies 1,024.
        assert_eq!(occupied(&vec!["x".repeat(1_000); 7]), 7 * 1_024);
        assert_eq!(occupied(&vec![("x".repeat(100), 5u64); 7]), 7 * 132);
        assert_eq!(occupied(&vec![vec![5u64; 100]; 7]), 7 * 824, "not the 100 bytes of its MessagePack");
        assert_eq!(occupied(&vec![vec!["ab".to_owned(); 10]; 7]), 7 * (24 + 10 * 26));
        assert_eq!(occupied(&[Some("abc".to_owned()), None]), 24 + 3 + 24);
        let maps = vec![BTreeMap::from([(1u32, "one".to_owned())]); 3];
        assert_eq!(occupied(&maps), 3 * (24 + 4 + 27));
    }

    #[test]
    fn of_many_records_a_sample_tells() {
        let all = vec!["x".repeat(200); 100_000];
        assert_eq!(owned(all.iter()), 20_000_000);
        assert_eq!(encoded(all.iter()), 20_200_000);
        // Every 64th is long: a sample of every 64th would see these only, or none.
        let some: Vec<String> =
            (0..100_000).map(|n| "x".repeat(if n % 64 == 0 { 6_400 } else { 0 })).collect();
        let exact: u64 = some.iter().map(|text| text.len() as u64).sum();
        let about = owned(some.iter());
        assert!(about.abs_diff(exact) < exact / 5, "{about} of {exact}");
    }

    #[test]
    fn a_value_without_an_end_is_left_at_some_depth() {
        #[derive(Serialize)]
        struct Chain(Option<Box<Chain>>, u64);
        let chain = (0..10_000).fold(Chain(None, 0), |chain, n| Chain(Some(Box::new(chain)), n));
        assert!(weight(&chain) < 1_000);
        // Dropped link by link: what serde refuses may be too deep for the stack as well.
        let mut next = chain.0;
        while let Some(mut link) = next {
            next = link.0.take();
        }
    }
}
