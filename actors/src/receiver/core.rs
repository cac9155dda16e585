//! When a block is closed, which batch it belongs to, when it is safe, and how a receiver ends.

use super::messages::{ReceiverAction as Action, ReceiverConfig, ReceiverEvent as Event, SourceEnd};
use super::{
    gate::BlockContent,
    replication::{Copies, Step},
};
use crate::{
    core::Core,
    seam::{StorageLevel, StreamKind},
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use tidemill_protocol::{
    id::{BatchNumber, BlockId, Member},
    message::{BlockInfo, ReceiverExitReason, ReceiverOrder, ToDriver, short_text},
    time::{BatchTime, Time},
};

/// Announced cuts are kept up to this many. One that is not kept is made up for by the next: ending a batch ends all
/// before it.
const CUTS_MAX: usize = 65_536;

/// Where a receiver stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Not started.
    Idle,
    /// The source reads.
    Running,
    /// The source was told to stop and has until then.
    Stopping { abort_at: Time },
    /// The source has ended; the last block is being closed.
    Ending(ReceiverExitReason),
    /// The driver knows; blocks may still be on their way to safety.
    Exited,
    /// All is done.
    Finished,
}

/// A block that is being closed.
#[derive(Clone, Copy, Debug)]
struct Closing {
    batch: BatchNumber,
    /// This close ends the batch.
    ends: bool,
}

/// The decisions of one life of a receiver.
#[derive(Debug)]
pub struct ReceiverCore {
    config: ReceiverConfig,
    order: ReceiverOrder,
    me: Member,
    kind: StreamKind,
    storage: StorageLevel,
    phase: Phase,
    /// Batches below are ended.
    open_batch: BatchNumber,
    cuts: BTreeMap<BatchNumber, Time>,
    open_since: Option<Time>,
    closing: VecDeque<Closing>,
    copies: Copies,
    paused: bool,
    report_at: Option<Time>,
}

impl ReceiverCore {
    /// A receiver that follows `order` on `me`; its stream is of `kind`, and its blocks are safe as `storage` says.
    pub fn new(
        config: ReceiverConfig,
        order: ReceiverOrder,
        me: Member,
        kind: StreamKind,
        storage: StorageLevel,
    ) -> Self {
        let copies = Copies::new(me, storage, config.retry_min, config.retry_max);
        ReceiverCore {
            open_batch: order.open_batch,
            config,
            order,
            me,
            kind,
            storage,
            phase: Phase::Idle,
            cuts: BTreeMap::new(),
            open_since: None,
            closing: VecDeque::new(),
            copies,
            paused: false,
            report_at: None,
        }
    }

    fn block(&self, sequence: u64) -> BlockId {
        BlockId { receiver: self.order.receiver, sequence }
    }

