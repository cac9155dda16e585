//! Keyed shuffles: combined on the map side, dealt out by key group, combined again on the reduce side.
//!
//! ```text
//!   (K, V) ──> one table a reduce partition ──Keyed<K, C>──> one table ──> (K, …) in order of first appearance
//! ```

use crate::{
    data::{Chunk, Data, Keyed, KeyedTable, Keys, TextChunk, key_hash, partition_of, text_hash},
    dstream::DStream,
    graph::{Push, TaskEnv, each_held},
};
use std::{
    hash::Hash,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tidemill_actors::seam::{Held, InputData, TaskError};
use tidemill_protocol::id::PartitionId;

/// What may be a key. Equal keys must be written as equal bytes.
pub(super) trait Key: Data + Eq + Hash {}
impl<K: Data + Eq + Hash> Key for K {}

/// How the values of one key become one.
pub(super) trait Combine<V, C>: Send + Sync + 'static {
    /// Whether the value of a key grows with each value that comes to it.
    const KEEPS_ALL: bool = false;
    fn create(&self, value: V) -> C;
    fn add(&self, so_far: &mut C, value: V);
    fn merge(&self, so_far: &mut C, other: &C);
}

/// The tables of one map task, one for each reduce partition.
pub(super) struct Shards<K, C> {
    env: Rc<TaskEnv>,
    seed: u64,
    tables: Vec<KeyedTable<K, C>>,
    scratch: Vec<u8>,
    room: Arc<AtomicUsize>,
    size: TableSize,
}

impl<K: Key, C: Data> Shards<K, C> {
    /// Tables with as much room as the task before needed: results never depend on it.
    pub(super) fn new(env: &Rc<TaskEnv>, room: &Arc<AtomicUsize>) -> Self {
        let capacity = room.load(Ordering::Relaxed);
        Shards {
            env: env.clone(),
            seed: env.hash_seed(),
            tables: (0..env.partitions()).map(|_| KeyedTable::with_capacity(capacity)).collect(),
            scratch: Vec::new(),
            room: room.clone(),
            size: TableSize::default(),
        }
    }

    /// Charges what the tables have grown by since the last chunk. `owned`: what its records own beside themselves.
    pub(super) fn charge(&mut self, records: usize, owned: u64, keeps_all: bool) -> Result<(), TaskError> {
        let now = TableSize::of(&self.tables);
        let grown = self.size.grow_to(now, records, owned, keeps_all);
        self.env.charge(grown)
    }

    #[inline]
    pub(super) fn add<V>(&mut self, key: K, value: V, combine: &impl Combine<V, C>) -> Result<(), TaskError> {
        let hash = key_hash(&key, self.seed, &mut self.scratch)?;
        let partition = partition_of(hash, self.tables.len() as u32) as usize;
        let table = &mut self.tables[partition];
        match table.get_mut(hash, &key) {
            Some(so_far) => combine.add(so_far, value),
            None => table.insert(hash, key, combine.create(value))?,
        }
        Ok(())
    }

    /// Adds `value` for each text of a chunk, where `K` is `Text`. Known keys are found by their bytes: that a range begins and
    /// ends at characters is only checked for a new key.
    pub(super) fn add_texts<V: Copy>(
        &mut self,
        texts: &TextChunk,
        value: V,
        combine: &impl Combine<V, C>,
    ) -> Result<(), TaskError> {
        texts.try_each(|text, (start, end)| {
            let key = &text.as_bytes()[start..end];
            let hash = text_hash(key, self.seed);
            let partition = partition_of(hash, self.tables.len() as u32) as usize;
            let table = &mut self.tables[partition];
            match table.get_mut_bytes(hash, key) {
                Some(so_far) => combine.add(so_far, value),
                None => table.insert_str(hash, &text[start..end], combine.create(value))?,
            }
            Ok(())
        })
    }

    pub(super) fn finish(&mut self) {
        let most = self.tables.iter().map(KeyedTable::len).max().unwrap_or(0);
        self.room.store(most + most / 8, Ordering::Relaxed);
        for (partition, table) in std::mem::take(&mut self.tables).into_iter().enumerate() {
            if table.len() > 0 {
                let (entries, keys) = table.into_parts();
                let keyed = Keyed::new(entries, keys, true);
                self.env.output(PartitionId(partition as u32), Held::new(vec![Arc::new(keyed)]));
            }
        }
    }
}

/// How large tables are.
#[derive(Clone, Copy, Default)]
struct TableSize {
    keys: usize,
    bytes: u64,
}

impl TableSize {
    fn of<K: Key, C>(tables: &[KeyedTable<K, C>]) -> Self {
        let keys = tables.iter().map(KeyedTable::len).sum();
        TableSize { keys, bytes: tables.iter().map(KeyedTable::bytes).sum() }
    }

    /// By how many bytes tables have grown that are now `now`, after `records` records that own `owned` bytes: what a record
    /// owns stays with each new key, or with each record where all are kept.
    fn grow_to(&mut self, now: TableSize, records: usize, owned: u64, keeps_all: bool) -> u64 {
        let before = std::mem::replace(self, now);
        let kept = if keeps_all { records } else { now.keys - before.keys };
        let own = u128::from(owned) * kept as u128 / records.max(1) as u128;
        (now.bytes - before.bytes).saturating_add(u64::try_from(own).unwrap_or(u64::MAX))
    }
}

