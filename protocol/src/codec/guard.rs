//! A serializer around another one that counts how deep a value goes, and stops before the stack ends.
//!
//! rmp-serde does not limit the depth of what it writes. A user's list of 100,000 boxes would overflow a slot thread's stack,
//! which ends the process; with the guard it is an error, and so a failed task.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// How many calls of serde may be inside one another for each container: what keeps 128 containers within a few hundred KiB
/// of stack.
const LEVELS_PER_CONTAINER: u16 = 4;

/// A value that is serialized only if arrays and maps nest no deeper in it than so, as MessagePack counts them: what a reader
/// with that limit would refuse is refused here. Options and newtypes leave no trace in the bytes, but take stack, so
/// they are counted too: of all together, four times as many may be inside one another.
///
/// ```
/// use tidemill_protocol::codec::Guarded;
/// let nested = vec![Some(vec![1u8])];
/// assert!(rmp_serde::to_vec(&Guarded::new(&nested, 2)).is_ok());
/// let refused = rmp_serde::to_vec(&Guarded::new(&nested, 1)).unwrap_err();
/// assert_eq!(refused.to_string(), "nested deeper than 1");
/// ```
pub struct Guarded<'a, T: ?Sized> {
    value: &'a T,
    room: Room,
}

impl<'a, T: ?Sized> Guarded<'a, T> {
    /// `value` with at most `depth` arrays and maps inside one another.
    pub fn new(value: &'a T, depth: u16) -> Self {
        Guarded {
            value,
            room: Room { depth, levels: depth.saturating_mul(LEVELS_PER_CONTAINER), max: depth },
        }
    }
}

impl<T: Serialize + ?Sized> Serialize for Guarded<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Guard { inner: serializer, room: self.room })
    }
}

/// How much deeper it may go.
#[derive(Clone, Copy)]
struct Room {
    /// So many more arrays and maps.
    depth: u16,
    /// So many more calls of serde.
    levels: u16,
    /// How many arrays and maps there may be in all.
    max: u16,
}

impl Room {
    /// What is left inside one more value, which is `containers` arrays and maps.
    fn inside<E: serde::ser::Error>(self, containers: u16) -> Result<Room, E> {
        match (self.depth.checked_sub(containers), self.levels.checked_sub(1)) {
            (Some(depth), Some(levels)) => Ok(Room { depth, levels, ..self }),
            (None, _) => Err(E::custom(format_args!("nested deeper than {}", self.max))),
            (_, None) => Err(E::custom("too many options and newtypes inside one another")),
        }
    }
}

/// The serializer, or one of its compounds, with the room that is left below it.
struct Guard<S> {
    inner: S,
    room: Room,
}

/// Scalars pass.
macro_rules! pass {
    ($($method:ident($($argument:ident: $kind:ty),*);)+) => {
        $(fn $method(self, $($argument: $kind),*) -> Result<S::Ok, S::Error> {
            self.inner.$method($($argument),*)
        })+
    };
}

/// Compounds are opened inside one container, or two where they are an array in a map.
macro_rules! open {
    ($($containers:literal $method:ident($($argument:ident: $kind:ty),*) -> $compound:ident;)+) => {
        $(fn $method(self, $($argument: $kind),*) -> Result<Self::$compound, S::Error> {
            let room = self.room.inside($containers)?;
            Ok(Guard { inner: self.inner.$method($($argument),*)?, room })
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
        1 serialize_seq(len: Option<usize>) -> SerializeSeq;
        1 serialize_tuple(len: usize) -> SerializeTuple;
        1 serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        2 serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeTupleVariant;
        1 serialize_map(len: Option<usize>) -> SerializeMap;
        1 serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        2 serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeStructVariant;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let room = self.room.inside(0)?;
        self.inner.serialize_some(&Guarded { value, room })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let room = self.room.inside(0)?;
        self.inner.serialize_newtype_struct(name, &Guarded { value, room })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let room = self.room.inside(1)?;
        self.inner.serialize_newtype_variant(name, index, variant, &Guarded { value, room })
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
                self.inner.$method($($argument,)* &Guarded { value, room: self.room })
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
