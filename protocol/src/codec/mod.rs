//! MessagePack with limits: how values become bytes, and how hostile bytes are refused before serde sees them.
//!
//! ```text
//!   decode:  bytes ──length──> scan (a loop: depth, elements, truncation) ──> serde
//!   encode:  value ──> bytes      control: field names      compact: structs as arrays
//! ```
//!
//! Two forms. *Named* (control messages, whatever crosses versions): structs are maps of field names, so unknown fields
//! are ignored and added ones need a default. *Compact* (payloads between nodes of one program): structs are arrays. In
//! both, enum variants go by name.
//!
//! The scan comes first because rmp-serde's own depth limit does not count nested enum variants (msgpack-rust issue
//! 381): a frame of 500 KB could overflow the stack, and that aborts the process and cannot be caught.

mod guard;
mod scan;
pub mod slices;

pub use guard::Guarded;
pub use scan::{Shape, scan};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// The longest encoded [`Piece`](crate::message::Piece), in bytes: what a bulk frame holds, less its own fields.
pub const PIECE_BYTES_MAX: usize = Limits::BULK.bytes - 1024;

/// How many arrays and maps of a block may be inside one another: [`Limits::BLOCK`]'s depth, for [`Guarded`].
pub const BLOCK_DEPTH: u16 = 128;

/// What a decoder accepts. A value that exceeds one of them is refused before anything is built from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes.
    pub bytes: usize,
    /// The most arrays and maps inside one another.
    pub depth: usize,
    /// The most values in all, the containers and the keys of maps included.
    pub elements: u64,
}

impl Limits {
    /// Control messages: 64 KiB, 32 deep, 65,536 values.
    pub const CONTROL: Limits = Limits { bytes: 64 * 1024, depth: 32, elements: 65_536 };
    /// The two messages of joining: 4 KiB, 8 deep, 256 values, for keys are arrays of 32 numbers.
    pub const JOIN: Limits = Limits { bytes: crate::message::JOIN_BYTES_MAX, depth: 8, elements: 256 };
    /// Bulk messages: 8 MiB, because they carry payloads. The payload is one `bin` value, so the rest stays small.
    pub const BULK: Limits = Limits { bytes: 8 * 1024 * 1024, depth: 128, elements: 65_536 };
    /// The records of a piece: 128 deep; as many values as bytes, since each takes at least one.
    pub const BLOCK: Limits =
        Limits { bytes: PIECE_BYTES_MAX, depth: BLOCK_DEPTH as usize, elements: PIECE_BYTES_MAX as u64 };
}

/// Why bytes or a value were refused. Nothing here is worth a retry: the same bytes fail again.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// More bytes than the limit; none of them was looked at.
    #[error("{bytes} bytes are more than the limit of {max}")]
    TooLong {
        /// How many there were.
        bytes: usize,
        /// How many are allowed.
        max: usize,
    },
    /// More arrays and maps inside one another than the limit.
    #[error("nested deeper than {max} at byte {at}")]
    TooDeep {
        /// The limit.
        max: usize,
        /// Where the container begins that is one too many.
        at: usize,
    },
    /// More values than the limit: present, or announced by the header of a container.
    #[error("more than {max} values at byte {at}")]
    TooManyElements {
        /// The limit.
        max: u64,
        /// Where the limit was passed.
        at: usize,
    },
    /// The bytes end inside the value that begins at `at`.
    #[error("cut off inside the value at byte {at}")]
    Truncated {
        /// Where that value begins.
        at: usize,
    },
    /// More bytes after the end of the value.
    #[error("{extra} bytes after the end of the value")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// The marker 0xc1, which MessagePack never uses.
    #[error("the reserved marker 0xc1 at byte {at}")]
    Reserved {
        /// Where.
        at: usize,
    },
    /// Well-formed MessagePack, but not of the type that was asked for.
    #[error("not the expected type: {0}")]
    Malformed(#[source] rmp_serde::decode::Error),
    /// The value cannot be written as MessagePack: its `Serialize` refused (for instance a sequence of unknown length).
    #[error("cannot be encoded: {0}")]
    Unencodable(#[source] rmp_serde::encode::Error),
}

/// Encodes with field names: control messages and whatever crosses versions.
///
/// # Errors
/// [`CodecError::Unencodable`] if the value's `Serialize` refuses.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    rmp_serde::to_vec_named(value).map_err(CodecError::Unencodable)
}

/// Like [`encode`], appended to `out`; on an error `out` may hold a part of the value.
///
/// # Errors
/// As [`encode`].
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    rmp_serde::encode::write_named(out, value).map_err(CodecError::Unencodable)
}

/// Decodes exactly one value within `limits`, in the named or the compact form: structs may be maps or arrays.
///
/// # Errors
/// Each variant of [`CodecError`] but `Unencodable`; what the limits refuse never reaches serde.
///
/// ```
/// use tidemill_protocol::codec::{self, CodecError, Limits};
/// let bytes = codec::encode(&("ebb", 7u8)).unwrap();
/// assert_eq!(codec::decode::<(String, u8)>(&bytes, &Limits::CONTROL).unwrap(), ("ebb".to_string(), 7));
/// let nested = [0x91; 40];
/// assert!(matches!(codec::decode::<u8>(&nested, &Limits::CONTROL), Err(CodecError::TooDeep { max: 32, at: 32 })));
/// ```
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limits: &Limits) -> Result<T, CodecError> {
    scan(bytes, limits)?;
    rmp_serde::from_slice(bytes).map_err(CodecError::Malformed)
}

/// As [`decode`], where long byte strings share the memory of `bytes` instead of being copied (see [`slices`]).
///
/// # Errors
/// As [`decode`].
pub fn decode_shared<T: DeserializeOwned>(bytes: &Bytes, limits: &Limits) -> Result<T, CodecError> {
    slices::reading(bytes, || decode(bytes, limits))
}

/// Encodes with structs as arrays: payload records between nodes of one program. What [`decode_compact`] would refuse
/// for its depth is refused here, so that the task that made the value fails and not the one that reads it; and a value so
/// deep that writing it would overflow the stack is an error, not the end of the process.
///
/// # Errors
/// [`CodecError::Unencodable`] if the value's `Serialize` refuses, or for arrays and maps that nest deeper than
/// [`Limits::BLOCK`] allows. Length is no error: a caller splits what is longer than [`PIECE_BYTES_MAX`].
pub fn encode_compact<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    rmp_serde::to_vec(&Guarded::new(value, BLOCK_DEPTH)).map_err(CodecError::Unencodable)
}

/// Decodes what [`encode_compact`] wrote; callers give [`Limits::BLOCK`].
///
/// # Errors
/// As [`decode`].
pub fn decode_compact<T: DeserializeOwned>(bytes: &[u8], limits: &Limits) -> Result<T, CodecError> {
    decode(bytes, limits)
}
