//! What the receiver is told, what it asks for, what it needs from its executor, and the sink that sources write to.

use super::copied::Replicator;
use super::gate::{BlockContent, Change, Gate, Permit};
use super::token_bucket::UNLIMITED;
use crate::seam::{Held, Payload, SourceError};
use crate::supervision::panic::PanicText;
use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tidemill_protocol::{
    id::{BatchNumber, BlockId, Member, Position, ReceiverId},
    message::{ReceiverOrder, ToDriver},
    time::{BatchTime, Time},
    world::Clock,
};
use tokio::sync::{Notify, watch};

/// The limits of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverConfig {
    /// A block is closed this long after its first record, if no cut and no size limit comes first.
    pub block_interval: Duration,
    /// A block is closed when it holds this many records …
    pub block_rows_max: u64,
    /// … or this many bytes.
    pub block_bytes_max: u64,
    /// The source waits while the open block holds this many bytes.
    pub open_bytes_max: u64,
    /// The source waits while this many closed blocks are not yet safe …
    pub unsafe_blocks_max: usize,
    /// … or this many bytes of them.
    pub unsafe_bytes_max: u64,
    /// The limit in bytes per second; `u64::MAX`: none. The limit in records comes from the rate controller.
    pub bytes_per_s_max: u64,
    /// How much of the rate may be saved up.
    pub burst: Duration,
    /// When no peer took a copy, all are asked again after this time, then after twice of it …
    pub retry_min: Duration,
    /// … and never later than this.
    pub retry_max: Duration,
    /// How long a source that was told to stop may go on before it is dropped.
    pub stop_grace: Duration,
    /// Reports about the source are gathered for this long.
    pub report_interval: Duration,
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        ReceiverConfig {
            block_interval: Duration::from_millis(200),
            block_rows_max: 1_000_000,
            block_bytes_max: 4 << 20,
            open_bytes_max: 16 << 20,
            unsafe_blocks_max: 256,
            unsafe_bytes_max: 64 << 20,
            bytes_per_s_max: UNLIMITED,
            burst: Duration::from_millis(50),
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
            stop_grace: Duration::from_secs(5),
            report_interval: Duration::from_secs(1),
        }
    }
}

/// How a source came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEnd {
    /// It has no more records, or it saw that its sink is closed.
    Returned,
    /// It gave up.
    Failed(String),
    /// It panicked: message and location.
    Panicked(String),
}

impl SourceEnd {
    /// What the end of a source's future means, given why its sink is closed. A sink that was misused makes a failure of
    /// any end, however the source took it.
    pub(super) fn of(end: Result<Result<(), SourceError>, PanicText>, closed: Option<&SinkClosed>) -> Self {
        match (end, closed) {
            (Err(panic), _) => SourceEnd::Panicked(panic.to_string()),
            (_, Some(reason @ (SinkClosed::PositionNotGrowing { .. } | SinkClosed::PushTooLarge { .. }))) => {
                SourceEnd::Failed(reason.to_string())
            }
            (Ok(Err(error)), _) => SourceEnd::Failed(error.to_string()),
            (Ok(Ok(())), _) => SourceEnd::Returned,
        }
    }
}

/// What a receiver is told.
#[derive(Clone, Debug)]
pub enum ReceiverEvent {
    /// Begin.
    Start,
    /// The open block is not empty any more, or (`full`) has passed its size limit.
    Appended {
        /// Whether it is to be closed now.
        full: bool,
    },
    /// `CloseBlock` was carried out.
    Closed {
        /// What was in the block; `None`: nothing, and there is no block.
        content: Option<BlockContent>,
    },
    /// The driver announced a cut.
    Cut {
        /// The batch that ends.
        batch: BatchNumber,
        /// When, on the wall clock.
        at: BatchTime,
        /// The wall clock now, since the Unix epoch.
        wall: Duration,
    },
    /// `peer` holds a copy.
    Replicated {
        /// Of which block.
        sequence: u64,
        /// Who.
        peer: Member,
    },
    /// `peer` did not take a copy.
    ReplicaFailed {
        /// Of which block.
        sequence: u64,
        /// Who.
        peer: Member,
    },
    /// What is in a block cannot be copied to anybody.
    Uncopyable {
        /// Where, why, and what to do.
        why: String,
    },
    /// The live executors.
    Peers {
        /// All of them; this one may be among them.
        members: Vec<Member>,
        /// Those among them that run on this machine, and die with it.
        near: Vec<Member>,
    },
    /// The driver has entered a block as safe.
    SafeRecorded {
        /// Which; one of another receiver is ignored.
        block: BlockId,
    },
    /// The driver wants these blocks dropped: they need no copies any more.
    Released {
        /// Which; those of other receivers are ignored.
        blocks: Vec<BlockId>,
    },
    /// The permitted rate from now on.
    SetRate {
        /// Records per second; 0 pauses.
        records_per_s_max: u64,
    },
    /// The source has put something into the counters.
    Reported,
    /// The source has ended.
    SourceEnded(SourceEnd),
    /// Stop the source, report what was read, and exit.
    Stop,
    /// A deadline has come.
    Wake,
}

