//! The control link: one long-lived unidirectional stream each way between a driver and an executor.
//!
//! ```text
//!   LinkSender ──frames──> bounded queue ──> writer task ──coalesced──> QUIC stream ──> LinkReceiver
//! ```
//!
//! Each stream begins with a [`Hello`]. Both sides open theirs at once, so neither waits for the other's. The queue is
//! bounded in frames and in bytes; a receiver that does not read fills the peer's window, then its queue, and then
//! `try_send` says so.

use super::{CloseCode, close};
use crate::frame::stream::{FrameReader, ReadFrameError};
use crate::frame::{FrameError, HEADER_BYTES, MessageError, WireMessage, decode_message, encode_message};
use crate::message::Hello;
use crate::world::meter;
use quinn::{Connection, ConnectionError, ReadError, SendStream, VarInt, WriteError};
use std::{marker::PhantomData, pin::pin, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How much the writer puts together before it gives it to the stream, in bytes.
const COALESCE_BYTES: usize = 64 * 1024;
/// How many frames the writer takes from its queue at once.
const COALESCE_FRAMES: usize = 256;

/// The limits of a control link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// How many messages may wait to be written.
    pub queue_frames_max: usize,
    /// How many bytes they may have together; at least one message of 64 KiB always fits.
    pub queue_bytes_max: u32,
    /// How long the peer's `Hello` may take.
    pub hello_timeout: Duration,
}

impl Default for LinkConfig {
    fn default() -> Self {
        LinkConfig {
            queue_frames_max: 4096,
            queue_bytes_max: 4 * 1024 * 1024,
            hello_timeout: Duration::from_secs(2),
        }
    }
}

/// Why a link, a request or a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The connection is lost or closed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The peer ended the stream, between two frames or inside one.
    #[error("the peer ended the stream")]
    Ended,
    /// The peer abandoned the stream.
    #[error("the peer abandoned the stream with code {0}")]
    Abandoned(VarInt),
    /// The peer took too long.
    #[error("the peer took longer than {0:?}")]
    Late(Duration),
    /// The peer sent what is not the message that belongs here.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A message of ours does not fit a frame: the caller gave too much.
    #[error("cannot be sent: {0}")]
    Unsendable(#[source] MessageError),
    /// A block or output of ours has more pieces than a transfer may have: the caller must make larger ones.
    #[error("{pieces} pieces are more than a transfer may have")]
    TooManyPieces {
        /// How many.
        pieces: usize,
    },
    /// The peer has what it was asked for and cannot send it, for this reason.
    #[error("the peer cannot send it: {0}")]
    Withheld(String),
    /// The peer sent a message that does not belong after the one before.
    #[error("out of order: {0}")]
    OutOfOrder(&'static str),
    /// The peer sent more than this side takes.
    #[error("more than {max} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: u64,
    },
}

impl LinkError {
    /// Whether the peer broke the protocol: its connection has been closed with [`CloseCode::Rubbish`], and it is to be
    /// counted.
    #[must_use]
    pub fn is_rubbish(&self) -> bool {
        matches!(self, LinkError::Message(_) | LinkError::OutOfOrder(_) | LinkError::TooMuch { .. })
    }

    /// Whether a new connection may go better.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        let for_good = matches!(
            self,
            LinkError::Unsendable(_) | LinkError::TooManyPieces { .. } | LinkError::Withheld(_)
        );
        !self.is_rubbish() && !for_good
    }
}

impl From<ReadError> for LinkError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(cause) => LinkError::Connection(cause),
            ReadError::Reset(code) => LinkError::Abandoned(code),
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
                LinkError::Ended
            }
        }
    }
}

impl From<WriteError> for LinkError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(cause) => LinkError::Connection(cause),
            WriteError::Stopped(code) => LinkError::Abandoned(code),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => LinkError::Ended,
        }
    }
}

