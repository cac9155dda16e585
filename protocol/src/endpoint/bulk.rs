//! Bulk requests: one bidirectional stream each, so that one answer never waits for another.
//!
//! ```text
//!   fetch:  Fetch { credit }                 ->  Piece, Piece, … End | NotHere | Needs { bytes } | Unsendable { reason }
//!   store:  Store, Piece, Piece, …           ->  Stored | Full
//!           Store { bytes }                  ->  Credit | Full
//!                 after Credit: Piece, …     ->  Stored | Full
//!   notice: Notice                           ->  Noted | NotHere
//! ```
//!
//! **Credit.** A client says how much memory it keeps ready for an answer; data that need more are not sent, but how
//! much they need. A large block is announced and is sent when the server has kept room for it. A frame that is longer than what
//! may still come is refused by its header. So bytes that nobody has
//! room for are never under way, and a stream that waits for room holds nothing of the connection's window, on which other
//! streams depend.
//!
//! **What does not fit.** A piece has at most [`PIECE_BYTES_MAX`] bytes, packed or not. Who asks for data with a longer one is
//! told so, and the connection goes on.

use super::link::{LinkError, cut_off};
use super::pack::{Sent, pack, unpack};
use crate::codec::{CodecError, PIECE_BYTES_MAX};
use crate::frame::stream::LimitedReader;
use crate::frame::{FrameDecoder, WireMessage, decode_message, encode_in_two};
use crate::id::{BlockId, DataKey};
use crate::message::{BulkReply, BulkRequest, NOTICE_BYTES_MAX, Notice, PackedPiece, Piece};
use crate::world::meter;
use futures_util::future::BoxFuture;
use quinn::{Connection, RecvStream, SendStream};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, task::JoinSet};

/// The most pieces of a block or output.
pub const PIECES_MAX: u32 = 65_536;
/// The most bytes of a block that a server takes.
pub const STORE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The most bytes of an answer that a client takes.
pub const FETCH_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Blocks up to this size are sent at once; larger ones when the server has room for them.
pub const STORE_AHEAD_BYTES_MAX: u64 = 64 * 1024;
/// How many blocks of one connection a server takes in at once; the pieces of others wait in the stream's window.
const STORES_AT_ONCE: usize = 4;
/// The longest first frame of a request, in bytes of its body: a notice, whose 65,536 values have some 412 KiB at most beside the
/// 64 KiB that it may bring. Nobody has kept room for it, so it must not be as long as a piece.
pub const REQUEST_BYTES_MAX: usize = 512 * 1024;
/// What a frame has beside the bytes of its piece, at most; whatever brings no piece is shorter.
const FIELDS_BYTES_MAX: usize = 2 * 1024;
/// How long a client may take to say all of its request, from the moment a server reads it, and to take each piece.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest reason that is sent, and taken, in bytes: it becomes part of a control message.
const REASON_BYTES_MAX: usize = 1024;

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOutcome {
    /// It is kept.
    Stored,
    /// There is no room: the memory budget is used up.
    Full,
}

/// What a client gets of what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchOutcome {
    /// These pieces.
    Found(Vec<Piece>),
    /// It is not there (any more).
    NotHere,
    /// It is there, and needs this much credit.
    Needs(u64),
    /// It is there, and cannot be sent, for this reason.
    Unsendable(String),
}

/// What somebody holds until it is dropped, such as memory that is counted.
pub type Kept = Box<dyn Send>;

/// Whoever holds data for others.
pub trait BulkHandler: Send + Sync + 'static {
    /// The pieces of `key`, for a client that keeps `credit` bytes ready (`None`: whatever it takes). With what it gives
    /// comes the memory that is held for it, which is dropped when it is sent.
    fn fetch(&self, key: DataKey, credit: Option<u64>) -> BoxFuture<'_, (FetchOutcome, Kept)>;
    /// Keeps room for a block whose pieces have so many bytes; `None` if there is none now.
    fn make_room(&self, block: BlockId, bytes: u64) -> Option<Kept>;
    /// Keeps a copy of a block. A copy of one that is here already is `Stored`.
    /// `room` is what was kept for it.
    fn store(&self, block: BlockId, pieces: Vec<Piece>, room: Option<Kept>) -> BoxFuture<'_, StoreOutcome>;
    /// Takes a notice; false if it is not for this life of the node. Who runs no tasks takes none.
    fn notice(&self, _notice: Notice) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(false))
    }
}

