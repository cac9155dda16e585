//! What the batch generator is told, what it asks for, its limits, and the ways out that it needs.

use crate::seam::{BatchPlan, Machine, RangesFound, StreamInfo};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidemill_protocol::{
    id::{
        BatchNumber, BlockId, Member, PartitionId, Position, ProgramId, ReceiverId, ReceiverIndex, StreamId,
    },
    message::{BlockInfo, ReceiverExitReason, ReceiverOrder, ToExecutor},
    time::BatchTime,
};

/// When batches are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchInterval {
    /// At the multiples of this time since the Unix epoch; whole milliseconds, at least one.
    Every(Duration),
    /// As fast as batches are decided, until all sources are exhausted; for planned streams only.
    AvailableNow,
}

/// The limits of the batch generator, and what it writes into plans.
#[derive(Clone, Debug)]
pub struct GeneratorConfig {
    /// When batches are cut.
    pub interval: BatchInterval,
    /// The program that plans are for.
    pub program: ProgramId,
    /// The seed that each batch's seed is derived from, and the jitter of restarts.
    pub seed: u64,
    /// How many partitions a shuffle has where the program does not say.
    pub default_partitions: u32,
    /// The program's streams.
    pub streams: Vec<StreamInfo>,
    /// Receivers are placed once this many executors are up …
    pub executors_expected: usize,
    /// … or this long after the first.
    pub placement_wait: Duration,
    /// So many batches are with the scheduler undecided; further plans wait here.
    pub in_flight_max: usize,
    /// So many batches are announced or wait; beyond it no cut is announced, and data wait in the open batch.
    pub batches_waiting_max: usize,
    /// A cut is announced this long ahead at least: usually twice of it or one interval, whichever is more.
    pub cut_lead: Duration,
    /// How often the wall clock is looked at.
    pub wall_interval: Duration,
    /// How many records of a planned stream a batch holds at most, whatever the rate; `None`: no limit.
    pub planned_records_max: Option<u64>,
    /// The rate of each receiver, and of each throttled planned stream, until the rate controller speaks, in records per
    /// second; `u64::MAX`: no limit.
    pub rate_initial: u64,
    /// The planned streams that begin at `rate_initial`; the others have no limit until a rate is set for them. Without an
    /// interval no planned stream has a rate.
    pub throttled: BTreeSet<StreamId>,
    /// A receiver that failed is started again after about this time, then after twice of it …
    pub backoff_min: Duration,
    /// … and never later than this.
    pub backoff_max: Duration,
    /// A receiver that ran so long has no failures behind it.
    pub stable_after: Duration,
    /// A planned source that fails so often in a row fails the pipeline.
    pub range_failures_max: u32,
    /// How soon planned sources that had nothing are asked again under `AvailableNow`.
    pub idle_poll: Duration,
}

impl Default for GeneratorConfig {
    fn default() -> Self {
        GeneratorConfig {
            interval: BatchInterval::Every(Duration::from_secs(1)),
            program: ProgramId(0),
            seed: 0,
            default_partitions: 2,
            streams: Vec::new(),
            executors_expected: 1,
            placement_wait: Duration::from_secs(2),
            in_flight_max: 4,
            batches_waiting_max: 10_000,
            cut_lead: Duration::from_millis(50),
            wall_interval: Duration::from_secs(1),
            planned_records_max: None,
            rate_initial: u64::MAX,
            throttled: BTreeSet::new(),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            stable_after: Duration::from_secs(10),
            range_failures_max: 10,
            idle_poll: Duration::from_millis(10),
        }
    }
}

