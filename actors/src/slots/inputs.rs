//! From the parts that a task names to the data it reads.

use crate::{
    block_store::{BlockStore, Reserved},
    seam::{Held, InputData},
    transport::{FetchError, Transport},
};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::sync::Arc;
use tidemill_protocol::{
    id::{DataKey, Member, PartitionId, StreamId},
    message::{InputPart, TaskSpec},
};

/// How many parts of one task are asked for at the same time.
const FETCHES_PER_TASK_MAX: usize = 16;

/// Where an executor's tasks have their inputs from. Cloning it shares everything.
#[derive(Clone)]
pub struct InputSource {
    /// The executor.
    pub me: Member,
    /// Its own store: asked first.
    pub store: BlockStore,
    /// The way to the others' stores.
    pub transport: Arc<dyn Transport>,
}

/// Inputs brought from elsewhere, and their weight in the memory budget.
pub struct Fetched {
    /// For each input of the stage, the parts in the order of the value.
    pub inputs: Vec<Vec<InputData>>,
    /// Given back when the task has ended.
    pub reserved: Reserved,
}

/// An input could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InputError {
    /// The input, if it must be made again; none if it is there but cannot be read.
    pub missing: Option<DataKey>,
    /// In words.
    pub message: String,
}

impl Fetched {
    /// How many records.
    pub fn rows(&self) -> u64 {
        let rows = |data: &InputData| match data {
            InputData::Held(held) => held.rows(),
            InputData::Range { from, to, .. } => to.saturating_sub(*from),
        };
        self.inputs.iter().flatten().map(rows).sum()
    }
}

impl InputSource {
    /// The inputs of `spec` that are at hand in this process, all of them, without waiting.
    ///
    /// # Errors
    /// [`InputError`] with the first part that is not.
    pub fn now(&self, spec: &TaskSpec) -> Result<Vec<Vec<InputData>>, InputError> {
        let part = |part: &InputPart| match part {
            InputPart::Held { key, holders } => self.held_now(*key, holders).map(InputData::Held),
            InputPart::Range { stream, partition, from, to } => Ok(range(*stream, *partition, *from, *to)),
        };
        spec.inputs.iter().map(|parts| parts.iter().map(part).collect()).collect()
    }

    /// How many records the inputs at hand have; what is not at hand counts as none.
    pub fn rows_now(&self, spec: &TaskSpec) -> u64 {
        let rows = |part: &InputPart| match part {
            InputPart::Held { key, holders } => self.held_now(*key, holders).map_or(0, |held| held.rows()),
            InputPart::Range { from, to, .. } => to.saturating_sub(*from),
        };
        spec.inputs.iter().flatten().map(rows).sum()
    }

    /// The inputs of `spec`, from wherever they are.
    ///
    /// # Errors
    /// [`InputError`] with the first part (in the order of the value) that no holder gives.
    pub async fn fetch(&self, spec: &TaskSpec) -> Result<Fetched, InputError> {
        let parts: Vec<InputPart> = spec.inputs.iter().flatten().cloned().collect();
        let fetches = parts.into_iter().map(|part| self.clone().fetch_part(part));
        let fetches = stream::iter(fetches);
        let fetched: Vec<(InputData, bool)> = if planted!(MergeByArrival) {
            fetches.buffer_unordered(FETCHES_PER_TASK_MAX).try_collect().await?
        } else {
            fetches.buffered(FETCHES_PER_TASK_MAX).try_collect().await?
        };
        let brought = fetched.iter().filter(|(_, brought)| *brought);
        let bytes = brought.map(|(data, _)| if let InputData::Held(held) = data { held.bytes() } else { 0 });
        let reserved = self.store.reserve(bytes.sum());
        let mut flat = fetched.into_iter().map(|(data, _)| data);
        let inputs = spec.inputs.iter().map(|parts| flat.by_ref().take(parts.len()).collect()).collect();
        Ok(Fetched { inputs, reserved })
    }

    /// One part, and whether it was brought from elsewhere.
    async fn fetch_part(self, part: InputPart) -> Result<(InputData, bool), InputError> {
        let (key, holders) = match part {
            InputPart::Held { key, holders } => (key, holders),
            InputPart::Range { stream, partition, from, to } => {
                return Ok((range(stream, partition, from, to), false));
            }
        };
        let mut problem = match self.held_now(key, &holders) {
            Ok(held) => return Ok((InputData::Held(held), false)),
            Err(error) if error.missing.is_none() => return Err(error),
            Err(error) => error,
        };
        for holder in holders.iter().filter(|holder| **holder != self.me) {
            match self.transport.fetch(*holder, key).await {
                Ok(held) => return Ok((InputData::Held(held), true)),
                Err(error) => problem = problem.and(key, &error),
            }
            if problem.missing.is_none() {
                break;
            }
        }
        Err(problem)
    }

    fn held_now(&self, key: DataKey, holders: &[Member]) -> Result<Held, InputError> {
        if let Some(held) = self.store.get(key) {
            return self.transport.own(key, held).map_err(|error| InputError::none_of(key).and(key, &error));
        }
        let mut problem = InputError::none_of(key);
        for holder in holders.iter().filter(|holder| **holder != self.me) {
            match self.transport.fetch_now(*holder, key) {
                Some(Ok(held)) => return Ok(held),
                Some(Err(error)) => problem = problem.and(key, &error),
                None => {}
            }
        }
        Err(problem)
    }
}

impl InputError {
    fn none_of(key: DataKey) -> Self {
        InputError { missing: Some(key), message: format!("no executor gives {key}") }
    }

    fn and(mut self, key: DataKey, error: &FetchError) -> Self {
        if !error.is_retryable() {
            return InputError { missing: None, message: format!("{key}: {error}") };
        }
        self.message = format!("{}; {error}", self.message);
        self
    }
}

/// A range travels as it is: the task reads it itself.
fn range(stream: StreamId, partition: PartitionId, from: u64, to: u64) -> InputData {
    InputData::Range { stream, partition, from, to }
}