/// What a receiver asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum ReceiverAction {
    /// Run the source from the order's position; its end comes back as `SourceEnded`.
    RunSource,
    /// Take the open block out of the gate, keep it, and say `Closed`.
    CloseBlock,
    /// Have a block copied; the end comes back as `Replicated`, `ReplicaFailed` or `Uncopyable`.
    Replicate {
        /// Which.
        block: BlockId,
        /// To whom.
        to: Member,
    },
    /// Tell the driver.
    TellDriver(ToDriver),
    /// Everything up to this position may be acknowledged.
    Acknowledge(Position),
    /// The source must wait (or may go on).
    Pause(bool),
    /// The permitted rate.
    SetRate {
        /// Records per second; 0 pauses.
        records_per_s_max: u64,
    },
    /// Give no more permits; the source sees that the sink is closed.
    CloseSink,
    /// Drop the source where it stands; it had its time.
    AbortSource,
    /// Tell the driver what was counted.
    FlushReports,
    /// Nothing is left to do: the receiver may be dropped.
    Finished,
}

/// Where closed blocks are kept.
pub trait BlockHold: Send + Sync {
    /// Keeps a block until it is dropped by id. Its memory was granted before it was read, so it is never refused.
    fn put(&self, block: BlockId, held: Held);

    /// Whether receivers may read: false while the executor's memory budget is used up.
    fn room(&self) -> watch::Receiver<bool>;
}

/// The way to the driver.
pub trait TellDriver: Send + Sync {
    /// Sends, in order, without waiting.
    fn tell(&self, message: ToDriver);
}

/// What a receiver needs from the executor it runs on.
#[derive(Clone)]
pub struct ReceiverPorts {
    /// Where blocks are kept.
    pub hold: Arc<dyn BlockHold>,
    /// Who copies them.
    pub replicator: Arc<dyn Replicator>,
    /// Who carries messages to the driver.
    pub driver: Arc<dyn TellDriver>,
    /// The program's sources.
    pub source: Arc<dyn crate::seam::SourceHost>,
}

/// The sink takes nothing more. Not retryable: the source returns, and whoever started it decides.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkClosed {
    /// The receiver was told to stop, or its executor ends.
    #[error("the receiver stops")]
    Stopped,
    /// The source handed over a position that does not grow. Remedy: the source drops what it has handed over before.
    #[error("positions {first} to {last} do not follow {seen:?}")]
    PositionNotGrowing {
        /// The highest position seen.
        seen: Option<Position>,
        /// The first position of the refused piece.
        first: Position,
        /// The last position of the refused piece.
        last: Position,
    },
    /// The source handed over more at once, with positions, than one block may hold: it cannot be cut, because nobody knows the
    /// positions within. Remedy: hand over less at once.
    #[error(
        "{bytes} bytes were pushed at once with the positions {first} to {last}, more than a block may have ({bytes_max} bytes): \
         push fewer records at once"
    )]
    PushTooLarge {
        /// How much it is on the wire.
        bytes: u64,
        /// How much it may be.
        bytes_max: u64,
        /// The first position of the refused piece.
        first: Position,
        /// The last position of the refused piece.
        last: Position,
    },
}

/// What sink and performer share.
pub(super) struct SinkShared {
    gate: Mutex<Gate>,
    /// Something changed that a waiting source wants to know.
    pub(super) changed: Notify,
    /// The source is to be dropped.
    pub(super) aborted: Notify,
    pub(super) safe: watch::Sender<Option<Position>>,
    room: watch::Receiver<bool>,
    pub(super) clock: Clock,
    tell: Box<dyn Fn(ReceiverEvent) + Send + Sync>,
}

impl SinkShared {
    pub(super) fn gate(&self) -> MutexGuard<'_, Gate> {
        // Only a payload's own code can panic under the lock, and the gate runs it before it changes anything.
        self.gate.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    pub(super) fn close(&self, reason: SinkClosed) {
        self.gate().close(reason);
        self.changed.notify_waiters();
    }
}

/// Where a source puts its records. Cloning it is cheap; all clones feed the same receiver.
///
/// A source asks for a [`permit`](Self::permit) *before* it reads, so that a limit reaches its peer as real backpressure,
/// then [`append`](Self::append)s what it read.
#[derive(Clone)]
pub struct BlockSink {
    pub(super) shared: Arc<SinkShared>,
    receiver: ReceiverId,
}

impl BlockSink {
    /// A sink that tells `tell` what the receiver's core has to know. Used by the receiver; tests of sources may make one.
    pub fn new(
        config: &ReceiverConfig,
        order: &ReceiverOrder,
        clock: Clock,
        room: watch::Receiver<bool>,
        tell: impl Fn(ReceiverEvent) + Send + Sync + 'static,
    ) -> Self {
        let gate = Gate::new(config, order.records_per_s_max, order.resume_after, clock.now());
        let shared = SinkShared {
            gate: Mutex::new(gate),
            changed: Notify::new(),
            aborted: Notify::new(),
            safe: watch::Sender::new(order.resume_after),
            room,
            clock,
            tell: Box::new(tell),
        };
        BlockSink { shared: Arc::new(shared), receiver: order.receiver }
    }

