//! Records in memory: what a partition is made of, how keys find their partition, how both survive the wire.
//!
//! ```text
//!   TextBuffer ── Text, TextChunk      bytes validated once; a line is a pair of offsets
//!   Chunk<T>                           what flows between operators: at most 1,024 records
//!   Rows<T>, Keyed<K, C>               what is stored and sent: payloads
//!   key_group                          which partition a key belongs to
//!   codec, parts                       payloads as MessagePack, and how hostile bytes are refused
//! ```

mod chunk;
mod codec;
mod collector;
mod key_group;
mod key_index;
mod keyed;
mod keyed_table;
mod parts;
mod rows;
mod text;
mod text_arena;
mod text_buffer;
mod text_chunk;
mod weigh;
mod wire_sizes;

pub use chunk::Chunk;
pub(crate) use chunk::rows_bytes;
pub(crate) use chunk::{as_text, from_text, is_text};
pub use codec::{Codec, Stored};
pub(crate) use codec::{payload_survives, survives, with_payload};
pub use collector::Collector;
pub(crate) use key_group::text_hash;
pub use key_group::{KEY_GROUPS, key_group, key_hash, partition_of};
pub(crate) use keyed::Keyed;
pub(crate) use keyed_table::{Entry, KeyedTable, Keys};
pub use rows::Rows;
pub use text::Text;
pub(crate) use text_arena::TextArena;
pub use text_buffer::{TEXT_BUFFER_BYTES_MAX, TextBuffer, TextError};
pub use text_chunk::TextChunk;
pub(crate) use text_chunk::each_line;
pub(crate) use wire_sizes::{RECORD_BYTES_MAX, wire_bytes};

use serde::{Serialize, de::DeserializeOwned};

/// How many records a chunk holds at most. Large enough that one dynamic call a chunk costs nothing, small enough that a
/// chunk of ranges stays in the first-level cache.
pub const CHUNK_RECORDS_MAX: usize = 1024;

/// What may be a record: anything that can be written, read back, cloned and sent. Implemented for every such type.
///
/// A type must survive MessagePack with structs as arrays, and no record may nest more than 126 arrays and maps;
/// [`testing::round_trip`](crate::testing::round_trip) tells, and debug builds try it on everything that a shuffle carries.
pub trait Data: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Data for T {}