    fn is_reading(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Stopping { .. })
    }

    /// The batch that a block closed now belongs to. If the cuts of the batches below the next announced one were
    /// missed, those batches may be planned already.
    fn stamp(&self) -> BatchNumber {
        self.cuts.keys().next().copied().unwrap_or(self.open_batch)
    }

    fn close(&mut self, closing: Closing, out: &mut Vec<Action>) {
        self.open_since = None;
        self.closing.push_back(closing);
        out.push(Action::CloseBlock);
    }

    fn on_cut(&mut self, now: Time, batch: BatchNumber, at: BatchTime, wall: Duration) {
        if batch >= self.open_batch && (self.is_reading() || self.phase == Phase::Idle) {
            let wait = Duration::from_millis(at.as_millis()).saturating_sub(wall);
            self.cuts.insert(batch, now + wait);
            while self.cuts.len() > CUTS_MAX {
                self.cuts.pop_last();
            }
        }
    }

    fn on_closed(&mut self, now: Time, content: Option<BlockContent>, out: &mut Vec<Action>) {
        let Some(closing) = self.closing.pop_front() else {
            return;
        };
        if let Some(content) = content {
            out.push(Action::TellDriver(ToDriver::BlockAdded(BlockInfo {
                block: self.block(content.sequence),
                batch: closing.batch,
                rows: content.rows,
                bytes: content.bytes,
                first: content.first,
                last: content.last,
                holder: self.me,
                awaits_safety: self.storage != StorageLevel::Single,
            })));
            if planted!(AckBeforeSafe) {
                out.extend(content.last.map(Action::Acknowledge));
            }
            let mut steps = Vec::new();
            self.copies.add(now, content.sequence, content.bytes, content.last, &mut steps);
            self.perform(steps, out);
        }
        if closing.ends {
            let receiver = self.order.receiver;
            out.push(Action::TellDriver(ToDriver::EndOfBatch { receiver, batch: closing.batch }));
        }
        self.exit_if_closed(out);
    }

    fn perform(&mut self, steps: Vec<Step>, out: &mut Vec<Action>) {
        out.extend(steps.into_iter().map(|step| match step {
            Step::Send { sequence, to } => Action::Replicate { block: self.block(sequence), to },
            Step::Safe { sequence, replica } => {
                Action::TellDriver(ToDriver::BlockSafe { block: self.block(sequence), replica })
            }
            Step::Stray { sequence, peer } => {
                let block = self.block(sequence);
                Action::TellDriver(ToDriver::BlockCopied { block, to: peer, kept: true })
            }
        }));
    }

    /// The source has ended. Its last block is reported, unless its sender will repeat it: an acknowledged source that
    /// failed is started again from the last safe position, and what is not safe would be struck.
    fn end(&mut self, reason: ReceiverExitReason, out: &mut Vec<Action>) {
        let failed = matches!(reason, ReceiverExitReason::Failed(_) | ReceiverExitReason::Panicked(_));
        self.phase = Phase::Ending(reason);
        out.push(Action::CloseSink);
        let batch = self.stamp();
        self.cuts.clear();
        if failed && self.kind == StreamKind::Acknowledged {
            self.open_since = None;
        } else {
            self.close(Closing { batch, ends: false }, out);
        }
        self.exit_if_closed(out);
    }

    fn exit_if_closed(&mut self, out: &mut Vec<Action>) {
        if let Phase::Ending(reason) = &self.phase
            && self.closing.is_empty()
        {
            let (receiver, reason) = (self.order.receiver, reason.clone());
            self.phase = Phase::Exited;
            if self.report_at.take().is_some() {
                out.push(Action::FlushReports);
            }
            out.push(Action::TellDriver(ToDriver::ReceiverExited { receiver, reason }));
        }
    }

    /// Its blocks could never be safe: the driver fails the pipeline, also when the source has ended meanwhile.
    fn on_uncopyable(&mut self, why: String, out: &mut Vec<Action>) {
        let (receiver, reason) = (self.order.receiver, ReceiverExitReason::Uncopyable(short_text(why)));
        match self.is_reading() {
            true => self.end(reason, out),
            false => out.push(Action::TellDriver(ToDriver::ReceiverExited { receiver, reason })),
        }
    }

    fn on_source_ended(&mut self, end: SourceEnd, out: &mut Vec<Action>) {
        let reason = match (&self.phase, end) {
            (Phase::Stopping { .. }, _) => ReceiverExitReason::Stopped,
            (Phase::Running, SourceEnd::Returned) => ReceiverExitReason::Exhausted,
            (Phase::Running, SourceEnd::Failed(why)) => ReceiverExitReason::Failed(short_text(why)),
            (Phase::Running, SourceEnd::Panicked(why)) => ReceiverExitReason::Panicked(short_text(why)),
            _ => return,
        };
        self.end(reason, out);
    }

    fn on_stop(&mut self, now: Time, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Idle => self.end(ReceiverExitReason::Stopped, out),
            Phase::Running => {
                self.phase = Phase::Stopping { abort_at: now + self.config.stop_grace };
                out.push(Action::CloseSink);
            }
            _ => {}
        }
    }

    /// Does what is due: cuts in order, then the block interval, then the rest.
    fn run_due(&mut self, now: Time, out: &mut Vec<Action>) {
        while self.is_reading()
            && let Some(cut) = self.cuts.first_entry().filter(|cut| *cut.get() <= now)
        {
            let batch = *cut.key();
            cut.remove();
            self.open_batch = batch.next();
            self.close(Closing { batch, ends: true }, out);
        }
        if self.is_reading() && self.block_due().is_some_and(|at| at <= now) {
            let batch = self.stamp();
            self.close(Closing { batch, ends: false }, out);
        }
        if let Phase::Stopping { abort_at } = self.phase
            && abort_at <= now
        {
            out.push(Action::AbortSource);
            self.end(ReceiverExitReason::Stopped, out);
        }
        let mut steps = Vec::new();
        self.copies.retry(now, &mut steps);
        self.perform(steps, out);
        if self.report_at.is_some_and(|at| at <= now) {
            self.report_at = None;
            out.push(Action::FlushReports);
        }
        if self.phase == Phase::Exited && self.copies.is_empty() {
            self.phase = Phase::Finished;
            out.push(Action::Finished);
        }
    }

    fn block_due(&self) -> Option<Time> {
        self.open_since.map(|since| since + self.config.block_interval)
    }

    /// Blocks that are not safe are memory that nobody may free: beyond a limit the source waits.
    fn pause_or_resume(&mut self, out: &mut Vec<Action>) {
        let (blocks, bytes) = self.copies.unsafe_load();
        let paused = blocks >= self.config.unsafe_blocks_max || bytes >= self.config.unsafe_bytes_max;
        if paused != self.paused {
            self.paused = paused;
            out.push(Action::Pause(paused));
        }
    }

    fn on_copies(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        let mut steps = Vec::new();
        match event {
            Event::Replicated { sequence, peer } => self.copies.replicated(sequence, peer, &mut steps),
            Event::ReplicaFailed { sequence, peer } => self.copies.failed(now, sequence, peer, &mut steps),
            Event::Peers { members, near } => self.copies.set_peers(now, members, near, &mut steps),
            _ => {}
        }
        self.perform(steps, out);
    }

    fn on_released(&mut self, blocks: &[BlockId], out: &mut Vec<Action>) {
        for block in blocks {
            // While the receiver lives only a finished batch lets go of a block: it is as good as safe.
            if self.is_reading() {
                self.on_recorded(*block, out);
            }
            if block.receiver == self.order.receiver {
                self.copies.released(block.sequence);
            }
        }
    }

    fn on_recorded(&mut self, block: BlockId, out: &mut Vec<Action>) {
        if block.receiver == self.order.receiver
            && let Some(position) = self.copies.recorded(block.sequence)
        {
            out.push(Action::Acknowledge(position));
        }
    }
}

