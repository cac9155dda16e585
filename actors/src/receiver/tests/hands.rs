//! The performer with a real source, without a shell: what it tells the core.

use crate::{
    core::Perform,
    receiver::{
        BlockHold, BlockSink, ReceiverAction as Action, ReceiverConfig, ReceiverCore, ReceiverEvent as Event,
        ReceiverPerformer, ReceiverPorts, Replicator, SourceEnd, TellDriver,
    },
    seam::{Held, PlannedRange, SourceError, SourceHost},
    shell::{ShellAddress, ShellInbox},
};
use futures_util::future::BoxFuture;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tidemill_protocol::{
    id::{
        BatchNumber, BlockId, Incarnation, Member, NodeId, PartitionId, Position, ReceiverId, ReceiverIndex,
        StreamId,
    },
    message::{ReceiverOrder, ToDriver},
    world::World,
};
use tokio::sync::watch;

/// How the source of a test behaves.
#[derive(Clone, Copy)]
enum Manner {
    /// Hands over ten records, waits until they are safe, and returns.
    Honest,
    /// Hands over ten records twice, and hides the refusal.
    Repeats,
    /// Panics.
    Panics,
    /// Waits until its sink is closed.
    Waits,
}

/// The executor, the driver and the source of a test.
struct Surroundings {
    manner: Manner,
    room: watch::Sender<bool>,
    held: Mutex<Vec<(BlockId, u64)>>,
    told: Mutex<Vec<ToDriver>>,
}

impl BlockHold for Surroundings {
    fn put(&self, block: BlockId, held: Held) {
        self.held.lock().expect("whole").push((block, held.rows()));
    }
    fn room(&self) -> watch::Receiver<bool> {
        self.room.subscribe()
    }
}

impl Replicator for Surroundings {
    fn replicate(&self, _block: BlockId, to: Member) -> BoxFuture<'static, bool> {
        Box::pin(async move { to.node == NodeId(2) })
    }
}

impl TellDriver for Surroundings {
    fn tell(&self, message: ToDriver) {
        self.told.lock().expect("whole").push(message);
    }
}

impl SourceHost for Surroundings {
    fn receive(
        &self,
        _receiver: ReceiverId,
        resume_after: Option<Position>,
        sink: BlockSink,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        let manner = self.manner;
        let first = resume_after.map_or(1, |position| position.0 + 1);
        let hand_over = async move |sink: &BlockSink| {
            sink.permit(10, 100).await?;
            let (first, last) = (Some(Position(first)), Some(Position(first + 9)));
            sink.append(Arc::new(super::sink::Rows(10)), first, last).await
        };
        Box::pin(async move {
            match manner {
                Manner::Honest => {
                    hand_over(&sink).await.map_err(|closed| SourceError(closed.to_string()))?;
                    sink.report("cut_line", 3);
                    let _ = sink.safe().wait_for(|safe| *safe == Some(Position(first + 9))).await;
                }
                Manner::Repeats => {
                    let _ = hand_over(&sink).await;
                    let _ = hand_over(&sink).await;
                }
                Manner::Panics => panic!("in the middle of it"),
                Manner::Waits => sink.closed().await,
            }
            Ok(())
        })
    }

    fn next_ranges(
        &self,
        _stream: StreamId,
        _planned: &BTreeMap<PartitionId, u64>,
        _records_max: Option<u64>,
    ) -> BoxFuture<'static, Result<Vec<PlannedRange>, SourceError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn is_exhausted(&self, _stream: StreamId, _planned: &BTreeMap<PartitionId, u64>) -> bool {
        true
    }
}

struct Hands {
    world: Arc<Surroundings>,
    performer: ReceiverPerformer,
    me: ShellAddress<ReceiverCore>,
    inbox: ShellInbox<ReceiverCore>,
}

fn receiver() -> ReceiverId {
    ReceiverId { stream: StreamId(0), index: ReceiverIndex(0), incarnation: Incarnation(0) }
}

