//! Bulk data: blocks and shuffle outputs between executors.

use super::Notice;
use crate::id::{BlockId, DataKey, DatasetId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An encoded payload: one of the pieces that a block or output consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// How many records.
    pub rows: u64,
    /// Which dataset of the program it belongs to: names the type, and so the codec.
    pub dataset: DatasetId,
    /// MessagePack, as the codec wrote it. The last field: what stands before it is a frame's beginning, and these bytes are
    /// its end (see [`encode_in_two`](crate::frame::encode_in_two)).
    #[serde(with = "crate::codec::slices")]
    pub bytes: Bytes,
}

/// A piece whose bytes are compressed, as a block of lz4 without a length of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedPiece {
    /// As of the piece.
    pub rows: u64,
    /// As of the piece.
    pub dataset: DatasetId,
    /// The length of the piece's bytes. What does not unpack to exactly so many is refused.
    pub bytes_unpacked: u32,
    /// lz4. The last field, as of the piece.
    #[serde(with = "crate::codec::slices")]
    pub packed: Bytes,
}

/// What is asked on a bulk stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BulkRequest {
    /// Send me this; answered by as many `Piece` or `Packed` replies as there are, then `End`.
    Fetch {
        /// What.
        key: DataKey,
        /// The memory that the client keeps ready, in bytes: for the pieces, and for what they become. Data that need
        /// more are answered by `Needs`. Without it there is no limit.
        #[serde(default)]
        credit: Option<u64>,
    },
    /// Keep a copy of this block; `pieces` Piece or Packed frames follow; answered by `Stored` or `Full`.
    Store {
        /// The block.
        block: BlockId,
        /// How many pieces follow.
        pieces: u32,
        /// How many bytes the pieces have, not packed. With it, nothing follows before the answer `Credit`.
        #[serde(default)]
        bytes: Option<u64>,
    },
    /// A piece of the block being stored.
    Piece(Piece),
    /// The same, compressed.
    Packed(PackedPiece),
    /// A task has ended whose outputs are read here; answered by `Noted`, or `NotHere` by another life of the node.
    Notice(Notice),
}

/// What is answered on a bulk stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BulkReply {
    /// A piece of what was asked for.
    Piece(Piece),
    /// That was all.
    End {
        /// How many pieces were sent.
        pieces: u32,
    },
    /// The copy is kept.
    Stored,
    /// It is not here (any more).
    NotHere,
    /// No room: the memory budget is used up.
    Full,
    /// A piece of what was asked for, compressed.
    Packed(PackedPiece),
    /// It is here, but the client's credit does not suffice. Nothing follows.
    Needs {
        /// The credit that does.
        bytes: u64,
    },
    /// There is room for the block: send it.
    Credit,
    /// It is here, but cannot be sent, now or later: a record does not fit a piece, say. Nothing follows.
    Unsendable {
        /// Why, in words.
        reason: String,
    },
    /// The notice has arrived.
    Noted,
}