/// Asks the peer for `key`; `None` if it is not there (any more).
///
/// Waits as long as the connection lives; a caller sets its own deadline. Dropping the future abandons the request.
///
/// # Errors
/// [`LinkError`]; after one that is rubbish the connection is closed. [`LinkError::Ended`] if the peer gave up this
/// request only, [`LinkError::Withheld`] if it cannot send the data.
pub async fn fetch(connection: &Connection, key: DataKey) -> Result<Option<Vec<Piece>>, LinkError> {
    match fetch_within(connection, key, None).await? {
        FetchOutcome::Found(pieces) => Ok(Some(pieces)),
        FetchOutcome::NotHere => Ok(None),
        FetchOutcome::Unsendable(reason) => Err(LinkError::Withheld(reason)),
        FetchOutcome::Needs(_) => Err(cut_off(connection, LinkError::OutOfOrder("Needs answers a credit"))),
    }
}

/// As [`fetch`], if the data need no more than `credit` bytes here: for the pieces and for what becomes of them.
///
/// # Errors
/// As [`fetch`].
pub async fn fetch_within(
    connection: &Connection,
    key: DataKey,
    credit: Option<u64>,
) -> Result<FetchOutcome, LinkError> {
    fetch_heard(connection, key, credit, || ()).await
}

/// As [`fetch_within`]; calls `heard` for each piece that has come.
///
/// # Errors
/// As [`fetch`].
pub async fn fetch_heard(
    connection: &Connection,
    key: DataKey,
    credit: Option<u64>,
    mut heard: impl FnMut() + Send,
) -> Result<FetchOutcome, LinkError> {
    let (mut send, mut recv) = open(connection).await?;
    write(&mut send, BulkRequest::Fetch { key, credit }).await?;
    let _ = send.finish();
    read_pieces(&mut recv, Taken::new(credit, FETCH_BYTES_MAX), &mut heard)
        .await
        .map_err(|error| cut_off(connection, error))
}

/// Gives the peer a copy of a block.
///
/// Dropping the future abandons the request; the peer may then hold the copy or not.
///
/// # Errors
/// As [`fetch`]; [`LinkError::Unsendable`] if a piece is longer than [`PIECE_BYTES_MAX`] or all of them than
/// [`STORE_BYTES_MAX`], and [`LinkError::TooManyPieces`]: then the peer is not asked.
pub async fn store(
    connection: &Connection,
    block: BlockId,
    pieces: Vec<Piece>,
) -> Result<StoreOutcome, LinkError> {
    let count = announced(&pieces)?;
    let bytes = pieces.iter().map(|piece| piece.bytes.len()).sum::<usize>();
    if bytes as u64 > STORE_BYTES_MAX {
        let max = STORE_BYTES_MAX as usize;
        return Err(LinkError::Unsendable(CodecError::TooLong { bytes, max }.into()));
    }
    let bytes = bytes as u64;
    let (mut send, mut recv) = open(connection).await?;
    let waits = bytes > STORE_AHEAD_BYTES_MAX;
    write(&mut send, BulkRequest::Store { block, pieces: count, bytes: waits.then_some(bytes) }).await?;
    if waits {
        let answer = stored(&mut recv, true).await.map_err(|error| cut_off(connection, error))?;
        if let Some(outcome) = answer {
            return Ok(outcome);
        }
    }
    for piece in pieces {
        match pack(piece) {
            Sent::Plain(piece) => write(&mut send, BulkRequest::Piece(piece)).await?,
            Sent::Packed(piece) => write(&mut send, BulkRequest::Packed(piece)).await?,
        }
    }
    let _ = send.finish();
    let answer = stored(&mut recv, false).await.map_err(|error| cut_off(connection, error))?;
    answer.ok_or_else(|| cut_off(connection, NO_ANSWER))
}

