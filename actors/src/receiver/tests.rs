//! The receiver's core by hand-written events and the bucket in figures (in files of their own, pure); here what waits: the
//! sink against a clock that a test turns, and the performer with a real source.

mod bucket;
mod life;
mod on_the_way;

use tidemill_protocol::time::Time;

fn at(ms: u64) -> Time {
    Time(ms * 1_000_000)
}

/// What a source sees: permits, refusals, the end.
mod sink {
    use crate::{
        receiver::{BlockSink, ReceiverConfig, ReceiverEvent, SinkClosed},
        seam::{Payload, PayloadError},
    };
    use futures_util::future::BoxFuture;
    use std::{
        any::Any,
        pin::pin,
        sync::{Arc, Mutex},
        task::{Context, Poll, Waker},
        time::Duration,
    };
    use tidemill_protocol::{
        id::{BatchNumber, DatasetId, Incarnation, Position, ReceiverId, ReceiverIndex, StreamId},
        message::ReceiverOrder,
        time::Time,
        world::{Clock, ClockSource},
    };
    use tokio::sync::watch;

    /// A clock that a test turns.
    #[derive(Clone)]
    struct Turned(Arc<watch::Sender<u64>>);

    impl ClockSource for Turned {
        fn now(&self) -> Time {
            Time(*self.0.borrow())
        }

        fn wall(&self) -> Duration {
            Duration::from_nanos(*self.0.borrow())
        }

        fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
            let mut now = self.0.subscribe();
            Box::pin(async move {
                let _ = now.wait_for(|now| *now >= deadline.0).await;
            })
        }
    }

    #[derive(Debug)]
    pub(super) struct Rows(pub(super) u64);

    impl Payload for Rows {
        fn rows(&self) -> u64 {
            self.0
        }
        fn heap_bytes(&self) -> u64 {
            self.0 * 10
        }
        fn dataset(&self) -> DatasetId {
            DatasetId(0)
        }
        fn encode(&self) -> Result<Vec<u8>, PayloadError> {
            Ok(Vec::new())
        }
        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    pub(super) struct Desk {
        clock: Turned,
        room: watch::Sender<bool>,
        pub(super) sink: BlockSink,
        events: Arc<Mutex<Vec<String>>>,
    }

    impl Desk {
        pub(super) fn new(config: ReceiverConfig, rate: u64, resume_after: Option<u64>) -> Self {
            let clock = Turned(Arc::new(watch::Sender::new(0)));
            let room = watch::Sender::new(true);
            let order = ReceiverOrder {
                receiver: ReceiverId {
                    stream: StreamId(0),
                    index: ReceiverIndex(0),
                    incarnation: Incarnation(0),
                },
                resume_after: resume_after.map(Position),
                open_batch: BatchNumber(0),
                records_per_s_max: rate,
            };
            let events = Arc::new(Mutex::new(Vec::new()));
            let told = Arc::clone(&events);
            let tell = move |event: ReceiverEvent| {
                told.lock().expect("no test panics in it").push(format!("{event:?}"))
            };
            let sink = BlockSink::new(&config, &order, Clock::new(clock.clone()), room.subscribe(), tell);
            Desk { clock, room, sink, events }
        }

        fn turn(&self, to_ms: u64) {
            self.clock.0.send_replace(to_ms * 1_000_000);
        }

        pub(super) fn events(&self) -> Vec<String> {
            std::mem::take(&mut *self.events.lock().expect("no test panics in it"))
        }

        pub(super) fn append(
            &self,
            rows: u64,
            first: Option<u64>,
            last: Option<u64>,
        ) -> Result<(), SinkClosed> {
            now(self.sink.append(Arc::new(Rows(rows)), first.map(Position), last.map(Position)))
                .expect("there is space")
        }
    }

    /// The result of a future that is ready at once.
    pub(super) fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn is_pending<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[test]
    fn a_permit_waits_for_the_bucket() {
        let desk = Desk::new(ReceiverConfig::default(), 1_000, None);
        assert_eq!(
            now(desk.sink.permit(150, 0)),
            Some(Ok(())),
            "more than the burst of 50: paid for afterwards"
        );
        let mut second = pin!(desk.sink.permit(1, 0));
        assert!(is_pending(second.as_mut()));
        desk.turn(100);
        assert!(is_pending(second.as_mut()), "100 are owed");
        desk.turn(101);
        assert_eq!(now(second), Some(Ok(())));
    }

    #[test]
    fn a_permit_waits_for_bytes_too() {
        let config = ReceiverConfig { bytes_per_s_max: 1_000, ..ReceiverConfig::default() };
        let desk = Desk::new(config, u64::MAX, None);
        assert_eq!(now(desk.sink.permit(1, 1_050)), Some(Ok(())));
        let mut second = pin!(desk.sink.permit(1, 1));
        assert!(is_pending(second.as_mut()));
        desk.turn(1_001);
        assert_eq!(now(second), Some(Ok(())));
    }

    #[test]
    fn a_paused_source_waits_until_the_rate_is_set() {
        let desk = Desk::new(ReceiverConfig::default(), 0, None);
        let mut permit = pin!(desk.sink.permit(1, 1));
        assert!(is_pending(permit.as_mut()));
        desk.turn(1_000_000);
        assert!(is_pending(permit.as_mut()));
        desk.sink.shared.gate().set_rate(Time(1_000_000_000_000), 10);
        desk.sink.shared.changed.notify_waiters();
        desk.turn(1_000_200);
        assert_eq!(now(permit), Some(Ok(())));
    }

    #[test]
    fn a_permit_waits_while_memory_is_used_up() {
        let desk = Desk::new(ReceiverConfig::default(), u64::MAX, None);
        desk.room.send_replace(false);
        let mut permit = pin!(desk.sink.permit(1, 1));
        assert!(is_pending(permit.as_mut()));
        desk.room.send_replace(true);
        assert_eq!(now(permit), Some(Ok(())));
    }

    #[test]
    fn a_full_open_block_holds_permits_and_appends_until_it_is_taken() {
        let config = ReceiverConfig { open_bytes_max: 100, ..ReceiverConfig::default() };
        let desk = Desk::new(config, u64::MAX, None);
        desk.append(10, None, None).expect("open");
        let mut permit = pin!(desk.sink.permit(1, 1));
        let mut append = pin!(desk.sink.append(Arc::new(Rows(1)), None, None));
        assert!(is_pending(permit.as_mut()) && is_pending(append.as_mut()));
        let (content, held) = desk.sink.shared.gate().take().expect("ten rows");
        assert_eq!((content.sequence, content.rows, held.rows()), (0, 10, 10));
        desk.sink.shared.changed.notify_waiters();
        assert_eq!(now(append), Some(Ok(())));
        assert_eq!(now(permit), Some(Ok(())));
        assert_eq!(desk.sink.shared.gate().take().map(|(c, _)| (c.sequence, c.rows)), Some((1, 1)));
        assert!(desk.sink.shared.gate().take().is_none(), "an empty block is no block");
    }

    #[test]
    fn the_core_hears_of_the_first_piece_and_of_a_full_block_only() {
        let config = ReceiverConfig { block_rows_max: 30, ..ReceiverConfig::default() };
        let desk = Desk::new(config, u64::MAX, None);
        for _ in 0..5 {
            desk.append(10, None, None).expect("open");
        }
        assert_eq!(desk.events(), vec!["Appended { full: false }", "Appended { full: true }"]);
        desk.sink.shared.gate().take();
        desk.append(0, None, None).expect("open");
        assert_eq!(desk.events(), Vec::<String>::new(), "nothing is no record");
        desk.append(40, None, None).expect("open");
        assert_eq!(desk.events(), vec!["Appended { full: true }"]);
    }

    #[test]
    fn closing_wakes_those_who_wait() {
        let desk = Desk::new(ReceiverConfig::default(), 0, None);
        let mut permit = pin!(desk.sink.permit(1, 1));
        let mut closed = pin!(desk.sink.closed());
        assert!(is_pending(permit.as_mut()) && is_pending(closed.as_mut()));
        desk.sink.shared.close(SinkClosed::Stopped);
        assert_eq!(now(permit), Some(Err(SinkClosed::Stopped)));
        assert_eq!(now(closed), Some(()));
        assert_eq!(desk.append(1, None, None), Err(SinkClosed::Stopped));
    }

    #[test]
    fn reports_are_counted_by_name_and_announced_once() {
        let desk = Desk::new(ReceiverConfig::default(), 1, None);
        desk.sink.report("bad_utf8", 2);
        desk.sink.report("bad_utf8", 3);
        desk.sink.report("reconnect", 1);
        assert_eq!(desk.events(), vec!["Reported"]);
        let counted: Vec<_> = desk.sink.shared.gate().drain_reports().into_iter().collect();
        assert_eq!(counted, vec![("bad_utf8", 5), ("reconnect", 1)]);
        desk.sink.report("reconnect", 1);
        assert_eq!(desk.events(), vec!["Reported"]);
    }

    #[test]
    fn what_is_safe_is_seen_from_the_resume_position_on() {
        let desk = Desk::new(ReceiverConfig::default(), 1, Some(4));
        let safe = desk.sink.safe();
        assert_eq!(*safe.borrow(), Some(Position(4)));
        desk.sink.shared.safe.send_replace(Some(Position(9)));
        assert_eq!(*safe.borrow(), Some(Position(9)));
    }
}