impl Core for ReceiverCore {
    type Event = Event;
    type Action = Action;
    const NAME: &'static str = "receiver";

    fn on_event(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Start if self.phase == Phase::Idle => {
                self.phase = Phase::Running;
                let receiver = self.order.receiver;
                out.push(Action::TellDriver(ToDriver::ReceiverStarted { receiver }));
                out.push(Action::RunSource);
            }
            Event::Start | Event::Wake => {}
            Event::Appended { full: true } if self.is_reading() => {
                let batch = self.stamp();
                self.close(Closing { batch, ends: false }, out);
            }
            Event::Appended { .. } if self.is_reading() => {
                self.open_since.get_or_insert(now);
            }
            Event::Appended { .. } => {}
            Event::Closed { content } => self.on_closed(now, content, out),
            Event::Cut { batch, at, wall } => self.on_cut(now, batch, at, wall),
            Event::Replicated { .. } | Event::ReplicaFailed { .. } | Event::Peers { .. } => {
                self.on_copies(now, event, out);
            }
            Event::Uncopyable { why } => self.on_uncopyable(why, out),
            Event::SafeRecorded { block } => self.on_recorded(block, out),
            Event::Released { blocks } => self.on_released(&blocks, out),
            Event::SetRate { records_per_s_max } => out.push(Action::SetRate { records_per_s_max }),
            Event::Reported => {
                self.report_at.get_or_insert(now + self.config.report_interval);
            }
            Event::SourceEnded(end) => self.on_source_ended(end, out),
            Event::Stop => self.on_stop(now, out),
        }
        self.run_due(now, out);
        self.pause_or_resume(out);
    }

    fn wake() -> Event {
        Event::Wake
    }

    fn next_deadline(&self) -> Option<Time> {
        let reading = self.is_reading();
        let abort = if let Phase::Stopping { abort_at } = self.phase { Some(abort_at) } else { None };
        [
            self.cuts.values().next().copied().filter(|_| reading),
            self.block_due().filter(|_| reading),
            abort,
            self.copies.retry_at(),
            self.report_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn assert_invariants(&self) {
        self.copies.assert_invariants();
        assert!(self.cuts.keys().all(|batch| *batch >= self.open_batch), "an ended batch has no cut");
        assert!(self.cuts.len() <= CUTS_MAX, "cuts are limited");
        if matches!(self.phase, Phase::Exited | Phase::Finished) {
            assert!(self.closing.is_empty(), "a receiver exits after its last block");
        }
    }
}