/// Gives the peer a notice; false if it is not for this life of the peer's node.
///
/// # Errors
/// As [`fetch`]; then the peer may have it or not.
pub async fn notify(connection: &Connection, notice: Notice) -> Result<bool, LinkError> {
    let (mut send, mut recv) = open(connection).await?;
    write(&mut send, BulkRequest::Notice(notice)).await?;
    let _ = send.finish();
    let answered = match read(&mut recv, FrameDecoder::new(FIELDS_BYTES_MAX)).await {
        Ok(Some(BulkReply::Noted)) => Ok(true),
        Ok(Some(BulkReply::NotHere)) => Ok(false),
        Ok(Some(_)) => Err(LinkError::OutOfOrder("Notice is answered by Noted or NotHere")),
        Ok(None) => Err(LinkError::Ended),
        Err(error) => Err(error),
    };
    answered.map_err(|error| cut_off(connection, error))
}

const NO_ANSWER: LinkError = LinkError::OutOfOrder("Store is answered by Stored or Full, and Credit before");

/// The answer to a Store; `None`: go on.
async fn stored(recv: &mut LimitedReader, waits: bool) -> Result<Option<StoreOutcome>, LinkError> {
    match read(recv, FrameDecoder::new(FIELDS_BYTES_MAX)).await?.ok_or(LinkError::Ended)? {
        BulkReply::Stored => Ok(Some(StoreOutcome::Stored)),
        BulkReply::Full => Ok(Some(StoreOutcome::Full)),
        BulkReply::Credit if waits => Ok(None),
        _ => Err(NO_ANSWER),
    }
}

/// Serves the requests of one connection until it ends, several at a time. Dropping the future abandons those that run.
///
/// A request that its client gives up, or whose handler panics, ends alone. A client that breaks the protocol loses the
/// connection.
///
/// The result says why the connection ended.
pub async fn serve_bulk(connection: Connection, handler: Arc<dyn BulkHandler>) -> LinkError {
    let mut requests: JoinSet<Result<(), LinkError>> = JoinSet::new();
    let stores = Arc::new(Semaphore::new(STORES_AT_ONCE));
    loop {
        tokio::select! {
            biased;
            Some(ended) = requests.join_next() => if let Ok(Err(error)) = ended && error.is_rubbish() {
                return cut_off(&connection, error);
            },
            accepted = connection.accept_bi() => match accepted {
                Ok((send, recv)) => {
                    let served = serve_request(send, recv, handler.clone(), stores.clone());
                    requests.spawn(meter::inherit(served));
                }
                Err(error) => return error.into(),
            },
        }
    }
}

/// One request, from its first frame to its answer.
async fn serve_request(
    mut send: SendStream,
    recv: RecvStream,
    handler: Arc<dyn BulkHandler>,
    stores: Arc<Semaphore>,
) -> Result<(), LinkError> {
    let mut recv = LimitedReader::new(recv);
    match in_time(read(&mut recv, FrameDecoder::new(REQUEST_BYTES_MAX))).await?.ok_or(LinkError::Ended)? {
        BulkRequest::Fetch { key, credit } => {
            // Whoever asks has given up, and may have asked again: its place is free for others.
            let (found, _held) = tokio::select! {
                biased;
                found = handler.fetch(key, credit) => found,
                _ = send.stopped() => return Err(LinkError::Ended),
            };
            match found {
                FetchOutcome::Found(found) => match announced(&found) {
                    Ok(count) => write_pieces(&mut send, found, count).await?,
                    Err(error) => {
                        tracing::error!(%key, %error, "cannot be sent");
                        write(&mut send, unsendable(error.to_string())).await?;
                    }
                },
                FetchOutcome::NotHere => write(&mut send, BulkReply::NotHere).await?,
                FetchOutcome::Needs(bytes) => write(&mut send, BulkReply::Needs { bytes }).await?,
                FetchOutcome::Unsendable(reason) => write(&mut send, unsendable(reason)).await?,
            }
        }
        BulkRequest::Store { block, pieces, bytes } => {
            let _turn = stores.acquire().await.map_err(|_| LinkError::Ended)?;
            let reply = take_block(&mut send, &mut recv, &*handler, (block, pieces, bytes)).await?;
            write(&mut send, reply).await?;
        }
        BulkRequest::Notice(notice) => {
            if notice.bytes_brought() > NOTICE_BYTES_MAX {
                return Err(LinkError::TooMuch { what: "bytes in a notice", max: NOTICE_BYTES_MAX });
            }
            let reply = if handler.notice(notice).await { BulkReply::Noted } else { BulkReply::NotHere };
            write(&mut send, reply).await?;
        }
        BulkRequest::Piece(_) | BulkRequest::Packed(_) => {
            return Err(LinkError::OutOfOrder("a Piece comes after its Store"));
        }
    }
    let _ = send.finish();
    Ok(())
}

