//! The server's side of bulk requests, as plain functions: the endpoint reads a request, calls one of these on the bulk
//! runtime, and writes what it gives.

use super::StoreAnswer;
use crate::{
    block_store::{BlockStore, Reserved, Share},
    seam::{Held, PayloadCodec, PayloadError},
};
use tidemill_protocol::{
    endpoint::bulk::FETCH_BYTES_MAX,
    id::{BlockId, DataKey},
    message::Piece,
};

/// What is said to a request for data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchAnswer {
    /// Here they are.
    Found(Vec<Piece>),
    /// They are not here (any more).
    NotHere,
    /// They need this much credit.
    Needs(u64),
    /// They are here, and cannot be sent, for this reason: asking again is of no use.
    Unsendable(String),
}

/// The pieces of `key`, encoded, if they and what becomes of them need no more than `credit` bytes, and the memory that
/// is counted for them until they are sent. Waits for others' answers to be sent, whose clients have kept room for them.
///
/// # Errors
/// [`PayloadError`] if a payload cannot be written. It is this node's fault: log it and give up the request. That it does
/// not come to this is what the check of [`LocalTransport`](super::LocalTransport) is for.
pub async fn serve_fetch(
    store: &BlockStore,
    key: DataKey,
    credit: Option<u64>,
) -> Result<(FetchAnswer, Option<Reserved>), PayloadError> {
    serve_fetch_up_to(FETCH_BYTES_MAX, store, key, credit).await
}

/// As [`serve_fetch`], where a client takes `bytes_max` bytes: it would cut off whoever sends it more, with all that it has asked
/// for beside.
pub(super) async fn serve_fetch_up_to(
    bytes_max: u64,
    store: &BlockStore,
    key: DataKey,
    credit: Option<u64>,
) -> Result<(FetchAnswer, Option<Reserved>), PayloadError> {
    let Some(weight) = store.weight(key) else { return Ok((FetchAnswer::NotHere, None)) };
    let credit = credit.unwrap_or(u64::MAX);
    // An estimate; where it is too little, the exact check below says so.
    let in_memory = || store.in_memory(key).map_or(weight.bytes, |held| held.encoded_bytes());
    let encoded = weight.file_bytes.unwrap_or_else(in_memory);
    if weight.bytes > credit || (weight.file_bytes.is_some() && weight.bytes + encoded > credit) {
        return Ok((FetchAnswer::Needs(weight.bytes + encoded), None));
    }
    // Data larger than the whole share are sent alone.
    let share = encoded.min(store.budget().share(Share::Sending));
    let mut held = store.credit(Share::Sending, share).await.ok();
    let Some(pieces) = store.pieces(key).await? else { return Ok((FetchAnswer::NotHere, None)) };
    let exact: u64 = pieces.iter().map(|piece| piece.bytes.len() as u64).sum();
    if exact > bytes_max {
        let reason = format!(
            "it has {exact} bytes, and at most {bytes_max} can cross machines at once: use more partitions"
        );
        return Ok((FetchAnswer::Unsendable(reason), None));
    }
    if weight.bytes.saturating_add(exact) > credit {
        return Ok((FetchAnswer::Needs(weight.bytes + exact), None));
    }
    if let Some(held) = &mut held {
        held.change_to(exact);
    }
    Ok((FetchAnswer::Found(pieces), held))
}

/// Keeps a copy of a peer's block; `room` was kept for its encoded form. A block that the store refuses for good is `Full`
/// as well: the peer looks for another place.
///
/// # Errors
/// [`PayloadError`] if the pieces cannot be read: the peer is of another program, or broken. Nothing is kept.
pub fn serve_store(
    store: &BlockStore,
    codec: &dyn PayloadCodec,
    block: BlockId,
    pieces: Vec<Piece>,
    room: Option<impl Send>,
) -> Result<StoreAnswer, PayloadError> {
    // Looked at first, so that a full store does not decode what it will not keep.
    if room.is_none() && store.is_full() {
        return Ok(StoreAnswer::Full);
    }
    let held = Held::decode(codec, &pieces)?;
    // The encoded form makes room for the block itself.
    drop((pieces, room));
    Ok(match store.put_block(block, held) {
        Ok(()) => StoreAnswer::Stored,
        Err(_) => StoreAnswer::Full,
    })
}
