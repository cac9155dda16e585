//! Bulk requests: one bidirectional stream each, so that one answer never waits for another.
//!
//! ```text
//!   fetch:  Fetch                    ->      Piece, Piece, … End | NotHere
//!   store:  Store, Piece, Piece, …   ->      Stored | Full
//! ```

use super::link::{LinkError, cut_off};
use crate::frame::stream::read_frame;
use crate::frame::{WireMessage, decode_message, encode_message};
use crate::id::{BlockId, DataKey};
use crate::message::{BulkReply, BulkRequest, Piece};
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
/// How many blocks of one connection a server takes in at once; the pieces of others wait in the stream's window.
const STORES_AT_ONCE: usize = 4;
/// How long a client may take to say all of its request, from the moment a server reads it, and to take each piece.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOutcome {
    /// It is kept.
    Stored,
    /// There is no room: the memory budget is used up.
    Full,
}

/// Whoever holds data for others.
pub trait BulkHandler: Send + Sync + 'static {
    /// The pieces of `key`; `None` if it is not here (any more).
    fn fetch(&self, key: DataKey) -> BoxFuture<'_, Option<Vec<Piece>>>;
    /// Keeps a copy of a block. A copy of one that is here already is `Stored`.
    fn store(&self, block: BlockId, pieces: Vec<Piece>) -> BoxFuture<'_, StoreOutcome>;
}

/// Asks the peer for `key`; `None` if it is not there (any more).
///
/// Waits as long as the connection lives; a caller sets its own deadline. Dropping the future abandons the request.
///
/// # Errors
/// [`LinkError`]; after one that is rubbish the connection is closed. [`LinkError::Ended`] if the peer gave up this
/// request only.
pub async fn fetch(connection: &Connection, key: DataKey) -> Result<Option<Vec<Piece>>, LinkError> {
    let (mut send, mut recv) = connection.open_bi().await?;
    write(&mut send, &BulkRequest::Fetch { key }).await?;
    let _ = send.finish();
    read_pieces(&mut recv).await.map_err(|error| cut_off(connection, error))
}

/// Gives the peer a copy of a block.
///
/// Dropping the future abandons the request; the peer may then hold the copy or not.
///
/// # Errors
/// As [`fetch`]; [`LinkError::Unsendable`] if a piece is longer than [`PIECE_BYTES_MAX`](crate::codec::PIECE_BYTES_MAX), and
/// [`LinkError::TooManyPieces`]: then the peer keeps nothing.
pub async fn store(
    connection: &Connection,
    block: BlockId,
    pieces: Vec<Piece>,
) -> Result<StoreOutcome, LinkError> {
    let count = announced(&pieces)?;
    let (mut send, mut recv) = connection.open_bi().await?;
    write(&mut send, &BulkRequest::Store { block, pieces: count }).await?;
    for piece in pieces {
        write(&mut send, &BulkRequest::Piece(piece)).await?;
    }
    let _ = send.finish();
    let answer = read(&mut recv).await.and_then(|reply| match reply.ok_or(LinkError::Ended)? {
        BulkReply::Stored => Ok(StoreOutcome::Stored),
        BulkReply::Full => Ok(StoreOutcome::Full),
        BulkReply::Piece(_) | BulkReply::End { .. } | BulkReply::NotHere => {
            Err(LinkError::OutOfOrder("Store is answered by Stored or Full"))
        }
    });
    answer.map_err(|error| cut_off(connection, error))
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
                    requests.spawn(serve_request(send, recv, handler.clone(), stores.clone()));
                }
                Err(error) => return error.into(),
            },
        }
    }
}

/// One request, from its first frame to its answer.
async fn serve_request(
    mut send: SendStream,
    mut recv: RecvStream,
    handler: Arc<dyn BulkHandler>,
    stores: Arc<Semaphore>,
) -> Result<(), LinkError> {
    match in_time(read(&mut recv)).await?.ok_or(LinkError::Ended)? {
        BulkRequest::Fetch { key } => match handler.fetch(key).await {
            Some(found) => write_pieces(&mut send, found).await?,
            None => write(&mut send, &BulkReply::NotHere).await?,
        },
        BulkRequest::Store { block, pieces } => {
            let _turn = stores.acquire().await.map_err(|_| LinkError::Ended)?;
            let pieces = in_time(read_block(&mut recv, pieces)).await?;
            let reply = match handler.store(block, pieces).await {
                StoreOutcome::Stored => BulkReply::Stored,
                StoreOutcome::Full => BulkReply::Full,
            };
            write(&mut send, &reply).await?;
        }
        BulkRequest::Piece(_) => return Err(LinkError::OutOfOrder("a Piece comes after its Store")),
    }
    let _ = send.finish();
    Ok(())
}