impl From<ReadFrameError> for LinkError {
    fn from(error: ReadFrameError) -> Self {
        match error {
            // Whoever drops a stream in the middle of a frame ends it there: that is no broken protocol.
            ReadFrameError::Frame(FrameError::Truncated) => LinkError::Ended,
            ReadFrameError::Frame(frame) => LinkError::Message(frame.into()),
            ReadFrameError::Stream(stream) => stream.into(),
        }
    }
}

/// Closes the connection if its peer broke the protocol, and passes the error on.
pub(super) fn cut_off(connection: &Connection, error: LinkError) -> LinkError {
    if error.is_rubbish() {
        close(connection, CloseCode::Rubbish, "not the protocol");
    }
    error
}

/// Both halves of a link, and who is at its other end.
#[derive(Debug)]
pub struct ControlLink<Out, In> {
    /// Sends.
    pub sender: LinkSender<Out>,
    /// Receives.
    pub receiver: LinkReceiver<In>,
    /// What the peer said of itself; the caller judges it, and closes the connection with [`CloseCode::Refused`].
    pub peer: Hello,
}

impl<Out: WireMessage, In: WireMessage> ControlLink<Out, In> {
    /// Opens the link on a fresh connection; both sides call it. The driver's is `ControlLink<ToExecutor, ToDriver>`, the
    /// executor's the reverse.
    ///
    /// # Errors
    /// [`LinkError`]; after one that is rubbish the connection is closed.
    pub async fn open(connection: Connection, hello: &Hello, config: &LinkConfig) -> Result<Self, LinkError> {
        let greeting = greet::<In>(&connection, hello);
        let (stream, receiver, peer) = match tokio::time::timeout(config.hello_timeout, greeting).await {
            Ok(done) => done.map_err(|error| cut_off(&connection, error))?,
            Err(_) => return Err(LinkError::Late(config.hello_timeout)),
        };
        let (queue, queued) = mpsc::channel(config.queue_frames_max.max(1));
        let bytes = config.queue_bytes_max.max(COALESCE_BYTES as u32 * 2) as usize;
        let credit = Arc::new(Semaphore::new(bytes));
        tokio::spawn(meter::inherit(write_queue(connection, stream, queued)));
        let sender = LinkSender { queue, credit, messages: PhantomData };
        Ok(ControlLink { sender, receiver, peer })
    }
}

/// Our `Hello` on a stream of ours, the peer's on a stream of its.
async fn greet<In: WireMessage>(
    connection: &Connection,
    hello: &Hello,
) -> Result<(SendStream, LinkReceiver<In>, Hello), LinkError> {
    let mut stream = connection.open_uni().await?;
    let ours = encode_message(hello).map_err(LinkError::Unsendable)?;
    stream.write_all(&ours).await?;
    let frames = FrameReader::new(connection.accept_uni().await?, In::KIND.limits().bytes);
    let mut receiver = LinkReceiver { connection: connection.clone(), frames, messages: PhantomData };
    let first = receiver.frames.next().await?.ok_or(LinkError::Ended)?;
    let peer = decode_message(&first)?;
    Ok((stream, receiver, peer))
}

/// A message in the queue, with the credit that its bytes hold.
struct Queued {
    bytes: Vec<u8>,
    credit: OwnedSemaphorePermit,
}

/// Writes what is queued, in order, until the queue or the connection ends.
async fn write_queue(connection: Connection, mut stream: SendStream, mut queue: mpsc::Receiver<Queued>) {
    let mut taken = Vec::with_capacity(COALESCE_FRAMES);
    // One wait for the connection's end, not one for each message.
    let mut closed = pin!(connection.closed());
    loop {
        let count = tokio::select! {
            biased;
            _ = &mut closed => return,
            count = queue.recv_many(&mut taken, COALESCE_FRAMES) => count,
        };
        if count == 0 {
            break;
        }
        let (mut together, mut held) = (Vec::new(), Vec::new());
        let mut rest = taken.drain(..).peekable();
        while let Some(Queued { bytes, credit }) = rest.next() {
            if together.is_empty() {
                together = bytes
            } else {
                together.extend_from_slice(&bytes)
            }
            held.push(credit);
            // The credit is given back when the stream has taken the bytes, so the queue's bound counts these too.
            if together.len() >= COALESCE_BYTES || rest.peek().is_none() {
                if stream.write_all(&together).await.is_err() {
                    return;
                }
                together.clear();
                held.clear();
            }
        }
    }
    // Nobody sends any more: the connection must live until the peer has everything.
    if stream.finish().is_ok() {
        let _ = stream.stopped().await;
    }
}

