//! The books: which block is in which batch, who holds it, whether it is safe; and how far each batch has come. Never a
//! record. What is released is forgotten, so the books are as large as what is in flight.

use crate::seam::{PlannedBlock, PlannedRange, StreamInput};
use std::collections::{BTreeMap, BTreeSet};
use tidemill_protocol::{
    id::{BatchNumber, BlockId, Member, StreamId},
    message::BlockInfo,
    time::BatchTime,
};

/// How far a batch has come. Each step leads to the next one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Blocks may still be added.
    Open,
    /// Its time has come.
    Reached,
    /// It is complete, and waits for its turn.
    Ready,
    /// The scheduler has its plan.
    Handed,
    /// It cannot be changed any more.
    Decided,
}

/// A batch.
#[derive(Debug)]
struct Batch {
    stage: Stage,
    time: BatchTime,
    blocks: BTreeSet<BlockId>,
    awaiting: BTreeSet<BlockId>,
    ranges: Option<BTreeMap<StreamId, Vec<PlannedRange>>>,
}

/// A block.
#[derive(Debug)]
struct Block {
    info: BlockInfo,
    batch: BatchNumber,
    safe: bool,
    holders: Vec<Member>,
}

impl Block {
    fn holding(&self, id: BlockId) -> Holding<'_> {
        let copies = if self.info.awaits_safety { 2 } else { 1 };
        let (cut_on, holders) = (self.info.holder, &self.holders[..]);
        Holding { batch: self.batch, id, cut_on, holders, safe: self.safe, copies }
    }
}

/// What became of a block that was said to be safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marked {
    pub(super) receiver_on: Member,
    pub(super) stage: Stage,
    pub(super) holders: Vec<Member>,
}

/// A batch's time, its inputs, and the holders of its blocks.
pub(super) type Contents = (BatchTime, BTreeMap<StreamId, StreamInput>, BTreeMap<BlockId, Vec<Member>>);

/// Who holds a block, and who shall.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding<'a> {
    pub(super) batch: BatchNumber,
    pub(super) id: BlockId,
    /// Where it was cut.
    pub(super) cut_on: Member,
    pub(super) holders: &'a [Member],
    pub(super) safe: bool,
    /// How many shall hold it.
    pub(super) copies: usize,
}

/// Blocks taken out of their batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Struck {
    pub(super) blocks: Vec<BlockId>,
    pub(super) records: u64,
    /// Handed batches that have lost something.
    pub(super) replan: BTreeSet<BatchNumber>,
}

/// All batches and blocks that are not released.
#[derive(Debug, Default)]
pub(super) struct Books {
    batches: BTreeMap<BatchNumber, Batch>,
    blocks: BTreeMap<BlockId, Block>,
    /// All batches below are ready at least.
    next_plan: BatchNumber,
    next_hand: BatchNumber,
    next_safe: BatchNumber,
    undecided: usize,
}

impl Books {
    /// The first batch that is not complete: what comes late goes there.
    pub(super) fn next_plan(&self) -> BatchNumber {
        self.next_plan
    }

    /// How many batches the scheduler has undecided.
    pub(super) fn undecided(&self) -> usize {
        self.undecided
    }

    /// How many batches wait for their turn.
    pub(super) fn queued(&self) -> usize {
        usize::try_from(self.next_plan.0 - self.next_hand.0).unwrap_or(usize::MAX)
    }

    /// Whether blocks wait in batches that are not complete.
    pub(super) fn has_unplanned(&self) -> bool {
        self.batches.range(self.next_plan..).any(|(_, batch)| !batch.blocks.is_empty())
    }

    /// Whether blocks wait in batches that the scheduler does not have.
    pub(super) fn has_waiting(&self) -> bool {
        self.batches.range(self.next_hand..).any(|(_, batch)| !batch.blocks.is_empty())
    }

    fn batch(&mut self, number: BatchNumber) -> &mut Batch {
        self.batches.entry(number).or_insert_with(|| Batch {
            stage: Stage::Open,
            time: BatchTime(0),
            blocks: BTreeSet::new(),
            awaiting: BTreeSet::new(),
            ranges: None,
        })
    }

    /// Enters a block into the batch it is stamped with; or, if that is complete, into the first that is not. Nothing is
    /// entered beyond `latest`.
    pub(super) fn add(&mut self, info: BlockInfo, latest: BatchNumber) {
        let number = info.batch.min(latest).max(self.next_plan);
        if self.blocks.contains_key(&info.block) {
            return;
        }
        let batch = self.batch(number);
        batch.blocks.insert(info.block);
        if info.awaits_safety {
            batch.awaiting.insert(info.block);
        }
        let holders = vec![info.holder];
        self.blocks.insert(info.block, Block { batch: number, safe: !info.awaits_safety, holders, info });
    }