/// What the batch generator is told.
#[derive(Clone, Debug)]
pub enum GeneratorEvent {
    /// Begin; the wall clock says `wall`, since the Unix epoch.
    Start {
        /// The wall clock.
        wall: Duration,
    },
    /// The answer to `ReadWall`.
    Wall {
        /// The wall clock, since the Unix epoch.
        wall: Duration,
    },
    /// An executor can be used.
    ExecutorUp(Member),
    /// On which machine an executor runs. Told where executors are processes that have addresses, right after `ExecutorUp`.
    ExecutorAt(Member, Machine),
    /// An executor is dead; nothing of it counts any more.
    ExecutorDown(Member),
    /// An executor wants to leave: its receivers move, and what only it holds is copied.
    ExecutorLeaving(Member),
    /// What the failure detector thinks of an executor.
    ExecutorSuspected {
        /// Which.
        member: Member,
        /// Whether it was not heard of for longer than usual: receivers rather go elsewhere.
        suspected: bool,
    },
    /// The answer to `CopyBlock`.
    BlockCopied {
        /// The block.
        block: BlockId,
        /// Whom it was to be copied to.
        to: Member,
        /// Whether it is held there now.
        kept: bool,
    },
    /// A receiver runs.
    ReceiverStarted(ReceiverId),
    /// A receiver has cut a block.
    BlockAdded(BlockInfo),
    /// A block is held by enough executors.
    BlockSafe {
        /// Which.
        block: BlockId,
        /// Who else holds it.
        replica: Option<Member>,
    },
    /// An executor has said something of a receiver or a block: it counts if the receiver lives there.
    Said {
        /// Who.
        by: Member,
        /// What: `ReceiverStarted`, `BlockAdded`, `BlockSafe`, `EndOfBatch`, `ReceiverExited` or `BlockCopied`.
        what: Box<GeneratorEvent>,
    },
    /// A receiver will add no block to this batch and those before it.
    EndOfBatch {
        /// Which receiver.
        receiver: ReceiverId,
        /// Which batch.
        batch: BatchNumber,
    },
    /// A receiver has ended.
    ReceiverExited {
        /// Which.
        receiver: ReceiverId,
        /// Why.
        reason: ReceiverExitReason,
    },
    /// The answer to `AskRanges`.
    RangesReady {
        /// As asked.
        batch: BatchNumber,
        /// As asked.
        stream: StreamId,
        /// The ranges, or why there are none.
        result: Result<RangesFound, String>,
    },
    /// The scheduler has decided a batch.
    BatchDecided(BatchNumber),
    /// Nobody will read the batch's blocks again. Implies that it was decided.
    BatchReleased(BatchNumber),
    /// The rate controller has set a rate.
    SetRate {
        /// Of which stream.
        stream: StreamId,
        /// Of which of its receivers (0 for a planned stream).
        receiver: ReceiverIndex,
        /// Records per second; 0 pauses; `u64::MAX`: no limit.
        records_per_s_max: u64,
    },
    /// End. Gracefully: receivers report what they have, and one last batch holds it.
    Stop {
        /// Whether what was received is still to be planned.
        graceful: bool,
    },
    /// A deadline has come.
    Wake,
}

/// What the batch generator asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum GeneratorAction {
    /// Start a receiver.
    StartReceiver {
        /// Where.
        member: Member,
        /// Which, and from where on.
        order: ReceiverOrder,
    },
    /// Stop a receiver.
    StopReceiver {
        /// Where.
        member: Member,
        /// Which.
        receiver: ReceiverId,
    },
    /// Announce a cut to the executors that run receivers.
    AnnounceCut {
        /// Whom.
        members: Vec<Member>,
        /// The batch that ends.
        batch: BatchNumber,
        /// When.
        at: BatchTime,
    },
    /// Set a receiver's rate.
    SetRate {
        /// Where.
        member: Member,
        /// Which.
        receiver: ReceiverId,
        /// Records per second; 0 pauses.
        records_per_s_max: u64,
    },
    /// Ask a planned source for its share of a batch; answered by `RangesReady`.
    AskRanges {
        /// The batch.
        batch: BatchNumber,
        /// The stream.
        stream: StreamId,
        /// How far each partition is planned.
        planned: BTreeMap<PartitionId, u64>,
        /// How many records are permitted.
        records_max: Option<u64>,
    },
    /// Hand a plan to the scheduler.
    PlanReady {
        /// The plan.
        plan: Arc<BatchPlan>,
        /// Who holds each of its blocks, by block.
        holders: BTreeMap<BlockId, Vec<Member>>,
    },
    /// A handed batch is planned anew: blocks were struck from it.
    Replan {
        /// Its plan from now on.
        plan: Arc<BatchPlan>,
        /// Who holds each of its blocks.
        holders: BTreeMap<BlockId, Vec<Member>>,
    },
    /// A block of a handed batch has a new holder.
    BlockHeld {
        /// The block.
        block: BlockId,
        /// All holders.
        holders: Vec<Member>,
    },
    /// All blocks of this batch, and of those before it, are safe: it may be decided.
    BatchSafe(BatchNumber),
    /// Tell a receiver that its block is entered as safe.
    RecordSafe {
        /// Where it runs.
        member: Member,
        /// Which block.
        block: BlockId,
    },
    /// Have blocks dropped.
    DropBlocks {
        /// By whom.
        member: Member,
        /// Which.
        blocks: Vec<BlockId>,
    },
    /// Have a block copied that too few hold; answered by `BlockCopied`.
    CopyBlock {
        /// By whom.
        from: Member,
        /// Which.
        block: BlockId,
        /// To whom.
        to: Member,
    },
    /// While all executors leave: whether blocks wait in batches that the scheduler does not have. Told when it changes.
    BlocksWait(bool),
    /// No receiver and no block needs this leaving executor any more. Told once.
    Drained(Member),
    /// Look at the wall clock; answered by `Wall`.
    ReadWall,
    /// Something that operators and users want to know.
    Note(GeneratorNote),
    /// All sources are exhausted (or stopped), and every batch is with the scheduler.
    Ended,
    /// The pipeline cannot go on.
    Fail(String),
}

