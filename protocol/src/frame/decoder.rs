//! Bytes in, frames out: pure, and the same whatever pieces the bytes come in.

use super::{Frame, FrameError, FrameKind, HEADER_BYTES, VERSION};
use bytes::Bytes;

/// What is set aside for a body when its header arrives …
const BODY_RESERVE_BYTES: usize = 16 * 1024;
/// … and how many times as much as has really come when that is full: who promises 8 MiB has to send 2 MiB for them to be set
/// aside, and what comes whole is copied a third of a time while it grows.
const BODY_GROWTH: usize = 4;

/// Puts frames together from the bytes of one stream.
#[derive(Debug)]
pub struct FrameDecoder {
    body_bytes_max: usize,
    reserve_bytes_max: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// `got` bytes of a header.
    Header { bytes: [u8; HEADER_BYTES], got: usize },
    /// A part of a body of `length` bytes.
    Body { kind: FrameKind, length: usize, body: Vec<u8> },
    /// Refused; nothing that follows is looked at.
    Broken(FrameError),
}

impl State {
    const START: State = State::Header { bytes: [0; HEADER_BYTES], got: 0 };
}

impl FrameDecoder {
    /// A decoder for a stream whose bodies have at most `body_bytes_max` bytes (and never more than their kind allows).
    #[must_use]
    pub fn new(body_bytes_max: usize) -> Self {
        FrameDecoder { body_bytes_max, reserve_bytes_max: BODY_RESERVE_BYTES, state: State::START }
    }

    /// The same where memory for such a body is kept ready anyhow: it is set aside when the header arrives, and does not grow.
    #[must_use]
    pub fn with_room(body_bytes_max: usize) -> Self {
        FrameDecoder { reserve_bytes_max: body_bytes_max, ..FrameDecoder::new(body_bytes_max) }
    }

    /// How many more bytes complete the header, or the frame whose header is known: never 0 unless broken.
    #[must_use]
    pub fn wanted(&self) -> usize {
        match &self.state {
            State::Header { got, .. } => HEADER_BYTES - got,
            State::Body { length, body, .. } => length - body.len(),
            State::Broken(_) => 0,
        }
    }

