//! Bulk data: blocks and shuffle outputs between executors.

use crate::id::{BlockId, DataKey, DatasetId};
use serde::{Deserialize, Serialize};

/// An encoded payload: one of the pieces that a block or output consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// How many records.
    pub rows: u64,
    /// Which dataset of the program it belongs to: names the type, and so the codec.
    pub dataset: DatasetId,
    /// MessagePack, as the codec wrote it.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// What is asked on a bulk stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BulkRequest {
    /// Send me this; answered by as many `Piece` replies as there are, then `End`.
    Fetch {
        /// What.
        key: DataKey,
    },
    /// Keep a copy of this block; `pieces` Piece frames follow; answered by `Stored`.
    Store {
        /// The block.
        block: BlockId,
        /// How many pieces follow.
        pieces: u32,
    },
    /// A piece of the block being stored.
    Piece(Piece),
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
}