    /// A block is held by enough executors; `replica` is one of them, besides its receiver's.
    pub(super) fn mark_safe(&mut self, id: BlockId, replica: Option<Member>) -> Option<Marked> {
        let block = self.blocks.get_mut(&id)?;
        block.safe = true;
        if let Some(replica) = replica
            && !block.holders.contains(&replica)
            && !planted!(ForgetReplica)
        {
            block.holders.push(replica);
        }
        let (batch, holders, receiver_on) = (block.batch, block.holders.clone(), block.info.holder);
        let entry = self.batches.get_mut(&batch)?;
        entry.awaiting.remove(&id);
        Some(Marked { receiver_on, stage: entry.stage, holders })
    }

    /// One more executor holds a block; nothing if the block is not in the books.
    pub(super) fn add_holder(&mut self, id: BlockId, holder: Member) -> Option<Marked> {
        let block = self.blocks.get_mut(&id)?;
        if !block.holders.contains(&holder) {
            block.holders.push(holder);
        }
        let (batch, holders, receiver_on) = (block.batch, block.holders.clone(), block.info.holder);
        Some(Marked { receiver_on, stage: self.batches.get(&batch)?.stage, holders })
    }

    /// Who holds a block.
    pub(super) fn holding(&self, id: BlockId) -> Option<Holding<'_>> {
        self.blocks.get(&id).map(|block| block.holding(id))
    }

    /// Who holds each block.
    pub(super) fn holdings(&self) -> impl Iterator<Item = Holding<'_>> {
        self.blocks.iter().map(|(id, block)| block.holding(*id))
    }

    /// Takes blocks out of their batches, as far as those are not decided.
    pub(super) fn strike(&mut self, ids: impl IntoIterator<Item = BlockId>) -> Struck {
        let mut struck = Struck::default();
        for id in ids {
            let Some(batch) = self.blocks.get(&id).and_then(|block| self.batches.get_mut(&block.batch))
            else {
                continue;
            };
            if batch.stage == Stage::Decided {
                continue;
            }
            batch.blocks.remove(&id);
            batch.awaiting.remove(&id);
            if let Some(block) = self.blocks.remove(&id) {
                if batch.stage == Stage::Handed {
                    struck.replan.insert(block.batch);
                    // What replaces it becomes safe anew, even if this was safe.
                    self.next_safe = self.next_safe.min(block.batch);
                }
                struck.records += block.info.rows;
                struck.blocks.push(id);
            }
        }
        struck
    }

    /// `member` holds nothing any more. Returns how many blocks it held, and those of them that nobody holds now.
    pub(super) fn forget_holder(&mut self, member: Member) -> (u64, Vec<BlockId>) {
        let (mut held, mut lost) = (0, Vec::new());
        for (id, block) in &mut self.blocks {
            let before = block.holders.len();
            block.holders.retain(|holder| *holder != member);
            held += (before - block.holders.len()) as u64;
            if block.holders.is_empty() {
                lost.push(*id);
            }
        }
        (held, lost)
    }

    /// A batch's time has come.
    pub(super) fn reach(&mut self, number: BatchNumber, time: BatchTime) {
        let batch = self.batch(number);
        batch.stage = Stage::Reached;
        batch.time = time;
    }

    /// Every block that is not in a complete batch goes into `last`: there will be no batch after it.
    pub(super) fn gather_into(&mut self, last: BatchNumber) {
        let later: Vec<BatchNumber> = self.batches.range(last.next()..).map(|(number, _)| *number).collect();
        for number in later {
            if let Some(mut batch) = self.batches.remove(&number) {
                for id in &batch.blocks {
                    if let Some(block) = self.blocks.get_mut(id) {
                        block.batch = last;
                    }
                }
                let into = self.batch(last);
                into.blocks.append(&mut batch.blocks);
                into.awaiting.append(&mut batch.awaiting);
            }
        }
    }

    /// The planned sources' share of a batch.
    pub(super) fn set_ranges(&mut self, number: BatchNumber, ranges: BTreeMap<StreamId, Vec<PlannedRange>>) {
        self.batch(number).ranges = Some(ranges);
    }

    /// Whether the first batch that is not complete waits for its ranges.
    pub(super) fn wants_ranges(&self) -> bool {
        self.batches.get(&self.next_plan).is_some_and(|b| b.stage == Stage::Reached && b.ranges.is_none())
    }

    /// Completes the first batch that is not complete, if its time has come and its ranges are there.
    pub(super) fn complete(&mut self) -> bool {
        let batch = self.batches.get_mut(&self.next_plan);
        let Some(batch) = batch.filter(|b| b.stage == Stage::Reached && b.ranges.is_some()) else {
            return false;
        };
        batch.stage = Stage::Ready;
        self.next_plan = self.next_plan.next();
        true
    }

    /// The next batch for the scheduler, if one is complete.
    pub(super) fn hand(&mut self) -> Option<BatchNumber> {
        let number = self.next_hand;
        let batch = self.batches.get_mut(&number).filter(|batch| batch.stage == Stage::Ready)?;
        batch.stage = Stage::Handed;
        self.undecided += 1;
        self.next_hand = number.next();
        Some(number)
    }

    /// The next handed batch of which all blocks are safe, and of all before it. After a strike some are told again.
    pub(super) fn next_safe(&mut self) -> Option<BatchNumber> {
        let number = self.next_safe;
        if number >= self.next_hand {
            return None;
        }
        if self.batches.get(&number).is_some_and(|batch| !batch.awaiting.is_empty()) {
            return None;
        }
        self.next_safe = number.next();
        Some(number)
    }

    /// A batch's time, its inputs, and the holders of its blocks.
    pub(super) fn contents(&self, number: BatchNumber) -> Option<Contents> {
        let batch = self.batches.get(&number)?;
        let mut blocks: BTreeMap<StreamId, Vec<PlannedBlock>> = BTreeMap::new();
        let mut holders = BTreeMap::new();
        for id in &batch.blocks {
            let block = &self.blocks[id];
            let planned = PlannedBlock { id: *id, rows: block.info.rows, bytes: block.info.bytes };
            blocks.entry(id.receiver.stream).or_default().push(planned);
            holders.insert(*id, block.holders.clone());
        }
        let ranges =
            batch.ranges.iter().flatten().map(|(s, ranges)| (*s, StreamInput::Ranges(ranges.clone())));
        let blocks = blocks.into_iter().map(|(stream, blocks)| (stream, StreamInput::Blocks(blocks)));
        Some((batch.time, blocks.chain(ranges).collect(), holders))
    }

    /// The scheduler has decided a batch.
    pub(super) fn decide(&mut self, number: BatchNumber) {
        if let Some(batch) = self.batches.get_mut(&number).filter(|batch| batch.stage == Stage::Handed) {
            batch.stage = Stage::Decided;
            self.undecided -= 1;
        }
    }

    /// Forgets a batch that the scheduler had; gives its blocks.
    pub(super) fn release(&mut self, number: BatchNumber) -> Vec<BlockId> {
        self.decide(number);
        if self.batches.get(&number).is_none_or(|batch| batch.stage != Stage::Decided) {
            return Vec::new();
        }
        let blocks = self.batches.remove(&number).map(|batch| batch.blocks).unwrap_or_default();
        for id in &blocks {
            self.blocks.remove(id);
        }
        blocks.into_iter().collect()
    }

    /// How many batches and blocks are in the books.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.batches.len(), self.blocks.len())
    }

    pub(super) fn assert_invariants(&self) {
        assert!(self.next_safe <= self.next_hand && self.next_hand <= self.next_plan, "stages come in order");
        let handed = self.batches.values().filter(|batch| batch.stage == Stage::Handed).count();
        assert_eq!(handed, self.undecided, "undecided batches are counted");
        for (id, block) in &self.blocks {
            let batch =
                self.batches.get(&block.batch).expect("a block's batch is in the books until it is released");
            assert!(batch.blocks.contains(id), "{id} is in its batch");
            assert_eq!(batch.awaiting.contains(id), !block.safe, "{id} is awaited until it is safe");
        }
        let entered: usize = self.batches.values().map(|batch| batch.blocks.len()).sum();
        assert_eq!(entered, self.blocks.len(), "each block is in one batch");
        for (number, batch) in &self.batches {
            assert_eq!(
                batch.stage >= Stage::Ready,
                *number < self.next_plan,
                "{number} is complete in order"
            );
            assert_eq!(batch.stage >= Stage::Handed, *number < self.next_hand, "{number} is handed in order");
        }
    }
}