/// News about receivers, for logs, metrics and listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GeneratorNote {
    /// A life of a receiver has ended, and another will begin.
    ReceiverRestarts {
        /// The life that ended.
        receiver: ReceiverId,
        /// Why.
        reason: String,
        /// When the next begins.
        after: Duration,
        /// From where it goes on.
        resume_after: Option<Position>,
    },
    /// A receiver reads.
    ReceiverStarted {
        /// Which.
        receiver: ReceiverId,
        /// Where.
        on: Member,
    },
    /// An executor is gone, and blocks with it: copies take their place, or their sender repeats them.
    HolderLost {
        /// Who.
        member: Member,
        /// How many blocks of batches that are not released it held.
        blocks: u64,
    },
    /// Blocks were struck from undecided batches because their sender repeats them.
    BlocksStruck {
        /// How many.
        blocks: usize,
        /// Their records.
        records: u64,
    },
    /// Blocks of undecided batches are gone with all their holders.
    BlocksLost {
        /// How many.
        blocks: usize,
        /// Their records.
        records: u64,
    },
    /// An executor has spoken of a receiver or a block that is not its own.
    WordRefused {
        /// Who.
        by: Member,
    },
    /// A block that had lost a holder, or is to lose one, has another.
    BlockCopied {
        /// Which.
        block: BlockId,
        /// The new holder.
        to: Member,
    },
}

/// The way to executors.
pub trait ExecutorOutlet: Send + Sync {
    /// Sends, in order for each member, without waiting. A member that has gone is ignored.
    fn send(&self, to: Member, message: ToExecutor);
}

/// The way to the scheduler and to those who watch.
pub trait PlanOutlet: Send + Sync {
    /// A new plan, with the holders of its blocks.
    fn plan_ready(&self, plan: Arc<BatchPlan>, holders: BTreeMap<BlockId, Vec<Member>>);
    /// The plan of a batch that was handed over before has changed. A decided batch keeps its old one.
    fn replan(&self, plan: Arc<BatchPlan>, holders: BTreeMap<BlockId, Vec<Member>>);
    /// A block has other holders now.
    fn block_held(&self, block: BlockId, holders: Vec<Member>);
    /// The batch may be decided, as far as its blocks are concerned.
    fn batch_safe(&self, batch: BatchNumber);
    /// While all executors leave: whether blocks wait behind the batches that were handed over.
    fn blocks_wait(&self, wait: bool);
    /// No receiver and no block needs this leaving executor any more.
    fn drained(&self, member: Member);
    /// For logs and listeners.
    fn note(&self, note: GeneratorNote);
    /// No further batch will come.
    fn ended(&self);
    /// The pipeline cannot go on.
    fn failed(&self, reason: String);
}
