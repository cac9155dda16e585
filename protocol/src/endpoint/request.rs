//! Questions to a driver: a bidirectional stream each on a control connection, answered by one or more frames.
//!
//! ```text
//!   asker   Request, end of stream   ──>
//!           <──   Reply, Reply, … end of stream   driver
//! ```

use super::link::{LinkError, cut_off};
use crate::frame::stream::{FrameReader, read_frame};
use crate::frame::{WireMessage, decode_message, encode_message};
use crate::message::{Reply, Request};
use quinn::{Connection, RecvStream, SendStream};
use std::time::Duration;

/// The most frames of an answer that an asker takes.
pub const REPLIES_MAX: u64 = 1_024;
/// How long an asker may take to say its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks, and gives the whole answer. Waits as long as the connection lives: a caller sets its own deadline.
///
/// # Errors
/// [`LinkError`]; after one that is rubbish the connection is closed.
pub async fn ask(connection: &Connection, request: &Request) -> Result<Vec<Reply>, LinkError> {
    let (mut send, recv) = connection.open_bi().await?;
    send.write_all(&encode_message(request).map_err(LinkError::Unsendable)?).await?;
    let _ = send.finish();
    let mut frames = FrameReader::new(recv, Reply::KIND.limits().bytes);
    let mut replies = Vec::new();
    let all = async {
        while let Some(frame) = frames.next().await? {
            if replies.len() as u64 == REPLIES_MAX {
                return Err(LinkError::TooMuch { what: "replies", max: REPLIES_MAX });
            }
            replies.push(decode_message(&frame)?);
        }
        Ok(())
    };
    all.await.map_err(|error| cut_off(connection, error))?;
    if replies.is_empty() { Err(LinkError::Ended) } else { Ok(replies) }
}

/// Reads the request of a stream that a peer has opened.
///
/// # Errors
/// [`LinkError`]; after one that is rubbish the connection is closed.
pub async fn read_request(connection: &Connection, stream: &mut RecvStream) -> Result<Request, LinkError> {
    let read = async {
        let frame = read_frame(stream, Request::KIND.limits().bytes).await?.ok_or(LinkError::Ended)?;
        Ok(decode_message(&frame)?)
    };
    match tokio::time::timeout(REQUEST_TIMEOUT, read).await {
        Ok(request) => request.map_err(|error| cut_off(connection, error)),
        Err(_) => Err(LinkError::Late(REQUEST_TIMEOUT)),
    }
}

/// Writes a whole answer.
///
/// # Errors
/// [`LinkError::Unsendable`] if a reply does not fit a frame; else the connection's end.
pub async fn answer(mut stream: SendStream, replies: &[Reply]) -> Result<(), LinkError> {
    for reply in replies {
        stream.write_all(&encode_message(reply).map_err(LinkError::Unsendable)?).await?;
    }
    let _ = stream.finish();
    Ok(())
}
