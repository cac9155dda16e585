//! The events of the batch generator, and what they lead to in cuts, lives, ranges and books.

use super::{
    books::{Books, Stage, Struck},
    copies::Copies,
    cuts::Cuts,
    lives::{After, Backoff, Lives},
    messages::{
        BatchInterval, GeneratorAction as Action, GeneratorConfig, GeneratorEvent as Event, GeneratorNote,
    },
    plan,
    ranges::Ranges,
};
use crate::{core::Core, seam::StreamKind};
use std::{collections::BTreeSet, time::Duration};
use tidemill_protocol::{
    id::{BatchNumber, BlockId, Member, ReceiverId, ReceiverIndex},
    message::{BlockInfo, ReceiverExitReason},
    time::Time,
};

/// Where the pipeline stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not started.
    Idle,
    /// Batches are cut.
    Running,
    /// Receivers are stopping; one last batch follows.
    Stopping,
    /// This batch was cut as the last.
    Last(BatchNumber),
    /// No batch will follow.
    Ended,
}

/// The decisions of the batch generator.
#[derive(Debug)]
pub struct GeneratorCore {
    pub(super) config: GeneratorConfig,
    pub(super) phase: Phase,
    pub(super) cuts: Cuts,
    pub(super) books: Books,
    pub(super) lives: Lives,
    pub(super) copies: Copies,
    /// Those of whom it was told that nothing of theirs is needed.
    pub(super) drained: BTreeSet<Member>,
    /// Whether the scheduler was told that blocks wait while everybody leaves.
    pub(super) waiting_told: bool,
    pub(super) ranges: Ranges,
    /// Receivers may be placed from then on.
    placing_at: Option<Time>,
    wall_at: Time,
    pub(super) poll_at: Option<Time>,
    /// When an event came last.
    now: Time,
}

impl GeneratorCore {
    /// A generator of batches of the pipeline that `config` describes.
    pub fn new(config: GeneratorConfig) -> Self {
        let interval = match config.interval {
            BatchInterval::Every(interval) => Some(interval),
            BatchInterval::AvailableNow => None,
        };
        let rate = |stream| if config.throttled.contains(&stream) { config.rate_initial } else { u64::MAX };
        let planned = config.streams.iter().filter(|s| s.kind == StreamKind::Planned);
        let planned = planned.map(|s| (s.id, rate(s.id)));
        let receivers = config.streams.iter().filter(|s| s.kind != StreamKind::Planned).flat_map(|stream| {
            (0..stream.receivers).map(|index| (stream.id, ReceiverIndex(index), stream.kind))
        });
        let backoff =
            Backoff { min: config.backoff_min, max: config.backoff_max, stable_after: config.stable_after };
        GeneratorCore {
            phase: Phase::Idle,
            cuts: Cuts::new(interval.unwrap_or_default(), config.cut_lead),
            books: Books::default(),
            lives: Lives::new(receivers, config.rate_initial, backoff, config.seed),
            copies: Copies::default(),
            drained: BTreeSet::new(),
            waiting_told: false,
            ranges: Ranges::new(planned, interval, config.planned_records_max),
            placing_at: None,
            wall_at: Time::ZERO,
            poll_at: None,
            now: Time::ZERO,
            config,
        }
    }

    #[cfg(test)]
    pub(super) fn books_size(&self) -> (usize, usize) {
        self.books.size()
    }

    pub(super) fn has_interval(&self) -> bool {
        matches!(self.config.interval, BatchInterval::Every(_))
    }

    pub(super) fn has_room(&self) -> bool {
        self.books.undecided() + self.books.queued() < self.config.in_flight_max
    }

