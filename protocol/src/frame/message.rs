//! A message and its frame: which type has which kind, and the way between them.

use super::{Frame, FrameError, FrameKind, HEADER_BYTES};
use crate::codec::{self, CodecError};
use crate::message::{BulkReply, BulkRequest, Hello, Reply, Request, ToDriver, ToExecutor};
use serde::{Serialize, de::DeserializeOwned};

/// What travels as the body of a frame.
pub trait WireMessage: Serialize + DeserializeOwned + Send + 'static {
    /// The kind of its frames.
    const KIND: FrameKind;

    /// About how many bytes its body has: a large one is then written into memory of the right size.
    fn bytes_hint(&self) -> usize {
        64
    }
}

impl WireMessage for Hello {
    const KIND: FrameKind = FrameKind::Hello;
}
impl WireMessage for ToExecutor {
    const KIND: FrameKind = FrameKind::ToExecutor;
}
impl WireMessage for ToDriver {
    const KIND: FrameKind = FrameKind::ToDriver;
}
impl WireMessage for BulkRequest {
    const KIND: FrameKind = FrameKind::BulkRequest;

    fn bytes_hint(&self) -> usize {
        match self {
            BulkRequest::Piece(piece) => PIECE_FIELDS_BYTES + piece.bytes.len(),
            BulkRequest::Packed(piece) => PIECE_FIELDS_BYTES + piece.packed.len(),
            _ => PIECE_FIELDS_BYTES,
        }
    }
}
impl WireMessage for BulkReply {
    const KIND: FrameKind = FrameKind::BulkReply;

    fn bytes_hint(&self) -> usize {
        match self {
            BulkReply::Piece(piece) => PIECE_FIELDS_BYTES + piece.bytes.len(),
            BulkReply::Packed(piece) => PIECE_FIELDS_BYTES + piece.packed.len(),
            _ => PIECE_FIELDS_BYTES,
        }
    }
}

impl WireMessage for Request {
    const KIND: FrameKind = FrameKind::Request;
}
impl WireMessage for Reply {
    const KIND: FrameKind = FrameKind::Reply;
}

/// What a piece has beside its bytes, at most.
const PIECE_FIELDS_BYTES: usize = 128;

/// Why a frame is not the message that was expected, or a message does not fit a frame.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The frame itself.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Its body.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A known kind, but not here.
    #[error("expected {expected}, got {got}")]
    UnexpectedKind {
        /// What belongs here.
        expected: FrameKind,
        /// What came.
        got: FrameKind,
    },
}

/// A message as a whole frame.
///
/// # Errors
/// [`FrameError::TooLong`] if it is longer than its kind allows; [`CodecError::Unencodable`].
pub fn encode_message<M: WireMessage>(message: &M) -> Result<Vec<u8>, MessageError> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + message.bytes_hint());
    bytes.resize(HEADER_BYTES, 0);
    codec::encode_into(message, &mut bytes)?;
    let header = super::header(M::KIND, bytes.len() - HEADER_BYTES)?;
    bytes[..HEADER_BYTES].copy_from_slice(&header);
    Ok(bytes)
}

/// The message in a frame.
///
/// # Errors
/// [`MessageError::UnexpectedKind`]; what [`codec::decode`] refuses.
pub fn decode_message<M: WireMessage>(frame: &Frame) -> Result<M, MessageError> {
    if frame.kind != M::KIND {
        return Err(MessageError::UnexpectedKind { expected: M::KIND, got: frame.kind });
    }
    Ok(codec::decode(&frame.body, &M::KIND.limits())?)
}