/// The map side for pairs.
struct PairShards<K, C, M> {
    shards: Shards<K, C>,
    combine: Arc<M>,
}

impl<K: Key, V: Data, C: Data, M: Combine<V, C>> Push<(K, V)> for PairShards<K, C, M> {
    fn push(&mut self, chunk: &mut Chunk<(K, V)>) -> Result<(), TaskError> {
        let (records, bytes) = (chunk.len(), chunk.bytes());
        // What all are kept of is in the table with its own size too.
        let plain = (records * size_of::<(K, V)>()) as u64;
        let owned = if M::KEEPS_ALL { bytes } else { bytes.saturating_sub(plain) };
        chunk.take_each(|(key, value)| self.shards.add(key, value, &*self.combine))?;
        self.shards.charge(records, owned, M::KEEPS_ALL)
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        self.shards.finish();
        Ok(())
    }
}

impl<K: Data + Eq + Hash, V: Data, S: 'static> DStream<(K, V), S> {
    /// The writing side of a keyed shuffle.
    pub(super) fn combined<C: Data, M: Combine<V, C>>(
        &self,
        label: &'static str,
        partitions: Option<u32>,
        combine: Arc<M>,
    ) -> usize {
        let room = Arc::new(AtomicUsize::new(0));
        self.exchange::<Keyed<K, C>, _>(label, partitions, move |env| {
            Box::new(PairShards { shards: Shards::new(env, &room), combine: combine.clone() })
        })
    }

    /// Both sides, with one record a key.
    pub(super) fn keyed<C: Data, M: Combine<V, C>>(
        &self,
        label: &'static str,
        partitions: Option<u32>,
        combine: Arc<M>,
    ) -> DStream<(K, C), S> {
        let exchange = self.combined(label, partitions, combine.clone());
        self.read_keyed(label, exchange, combine)
    }
}

impl<T: Data, S: 'static> DStream<T, S> {
    /// The reading side of the keyed shuffle that `exchange` writes.
    pub(super) fn read_keyed<K: Key, V: 'static, C: Data, M: Combine<V, C>>(
        &self,
        label: &'static str,
        exchange: usize,
        combine: Arc<M>,
    ) -> DStream<(K, C), S> {
        self.merge(label, vec![exchange], move |inputs, down, env| {
            let table = merged::<K, V, C, M>(inputs.into_iter().flatten(), &combine, env)?;
            let mut out = crate::graph::Buffer::new(down, env);
            table.into_each(|key, value| out.push((key, value)))?;
            out.finish()
        })
    }
}

/// Merges the shares of one reduce partition, in order.
pub(super) fn merged<K: Key, V, C: Data, M: Combine<V, C>>(
    parts: impl Iterator<Item = InputData>,
    combine: &M,
    env: &TaskEnv,
) -> Result<KeyedTable<K, C>, TaskError> {
    let mut table = KeyedTable::with_capacity(0);
    let (mut scratch, mut size) = (Vec::new(), TableSize::default());
    for part in parts {
        let InputData::Held(held) = part else {
            return Err(no_range());
        };
        each_held(&held, |keyed: &Keyed<K, C>| {
            env.admit(keyed.entries.len())?;
            merge_piece(&mut table, keyed, combine, env.hash_seed(), &mut scratch)?;
            let now = TableSize::of(std::slice::from_ref(&table));
            env.charge(size.grow_to(now, keyed.entries.len(), keyed.owned(), M::KEEPS_ALL))
        })?;
    }
    Ok(table)
}

fn merge_piece<K: Key, V, C: Data, M: Combine<V, C>>(
    table: &mut KeyedTable<K, C>,
    keyed: &Keyed<K, C>,
    combine: &M,
    seed: u64,
    scratch: &mut Vec<u8>,
) -> Result<(), TaskError> {
    if table.len() == 0 && keyed.hashed {
        table.adopt(keyed.entries.clone(), keyed.keys.clone());
        return Ok(());
    }
    for (number, entry) in keyed.entries.iter().enumerate() {
        match &keyed.keys {
            Keys::Text(arena) => {
                let key = arena.get(entry.place);
                let hash = if keyed.hashed { entry.hash } else { text_hash(key.as_bytes(), seed) };
                match table.get_mut_bytes(hash, key.as_bytes()) {
                    Some(so_far) => combine.merge(so_far, &entry.value),
                    None => table.insert_str(hash, key, entry.value.clone())?,
                }
            }
            Keys::Plain(keys) => {
                let key = &keys[number];
                let hash = if keyed.hashed { entry.hash } else { key_hash(key, seed, scratch)? };
                match table.get_mut(hash, key) {
                    Some(so_far) => combine.merge(so_far, &entry.value),
                    None => table.insert(hash, key.clone(), entry.value.clone())?,
                }
            }
        }
    }
    Ok(())
}

pub(super) fn no_range() -> TaskError {
    TaskError::Failed("a shuffle was planned as a range of a source".into())
}