/// The pieces that a Store announced, and nothing after them.
async fn read_block(recv: &mut RecvStream, count: u32) -> Result<Vec<Piece>, LinkError> {
    let mut taken = Taken::new(STORE_BYTES_MAX);
    if count > PIECES_MAX {
        return Err(TOO_MANY_PIECES);
    }
    for _ in 0..count {
        match read(recv).await?.ok_or(LinkError::Ended)? {
            BulkRequest::Piece(piece) => taken.push(piece)?,
            BulkRequest::Fetch { .. } | BulkRequest::Store { .. } => {
                return Err(LinkError::OutOfOrder("as many Pieces follow a Store as it announces"));
            }
        }
    }
    match read::<BulkRequest>(recv).await? {
        None => Ok(taken.pieces),
        Some(_) => Err(LinkError::OutOfOrder("nothing follows the last Piece of a Store")),
    }
}

/// The answer to a Fetch.
async fn read_pieces(recv: &mut RecvStream) -> Result<Option<Vec<Piece>>, LinkError> {
    let mut taken = Taken::new(FETCH_BYTES_MAX);
    loop {
        match read(recv).await?.ok_or(LinkError::Ended)? {
            BulkReply::Piece(piece) => taken.push(piece)?,
            BulkReply::End { pieces } if pieces as usize == taken.pieces.len() => {
                return Ok(Some(taken.pieces));
            }
            BulkReply::NotHere if taken.pieces.is_empty() => return Ok(None),
            BulkReply::End { .. } => return Err(LinkError::OutOfOrder("End counts the Pieces before it")),
            BulkReply::NotHere | BulkReply::Stored | BulkReply::Full => {
                return Err(LinkError::OutOfOrder("Fetch is answered by Pieces and End, or by NotHere"));
            }
        }
    }
}

async fn write_pieces(send: &mut SendStream, found: Vec<Piece>) -> Result<(), LinkError> {
    let pieces = announced(&found)?;
    for piece in found {
        in_time(write(send, &BulkReply::Piece(piece))).await?;
    }
    write(send, &BulkReply::End { pieces }).await
}

/// How many pieces we are about to send.
fn announced(pieces: &[Piece]) -> Result<u32, LinkError> {
    let count = u32::try_from(pieces.len()).ok().filter(|count| *count <= PIECES_MAX);
    count.ok_or(LinkError::TooManyPieces { pieces: pieces.len() })
}

const TOO_MANY_PIECES: LinkError = LinkError::TooMuch { what: "pieces", max: PIECES_MAX as u64 };

/// Pieces that came, within a bound.
struct Taken {
    pieces: Vec<Piece>,
    bytes: u64,
    bytes_max: u64,
}

impl Taken {
    fn new(bytes_max: u64) -> Self {
        Taken { pieces: Vec::new(), bytes: 0, bytes_max }
    }

    fn push(&mut self, piece: Piece) -> Result<(), LinkError> {
        self.bytes += piece.bytes.len() as u64;
        if self.bytes > self.bytes_max {
            return Err(LinkError::TooMuch { what: "bytes", max: self.bytes_max });
        }
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

/// The next message of a stream; `None` at its end.
async fn read<M: WireMessage>(recv: &mut RecvStream) -> Result<Option<M>, LinkError> {
    match read_frame(recv, M::KIND.limits().bytes).await? {
        Some(frame) => Ok(Some(decode_message(&frame)?)),
        None => Ok(None),
    }
}

async fn write<M: WireMessage>(send: &mut SendStream, message: &M) -> Result<(), LinkError> {
    let bytes = encode_message(message).map_err(LinkError::Unsendable)?;
    Ok(send.write_all(&bytes).await?)
}
