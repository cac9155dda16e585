//! A serializer around another one that counts how deep a value goes, and stops before the stack ends.
//!
//! rmp-serde does not limit the depth of what it writes. A user's list of 100,000 boxes would overflow a slot thread's stack,
//! which ends the process; with the guard it is an error, and so a failed task.

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// How many values may be inside one another, options and newtypes included: four for each of the 128 containers that a
/// block may nest, which keeps the recursion within a few hundred KiB of stack.
const LEVELS_MAX: u16 = 512;

/// `value`, to be serialized under a guard.
pub(super) struct Guarded<'a, T: ?Sized>(pub(super) &'a T);

impl<T: Serialize + ?Sized> Serialize for Guarded<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Guard { inner: serializer, left: LEVELS_MAX })
    }
}

/// A value inside another one.
struct Inside<'a, T: ?Sized> {
    value: &'a T,
    left: u16,
}

impl<T: Serialize + ?Sized> Serialize for Inside<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Guard { inner: serializer, left: self.left })
    }
}

/// The serializer, or one of its compounds, with the levels that are left below it.
struct Guard<S> {
    inner: S,
    left: u16,
}

impl<S: Serializer> Guard<S> {
    fn deeper(&self) -> Result<u16, S::Error> {
        let left = self.left.checked_sub(1);
        left.ok_or_else(|| S::Error::custom(format_args!("more than {LEVELS_MAX} values inside one another")))
    }
}

/// Scalars pass.
macro_rules! pass {
    ($($method:ident($($argument:ident: $kind:ty),*);)+) => {
        $(fn $method(self, $($argument: $kind),*) -> Result<S::Ok, S::Error> {
            self.inner.$method($($argument),*)
        })+
    };
}

/// Compounds are opened one level deeper.
macro_rules! open {
    ($($method:ident($($argument:ident: $kind:ty),*) -> $compound:ident;)+) => {
        $(fn $method(self, $($argument: $kind),*) -> Result<Self::$compound, S::Error> {
            let left = self.deeper()?;
            Ok(Guard { inner: self.inner.$method($($argument),*)?, left })
        })+
    };
}

impl<S: Serializer> Serializer for Guard<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Guard<S::SerializeSeq>;
    type SerializeTuple = Guard<S::SerializeTuple>;
    type SerializeTupleStruct = Guard<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Guard<S::SerializeTupleVariant>;
    type SerializeMap = Guard<S::SerializeMap>;
    type SerializeStruct = Guard<S::SerializeStruct>;
    type SerializeStructVariant = Guard<S::SerializeStructVariant>;

    pass! {
        serialize_bool(v: bool);
        serialize_i8(v: i8);
        serialize_i16(v: i16);
        serialize_i32(v: i32);
        serialize_i64(v: i64);
        serialize_i128(v: i128);
        serialize_u8(v: u8);
        serialize_u16(v: u16);
        serialize_u32(v: u32);
        serialize_u64(v: u64);
        serialize_u128(v: u128);
        serialize_f32(v: f32);
        serialize_f64(v: f64);
        serialize_char(v: char);
        serialize_str(v: &str);
        serialize_bytes(v: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    open! {
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeStructVariant;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let left = self.deeper()?;
        self.inner.serialize_some(&Inside { value, left })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let left = self.deeper()?;
        self.inner.serialize_newtype_struct(name, &Inside { value, left })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let left = self.deeper()?;
        self.inner.serialize_newtype_variant(name, index, variant, &Inside { value, left })
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Elements and fields go on with the levels that are left.
macro_rules! compound {
    ($($name:ident { $($method:ident($($argument:ident: $kind:ty),*);)+ })+) => {
        $(impl<S: $name> $name for Guard<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            $(fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($argument: $kind,)*
                value: &T,
            ) -> Result<(), S::Error> {
                self.inner.$method($($argument,)* &Inside { value, left: self.left })
            })+

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        })+
    };
}

compound! {
    SerializeSeq { serialize_element(); }
    SerializeTuple { serialize_element(); }
    SerializeTupleStruct { serialize_field(); }
    SerializeTupleVariant { serialize_field(); }
    SerializeMap { serialize_key(); serialize_value(); }
    SerializeStruct { serialize_field(key: &'static str); }
    SerializeStructVariant { serialize_field(key: &'static str); }
}