/// The performer with a real source, without a shell: what it tells the core.
mod hands {
    use crate::{
        core::Perform,
        receiver::{
            BlockHold, BlockSink, NotCopied, ReceiverAction as Action, ReceiverConfig, ReceiverCore,
            ReceiverEvent as Event, ReceiverPerformer, ReceiverPorts, Replicator, SourceEnd, TellDriver,
        },
        seam::{Held, RangesFound, SourceError, SourceHost},
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
            BatchNumber, BlockId, Incarnation, Member, NodeId, PartitionId, Position, ReceiverId,
            ReceiverIndex, StreamId,
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
        fn replicate(&self, _block: BlockId, to: Member) -> BoxFuture<'static, Result<(), NotCopied>> {
            Box::pin(async move {
                match to.node.0 {
                    2 => Ok(()),
                    3 => Err(NotCopied::Refused),
                    4 => Err(NotCopied::Broken("it cannot be read".to_owned())),
                    _ => panic!("its codec panics"),
                }
            })
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
        ) -> BoxFuture<'static, Result<RangesFound, SourceError>> {
            Box::pin(async { Ok(RangesFound::default()) })
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
            let world =
                Arc::new(Surroundings { manner, room, held: Mutex::default(), told: Mutex::default() });
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
        let broken = "Uncopyable { why: \"it cannot";
        let ends = [(2, "Replicated"), (3, "ReplicaFailed"), (4, broken), (5, "ReplicaFailed")];
        for (node, said) in ends {
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
        let events = hands.events().await;
        let said = format!("in the middle of it at {}:", file!());
        assert!(
            events.len() == 1 && events[0].contains("Panicked") && events[0].contains(&said),
            "{events:?}"
        );

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
}