    fn start(&mut self, now: Time, wall: Duration, out: &mut Vec<Action>) {
        if self.phase != Phase::Idle {
            return;
        }
        self.set_wall(now, wall);
        self.phase = Phase::Running;
        if !self.has_interval() && self.lives.iter().next().is_some() {
            self.phase = Phase::Ended;
            out.push(Action::Fail(
                "AvailableNow reads planned sources only, and there is a received one".to_owned(),
            ));
        }
        if !self.has_interval() && self.config.streams.is_empty() {
            self.begin_static(now);
        }
    }

    fn set_wall(&mut self, now: Time, wall: Duration) {
        self.cuts.set_wall(now, wall);
        self.wall_at = now + self.config.wall_interval;
    }

    fn on_executor_up(&mut self, now: Time, member: Member) {
        self.lives.members.insert(member);
        self.copies.refresh(&self.books, &self.lives);
        let wait = if self.lives.members.len() >= self.config.executors_expected {
            Duration::ZERO
        } else {
            self.config.placement_wait
        };
        self.placing_at = Some(self.placing_at.unwrap_or(now + wait).min(now + wait));
    }

    fn on_executor_down(&mut self, now: Time, member: Member, out: &mut Vec<Action>) {
        let ends = self.lives.member_down(now, member, self.is_stopping());
        let (held, lost) = self.books.forget_holder(member);
        // Of one that was drained nothing was needed, or it is elsewhere.
        if held > 0 && !self.drained.contains(&member) {
            out.push(Action::Note(GeneratorNote::HolderLost { member, blocks: held }));
        }
        for after in ends {
            self.end_life(after, "its executor is gone".to_owned(), out);
        }
        let lost = self.books.strike(lost);
        if !lost.blocks.is_empty() {
            let (blocks, records) = (lost.blocks.len(), lost.records);
            out.push(Action::Note(GeneratorNote::BlocksLost { blocks, records }));
        }
        self.replan(&lost, out);
        self.drained.remove(&member);
        self.copies.refresh(&self.books, &self.lives);
    }

    fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping | Phase::Last(_) | Phase::Ended)
    }

    /// What follows from the end of a receiver's life.
    fn end_life(&mut self, after: After, reason: String, out: &mut Vec<Action>) {
        let struck = self.books.strike(after.struck);
        if !struck.blocks.is_empty() {
            let (blocks, records) = (struck.blocks.len(), struck.records);
            out.push(Action::Note(GeneratorNote::BlocksStruck { blocks, records }));
            self.drop_blocks(&struck.blocks, out);
            self.replan(&struck, out);
        }
        if let Some(wait) = after.restart {
            let (receiver, resume_after) = (after.receiver, after.resume_after);
            let note = GeneratorNote::ReceiverRestarts { receiver, reason, after: wait, resume_after };
            out.push(Action::Note(note));
        }
    }

    fn on_exited(&mut self, now: Time, id: ReceiverId, reason: ReceiverExitReason, out: &mut Vec<Action>) {
        if let ReceiverExitReason::Uncopyable(why) = reason {
            return out.push(Action::Fail(why));
        }
        if let Some(after) = self.lives.exited(now, id, &reason, self.is_stopping()) {
            let reason = match reason {
                ReceiverExitReason::Failed(why) | ReceiverExitReason::Uncopyable(why) => why,
                ReceiverExitReason::Panicked(why) => format!("panicked: {why}"),
                ReceiverExitReason::Stopped => "stopped by its executor".to_owned(),
                ReceiverExitReason::Exhausted => "exhausted".to_owned(),
            };
            self.end_life(after, reason, out);
        }
    }

    /// Whether it is this executor's business: nobody speaks for another one's receivers and blocks.
    fn may_say(&self, by: Member, what: &Event) -> bool {
        let hosts = |id: ReceiverId| self.lives.host(id).is_none_or(|host| host == by);
        match what {
            Event::ReceiverStarted(receiver)
            | Event::EndOfBatch { receiver, .. }
            | Event::ReceiverExited { receiver, .. } => hosts(*receiver),
            Event::BlockAdded(info) => info.holder == by && hosts(info.block.receiver),
            Event::BlockSafe { block, .. } => self.books.holding(*block).is_none_or(|held| held.cut_on == by),
            Event::BlockCopied { block, .. } => self.copies.copier(*block).is_none_or(|from| from == by),
            _ => false,
        }
    }

    fn on_block(&mut self, info: BlockInfo, out: &mut Vec<Action>) {
        if self.lives.block_added(info.block, info.last) {
            let block = info.block;
            self.books.add(info, self.cuts.next());
            self.copies.consider(&self.books, &self.lives, block);
        } else if self.lives.members.contains(&info.holder) {
            out.push(Action::DropBlocks { member: info.holder, blocks: vec![info.block] });
        }
    }

    fn on_started(&mut self, now: Time, receiver: ReceiverId, out: &mut Vec<Action>) {
        if let Some(on) = self.lives.started(now, receiver) {
            out.push(Action::Note(GeneratorNote::ReceiverStarted { receiver, on }));
        }
    }

    /// A replica on an executor that died meanwhile, or that leaves while another could hold it, does not count: the receiver
    /// hears of both too, and has the block copied again.
    fn on_safe(&mut self, block: BlockId, replica: Option<Member>, out: &mut Vec<Action>) {
        let cut_on = self.books.holding(block).map(|held| held.cut_on);
        let is_void = |replica| {
            !self.lives.members.contains(&replica)
                || cut_on.is_some_and(|cut_on| !self.lives.may_hold(replica, cut_on))
        };
        if replica.is_some_and(is_void) {
            return;
        }
        let Some(marked) = self.books.mark_safe(block, replica) else {
            // Struck or released while the copy was on its way.
            let drop = |member| Action::DropBlocks { member, blocks: vec![block] };
            return out.extend(replica.map(drop));
        };
        self.lives.block_safe(block);
        self.copies.consider(&self.books, &self.lives, block);
        if self.lives.members.contains(&marked.receiver_on) {
            out.push(Action::RecordSafe { member: marked.receiver_on, block });
        }
        if marked.stage == Stage::Handed && replica.is_some() {
            out.push(Action::BlockHeld { block, holders: marked.holders });
        }
    }

    fn on_stop(&mut self, graceful: bool, out: &mut Vec<Action>) {
        let stopped = self.lives.stop();
        out.extend(stopped.into_iter().map(|(member, receiver)| Action::StopReceiver { member, receiver }));
        match self.phase {
            Phase::Running if graceful && self.has_interval() => self.phase = Phase::Stopping,
            // The last batch is on its way already.
            Phase::Stopping | Phase::Last(_) if graceful => {}
            Phase::Ended => {}
            _ => {
                self.phase = Phase::Ended;
                out.push(Action::Ended);
            }
        }
    }

    fn set_rate(&mut self, event: &Event, out: &mut Vec<Action>) {
        let Event::SetRate { stream, receiver, records_per_s_max } = *event else {
            return;
        };
        self.ranges.set_rate(stream, records_per_s_max);
        if let Some(life) = self.lives.by_index_mut(stream, receiver) {
            life.rate = records_per_s_max;
            if let (true, Some(member)) = (life.is_live(), life.member) {
                out.push(Action::SetRate { member, receiver: life.id, records_per_s_max });
            }
        }
    }

    /// Copies may lie where the books do not know of them (a copy whose success was never heard of), so every executor
    /// is told.
    fn drop_blocks(&self, blocks: &[BlockId], out: &mut Vec<Action>) {
        if !blocks.is_empty() {
            let drop = |member: &Member| Action::DropBlocks { member: *member, blocks: blocks.to_vec() };
            out.extend(self.lives.members.iter().map(drop));
        }
    }

    fn replan(&mut self, struck: &Struck, out: &mut Vec<Action>) {
        for batch in &struck.replan {
            if let Some((plan, holders)) = plan::write(&self.config, &self.books, *batch) {
                out.push(Action::Replan { plan, holders });
            }
        }
    }

    /// Starts the receivers whose time has come, and tells each of the cuts that lie ahead.
    fn place(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.phase != Phase::Running || self.placing_at.is_none_or(|at| at > now) {
            return;
        }
        while let Some((member, order)) = self.lives.place(now, self.cuts.open()) {
            out.push(Action::StartReceiver { member, order });
            let announce = |(batch, at)| Action::AnnounceCut { members: vec![member], batch, at };
            out.extend(self.cuts.ahead().map(announce));
        }
    }

    /// Cuts that are to be announced, and cuts that are reached.
    fn cut(&mut self, now: Time, out: &mut Vec<Action>) {
        if !self.has_interval() || self.phase == Phase::Idle {
            return;
        }
        while self.is_announcing()
            && let Some((batch, at)) = self.cuts.announce(now)
        {
            let members = self.lives.hosts();
            if !members.is_empty() {
                out.push(Action::AnnounceCut { members, batch, at });
            }
        }
        let mut reached = false;
        while matches!(self.phase, Phase::Running | Phase::Stopping)
            && let Some((batch, at)) = self.cuts.reached(now)
        {
            self.books.reach(batch, at);
            reached = true;
        }
        if self.phase == Phase::Stopping
            && self.lives.have_exited()
            && let Some((batch, at)) = self.cuts.reach_last(now)
        {
            self.books.reach(batch, at);
            self.books.gather_into(batch);
            self.phase = Phase::Last(batch);
        }
        if reached && self.wall_at <= now {
            self.wall_at = now + self.config.wall_interval;
            out.push(Action::ReadWall);
        }
    }

    fn is_announcing(&self) -> bool {
        let waiting =
            self.cuts.next().0.saturating_sub(self.books.next_plan().0) as usize + self.books.queued();
        matches!(self.phase, Phase::Running | Phase::Stopping) && waiting < self.config.batches_waiting_max
    }

    /// Carries batches through their stages, as far as they go.
    fn advance(&mut self, now: Time, out: &mut Vec<Action>) {
        loop {
            if self.has_interval() && self.books.wants_ranges() && !self.ranges.is_asking() {
                let questions = self.ranges.ask(now, self.books.next_plan());
                out.extend(questions.into_iter().map(Action::from));
            }
            self.begin_available(now, out);
            if let Some((batch, ranges)) = self.ranges.take() {
                if self.has_interval() {
                    self.books.set_ranges(batch, ranges);
                } else if !self.end_available(now, batch, ranges) {
                    break;
                }
            }
            if !(self.lives.have_ended(self.books.next_plan()) && self.books.complete()) {
                break;
            }
            self.hand(out);
        }
        self.hand(out);
    }

    fn hand(&mut self, out: &mut Vec<Action>) {
        while self.books.undecided() < self.config.in_flight_max
            && let Some(batch) = self.books.hand()
        {
            let (plan, holders) =
                plan::write(&self.config, &self.books, batch).expect("a handed batch is in the books");
            out.push(Action::PlanReady { plan, holders });
        }
    }

    /// Ends when nothing can come any more and everything that came is with the scheduler.
    fn end_if_done(&mut self, out: &mut Vec<Action>) {
        let exhausted = match self.phase {
            Phase::Running => {
                !self.config.streams.is_empty() && self.lives.are_done() && self.ranges.is_exhausted()
            }
            Phase::Last(last) => self.books.next_plan() > last,
            _ => false,
        };
        if exhausted && !self.books.has_unplanned() && self.books.queued() == 0 {
            self.phase = Phase::Ended;
            out.push(Action::Ended);
        }
    }

    fn on_ranges(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        let Event::RangesReady { batch, stream, result } = event else {
            return;
        };
        if let Err((failures, why)) = self.ranges.answer(now, batch, stream, result)
            && failures >= self.config.range_failures_max
            && self.phase != Phase::Ended
        {
            self.phase = Phase::Ended;
            out.push(Action::Fail(format!("{stream} cannot list what it holds: {why}")));
        }
    }
}