/// Takes a block in; gives the answer to its Store.
async fn take_block(
    send: &mut SendStream,
    recv: &mut LimitedReader,
    handler: &dyn BulkHandler,
    (block, pieces, bytes): (BlockId, u32, Option<u64>),
) -> Result<BulkReply, LinkError> {
    let mut room = None;
    if let Some(bytes) = bytes {
        if bytes > STORE_BYTES_MAX {
            return Err(LinkError::TooMuch { what: "bytes in a block", max: STORE_BYTES_MAX });
        }
        room = handler.make_room(block, bytes);
        if room.is_none() {
            return Ok(BulkReply::Full);
        }
        write(send, BulkReply::Credit).await?;
    }
    // Nobody has kept room for what was not announced.
    let ahead_max = if bytes.is_some() { STORE_BYTES_MAX } else { STORE_AHEAD_BYTES_MAX };
    let pieces = in_time(read_block(recv, pieces, Taken::new(bytes, ahead_max))).await?;
    Ok(match handler.store(block, pieces, room).await {
        StoreOutcome::Stored => BulkReply::Stored,
        StoreOutcome::Full => BulkReply::Full,
    })
}

/// The pieces that a Store announced, and nothing after them.
async fn read_block(recv: &mut LimitedReader, count: u32, mut taken: Taken) -> Result<Vec<Piece>, LinkError> {
    if count > PIECES_MAX {
        return Err(TOO_MANY_PIECES);
    }
    for _ in 0..count {
        match read(recv, taken.decoder()).await?.ok_or(LinkError::Ended)? {
            BulkRequest::Piece(piece) => taken.push(piece)?,
            BulkRequest::Packed(packed) => taken.push_packed(&packed)?,
            BulkRequest::Fetch { .. } | BulkRequest::Store { .. } | BulkRequest::Notice(_) => {
                return Err(LinkError::OutOfOrder("as many Pieces follow a Store as it announces"));
            }
        }
    }
    match read::<BulkRequest>(recv, taken.decoder()).await? {
        None => Ok(taken.pieces),
        Some(_) => Err(LinkError::OutOfOrder("nothing follows the last Piece of a Store")),
    }
}

/// The answer to a Fetch.
async fn read_pieces(
    recv: &mut LimitedReader,
    mut taken: Taken,
    heard: &mut (impl FnMut() + Send),
) -> Result<FetchOutcome, LinkError> {
    loop {
        match read(recv, taken.decoder()).await?.ok_or(LinkError::Ended)? {
            BulkReply::Piece(piece) => {
                taken.push(piece)?;
                heard();
            }
            BulkReply::Packed(packed) => {
                taken.push_packed(&packed)?;
                heard();
            }
            BulkReply::End { pieces } if pieces as usize == taken.pieces.len() => {
                return Ok(FetchOutcome::Found(taken.pieces));
            }
            BulkReply::NotHere if taken.pieces.is_empty() => return Ok(FetchOutcome::NotHere),
            BulkReply::Needs { bytes } if taken.pieces.is_empty() => return Ok(FetchOutcome::Needs(bytes)),
            BulkReply::Unsendable { reason } if taken.pieces.is_empty() => {
                return Ok(FetchOutcome::Unsendable(shortened(reason)));
            }
            BulkReply::End { .. } => return Err(LinkError::OutOfOrder("End counts the Pieces before it")),
            BulkReply::NotHere
            | BulkReply::Unsendable { .. }
            | BulkReply::Stored
            | BulkReply::Full
            | BulkReply::Needs { .. }
            | BulkReply::Credit
            | BulkReply::Noted => {
                return Err(LinkError::OutOfOrder("Fetch is answered by Pieces and End, NotHere or Needs"));
            }
        }
    }
}