    /// Takes the next bytes of the stream, and appends the frames that they complete to `frames`.
    ///
    /// # Errors
    /// The header's refusal: of an unknown version first, then of an unknown kind, then of the length. Frames completed
    /// before it are in `frames`; each later call gives the same error.
    pub fn push(&mut self, mut bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            let taken = bytes.len().min(self.wanted());
            let (now, later) = bytes.split_at(taken);
            bytes = later;
            match &mut self.state {
                State::Broken(error) => return Err(*error),
                State::Header { bytes: header, got } => {
                    header[*got..*got + taken].copy_from_slice(now);
                    *got += taken;
                    if *got == HEADER_BYTES {
                        let header = *header;
                        self.open(header, frames)?;
                    }
                }
                State::Body { kind, length, body } => {
                    let come = body.len() + taken;
                    if come > body.capacity() {
                        body.reserve_exact((come * BODY_GROWTH).min(*length) - body.len());
                    }
                    body.extend_from_slice(now);
                    if body.len() == *length {
                        frames.push(Frame { kind: *kind, body: std::mem::take(body).into() });
                        self.state = State::START;
                    }
                }
            }
        }
        Ok(())
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] inside a frame; the refusal, if there was one.
    pub fn finish(&self) -> Result<(), FrameError> {
        match &self.state {
            State::Header { got: 0, .. } => Ok(()),
            State::Broken(error) => Err(*error),
            State::Header { .. } | State::Body { .. } => Err(FrameError::Truncated),
        }
    }

    /// The one place where a header is judged.
    fn open(&mut self, header: [u8; HEADER_BYTES], frames: &mut Vec<Frame>) -> Result<(), FrameError> {
        let [a, b, c, d, version, number] = header;
        match self.judge(u32::from_be_bytes([a, b, c, d]), version, number) {
            Ok((kind, 0)) => {
                frames.push(Frame { kind, body: Bytes::new() });
                self.state = State::START;
                Ok(())
            }
            Ok((kind, length)) => {
                let body = Vec::with_capacity(length.min(self.reserve_bytes_max));
                self.state = State::Body { kind, length, body };
                Ok(())
            }
            Err(error) => {
                self.state = State::Broken(error);
                Err(error)
            }
        }
    }

    fn judge(&self, length: u32, version: u8, number: u8) -> Result<(FrameKind, usize), FrameError> {
        if version != VERSION {
            return Err(FrameError::UnknownVersion(version));
        }
        let kind = FrameKind::from_number(number).ok_or(FrameError::UnknownKind(number))?;
        let max = self.body_bytes_max.min(kind.limits().bytes);
        match usize::try_from(length) {
            Ok(bytes) if bytes <= max => Ok((kind, bytes)),
            other => Err(FrameError::TooLong { kind, bytes: other.unwrap_or(usize::MAX), max }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::encode;

    #[test]
    fn frames_are_the_same_whatever_pieces_they_come_in() {
        let mut bytes = encode(FrameKind::Hello, &[1; 300]).unwrap();
        bytes.extend(encode(FrameKind::ToDriver, &[]).unwrap());
        bytes.extend(encode(FrameKind::BulkReply, &[2; 70_000]).unwrap());
        for step in [1, 2, 5, 6, 7, 299, 65_536, bytes.len()] {
            let (mut decoder, mut frames) = (FrameDecoder::new(usize::MAX), Vec::new());
            for piece in bytes.chunks(step) {
                decoder.push(piece, &mut frames).unwrap();
            }
            decoder.finish().unwrap();
            let seen: Vec<_> = frames.iter().map(|f| (f.kind, f.body.len())).collect();
            assert_eq!(
                seen,
                [(FrameKind::Hello, 300), (FrameKind::ToDriver, 0), (FrameKind::BulkReply, 70_000)]
            );
        }
    }

    #[test]
    fn the_header_alone_refuses_and_refuses_for_good() {
        let cases = [
            ([0, 0, 0, 1, 2, 1], FrameError::UnknownVersion(2)),
            ([0, 0, 0, 1, 1, 0], FrameError::UnknownKind(0)),
            ([0, 0, 0, 1, 1, 6], FrameError::UnknownKind(6)),
            (
                [0, 1, 0, 1, 1, 2],
                FrameError::TooLong { kind: FrameKind::ToExecutor, bytes: 65_537, max: 65_536 },
            ),
            (
                [0, 0x80, 0, 1, 1, 5],
                FrameError::TooLong { kind: FrameKind::BulkReply, bytes: 8_388_609, max: 8_388_608 },
            ),
        ];
        for (header, expected) in cases {
            let (mut decoder, mut frames) = (FrameDecoder::new(usize::MAX), Vec::new());
            assert_eq!(decoder.push(&header, &mut frames), Err(expected));
            assert_eq!(decoder.push(&[0; 100], &mut frames), Err(expected));
            assert_eq!(decoder.finish(), Err(expected));
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn a_stream_may_allow_less_than_the_kind() {
        let bytes = encode(FrameKind::BulkRequest, &[0; 101]).unwrap();
        let refused = FrameDecoder::new(100).push(&bytes, &mut Vec::new());
        assert_eq!(refused, Err(FrameError::TooLong { kind: FrameKind::BulkRequest, bytes: 101, max: 100 }));
    }

    #[test]
    fn a_promised_body_takes_no_memory_before_it_comes() {
        let header = crate::frame::header(FrameKind::BulkReply, 8 * 1024 * 1024).unwrap();
        let mut decoder = FrameDecoder::new(usize::MAX);
        decoder.push(&header, &mut Vec::new()).unwrap();
        let State::Body { body, .. } = &decoder.state else { panic!("the header is complete") };
        assert!(body.capacity() <= BODY_RESERVE_BYTES);
        assert_eq!(decoder.finish(), Err(FrameError::Truncated));
    }

    #[test]
    fn a_body_for_which_room_is_kept_does_not_grow() {
        let mut bytes = crate::frame::header(FrameKind::BulkReply, 100_000).unwrap().to_vec();
        bytes.push(7);
        let mut decoder = FrameDecoder::with_room(200_000);
        decoder.push(&bytes, &mut Vec::new()).unwrap();
        let State::Body { body, .. } = &decoder.state else { panic!("the header is complete") };
        assert_eq!(body.capacity(), 100_000);
        // A header that wants more than the room takes none.
        let longer = crate::frame::header(FrameKind::BulkReply, 200_001).unwrap();
        let refused = FrameDecoder::with_room(200_000).push(&longer, &mut Vec::new());
        assert_eq!(
            refused,
            Err(FrameError::TooLong { kind: FrameKind::BulkReply, bytes: 200_001, max: 200_000 })
        );
    }

    #[test]
    fn a_body_takes_at_most_four_times_the_memory_of_what_has_come_of_it() {
        let header = crate::frame::header(FrameKind::BulkReply, 8 * 1024 * 1024).unwrap();
        let mut decoder = FrameDecoder::new(usize::MAX);
        decoder.push(&header, &mut Vec::new()).unwrap();
        let (mut come, mut set_aside) = (0, Vec::new());
        while come < 8 * 1024 * 1024 - 1_000 {
            decoder.push(&[7; 1_000], &mut Vec::new()).unwrap();
            come += 1_000;
            let State::Body { body, .. } = &decoder.state else { panic!("there is more to come") };
            assert!(body.capacity() <= BODY_RESERVE_BYTES.max(come * BODY_GROWTH), "{come}");
            set_aside.push(body.capacity());
        }
        set_aside.dedup();
        assert!(set_aside.len() <= 6, "{set_aside:?}");
        assert_eq!(set_aside.last(), Some(&(8 * 1024 * 1024)));
    }
}
