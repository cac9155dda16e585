//! A receiver without its core, in virtual time: a test of a source says what the core would, and looks at the blocks.

use super::Outlet;
use crate::data::{Rows, Text};
use futures_util::future::BoxFuture;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};
use tidemill_actors::{
    core::Perform,
    receiver::{
        BlockHold, BlockSink, NotCopied, ReceiverAction as Action, ReceiverConfig, ReceiverCore,
        ReceiverEvent, ReceiverPerformer, ReceiverPorts, Replicator, SourceEnd, TellDriver,
    },
    seam::{Held, RangesFound, SourceError, SourceHost},
    shell::{ShellAddress, ShellInbox},
};
use tidemill_protocol::{
    id::{
        BatchNumber, BlockId, Incarnation, Member, PartitionId, Position, ReceiverId, ReceiverIndex, StreamId,
    },
    message::{ReceiverOrder, ToDriver},
    world::{
        ByteStream, World,
        sim::{self, SimConfig},
    },
};
use tokio::sync::watch;

/// Runs a test on a simulated node.
pub(super) fn in_virtual_time(test: impl AsyncFnOnce(World)) {
    sim::run(5, SimConfig::default(), async move |world| {
        test(world.node(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)))).await;
    });
}

type Run = Box<dyn FnOnce(BlockSink) -> BoxFuture<'static, Result<(), SourceError>> + Send>;

/// What surrounds the receiver.
struct Surroundings {
    run: Mutex<Option<Run>>,
    room: watch::Sender<bool>,
    blocks: Mutex<Vec<Held>>,
    told: Mutex<Vec<ToDriver>>,
}

impl BlockHold for Surroundings {
    fn put(&self, _block: BlockId, held: Held) {
        self.blocks.lock().unwrap().push(held);
    }

    fn room(&self) -> watch::Receiver<bool> {
        self.room.subscribe()
    }
}

impl Replicator for Surroundings {
    fn replicate(&self, _block: BlockId, _to: Member) -> BoxFuture<'static, Result<(), NotCopied>> {
        Box::pin(async { Err(NotCopied::Refused) })
    }
}

impl TellDriver for Surroundings {
    fn tell(&self, message: ToDriver) {
        self.told.lock().unwrap().push(message);
    }
}

impl SourceHost for Surroundings {
    fn receive(
        &self,
        _receiver: ReceiverId,
        _resume_after: Option<Position>,
        sink: BlockSink,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        let run = self.run.lock().unwrap().take().expect("it is run once");
        run(sink)
    }

    fn next_ranges(
        &self,
        _stream: StreamId,
        _planned: &BTreeMap<PartitionId, u64>,
        _records_max: Option<u64>,
    ) -> BoxFuture<'static, Result<RangesFound, SourceError>> {
        Box::pin(async { Ok(RangesFound { ranges: Vec::new(), exhausted: true }) })
    }
}

pub(super) struct Rig {
    surroundings: Arc<Surroundings>,
    performer: ReceiverPerformer,
    me: ShellAddress<ReceiverCore>,
    inbox: ShellInbox<ReceiverCore>,
}

impl Rig {
    /// A receiver whose source reads `stream` with `run`.
    pub(super) fn new<F>(
        world: &World,
        stream: impl ByteStream + 'static,
        run: impl FnOnce(Box<dyn ByteStream>, Outlet<Text>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), SourceError>> + Send + 'static,
    {
        let run: Run = Box::new(move |sink| Box::pin(run(Box::new(stream), Outlet::new(sink))));
        let surroundings = Arc::new(Surroundings {
            run: Mutex::new(Some(run)),
            room: watch::Sender::new(true),
            blocks: Mutex::default(),
            told: Mutex::default(),
        });
        let ports = ReceiverPorts {
            hold: surroundings.clone(),
            replicator: surroundings.clone(),
            driver: surroundings.clone(),
            source: surroundings.clone(),
        };
        let order = ReceiverOrder {
            receiver: ReceiverId {
                stream: StreamId(0),
                index: ReceiverIndex(0),
                incarnation: Incarnation(0),
            },
            resume_after: None,
            open_batch: BatchNumber(0),
            records_per_s_max: 1_000_000,
        };
        let performer = ReceiverPerformer::new(ReceiverConfig::default(), order, ports, world.clone(), || ());
        let (me, inbox) = ShellAddress::new_pair();
        Rig { surroundings, performer, me, inbox }
    }

    pub(super) fn perform(&mut self, action: Action) {
        self.performer.perform(action, &self.me);
    }

    /// Lets the source do what it can do now.
    pub(super) async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// How the source ends; the time to wait for is virtual.
    pub(super) async fn end(&self) -> SourceEnd {
        let end = async {
            loop {
                for event in self.inbox.take_events() {
                    if let ReceiverEvent::SourceEnded(end) = event {
                        return end;
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), end).await.expect("the source ends")
    }

    /// What is in the blocks so far.
    pub(super) fn lines(&self) -> Vec<String> {
        let blocks = self.surroundings.blocks.lock().unwrap();
        let mut lines = Vec::new();
        for piece in blocks.iter().flat_map(|held| held.pieces.iter()) {
            let rows = piece.as_any().downcast_ref::<Rows<Text>>().expect("it holds lines");
            rows.copy_to(&mut lines);
        }
        lines.iter().map(ToString::to_string).collect()
    }

    /// What was counted.
    pub(super) fn reports(&mut self) -> Vec<(String, u64)> {
        self.perform(Action::FlushReports);
        let report = |message: &ToDriver| match message {
            ToDriver::SourceReport { what, count, .. } => Some((what.clone(), *count)),
            _ => None,
        };
        self.surroundings.told.lock().unwrap().iter().filter_map(report).collect()
    }
}
