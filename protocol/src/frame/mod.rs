//! Frames: how messages are told apart on a QUIC stream.
//!
//! ```text
//!   0        4        5       6
//!   +--------+--------+-------+----------------------+
//!   | length | version| kind  | body: MessagePack    |
//!   | u32 BE |   1    | u8    | `length` bytes       |
//!   +--------+--------+-------+----------------------+
//! ```
//!
//! The header decides alone: version, kind and length are checked before a byte of the body is kept. The length counts
//! the body only. [`FrameDecoder`] is pure; [`stream`] moves frames over quinn's streams.

mod decoder;
mod message;
pub mod stream;

pub use decoder::FrameDecoder;
pub use message::{MessageError, WireMessage, decode_message, encode_in_two, encode_message};

use crate::codec::Limits;
use bytes::Bytes;
use std::fmt;

/// How many bytes stand before the body.
pub const HEADER_BYTES: usize = 6;

/// The version that this build writes, and the only one it reads.
pub const VERSION: u8 = 1;

/// What the body of a frame is. The numbers are the wire's and are never used again for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// A [`Hello`](crate::message::Hello): the first frame of a control stream.
    Hello = 1,
    /// A [`ToExecutor`](crate::message::ToExecutor).
    ToExecutor = 2,
    /// A [`ToDriver`](crate::message::ToDriver).
    ToDriver = 3,
    /// A [`BulkRequest`](crate::message::BulkRequest).
    BulkRequest = 4,
    /// A [`BulkReply`](crate::message::BulkReply).
    BulkReply = 5,
    /// A [`Request`](crate::message::Request).
    Request = 8,
    /// A [`Reply`](crate::message::Reply).
    Reply = 9,
}

impl FrameKind {
    /// Every kind, in the order of the numbers.
    pub const ALL: [FrameKind; 7] = [
        FrameKind::Hello,
        FrameKind::ToExecutor,
        FrameKind::ToDriver,
        FrameKind::BulkRequest,
        FrameKind::BulkReply,
        FrameKind::Request,
        FrameKind::Reply,
    ];

    /// What a body of this kind may be.
    #[must_use]
    pub const fn limits(self) -> Limits {
        match self {
            FrameKind::Hello
            | FrameKind::ToExecutor
            | FrameKind::ToDriver
            | FrameKind::Request
            | FrameKind::Reply => Limits::CONTROL,
            FrameKind::BulkRequest | FrameKind::BulkReply => Limits::BULK,
        }
    }

    /// The kind with this number on the wire.
    #[must_use]
    pub fn from_number(number: u8) -> Option<FrameKind> {
        FrameKind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A frame whose header was accepted; the body has not been looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the body claims to be.
    pub kind: FrameKind,
    /// MessagePack, within the kind's length.
    pub body: Bytes,
}

/// Why bytes are not a frame. After one of these a stream has no meaning any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A version that this build does not speak; the peer is of another release.
    #[error("unknown frame version {0}")]
    UnknownVersion(u8),
    /// A kind that this version does not have.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// A body longer than the kind, or the stream, allows.
    #[error("a {kind} of {bytes} bytes is longer than {max}")]
    TooLong {
        /// The kind.
        kind: FrameKind,
        /// The length in the header, or of the body to be written.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
}

/// The header of a frame.
///
/// # Errors
/// [`FrameError::TooLong`] if the kind does not allow that much.
pub fn header(kind: FrameKind, body_bytes: usize) -> Result<[u8; HEADER_BYTES], FrameError> {
    let max = kind.limits().bytes;
    let length = u32::try_from(body_bytes).ok().filter(|_| body_bytes <= max).ok_or(FrameError::TooLong {
        kind,
        bytes: body_bytes,
        max,
    })?;
    let [a, b, c, d] = length.to_be_bytes();
    Ok([a, b, c, d, VERSION, kind as u8])
}

/// A whole frame.
///
/// # Errors
/// As [`header`].
///
/// ```
/// use tidemill_protocol::frame::{self, FrameDecoder, FrameKind};
/// let bytes = frame::encode(FrameKind::Hello, &[0xc0]).unwrap();
/// assert_eq!(bytes, [0, 0, 0, 1, 1, 1, 0xc0]);
/// let mut frames = Vec::new();
/// FrameDecoder::new(64).push(&bytes, &mut frames).unwrap();
/// assert_eq!((frames[0].kind, &frames[0].body[..]), (FrameKind::Hello, &[0xc0][..]));
/// ```
pub fn encode(kind: FrameKind, body: &[u8]) -> Result<Vec<u8>, FrameError> {
    let header = header(kind, body.len())?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(body);
    Ok(bytes)
}
