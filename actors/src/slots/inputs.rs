//! From the parts that a task names to the data it reads.

use crate::{
    block_store::{BlockStore, Reserved, ResourcesExhausted, Share, Weight},
    seam::{Held, InputData},
    transport::{FetchError, Transport},
};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::sync::Arc;
use tidemill_protocol::{
    id::{DataKey, Member, PartitionId, StreamId},
    message::{Exhausted, InputPart, TaskSpec},
};

/// How many parts of one task are asked for at the same time.
const FETCHES_PER_TASK_MAX: usize = 16;
/// How often a task asks for its large parts. The first answer is an estimate, the second exact; after that only what its holder
/// moved to disk meanwhile may need a little more.
const ROUNDS_MAX: usize = 8;
/// The credit of the first request for a part, before its size is known: most parts are smaller than that.
const FIRST_CREDIT_MAX: u64 = 32 * 1024;

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
    /// Given back when the task has ended: for what came at once, and for what needed more.
    pub reserved: [Reserved; 2],
}

/// An input could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InputError {
    /// The input, if it must be made again; none if it is there but cannot be read.
    pub missing: Option<DataKey>,
    /// What there was not enough of here, if that is why.
    pub exhausted: Option<Exhausted>,
    /// Of the holders of the missing input, those that could not be reached.
    pub unreached: Vec<Member>,
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
            InputPart::Shuffle { .. } => Err(InputError::nameless()),
        };
        spec.inputs.iter().map(|parts| parts.iter().map(part).collect()).collect()
    }

    /// How many records the inputs at hand have; what is not at hand counts as none.
    pub fn rows_now(&self, spec: &TaskSpec) -> u64 {
        let rows = |part: &InputPart| match part {
            InputPart::Held { key, holders } => {
                self.weight_now(*key, holders).map_or(0, |weight| weight.rows)
            }
            InputPart::Range { from, to, .. } => to.saturating_sub(*from),
            InputPart::Shuffle { .. } => 0,
        };
        spec.inputs.iter().flatten().map(rows).sum()
    }

    /// The inputs of `spec`, from wherever they are.
    ///
    /// Memory is kept for them before they come. In the first round each part is asked for with a small credit: what is
    /// within it comes at once, of the rest the size, as its holder estimates it. In the second the rest is fetched, with as
    /// much credit as all of it needs, taken in one go. Where an estimate was too little, all of that is given back before
    /// more is asked for, and the rest is fetched again. So who holds memory of the second round waits for the network
    /// only, and who holds some of the first waits for those of the second: no circle.
    ///
    /// # Errors
    /// [`InputError`] with the first part (in the order of the value) that no holder gives; one without a part if one cannot be
    /// sent, or all together are larger than the share of the budget that is for inputs.
    pub async fn fetch(&self, spec: &TaskSpec) -> Result<Fetched, InputError> {
        let parts: Vec<InputPart> = spec.inputs.iter().flatten().cloned().collect();
        let strange = parts.iter().filter(|part| self.is_elsewhere(part)).count() as u64;
        let first_max = self.store.budget().share(Share::FirstAsks);
        let credit = first_max.checked_div(strange).unwrap_or(0).min(FIRST_CREDIT_MAX);
        let mut first = self.store.credit(Share::FirstAsks, credit * strange).await?;
        let asked = parts.clone().into_iter().map(|part| self.clone().fetch_part(part, credit));
        let mut found: Vec<Found> = if planted!(MergeByArrival) {
            stream::iter(asked).buffer_unordered(FETCHES_PER_TASK_MAX).try_collect().await?
        } else {
            stream::iter(asked).buffered(FETCHES_PER_TASK_MAX).try_collect().await?
        };
        first.shrink_to(found.iter().map(Found::bytes_brought).sum());

        let second = self.fetch_large(&parts, &mut found).await?;
        let all: Option<Vec<InputData>> = found.into_iter().map(Found::data).collect();
        let mut flat = all.ok_or_else(|| InputError::grown(spec))?.into_iter();
        let inputs = spec.inputs.iter().map(|parts| flat.by_ref().take(parts.len()).collect()).collect();
        Ok(Fetched { inputs, reserved: [first, second] })
    }

    /// Puts in the parts that were not within the first credit, or leaves those that keep needing more. Gives the memory that
    /// was taken for them.
    async fn fetch_large(&self, parts: &[InputPart], found: &mut [Found]) -> Result<Reserved, InputError> {
        let needs = |(at, found): (usize, &Found)| Some((at, found.needs()?));
        let mut large: Vec<(usize, u64)> = found.iter().enumerate().filter_map(needs).collect();
        let mut round = 1;
        loop {
            let needed = large.iter().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
            let mut reserved = self.store.credit(Share::Inputs, needed).await?;
            let asked =
                large.iter().copied().map(|(at, bytes)| self.clone().fetch_part(parts[at].clone(), bytes));
            let came: Vec<Found> = stream::iter(asked).buffered(FETCHES_PER_TASK_MAX).try_collect().await?;
            if round == ROUNDS_MAX || came.iter().all(|came| came.needs().is_none()) {
                reserved.shrink_to(came.iter().map(Found::bytes_brought).sum());
                for ((at, _), came) in large.iter().zip(came) {
                    found[*at] = came;
                }
                return Ok(reserved);
            }
            for ((_, bytes), came) in large.iter_mut().zip(&came) {
                *bytes = came.bytes_needed().max(*bytes);
            }
            round += 1;
            // What came is dropped here, and its memory given back: nobody holds some and waits for more.
        }
    }

    /// Whether memory is needed for a part: it is with others, or on disk.
    fn is_elsewhere(&self, part: &InputPart) -> bool {
        match part {
            InputPart::Held { key, .. } => {
                self.store.weight(*key).is_none_or(|weight| weight.file_bytes.is_some())
            }
            InputPart::Range { .. } | InputPart::Shuffle { .. } => false,
        }
    }

    /// One part, if it needs no more than the credit.
    async fn fetch_part(self, part: InputPart, credit: u64) -> Result<Found, InputError> {
        let (key, holders) = match part {
            InputPart::Held { key, holders } => (key, holders),
            InputPart::Range { stream, partition, from, to } => {
                return Ok(Found::AtHand(range(stream, partition, from, to)));
            }
            InputPart::Shuffle { .. } => return Err(InputError::nameless()),
        };
        if let Some(found) = self.find_here(key, credit).await? {
            return Ok(found);
        }
        let mut problem = match self.held_now(key, &holders) {
            Ok(held) => return Ok(Found::AtHand(InputData::Held(held))),
            Err(error) if error.missing.is_none() => return Err(error),
            Err(error) => error,
        };
        for holder in holders.iter().filter(|holder| **holder != self.me) {
            match self.transport.fetch_within(*holder, key, credit).await {
                Ok(held) => return Ok(Found::Brought(held)),
                Err(FetchError::NeedsCredit { bytes, .. }) => return Ok(Found::Needs(bytes)),
                Err(error) => problem = problem.and(key, &error),
            }
            if problem.missing.is_none() {
                break;
            }
        }
        Err(problem)
    }

    /// What the own store has, from disk as well.
    async fn find_here(&self, key: DataKey, credit: u64) -> Result<Option<Found>, InputError> {
        let Some(weight) = self.store.weight(key) else { return Ok(None) };
        let needs = weight.file_bytes.map(|file_bytes| weight.bytes + file_bytes);
        if let Some(needs) = needs.filter(|needs| *needs > credit) {
            return Ok(Some(Found::Needs(needs)));
        }
        let Some(held) = self.store.load(key).await else { return Ok(None) };
        let held = self.own(key, held)?;
        Ok(Some(if needs.is_some() { Found::Brought(held) } else { Found::AtHand(InputData::Held(held)) }))
    }

    fn own(&self, key: DataKey, held: Held) -> Result<Held, InputError> {
        self.transport.own(key, held).map_err(|error| InputError::none_of(key).and(key, &error))
    }

    /// What a part at hand weighs, where it would be read.
    pub(super) fn weight_now(&self, key: DataKey, holders: &[Member]) -> Option<Weight> {
        let others = || holders.iter().filter(|holder| **holder != self.me);
        self.store.weight(key).or_else(|| others().find_map(|holder| self.transport.weight_now(*holder, key)))
    }

    fn held_now(&self, key: DataKey, holders: &[Member]) -> Result<Held, InputError> {
        if let Some(held) = self.store.get(key) {
            return self.own(key, held);
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

/// What came of a request for a part.
enum Found {
    /// In this process's memory already.
    AtHand(InputData),
    /// New in memory.
    Brought(Held),
    /// Not within the credit.
    Needs(u64),
}

impl Found {
    fn bytes_brought(&self) -> u64 {
        if let Found::Brought(held) = self { held.bytes() } else { 0 }
    }

    fn needs(&self) -> Option<u64> {
        if let Found::Needs(bytes) = self { Some(*bytes) } else { None }
    }

    fn bytes_needed(&self) -> u64 {
        self.needs().unwrap_or(0)
    }

    fn data(self) -> Option<InputData> {
        match self {
            Found::AtHand(data) => Some(data),
            Found::Brought(held) => Some(InputData::Held(held)),
            Found::Needs(_) => None,
        }
    }
}

impl From<ResourcesExhausted> for InputError {
    /// Nothing is missing; the task may run where there is more memory.
    fn from(error: ResourcesExhausted) -> Self {
        InputError { exhausted: Some(error.wire()), ..InputError::unreadable(error.to_string()) }
    }
}

impl InputError {
    fn grown(spec: &TaskSpec) -> Self {
        let message = format!("an input of {} needs more memory than its holder said", spec.task);
        InputError::unreadable(message)
    }

    /// The executor's core gives names to what notices told, before anything is fetched or started.
    fn nameless() -> Self {
        InputError::unreadable("an input has no name: its task was begun before its notices came".to_owned())
    }

    /// Nothing is missing, but it cannot be read.
    pub(super) fn unreadable(message: String) -> Self {
        InputError { missing: None, exhausted: None, unreached: Vec::new(), message }
    }

    fn none_of(key: DataKey) -> Self {
        let message = format!("no executor gives {key}");
        InputError { missing: Some(key), exhausted: None, unreached: Vec::new(), message }
    }

    fn and(mut self, key: DataKey, error: &FetchError) -> Self {
        if !error.is_retryable() {
            return InputError::unreadable(format!("{key}: {error}"));
        }
        if let FetchError::Gone { peer, .. } = error {
            self.unreached.push(*peer);
        }
        self.message = format!("{}; {error}", self.message);
        self
    }
}

/// A range travels as it is: the task reads it itself.
fn range(stream: StreamId, partition: PartitionId, from: u64, to: u64) -> InputData {
    InputData::Range { stream, partition, from, to }
}
