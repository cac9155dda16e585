//! Payloads as MessagePack: which type a dataset id names, and how its bytes are read.
//!
//! A dataset id is the hash of the payload's type, so that it means the same on every node of a program, also for datasets
//! that a `transform` invents while the program runs.

use super::{Data, wire_sizes::as_record};
use serde::Serialize;
use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    sync::{Arc, RwLock},
};
use tidemill_actors::seam::{Payload, PayloadCodec, PayloadError};
use tidemill_protocol::{
    codec::{Limits, encode_compact, scan},
    id::DatasetId,
};
use xxhash_rust::xxh3::xxh3_64;

/// A payload type that knows its own bytes.
pub trait Stored: Payload + Sized {
    /// The type in words; its hash is the dataset id.
    fn type_label() -> String;

    /// Reads what [`Payload::encode`] wrote.
    ///
    /// # Errors
    /// What is wrong with the bytes, in words.
    fn decode(bytes: &[u8]) -> Result<Self, String>;

    /// The id of the type.
    fn dataset_id() -> DatasetId {
        DatasetId(xxh3_64(Self::type_label().as_bytes()) as u32)
    }
}

type Decode = fn(&[u8]) -> Result<Arc<dyn Payload>, String>;

/// The table of the types that a program's datasets have.
#[derive(Clone, Default)]
pub struct Codec(Arc<RwLock<BTreeMap<DatasetId, (TypeId, Decode)>>>);

impl Codec {
    /// Enters a type. False if another type of the same name is there: types that are declared inside functions may share
    /// a name, and then one must be renamed.
    pub fn register<P: Stored>(&self) -> bool {
        let decode: Decode = |bytes| Ok(Arc::new(P::decode(bytes)?));
        let mut table = self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (type_id, _) = table.entry(P::dataset_id()).or_insert((TypeId::of::<P>(), decode));
        *type_id == TypeId::of::<P>()
    }
}

impl PayloadCodec for Codec {
    fn decode(&self, dataset: DatasetId, bytes: &[u8]) -> Result<Arc<dyn Payload>, PayloadError> {
        let known = self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&dataset).copied();
        match known {
            Some((_, decode)) => decode(bytes).map_err(|reason| PayloadError { dataset, reason }),
            // A `transform` may use a type in one batch only; whoever reads the payload knows the type.
            None => Ok(Arc::new(Unread { dataset, bytes: bytes.to_vec() })),
        }
    }
}

/// Bytes of a dataset that was not yet declared when they came.
#[derive(Debug)]
struct Unread {
    dataset: DatasetId,
    bytes: Vec<u8>,
}

impl Payload for Unread {
    fn rows(&self) -> u64 {
        0
    }

    fn heap_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn dataset(&self) -> DatasetId {
        self.dataset
    }

    fn encode(&self) -> Result<Vec<u8>, PayloadError> {
        Ok(self.bytes.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Lends `payload` as the type that the reader expects.
///
/// # Errors
/// In words, if it is of another type, or its bytes are none of that type.
pub(crate) fn with_payload<P: Stored, R>(
    payload: &dyn Payload,
    f: impl FnOnce(&P) -> R,
) -> Result<R, String> {
    if let Some(typed) = payload.as_any().downcast_ref::<P>() {
        return Ok(f(typed));
    }
    match payload.as_any().downcast_ref::<Unread>() {
        Some(unread) if unread.dataset == P::dataset_id() => P::decode(&unread.bytes).map(|typed| f(&typed)),
        _ => Err(format!("expected {}, found {payload:?}", P::type_label())),
    }
}

/// Writes records as compact MessagePack.
pub(super) fn to_bytes<T: Serialize + ?Sized>(
    dataset: DatasetId,
    value: &T,
) -> Result<Vec<u8>, PayloadError> {
    encode_compact(value).map_err(|e| PayloadError { dataset, reason: e.to_string() })
}

/// What records may be; how long their bytes are is limited where they cross machines.
const RECORDS: Limits = Limits { bytes: usize::MAX, elements: u64::MAX, ..Limits::BLOCK };

/// Reads one value, which was looked at from outside before.
pub(super) fn read<'a, R>(
    bytes: &'a [u8],
    f: impl FnOnce(
        &mut rmp_serde::Deserializer<rmp_serde::decode::ReadRefReader<'a, [u8]>>,
    ) -> Result<R, rmp_serde::decode::Error>,
) -> Result<R, String> {
    scan(bytes, &RECORDS).map_err(|e| e.to_string())?;
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    f(&mut deserializer).map_err(|e| e.to_string())
}

/// Writes a value, reads it back and writes it again; the bytes if both are equal.
///
/// # Errors
/// In words, what does not survive.
pub(crate) fn survives<T: Data>(value: &T) -> Result<T, String> {
    let bytes = encode_compact(&as_record(value)).map_err(|e| e.to_string())?;
    let back: T = read(&bytes, |d| serde::Deserialize::deserialize(d))?;
    let again = encode_compact(&as_record(&back)).map_err(|e| e.to_string())?;
    if again == bytes { Ok(back) } else { Err("it is written differently after it was read back".into()) }
}

/// Sends a payload through its bytes and compares.
pub(crate) fn payload_survives(codec: &Codec, payload: &dyn Payload) -> Result<(), PayloadError> {
    let bytes = payload.encode()?;
    let back = codec.decode(payload.dataset(), &bytes)?;
    if back.encode()? == bytes {
        return Ok(());
    }
    Err(PayloadError {
        dataset: payload.dataset(),
        reason: format!("{payload:?} reads back as something else"),
    })
}
