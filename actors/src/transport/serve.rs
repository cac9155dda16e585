//! The server's side of bulk streams, as plain functions: the endpoint reads a request, calls one of these, and writes
//! what it gives.

use crate::{
    block_store::{BlockStore, PutBlockError},
    seam::{Held, PayloadCodec, PayloadError},
};
use tidemill_protocol::{
    id::{BlockId, DataKey},
    message::{BulkReply, Piece},
};

/// The replies to a fetch, encoded one at a time: a large output is never held twice as a whole.
///
/// An item that is an error ends the stream: reset it, the peer then takes the holder for unreachable. That a payload
/// cannot be written is found at the desk by the check of [`LocalTransport`](super::LocalTransport).
pub fn fetch_replies(store: &BlockStore, key: DataKey) -> Replies {
    Replies {
        held: store.get(key),
        next: 0,
        ended: false,
    }
}

/// An iterator over the replies to one fetch: the pieces and `End`, or `NotHere`.
#[derive(Debug)]
pub struct Replies {
    held: Option<Held>,
    next: usize,
    ended: bool,
}

impl Iterator for Replies {
    type Item = Result<BulkReply, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let Some(piece) = self.held.as_ref().and_then(|held| held.pieces.get(self.next)) else {
            self.ended = true;
            return Some(Ok(self.end()));
        };
        let encoded = piece.encode().map(|bytes| {
            BulkReply::Piece(Piece {
                rows: piece.rows(),
                dataset: piece.dataset(),
                bytes,
            })
        });
        self.next += 1;
        self.ended = encoded.is_err();
        Some(encoded)
    }
}

impl Replies {
    fn end(&self) -> BulkReply {
        match &self.held {
            // A block is cut long before it has 2³² pieces; a peer that counts differently refuses the answer.
            Some(held) => BulkReply::End {
                pieces: u32::try_from(held.pieces.len()).unwrap_or(u32::MAX),
            },
            None => BulkReply::NotHere,
        }
    }
}

/// Keeps a copy of a peer's block; gives the reply.
///
/// # Errors
/// [`PayloadError`] if the pieces cannot be read: a peer of another program, or a broken one. Reset the stream.
pub fn keep_replica(
    store: &BlockStore,
    codec: &dyn PayloadCodec,
    block: BlockId,
    pieces: &[Piece],
) -> Result<BulkReply, PayloadError> {
    // Looked at first, so that a full store does not decode what it will not keep.
    if store.is_full() {
        return Ok(BulkReply::Full);
    }
    let held = Held::decode(codec, pieces)?;
    Ok(match store.put_block(block, held) {
        Ok(()) => BulkReply::Stored,
        Err(PutBlockError::Full { .. } | PutBlockError::TooLarge { .. } | PutBlockError::Closed) => {
            BulkReply::Full
        }
    })
}