    /// Whose sink it is.
    pub fn receiver(&self) -> ReceiverId {
        self.receiver
    }

    /// Waits until `records` records and `bytes` bytes may be read: for the token bucket, while the rate is 0, while
    /// the executor's memory is used up, and while too many blocks are not yet safe. An estimate will do; 0 and 0 only
    /// wait for the gate to open.
    ///
    /// # Errors
    /// [`SinkClosed`] once nothing is taken any more.
    pub async fn permit(&self, records: u64, bytes: u64) -> Result<(), SinkClosed> {
        let mut room = self.shared.room.clone();
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let has_room = *room.borrow_and_update();
            let now = self.shared.now();
            let until = {
                let mut gate = self.shared.gate();
                match gate.closed() {
                    Some(reason) => return Err(reason.clone()),
                    None if !has_room => None,
                    None => match gate.permit(now, records, bytes)? {
                        Permit::Granted => return Ok(()),
                        Permit::Until(at) => Some(at),
                        Permit::Blocked => None,
                    },
                }
            };
            let sleep = async {
                match until {
                    Some(at) => self.shared.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut changed => {}
                gone = room.changed() => gone.map_err(|_| SinkClosed::Stopped)?,
                () = sleep => {}
            }
        }
    }

    /// As [`append_sized`](Self::append_sized), for records that have no more bytes on the wire than in memory.
    ///
    /// # Errors
    /// As there.
    pub async fn append(
        &self,
        piece: Arc<dyn Payload>,
        first: Option<Position>,
        last: Option<Position>,
    ) -> Result<(), SinkClosed> {
        let bytes = piece.heap_bytes();
        self.append_sized(piece, bytes, first, last).await
    }

    /// Adds records to the open block, with the positions of the first and the last of them where the source has
    /// positions. Positions must grow over all calls; what the sender repeats is dropped by the source. Waits only while
    /// the open block is so large that the receiver must take it first. `wire_bytes`: how many bytes they have as MessagePack.
    ///
    /// A block is cut before it exceeds what another executor takes, if a piece does not.
    ///
    /// # Errors
    /// [`SinkClosed`] once nothing is taken any more; after `PositionNotGrowing` the sink stays closed.
    pub async fn append_sized(
        &self,
        piece: Arc<dyn Payload>,
        wire_bytes: u64,
        first: Option<Position>,
        last: Option<Position>,
    ) -> Result<(), SinkClosed> {
        let bytes = piece.heap_bytes().max(wire_bytes);
        let change = loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut gate = self.shared.gate();
                if gate.closed().is_some() || gate.has_space(bytes) {
                    break gate.append(piece, wire_bytes, first, last);
                }
            }
            changed.await;
        };
        self.tell_of(change)
    }

    /// As [`append`](Self::append), without waiting, and also after the receiver was told to stop: for what the sender had sent by
    /// then. The source must have read it to its end before it returns; what comes later is in no block.
    ///
    /// # Errors
    /// [`SinkClosed`] if a position has not grown.
    pub fn append_on_the_way(
        &self,
        piece: Arc<dyn Payload>,
        first: Option<Position>,
        last: Option<Position>,
    ) -> Result<(), SinkClosed> {
        let bytes = piece.heap_bytes();
        let change = self.shared.gate().append_on_the_way(piece, bytes, first, last);
        self.tell_of(change)
    }

    fn tell_of(&self, change: Result<Change, SinkClosed>) -> Result<(), SinkClosed> {
        match change {
            Ok(Change::Quiet) => {}
            Ok(Change::First) => (self.shared.tell)(ReceiverEvent::Appended { full: false }),
            Ok(Change::Full) => (self.shared.tell)(ReceiverEvent::Appended { full: true }),
            Err(reason) => {
                self.shared.changed.notify_waiters();
                return Err(reason);
            }
        }
        Ok(())
    }

    /// Takes nothing more: the source has handed over what cannot be taken. The receiver fails with this reason.
    pub fn refuse(&self, reason: SinkClosed) {
        self.shared.close(reason);
    }

    /// The highest position that may be acknowledged to the sender: everything up to it is safe. Grows.
    pub fn safe(&self) -> watch::Receiver<Option<Position>> {
        self.shared.safe.subscribe()
    }

    /// Counts something that an operator of the cluster wants to know: one of a small set of names (`bad_utf8`,
    /// `line_too_long`, `cut_line`, `reconnect`, `lost_connection`, `sender_does_not_read`).
    pub fn report(&self, what: &'static str, count: u64) {
        if self.shared.gate().report(what, count) {
            (self.shared.tell)(ReceiverEvent::Reported);
        }
    }

    /// Whether nothing is taken any more.
    pub fn is_closed(&self) -> bool {
        self.shared.gate().closed().is_some()
    }

    /// Completes once nothing is taken any more.
    pub async fn closed(&self) {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_closed() {
                return;
            }
            changed.await;
        }
    }
}

impl std::fmt::Debug for BlockSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockSink").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}
