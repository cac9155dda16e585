//! A message and its frame: which type has which kind, and the way between them.

use super::{Frame, FrameError, FrameKind, HEADER_BYTES};
use crate::codec::{self, CodecError};
use crate::message::{BulkReply, BulkRequest, Hello, Reply, Request, Route, TaskSpec, ToDriver, ToExecutor};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::{mem, sync::Arc};

/// What travels as the body of a frame.
pub trait WireMessage: Serialize + DeserializeOwned + Send + 'static {
    /// The kind of its frames.
    const KIND: FrameKind;

    /// About how many bytes its body has: a large one is then written into memory of the right size.
    fn bytes_hint(&self) -> usize {
        64
    }

    /// The byte string with which its body ends, if it is worth not to be copied; the message is left with an empty one.
    fn take_tail(&mut self) -> Option<Bytes> {
        None
    }
}

impl WireMessage for Hello {
    const KIND: FrameKind = FrameKind::Hello;
}
impl WireMessage for ToExecutor {
    const KIND: FrameKind = FrameKind::ToExecutor;

    fn bytes_hint(&self) -> usize {
        match self {
            ToExecutor::Run { tasks, routes, .. } => {
                let route = |route: &Arc<Route>| 64 + 8 * (route.readers.len() + route.partitions.len());
                192 + tasks.iter().map(|task| task_bytes(task)).sum::<usize>()
                    + routes.iter().map(route).sum::<usize>()
            }
            ToExecutor::Peers { peers } => 64 + 56 * peers.len(),
            ToExecutor::Group { orders } => 32 + orders.iter().map(ToExecutor::bytes_hint).sum::<usize>(),
            _ => 64,
        }
    }
}
impl WireMessage for ToDriver {
    const KIND: FrameKind = FrameKind::ToDriver;

    fn bytes_hint(&self) -> usize {
        match self {
            ToDriver::TaskDone(outcome) => {
                let prepared = outcome.prepared.iter().map(|piece| PIECE_FIELDS_BYTES + piece.bytes.len());
                288 + 8 * (outcome.outputs.len() + outcome.read.len()) + prepared.sum::<usize>()
            }
            _ => 64,
        }
    }
}

/// About how many bytes a task has in a message.
fn task_bytes(task: &TaskSpec) -> usize {
    96 + task.inputs.iter().map(|parts| 8 + 64 * parts.len()).sum::<usize>()
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

    fn take_tail(&mut self) -> Option<Bytes> {
        match self {
            BulkRequest::Piece(piece) => Some(mem::take(&mut piece.bytes)),
            BulkRequest::Packed(piece) => Some(mem::take(&mut piece.packed)),
            _ => None,
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

    fn take_tail(&mut self) -> Option<Bytes> {
        match self {
            BulkReply::Piece(piece) => Some(mem::take(&mut piece.bytes)),
            BulkReply::Packed(piece) => Some(mem::take(&mut piece.packed)),
            _ => None,
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
    /// A fault in this crate: a message whose body does not end with the bytes that it gives as its end.
    #[error("a {0} does not end with its bytes")]
    Tail(FrameKind),
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

/// As [`encode_message`], in a beginning and an end: the bytes of a piece are not copied for it.
///
/// # Errors
/// As [`encode_message`].
pub fn encode_in_two<M: WireMessage>(mut message: M) -> Result<[Bytes; 2], MessageError> {
    let tail = message.take_tail().unwrap_or_default();
    let mut bytes = encode_message(&message)?;
    if !tail.is_empty() {
        // The body ends with a byte string that has become empty: its header is written for what follows.
        let end = bytes.len().saturating_sub(EMPTY_BIN.len());
        if bytes.get(end..) != Some(&EMPTY_BIN[..]) {
            return Err(MessageError::Tail(M::KIND));
        }
        bytes.truncate(end);
        let length = u32::try_from(tail.len()).unwrap_or(u32::MAX);
        match length {
            0..=0xff => bytes.extend([0xc4, length as u8]),
            0x100..=0xffff => {
                bytes.push(0xc5);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0xc6);
                bytes.extend(length.to_be_bytes());
            }
        }
        let header = super::header(M::KIND, bytes.len() - HEADER_BYTES + tail.len())?;
        bytes[..HEADER_BYTES].copy_from_slice(&header);
    }
    Ok([bytes.into(), tail])
}

/// A `bin` of no bytes in MessagePack.
const EMPTY_BIN: [u8; 2] = [0xc4, 0];

/// The message in a frame.
///
/// # Errors
/// [`MessageError::UnexpectedKind`]; what [`codec::decode`] refuses.
pub fn decode_message<M: WireMessage>(frame: &Frame) -> Result<M, MessageError> {
    if frame.kind != M::KIND {
        return Err(MessageError::UnexpectedKind { expected: M::KIND, got: frame.kind });
    }
    Ok(codec::decode_shared(&frame.body, &M::KIND.limits())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sample of this variant, with each of its lists repeated.
    fn long<M: WireMessage>(samples: Vec<M>, times: usize, repeat: impl Fn(&mut M, usize) -> bool) -> Vec<M> {
        let repeated =
            samples.into_iter().filter_map(|mut message| repeat(&mut message, times).then_some(message));
        repeated.collect()
    }

    fn repeat<T: Clone>(list: &mut Vec<T>, times: usize) {
        *list = std::iter::repeat_n(&list[..], times).flatten().cloned().collect();
    }

    #[track_caller]
    fn is_about_right<M: WireMessage>(message: &M) {
        let (length, hint) = (encode_message(message).unwrap().len() - HEADER_BYTES, message.bytes_hint());
        assert!(length <= hint && hint <= 4 * length, "{} bytes, and the hint is {hint}", length);
    }

    #[test]
    fn what_grows_with_the_cluster_is_written_into_memory_of_the_right_size() {
        for times in [1, 10, 100] {
            let orders = long(ToExecutor::samples(), times, |order, times| {
                match order {
                    ToExecutor::Run { tasks, routes, .. } => {
                        repeat(tasks, times);
                        routes.iter_mut().for_each(|route| {
                            let route = Arc::make_mut(route);
                            repeat(&mut route.readers, times);
                            repeat(&mut route.partitions, times);
                        });
                    }
                    ToExecutor::Peers { peers } => repeat(peers, times),
                    ToExecutor::Group { orders } => repeat(orders, times),
                    _ => return false,
                }
                true
            });
            assert!(orders.len() >= 4, "two of Run, Peers and Group");
            orders.iter().for_each(is_about_right);
            let reports = long(ToDriver::samples(), times, |report, times| {
                let ToDriver::TaskDone(outcome) = report else { return false };
                let outcome = Arc::make_mut(outcome);
                repeat(&mut outcome.outputs, times);
                repeat(&mut outcome.read, times);
                repeat(&mut outcome.prepared, times);
                true
            });
            assert!(!reports.is_empty());
            reports.iter().for_each(is_about_right);
        }
    }
}
