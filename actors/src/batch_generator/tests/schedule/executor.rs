//! The executors of a schedule: receivers with their sources, and the copies of blocks.

use super::*;

impl Town {
    pub(super) fn start(&mut self, on: Member, order: ReceiverOrder) {
        let Some(executor) = self.executors.get_mut(&on) else {
            return;
        };
        let receiver = order.receiver;
        let (kind, storage) = match receiver.stream {
            ACKNOWLEDGED => (StreamKind::Acknowledged, StorageLevel::Replicated),
            _ => (StreamKind::Unacknowledged, StorageLevel::Single),
        };
        let key = (receiver.stream, receiver.index);
        let resume = order.resume_after.map_or(0, |position| position.0);
        let acknowledged = self.acknowledged.get(&key).copied().unwrap_or(0);
        let position = if receiver.stream == ACKNOWLEDGED {
            assert!(
                resume >= acknowledged,
                "{receiver} resumes after {resume}, but {acknowledged} was acknowledged"
            );
            resume
        } else {
            self.sent.get(&key).copied().unwrap_or(0)
        };
        let config = ReceiverConfig {
            block_interval: Duration::from_millis(20),
            unsafe_blocks_max: 50,
            ..ReceiverConfig::default()
        };
        let core = ReceiverCore::new(config, order, on, kind, storage);
        let life = Life {
            core,
            reads: false,
            paused: false,
            position,
            open: None,
            next_sequence: 0,
            armed: u64::MAX,
        };
        executor.lives.insert(receiver, life);
        let members = executor.peers.clone();
        let members = if members.is_empty() { self.believed.iter().copied().collect() } else { members };
        self.receiver(on, receiver, ReceiverEvent::Peers { members, near: Vec::new() });
        self.receiver(on, receiver, ReceiverEvent::Start);
    }

    pub(super) fn receiver(&mut self, on: Member, receiver: ReceiverId, event: ReceiverEvent) {
        let Some(executor) = self.executors.get_mut(&on) else {
            return;
        };
        if let ReceiverEvent::Peers { members, .. } = &event {
            executor.peers = members.clone();
        }
        let Some(life) = executor.lives.get_mut(&receiver) else {
            return;
        };
        let mut out = Vec::new();
        life.core.on_event(Time(self.now), event, &mut out);
        life.core.assert_invariants();
        if life.armed <= self.now {
            life.armed = u64::MAX;
        }
        let deadline = life.core.next_deadline().filter(|deadline| deadline.0 < life.armed);
        life.armed = deadline.map_or(life.armed, |deadline| deadline.0);
        for action in out {
            self.perform(on, receiver, action);
        }
        if let Some(deadline) = deadline {
            self.at(deadline.0, Next::WakeReceiver(on, receiver));
        }
    }

    fn perform(&mut self, on: Member, receiver: ReceiverId, action: ReceiverAction) {
        let Some(executor) = self.executors.get_mut(&on) else {
            return;
        };
        let Some(life) = executor.lives.get_mut(&receiver) else {
            return;
        };
        match action {
            ReceiverAction::RunSource => {
                life.reads = true;
                self.soon(1, 10, Next::Source(on, receiver));
            }
            ReceiverAction::CloseBlock => {
                let content = life.open.take().map(|(first, last)| {
                    let sequence = life.next_sequence;
                    life.next_sequence += 1;
                    executor.blocks.insert(block_id(receiver, sequence));
                    self.contents.insert(block_id(receiver, sequence), (first, last));
                    let rows = last - first + 1;
                    let (first, last) = (Some(Position(first)), Some(Position(last)));
                    BlockContent { sequence, rows, bytes: rows, first, last }
                });
                let event = ReceiverEvent::Closed { content };
                self.at(self.now, Next::ToReceivers(on, Some(receiver), event));
            }
            ReceiverAction::Replicate { block, to } => self.soon(1, 30, Next::Copy { from: on, block, to }),
            ReceiverAction::TellDriver(message) => self.send(on.node.0, 0, Next::FromExecutor(on, message)),
            ReceiverAction::Acknowledge(position) => {
                let known = self.acknowledged.entry((receiver.stream, receiver.index)).or_default();
                assert!(receiver.stream != ACKNOWLEDGED || position.0 > *known, "what is acknowledged grows");
                *known = position.0;
            }
            ReceiverAction::Pause(paused) => life.paused = paused,
            ReceiverAction::CloseSink | ReceiverAction::AbortSource => life.reads = false,
            ReceiverAction::Finished => drop(executor.lives.remove(&receiver)),
            ReceiverAction::SetRate { .. } | ReceiverAction::FlushReports => {}
        }
    }

    /// The source hands over a few records, or fails, or comes to its end.
    pub(super) fn source(&mut self, on: Member, receiver: ReceiverId) {
        let fails = self.now < FAULTS_END && self.rng.chance(0.005);
        let count = self.rng.range(1, 12);
        let Some(life) = self.executors.get_mut(&on).and_then(|e| e.lives.get_mut(&receiver)) else {
            return;
        };
        if !life.reads {
            return;
        }
        let event = if fails {
            ReceiverEvent::SourceEnded(SourceEnd::Failed("reset".to_owned()))
        } else if life.position >= RECORDS && self.now >= FAULTS_END {
            ReceiverEvent::SourceEnded(SourceEnd::Returned)
        } else {
            let last = (life.position + count).min(RECORDS);
            if !life.paused && last > life.position {
                let first = life.position + 1;
                life.position = last;
                let was_empty = life.open.is_none();
                life.open = Some((life.open.map_or(first, |open| open.0), last));
                let sent = self.sent.entry((receiver.stream, receiver.index)).or_default();
                *sent = last.max(*sent);
                if was_empty {
                    self.receiver(on, receiver, ReceiverEvent::Appended { full: false });
                }
            }
            return self.soon(1, 40, Next::Source(on, receiver));
        };
        self.receiver(on, receiver, event);
    }

    pub(super) fn ordered_copy(&mut self, from: Member, block: BlockId, to: Member) {
        let Some(holder) = self.executors.get(&from) else {
            return;
        };
        let is_there = holder.blocks.contains(&block) && !self.rng.chance(0.1);
        let taker = self.executors.get_mut(&to).filter(|_| is_there);
        let kept = taker.map(|taker| taker.blocks.insert(block)).is_some();
        self.send(from.node.0, 0, Next::FromExecutor(from, ToDriver::BlockCopied { block, to, kept }));
    }

    pub(super) fn copy(&mut self, from: Member, block: BlockId, to: Member) {
        if !self.executors.get(&from).is_some_and(|executor| executor.blocks.contains(&block)) {
            return;
        }
        let (stored, heard) = (!self.rng.chance(0.05), !self.rng.chance(0.05));
        let there = self.executors.get_mut(&to).filter(|_| stored);
        let stored = there.map(|executor| executor.blocks.insert(block)).is_some();
        let (sequence, peer) = (block.sequence, to);
        let event = match stored && heard {
            true => ReceiverEvent::Replicated { sequence, peer },
            false => ReceiverEvent::ReplicaFailed { sequence, peer },
        };
        self.soon(1, 20, Next::ToReceivers(from, Some(block.receiver), event));
    }
}
