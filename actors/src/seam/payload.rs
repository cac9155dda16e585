//! Records as the roles see them: opaque, counted, weighed, and encoded only where they leave the process.

use std::{any::Any, fmt::Debug, sync::Arc};
use tidemill_protocol::{id::DatasetId, message::Piece};

/// A piece of a dataset in memory.
pub trait Payload: Any + Debug + Send + Sync {
    /// How many records.
    fn rows(&self) -> u64;
    /// How many bytes it occupies, near enough for a memory budget.
    fn heap_bytes(&self) -> u64;
    /// Which dataset it belongs to.
    fn dataset(&self) -> DatasetId;
    /// Its MessagePack form.
    ///
    /// # Errors
    /// [`PayloadError`] if a record cannot be written.
    fn encode(&self) -> Result<Vec<u8>, PayloadError>;
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

    /// The pieces as they cross machines.
    ///
    /// # Errors
    /// As [`Payload::encode`].
    pub fn encode(&self) -> Result<Vec<Piece>, PayloadError> {
        self.pieces
            .iter()
            .map(|p| Ok(Piece { rows: p.rows(), dataset: p.dataset(), bytes: p.encode()? }))
            .collect()
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