impl Core for GeneratorCore {
    type Event = Event;
    type Action = Action;
    const NAME: &'static str = "batch_generator";

    fn on_event(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        self.now = now;
        let event = match event {
            Event::Said { by, what } if !self.may_say(by, &what) => {
                return out.push(Action::Note(GeneratorNote::WordRefused { by }));
            }
            Event::Said { what, .. } => *what,
            event => event,
        };
        match event {
            Event::Start { wall } => self.start(now, wall, out),
            Event::Wall { wall } => self.set_wall(now, wall),
            Event::ExecutorUp(member) => self.on_executor_up(now, member),
            Event::ExecutorAt(member, machine) => self.lives.set_machine(member, machine),
            Event::ExecutorDown(member) => self.on_executor_down(now, member, out),
            Event::ExecutorLeaving(member) => self.on_leaving(member, out),
            Event::ExecutorSuspected { member, suspected } => self.lives.suspect(member, suspected),
            Event::BlockCopied { block, to, kept } => self.on_copied(block, to, kept, out),
            Event::ReceiverStarted(receiver) => self.on_started(now, receiver, out),
            Event::BlockAdded(info) => self.on_block(info, out),
            Event::BlockSafe { block, replica } => self.on_safe(block, replica, out),
            Event::EndOfBatch { receiver, batch } => self.lives.end_of_batch(receiver, batch),
            Event::ReceiverExited { receiver, reason } => self.on_exited(now, receiver, reason, out),
            Event::RangesReady { .. } => self.on_ranges(now, event, out),
            Event::BatchDecided(batch) => self.books.decide(batch),
            Event::BatchReleased(batch) => {
                let blocks = self.books.release(batch);
                self.drop_blocks(&blocks, out);
            }
            Event::SetRate { .. } => self.set_rate(&event, out),
            Event::Stop { graceful } => self.on_stop(graceful, out),
            Event::Wake | Event::Said { .. } => {}
        }
        if self.phase != Phase::Idle && self.phase != Phase::Ended {
            self.place(now, out);
            self.cut(now, out);
            out.extend(self.ranges.retry(now).into_iter().map(Action::from));
            self.advance(now, out);
            self.end_if_done(out);
        }
        for after in self.lives.end_moves_from_the_last() {
            self.end_life(after, String::new(), out);
        }
        self.copy_blocks(now, out);
        self.report_drained(out);
        self.report_waiting(out);
        // Also after the end: the last batches are still to become safe.
        while let Some(batch) = self.books.next_safe() {
            out.push(Action::BatchSafe(batch));
        }
    }

    fn wake() -> Event {
        Event::Wake
    }

    fn next_deadline(&self) -> Option<Time> {
        if matches!(self.phase, Phase::Idle | Phase::Ended) {
            return self.copies.next_deadline();
        }
        let cut = self.cuts.next_deadline(self.now, self.is_announcing());
        let placing = self.placing_at.filter(|_| self.phase == Phase::Running && self.lives.somebody_stays());
        let placed = placing.and_then(|at| self.lives.next_deadline().map(|due| due.max(at)));
        let cut = cut.filter(|_| self.has_interval() && !matches!(self.phase, Phase::Last(_)));
        let poll = self.poll_at.filter(|_| self.has_room() && !self.ranges.is_asking());
        [cut, placed, self.ranges.next_deadline(), poll, self.copies.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    fn assert_invariants(&self) {
        self.cuts.assert_invariants();
        self.books.assert_invariants();
        self.lives.assert_invariants();
        self.copies.assert_invariants(&self.lives);
        assert!(self.books.undecided() <= self.config.in_flight_max, "batches in flight are limited");
    }
}
