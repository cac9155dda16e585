//! Carries out what a receiver's core asks for: runs the source, moves blocks from the gate into the store.

use super::core::ReceiverCore;
use super::messages::{
    BlockSink, ReceiverAction as Action, ReceiverConfig, ReceiverEvent as Event, ReceiverPorts, SinkClosed,
    SinkShared, SourceEnd,
};
use crate::{core::Perform, shell::ShellAddress, supervision::panic::catch_future};
use std::sync::Arc;
use tidemill_protocol::{
    id::{BlockId, Member},
    message::{ReceiverOrder, ToDriver},
    world::World,
};

/// The hands of one life of a receiver. Dropping it closes the sink and drops the source.
pub struct ReceiverPerformer {
    config: ReceiverConfig,
    order: ReceiverOrder,
    ports: ReceiverPorts,
    world: World,
    shared: Option<Arc<SinkShared>>,
    finished: Option<Box<dyn FnOnce() + Send>>,
}

impl ReceiverPerformer {
    /// Hands for `order`. `finished` is called once, when the receiver's shell may be dropped.
    pub fn new(
        config: ReceiverConfig,
        order: ReceiverOrder,
        ports: ReceiverPorts,
        world: World,
        finished: impl FnOnce() + Send + 'static,
    ) -> Self {
        ReceiverPerformer { config, order, ports, world, shared: None, finished: Some(Box::new(finished)) }
    }

    fn run_source(&mut self, me: &ShellAddress<ReceiverCore>) {
        let (to_core, room) = (me.clone(), self.ports.hold.room());
        let tell = move |event| {
            let _ = to_core.tell(event);
        };
        let sink = BlockSink::new(&self.config, &self.order, self.world.clock.clone(), room, tell);
        let shared = Arc::clone(&sink.shared);
        self.shared = Some(Arc::clone(&shared));
        let (source, order, me) = (Arc::clone(&self.ports.source), self.order.clone(), me.clone());
        self.world.spawner.spawn(async move {
            let read = async { source.receive(order.receiver, order.resume_after, sink).await };
            let aborted = shared.aborted.notified();
            let end = tokio::select! {
                biased;
                () = aborted => return,
                end = catch_future(read) => end,
            };
            me.tell(Event::SourceEnded(SourceEnd::of(end, shared.gate().closed())));
        });
    }

    fn close_block(&self, me: &ShellAddress<ReceiverCore>) {
        let taken = self.shared.as_ref().and_then(|shared| {
            let taken = shared.gate().take();
            shared.changed.notify_waiters();
            taken
        });
        let content = taken.map(|(content, held)| {
            let block = BlockId { receiver: self.order.receiver, sequence: content.sequence };
            self.ports.hold.put(block, held);
            content
        });
        me.tell(Event::Closed { content });
    }

    fn replicate(&self, block: BlockId, to: Member, me: &ShellAddress<ReceiverCore>) {
        let (me, driver) = (me.clone(), self.ports.driver.clone());
        let replicator = self.ports.replicator.clone();
        self.world.spawner.spawn(async move {
            // Copying runs a record's own code, and nobody looks at the end of a spawned piece of work.
            let ended = catch_future(async { replicator.replicate(block, to).await }).await;
            if matches!(ended, Ok(Ok(()))) && !me.alive() {
                // Nobody is left here who would look after the copy.
                return driver.tell(ToDriver::BlockCopied { block, to, kept: true });
            }
            me.tell(Event::of_copy(block.sequence, to, ended));
        });
    }

    fn flush_reports(&self) {
        let counted = self.shared.as_ref().map(|shared| shared.gate().drain_reports()).unwrap_or_default();
        for (what, count) in counted {
            let (stream, what) = (self.order.receiver.stream, what.to_owned());
            self.ports.driver.tell(ToDriver::SourceReport { stream, what, count });
        }
    }

    fn with_shared(&self, act: impl FnOnce(&SinkShared)) {
        if let Some(shared) = &self.shared {
            act(shared);
            shared.changed.notify_waiters();
        }
    }
}

impl Perform<ReceiverCore> for ReceiverPerformer {
    fn perform(&mut self, action: Action, me: &ShellAddress<ReceiverCore>) {
        match action {
            Action::RunSource => self.run_source(me),
            Action::CloseBlock => self.close_block(me),
            Action::Replicate { block, to } => self.replicate(block, to, me),
            Action::TellDriver(message) => self.ports.driver.tell(message),
            Action::Acknowledge(position) => self.with_shared(|s| {
                s.safe.send_replace(Some(position));
            }),
            Action::Pause(paused) => self.with_shared(|s| s.gate().set_paused(paused)),
            Action::SetRate { records_per_s_max } => {
                self.order.records_per_s_max = records_per_s_max;
                self.with_shared(|s| s.gate().set_rate(s.now(), records_per_s_max));
            }
            Action::CloseSink => self.with_shared(|s| s.close(SinkClosed::Stopped)),
            Action::AbortSource => self.with_shared(|s| s.aborted.notify_one()),
            Action::FlushReports => self.flush_reports(),
            Action::Finished => {
                if let Some(finished) = self.finished.take() {
                    finished();
                }
            }
        }
    }
}

impl Drop for ReceiverPerformer {
    fn drop(&mut self) {
        self.with_shared(|s| {
            s.close(SinkClosed::Stopped);
            s.aborted.notify_one();
        });
    }
}