async fn write_pieces(send: &mut SendStream, found: Vec<Piece>, pieces: u32) -> Result<(), LinkError> {
    for piece in found {
        in_time(async {
            match pack(piece) {
                Sent::Plain(piece) => write(send, BulkReply::Piece(piece)).await,
                Sent::Packed(piece) => write(send, BulkReply::Packed(piece)).await,
            }
        })
        .await?;
    }
    write(send, BulkReply::End { pieces }).await
}

fn unsendable(reason: String) -> BulkReply {
    BulkReply::Unsendable { reason: shortened(reason) }
}

fn shortened(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    reason
}

/// How many pieces we are about to send, if the peer takes each of them.
fn announced(pieces: &[Piece]) -> Result<u32, LinkError> {
    if let Some(bytes) = pieces.iter().map(|piece| piece.bytes.len()).find(|bytes| *bytes > PIECE_BYTES_MAX) {
        return Err(LinkError::Unsendable(CodecError::TooLong { bytes, max: PIECE_BYTES_MAX }.into()));
    }
    let count = u32::try_from(pieces.len()).ok().filter(|count| *count <= PIECES_MAX);
    count.ok_or(LinkError::TooManyPieces { pieces: pieces.len() })
}

const TOO_MANY_PIECES: LinkError = LinkError::TooMuch { what: "pieces", max: PIECES_MAX as u64 };

/// Pieces that came, within a bound.
struct Taken {
    pieces: Vec<Piece>,
    bytes: u64,
    bytes_max: u64,
    has_room: bool,
}

impl Taken {
    /// `room`: the bytes that are kept ready for them; else at most `bytes_max` may come.
    fn new(room: Option<u64>, bytes_max: u64) -> Self {
        let bytes_max = room.map_or(bytes_max, |room| room.min(bytes_max));
        Taken { pieces: Vec::new(), bytes: 0, bytes_max, has_room: room.is_some() }
    }

    /// For the longest frame that may follow: one that is longer is refused by its header, before it takes any memory. A client
    /// with a credit, and a server that has given one, keep that much ready.
    fn decoder(&self) -> FrameDecoder {
        let left = usize::try_from(self.bytes_max - self.bytes).unwrap_or(usize::MAX);
        let decoder = if self.has_room { FrameDecoder::with_room } else { FrameDecoder::new };
        decoder(left.saturating_add(FIELDS_BYTES_MAX))
    }

    /// A packed piece, for which no memory is taken if it is too long.
    fn push_packed(&mut self, packed: &PackedPiece) -> Result<(), LinkError> {
        self.check_room(u64::from(packed.bytes_unpacked))?;
        self.push(unpack(packed)?)
    }

    /// Refuses so many bytes more if they are too many.
    fn check_room(&self, bytes: u64) -> Result<(), LinkError> {
        if bytes > self.bytes_max - self.bytes {
            return Err(LinkError::TooMuch { what: "bytes", max: self.bytes_max });
        }
        Ok(())
    }

    fn push(&mut self, piece: Piece) -> Result<(), LinkError> {
        let bytes = piece.bytes.len() as u64;
        self.check_room(bytes)?;
        self.bytes += bytes;
        if self.pieces.len() >= PIECES_MAX as usize {
            return Err(TOO_MANY_PIECES);
        }
        self.pieces.push(piece);
        Ok(())
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, LinkError>>) -> Result<T, LinkError> {
    tokio::time::timeout(REQUEST_TIMEOUT, work).await.unwrap_or(Err(LinkError::Late(REQUEST_TIMEOUT)))
}

/// A stream for one request.
async fn open(connection: &Connection) -> Result<(SendStream, LimitedReader), LinkError> {
    let (send, recv) = connection.open_bi().await?;
    Ok((send, LimitedReader::new(recv)))
}

/// The next message of a stream, in a frame that `decoder` takes; `None` at its end.
async fn read<M: WireMessage>(
    recv: &mut LimitedReader,
    decoder: FrameDecoder,
) -> Result<Option<M>, LinkError> {
    match recv.next(decoder).await? {
        Some(frame) => Ok(Some(decode_message(&frame)?)),
        None => Ok(None),
    }
}

async fn write<M: WireMessage>(send: &mut SendStream, message: M) -> Result<(), LinkError> {
    let mut parts = encode_in_two(message).map_err(LinkError::Unsendable)?;
    // Handed over, not copied.
    Ok(send.write_all_chunks(&mut parts).await?)
}