impl Hands {
    fn new(manner: Manner) -> Self {
        let room = watch::Sender::new(true);
        let world = Arc::new(Surroundings { manner, room, held: Mutex::default(), told: Mutex::default() });
        let ports = ReceiverPorts {
            hold: world.clone(),
            replicator: world.clone(),
            driver: world.clone(),
            source: world.clone(),
        };
        let order = ReceiverOrder {
            receiver: receiver(),
            resume_after: Some(Position(100)),
            open_batch: BatchNumber(0),
            records_per_s_max: 1_000,
        };
        let on = World::real_on(tokio::runtime::Handle::current());
        let performer = ReceiverPerformer::new(ReceiverConfig::default(), order, ports, on, || ());
        let (me, inbox) = ShellAddress::new_pair();
        Hands { world, performer, me, inbox }
    }

    fn perform(&mut self, action: Action) {
        self.performer.perform(action, &self.me);
    }

    /// The next events, once there are any.
    async fn events(&self) -> Vec<String> {
        let some = async {
            loop {
                let events = self.inbox.take_events();
                if !events.is_empty() {
                    return events.iter().map(|event| format!("{event:?}")).collect();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), some).await.expect("an event comes")
    }
}

fn ended(end: SourceEnd) -> Vec<String> {
    vec![format!("{:?}", Event::SourceEnded(end))]
}

#[tokio::test]
async fn a_block_goes_from_the_source_into_the_store_and_its_safety_back() {
    let mut hands = Hands::new(Manner::Honest);
    hands.perform(Action::RunSource);
    assert_eq!(hands.events().await, vec!["Appended { full: false }", "Reported"]);
    hands.perform(Action::CloseBlock);
    let closed = hands.events().await;
    assert!(closed[0].contains("rows: 10") && closed[0].contains("Position(110)"), "{closed:?}");
    let block = BlockId { receiver: receiver(), sequence: 0 };
    assert_eq!(*hands.world.held.lock().expect("whole"), vec![(block, 10)]);
    hands.perform(Action::CloseBlock);
    assert_eq!(hands.events().await, vec!["Closed { content: None }"]);
    for (node, said) in [(2, "Replicated"), (3, "ReplicaFailed")] {
        let to = Member { node: NodeId(node), incarnation: Incarnation(0) };
        hands.perform(Action::Replicate { block, to });
        assert!(hands.events().await[0].starts_with(said));
    }
    hands.perform(Action::FlushReports);
    let report = ToDriver::SourceReport { stream: StreamId(0), what: "cut_line".to_owned(), count: 3 };
    assert_eq!(*hands.world.told.lock().expect("whole"), vec![report]);
    hands.perform(Action::Acknowledge(Position(110)));
    assert_eq!(hands.events().await, ended(SourceEnd::Returned));
}

#[tokio::test]
async fn a_panic_and_a_misused_sink_are_ends_with_their_words() {
    let mut hands = Hands::new(Manner::Panics);
    hands.perform(Action::RunSource);
    assert_eq!(hands.events().await, ended(SourceEnd::Panicked("in the middle of it".to_owned())));

    let mut hands = Hands::new(Manner::Repeats);
    hands.perform(Action::RunSource);
    let mut events = hands.events().await;
    while events.len() < 2 {
        events.extend(hands.events().await);
    }
    assert!(events[1].contains("Failed") && events[1].contains("do not follow"), "{events:?}");
}

#[tokio::test]
async fn a_rate_of_nothing_holds_the_source_and_closing_frees_it() {
    let mut hands = Hands::new(Manner::Honest);
    hands.perform(Action::SetRate { records_per_s_max: 0 });
    hands.perform(Action::RunSource);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(hands.inbox.take_events().is_empty());
    hands.perform(Action::CloseSink);
    assert_eq!(hands.events().await, ended(SourceEnd::Failed("the receiver stops".to_owned())));

    let mut hands = Hands::new(Manner::Waits);
    hands.perform(Action::RunSource);
    hands.perform(Action::CloseSink);
    assert_eq!(hands.events().await, ended(SourceEnd::Returned));
}
