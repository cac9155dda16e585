//! How a task runs: each operator pushes chunks into the next. The chain is built from the end to the beginning, one box an
//! operator, and costs one dynamic call for each chunk.

use crate::data::{CHUNK_RECORDS_MAX, Chunk, Codec, Data, rows_bytes};
use std::{
    any::Any,
    cell::{Cell, RefCell},
    rc::Rc,
};
use tidemill_actors::seam::{Held, TaskContext, TaskError};
use tidemill_protocol::id::PartitionId;

/// Takes the records of one partition, chunk by chunk.
pub trait Push<T> {
    /// Takes a chunk; what is left in it belongs to the caller, who clears it.
    ///
    /// # Errors
    /// [`TaskError`]; the task ends with it.
    fn push(&mut self, chunk: &mut Chunk<T>) -> Result<(), TaskError>;

    /// The partition has ended. Called once, last, and passed on.
    ///
    /// # Errors
    /// [`TaskError`]; the task ends with it.
    fn finish(&mut self) -> Result<(), TaskError>;
}

/// A `Box<dyn Push<T>>` whose `T` only its neighbours know.
pub(crate) type AnyPush = Box<dyn Any>;

pub(crate) fn erase<T: Data>(push: Box<dyn Push<T>>) -> AnyPush {
    Box::new(push)
}

pub(crate) fn reveal<T: Data>(push: AnyPush) -> Box<dyn Push<T>> {
    *push.downcast().expect("DStream<T> joins only operators that agree on T")
}

/// What the operators of one running task share.
pub struct TaskEnv {
    context: TaskContext,
    seed: u64,
    partitions: u32,
    codec: Codec,
    outputs: RefCell<Vec<(PartitionId, Held)>>,
    rows_in: Cell<u64>,
    /// What was built and is not charged yet.
    uncharged: Cell<u64>,
}

/// So much is charged at once: below it, counting touches nothing that others share.
const CHARGE_BYTES: u64 = 64 << 10;

impl TaskEnv {
    pub(crate) fn new(context: &TaskContext, seed: u64, partitions: u32, codec: Codec) -> Rc<Self> {
        Rc::new(TaskEnv {
            context: context.clone(),
            seed,
            partitions,
            codec,
            outputs: RefCell::default(),
            rows_in: Cell::new(0),
            uncharged: Cell::new(0),
        })
    }

    /// What the task may know: batch time, seed, files, whether it is cancelled.
    pub fn context(&self) -> &TaskContext {
        &self.context
    }

    /// The seed of key hashes.
    pub(crate) fn hash_seed(&self) -> u64 {
        self.seed
    }

    /// How many partitions the shuffle has that this task writes (1 if it writes none).
    pub(crate) fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Where types are declared that came up while the program runs.
    pub(crate) fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Keeps a part of the task's result.
    pub fn output(&self, partition: PartitionId, held: Held) {
        self.outputs.borrow_mut().push((partition, held));
    }

    pub(crate) fn take_outputs(&self) -> (Vec<(PartitionId, Held)>, u64) {
        (self.outputs.take(), self.rows_in.get())
    }

    /// Called by leaves before each chunk, and by each [`Buffer`] before it passes one on: counts what is read (a buffer: 0), shows
    /// progress, and stops a task that is not wanted any more.
    ///
    /// # Errors
    /// [`TaskError::Cancelled`].
    pub fn admit(&self, rows: usize) -> Result<(), TaskError> {
        self.rows_in.set(self.rows_in.get() + rows as u64);
        self.context.record_progress();
        if self.context.is_cancelled() { Err(TaskError::Cancelled) } else { Ok(()) }
    }

    /// Called by whoever keeps records, tables or texts until the task ends, before or after each chunk: counts `bytes` more
    /// against the memory for the work of tasks.
    ///
    /// # Errors
    /// [`TaskError::Exhausted`] if there is no more.
    pub fn charge(&self, bytes: u64) -> Result<(), TaskError> {
        let uncharged = self.uncharged.get().saturating_add(bytes);
        if uncharged < CHARGE_BYTES {
            self.uncharged.set(uncharged);
            return Ok(());
        }
        self.uncharged.set(0);
        Ok(self.context.work.charge(uncharged)?)
    }
}

/// A chunk is passed on before it is full once its records have about so many bytes.
const CHUNK_BYTES_MAX: u64 = 4 << 20;

/// Gathers single records into chunks for the next operator. What makes many records of what it has read once (a merged table, a
/// whole partition, one long record) shows progress by the chunks that it passes on.
pub struct Buffer<T> {
    chunk: Chunk<T>,
    down: Box<dyn Push<T>>,
    env: Rc<TaskEnv>,
    /// About how many bytes the records of the chunk have, as far as they were looked at.
    bytes: u64,
}

impl<T: Data> Buffer<T> {
    /// An empty buffer before `down`.
    pub fn new(down: Box<dyn Push<T>>, env: &Rc<TaskEnv>) -> Self {
        Buffer { chunk: Chunk::Rows(Vec::new()), down, env: env.clone(), bytes: 0 }
    }

    /// Appends a record; passes the chunk on when it is full.
    ///
    /// # Errors
    /// Those of the next operator, and [`TaskError::Cancelled`].
    #[inline]
    pub fn push(&mut self, record: T) -> Result<(), TaskError> {
        if let Chunk::Rows(rows) = &mut self.chunk {
            rows.push(record);
            if rows.len() < CHUNK_RECORDS_MAX
                && !(std::mem::needs_drop::<T>() && is_heavy(rows, &mut self.bytes))
            {
                return Ok(());
            }
        }
        self.flush()
    }

    /// Passes on what is there.
    ///
    /// # Errors
    /// Those of the next operator, and [`TaskError::Cancelled`].
    pub fn flush(&mut self) -> Result<(), TaskError> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        self.env.admit(0)?;
        self.down.push(&mut self.chunk)?;
        match &mut self.chunk {
            Chunk::Rows(rows) => rows.clear(),
            other => *other = Chunk::Rows(Vec::new()),
        }
        Ok(())
    }

    /// Passes on what is there, and the end.
    ///
    /// # Errors
    /// Those of the next operator, and [`TaskError::Cancelled`].
    pub fn finish(&mut self) -> Result<(), TaskError> {
        self.flush()?;
        self.down.finish()
    }
}

/// Whether a chunk has enough bytes before it has enough records. Its 1st, 2nd, 4th, 8th … record is looked at, for those since
/// the one before.
#[inline]
fn is_heavy<T: Data>(rows: &[T], bytes: &mut u64) -> bool {
    let count = rows.len();
    if !count.is_power_of_two() {
        return false;
    }
    let since = (count - count / 2) as u64;
    *bytes = bytes.saturating_add(rows_bytes(&rows[count - 1..]).saturating_mul(since));
    *bytes >= CHUNK_BYTES_MAX
}