/// Sends messages over a link. When all clones are dropped, what is queued is still delivered, and then the stream ends.
#[derive(Debug)]
pub struct LinkSender<Out> {
    queue: mpsc::Sender<Queued>,
    credit: Arc<Semaphore>,
    messages: PhantomData<fn(Out)>,
}

impl<Out> Clone for LinkSender<Out> {
    fn clone(&self) -> Self {
        LinkSender { queue: self.queue.clone(), credit: self.credit.clone(), messages: PhantomData }
    }
}

/// Why a message was not queued.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The queue is full: the peer does not read.
    #[error("the link's queue is full")]
    Full,
    /// The link has ended; its receiver tells why.
    #[error("the link has ended")]
    Closed,
    /// The message does not fit a frame.
    #[error(transparent)]
    Message(#[from] MessageError),
}

impl SendError {
    /// Whether the message is longer than a frame may be: in pieces it can be sent.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        matches!(self, SendError::Message(MessageError::Frame(FrameError::TooLong { .. })))
    }
}

impl<Out: WireMessage> LinkSender<Out> {
    /// Queues a message if there is room.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn try_send(&self, message: &Out) -> Result<(), SendError> {
        let bytes = encode_message(message)?;
        meter::frame_sent(bytes.len());
        let credit =
            self.credit.clone().try_acquire_many_owned(weight(&bytes)).map_err(|_| self.no_room())?;
        self.queue.try_send(Queued { bytes, credit }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })
    }

    /// Queues a message, and waits for room.
    ///
    /// # Errors
    /// [`SendError`], but never `Full`.
    pub async fn send(&self, message: &Out) -> Result<(), SendError> {
        let bytes = encode_message(message)?;
        meter::frame_sent(bytes.len());
        let credit = tokio::select! {
            biased;
            () = self.queue.closed() => return Err(SendError::Closed),
            credit = self.credit.clone().acquire_many_owned(weight(&bytes)) => credit.map_err(|_| SendError::Closed)?,
        };
        self.queue.send(Queued { bytes, credit }).await.map_err(|_| SendError::Closed)
    }

    fn no_room(&self) -> SendError {
        if self.queue.is_closed() { SendError::Closed } else { SendError::Full }
    }
}

/// The credit that a frame takes: its bytes.
fn weight(frame: &[u8]) -> u32 {
    u32::try_from(frame.len()).unwrap_or(u32::MAX)
}

/// Receives messages from a link.
#[derive(Debug)]
pub struct LinkReceiver<In> {
    connection: Connection,
    frames: FrameReader,
    messages: PhantomData<fn() -> In>,
}

impl<In: WireMessage> LinkReceiver<In> {
    /// The next message. May be dropped and called again: no message is lost.
    ///
    /// # Errors
    /// [`LinkError`]; after one that is rubbish the connection is closed.
    pub async fn recv(&mut self) -> Result<In, LinkError> {
        let received = match self.frames.next().await {
            Ok(Some(frame)) => {
                meter::frame_received(HEADER_BYTES + frame.body.len());
                decode_message(&frame).map_err(LinkError::from)
            }
            Ok(None) => Err(LinkError::Ended),
            Err(error) => Err(error.into()),
        };
        received.map_err(|error| cut_off(&self.connection, error))
    }

    /// The connection that carries the link: to close it, or to ask for its round trip time.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}
