//! Records as the roles see them: opaque, counted, weighed, and encoded only where they leave the process.

use std::{any::Any, fmt::Debug, sync::Arc};
use tidemill_protocol::{codec::PIECE_BYTES_MAX, id::DatasetId, message::Piece};

/// Data are cut into parts of so many bytes where they are encoded, as far as whole records allow: much longer ones would need
/// much memory at once, and what is longer than [`PIECE_BYTES_MAX`] does not cross machines at all.
pub const PART_BYTES_MAX: usize = 1 << 20;

/// A piece of a dataset in memory.
pub trait Payload: Any + Debug + Send + Sync {
    /// How many records.
    fn rows(&self) -> u64;
    /// How many bytes it occupies, with what its records own, near enough for a memory budget. The same at each call, and
    /// cheap: it is asked often.
    fn heap_bytes(&self) -> u64;
    /// About how many bytes its MessagePack form has. Asked where it is about to be encoded.
    fn encoded_bytes(&self) -> u64 {
        self.heap_bytes() + self.heap_bytes() / 8
    }
    /// Which dataset it belongs to.
    fn dataset(&self) -> DatasetId;
    /// Its MessagePack form.
    ///
    /// # Errors
    /// [`PayloadError`] if a record cannot be written.
    fn encode(&self) -> Result<Vec<u8>, PayloadError>;
    /// The same in parts that are payloads of the same dataset, with the number of records in each: all of them together are
    /// its records, in order. A part has at most `bytes_max` bytes, or one record. Where to cut depends on the records only,
    /// and a part is not cut again. One part, unless an implementation knows better.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn encode_parts(&self, _bytes_max: usize) -> Result<Vec<(u64, Vec<u8>)>, PayloadError> {
        Ok(vec![(self.rows(), self.encode()?)])
    }
    /// For the crate above, which knows the type.
    fn as_any(&self) -> &dyn Any;
}

/// Reads payloads that come from another process.
pub trait PayloadCodec: Send + Sync {
    /// Decodes bytes of `dataset` that [`Payload::encode`] wrote on another node of the same program.
    ///
    /// # Errors
    /// [`PayloadError`] if the bytes are not of that dataset, too deep, or too many.
    fn decode(&self, dataset: DatasetId, bytes: &[u8]) -> Result<Arc<dyn Payload>, PayloadError>;
}

/// A payload could not be written or read. Not retryable: the same bytes fail again.
#[derive(Debug, thiserror::Error)]
#[error("a payload of {dataset} does not survive the wire: {reason}")]
pub struct PayloadError {
    /// Which dataset.
    pub dataset: DatasetId,
    /// What is wrong with it.
    pub reason: String,
}

impl PayloadError {
    fn too_long(dataset: DatasetId, rows: u64, bytes: usize) -> Self {
        let what = if rows == 1 { "one record".to_owned() } else { format!("{rows} records in one piece") };
        let reason = format!(
            "{what} of {bytes} bytes: at most {PIECE_BYTES_MAX} can cross machines; cut it into smaller records"
        );
        PayloadError { dataset, reason }
    }
}

/// A received block or a task's output: its pieces in order. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// The pieces, in the order of the value.
    pub pieces: Arc<[Arc<dyn Payload>]>,
}

impl Held {
    /// Data made of `pieces`.
    pub fn new(pieces: Vec<Arc<dyn Payload>>) -> Self {
        Held { pieces: pieces.into() }
    }

    /// How many records.
    pub fn rows(&self) -> u64 {
        self.pieces.iter().map(|p| p.rows()).sum()
    }

    /// How many bytes in memory.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|p| p.heap_bytes()).sum()
    }

    /// About how many bytes [`encode`](Self::encode) gives.
    pub fn encoded_bytes(&self) -> u64 {
        self.pieces.iter().map(|p| p.encoded_bytes()).sum()
    }

    /// The pieces as they cross machines: large ones are cut into parts of [`PART_BYTES_MAX`].
    ///
    /// # Errors
    /// As [`Payload::encode`]; also for a record that is longer than a piece may be, with both lengths.
    pub fn encode(&self) -> Result<Vec<Piece>, PayloadError> {
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for payload in self.pieces.iter() {
            let dataset = payload.dataset();
            for (rows, bytes) in payload.encode_parts(PART_BYTES_MAX)? {
                if bytes.len() > PIECE_BYTES_MAX {
                    return Err(PayloadError::too_long(dataset, rows, bytes.len()));
                }
                pieces.push(Piece { rows, dataset, bytes: bytes.into() });
            }
        }
        Ok(pieces)
    }

    /// The reverse of [`encode`](Self::encode).
    ///
    /// # Errors
    /// As [`PayloadCodec::decode`].
    pub fn decode(codec: &dyn PayloadCodec, pieces: &[Piece]) -> Result<Held, PayloadError> {
        let pieces: Result<Vec<_>, _> = pieces.iter().map(|p| codec.decode(p.dataset, &p.bytes)).collect();
        Ok(Held::new(pieces?))
    }
}

#[cfg(test)]
mod tests {
    use crate::block_store::numbers::held;
    use tidemill_protocol::codec::PIECE_BYTES_MAX;

    #[test]
    fn a_piece_that_cannot_cross_is_refused_with_both_lengths() {
        let fits = held(&vec![1; PIECE_BYTES_MAX / 8]);
        assert_eq!(fits.encode().expect("as long as it may be").len(), 1);
        let long = held(&vec![1; PIECE_BYTES_MAX / 8 + 1]);
        let reason = long.encode().expect_err("these payloads do not know where to be cut").to_string();
        assert!(
            reason.contains("1048449 records in one piece of 8387592 bytes: at most 8387584"),
            "{reason}"
        );
    }
}
