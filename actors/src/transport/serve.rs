//! The server's side of bulk requests, as plain functions: the endpoint reads a request, calls one of these on the bulk
//! runtime, and writes what it gives.

use super::StoreAnswer;
use crate::{
    block_store::BlockStore,
    seam::{Held, PayloadCodec, PayloadError},
};
use tidemill_protocol::{
    id::{BlockId, DataKey},
    message::Piece,
};

/// The pieces of `key`, encoded; `None` if it is not here (any more).
///
/// # Errors
/// [`PayloadError`] if a payload cannot be written. It is this node's fault: log it and give up the request. That it does
/// not come to this is what the check of [`LocalTransport`](super::LocalTransport) is for.
pub fn serve_fetch(store: &BlockStore, key: DataKey) -> Result<Option<Vec<Piece>>, PayloadError> {
    store.get(key).map(|held| held.encode()).transpose()
}

/// Keeps a copy of a peer's block. A block that the store refuses for good is `Full` as well: the peer looks for another
/// place.
///
/// # Errors
/// [`PayloadError`] if the pieces cannot be read: the peer is of another program, or broken. Nothing is kept.
pub fn serve_store(
    store: &BlockStore,
    codec: &dyn PayloadCodec,
    block: BlockId,
    pieces: &[Piece],
) -> Result<StoreAnswer, PayloadError> {
    // Looked at first, so that a full store does not decode what it will not keep.
    if store.is_full() {
        return Ok(StoreAnswer::Full);
    }
    let held = Held::decode(codec, pieces)?;
    Ok(match store.put_block(block, held) {
        Ok(()) => StoreAnswer::Stored,
        Err(_) => StoreAnswer::Full,
    })
}
