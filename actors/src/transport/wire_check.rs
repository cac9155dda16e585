//! The check at the desk: inside one process nothing is encoded, so a type that would not survive the wire would be found
//! in production only. Here it makes the journey that it would make there.

use crate::seam::{Held, PayloadCodec, PayloadError};
use tidemill_protocol::message::Piece;

/// Encodes `held`, decodes it, encodes it again and compares; gives the decoded data, so that what a codec leaves out is
/// missing here as it would be missing there.
///
/// # Errors
/// [`PayloadError`], with the dataset and the first byte that differs.
pub fn through_the_wire(codec: &dyn PayloadCodec, held: &Held) -> Result<Held, PayloadError> {
    let sent = held.encode()?;
    let decoded = Held::decode(codec, &sent)?;
    let again = decoded.encode()?;
    match sent.iter().zip(&again).find(|(first, second)| first != second) {
        Some((first, second)) => {
            Err(PayloadError { dataset: first.dataset, reason: difference(first, second) })
        }
        None => Ok(decoded),
    }
}

fn difference(first: &Piece, second: &Piece) -> String {
    if first.dataset != second.dataset {
        return format!("after decoding it calls itself {}", second.dataset);
    }
    let at = first.bytes.iter().zip(&second.bytes).take_while(|(a, b)| a == b).count();
    format!(
        "{} records in {} bytes became {} records in {} bytes after decoding; they differ from byte {at} on",
        first.rows,
        first.bytes.len(),
        second.rows,
        second.bytes.len()
    )
}
