//! Frames over quinn's streams.

use super::{Frame, FrameDecoder, FrameError, FrameKind};
use bytes::Bytes;
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use std::collections::VecDeque;
use std::mem;

/// How much is taken from a stream at once: a few dozen small frames, or a part of a large one.
const READ_BYTES_MAX: usize = 64 * 1024;

/// How many chunks are taken from a stream at once where each frame has a limit of its own; quinn has one for each datagram.
const CHUNKS_MAX: usize = 32;

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFrameError {
    /// What came is not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The stream or its connection is gone.
    #[error(transparent)]
    Stream(#[from] ReadError),
}

/// Why no frame could be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteFrameError {
    /// The body is longer than its kind allows; nothing was written.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The stream or its connection is gone.
    #[error(transparent)]
    Stream(#[from] WriteError),
}

/// Reads one frame and no byte more; `None` at the end of the stream. `body_bytes_max` as in [`FrameDecoder::new`].
///
/// Not to be dropped before it completes: what was read of the frame is lost. Where that can happen, use
/// [`FrameReader`].
///
/// # Errors
/// [`ReadFrameError`]; [`FrameError::Truncated`] if the stream ends inside the frame.
pub async fn read_frame(
    stream: &mut RecvStream,
    body_bytes_max: usize,
) -> Result<Option<Frame>, ReadFrameError> {
    let (mut decoder, mut frames) = (FrameDecoder::new(body_bytes_max), Vec::new());
    loop {
        let Some(chunk) = stream.read_chunk(decoder.wanted(), true).await? else {
            decoder.finish()?;
            return Ok(None);
        };
        decoder.push(&chunk.bytes, &mut frames)?;
        if let Some(frame) = frames.pop() {
            return Ok(Some(frame));
        }
    }
}

/// Writes one frame; completes when the stream has taken all of it, which waits for the peer to read.
///
/// # Errors
/// [`WriteFrameError`].
pub async fn write_frame(
    stream: &mut SendStream,
    kind: FrameKind,
    body: &[u8],
) -> Result<(), WriteFrameError> {
    let header = super::header(kind, body.len())?;
    stream.write_all(&header).await?;
    stream.write_all(body).await?;
    Ok(())
}

/// Reads the frames of a stream, several at a time.
#[derive(Debug)]
pub struct FrameReader {
    stream: RecvStream,
    decoder: FrameDecoder,
    ready: VecDeque<Frame>,
    refused: Option<FrameError>,
}

impl FrameReader {
    /// Reads `stream`; `body_bytes_max` as in [`FrameDecoder::new`].
    #[must_use]
    pub fn new(stream: RecvStream, body_bytes_max: usize) -> Self {
        let decoder = FrameDecoder::new(body_bytes_max);
        FrameReader { stream, decoder, ready: VecDeque::new(), refused: None }
    }

    /// The next frame; `None` at the end of the stream. May be dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// As [`read_frame`]; frames that came before the refused one are given first.
    pub async fn next(&mut self) -> Result<Option<Frame>, ReadFrameError> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(Some(frame));
            }
            if let Some(error) = self.refused {
                return Err(error.into());
            }
            let Some(chunk) = self.stream.read_chunk(READ_BYTES_MAX, true).await? else {
                self.decoder.finish()?;
                return Ok(None);
            };
            let mut frames = Vec::new();
            self.refused = self.decoder.push(&chunk.bytes, &mut frames).err();
            self.ready.extend(frames);
        }
    }
}

/// Reads the frames of a stream one by one, each within a limit of its own.
#[derive(Debug)]
pub struct LimitedReader {
    stream: RecvStream,
    /// What has come and is not looked at yet.
    waiting: VecDeque<Bytes>,
}

impl LimitedReader {
    /// Reads `stream`.
    #[must_use]
    pub fn new(stream: RecvStream) -> Self {
        LimitedReader { stream, waiting: VecDeque::new() }
    }

    /// The next frame, which `decoder` takes: a new one for each. `None` at the end of the stream.
    ///
    /// Not to be dropped before it completes, as [`read_frame`].
    ///
    /// # Errors
    /// As [`read_frame`].
    pub async fn next(&mut self, mut decoder: FrameDecoder) -> Result<Option<Frame>, ReadFrameError> {
        let mut frames = Vec::new();
        loop {
            while let Some(chunk) = self.waiting.front_mut() {
                let now = chunk.split_to(chunk.len().min(decoder.wanted()));
                if chunk.is_empty() {
                    self.waiting.pop_front();
                }
                decoder.push(&now, &mut frames)?;
                if let Some(frame) = frames.pop() {
                    return Ok(Some(frame));
                }
            }
            let mut chunks = [const { Bytes::new() }; CHUNKS_MAX];
            let Some(count) = self.stream.read_chunks(&mut chunks).await? else {
                decoder.finish()?;
                return Ok(None);
            };
            self.waiting.extend(chunks[..count].iter_mut().map(mem::take));
        }
    }
}
