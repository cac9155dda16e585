//! Row 37: a mailbox is full because its actor is slow.

use crate::numbers::{Seen, slow_tasks};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tidemill::{
    ClusterEvent, StreamContext,
    actor::{
        Actor, ActorError, Address, Backoff, ChildSpec, Context, Handler, Intensity, Mailbox, Message,
        SendError, Strategy, SupervisorSpec,
    },
    sources::{Outlet, Position, Receiver, ReceiverStart, SourceError, StreamOptions},
};

const NUMBERS: u64 = 600;
/// Messages that wait for the actor at most.
const CAPACITY: usize = 4;
/// How many the actor takes until it fails, and how long it is away then.
const TAKES: u64 = 20;
const AWAY: Duration = Duration::from_millis(200);

struct Item(u64);

impl Message for Item {
    type Reply = ();
}

struct HowMany;

impl Message for HowMany {
    type Reply = usize;
}

/// Takes some messages, then fails; what waits for it survives in its mailbox.
struct Slow {
    taken: Arc<Mutex<Vec<u64>>>,
}

impl Actor for Slow {}

impl Handler<Item> for Slow {
    fn handle(&mut self, Item(number): Item, ctx: &mut Context<Self>) {
        let mut taken = self.taken.lock().expect("no handler panics");
        taken.push(number);
        if (taken.len() as u64).is_multiple_of(TAKES) {
            ctx.fail(ActorError::new("it needs a rest"));
        }
    }
}

impl Handler<HowMany> for Slow {
    fn handle(&mut self, _: HowMany, _ctx: &mut Context<Self>) -> usize {
        self.taken.lock().expect("no handler panics").len()
    }
}

/// What the receiver met.
#[derive(Clone, Default)]
struct Met {
    refused: Arc<AtomicU64>,
    deepest: Arc<AtomicUsize>,
    left: Arc<Mutex<Option<usize>>>,
}

/// Hands each number to the actor before it goes on.
struct Numbers {
    items: Address<Item>,
    how_many: Address<HowMany>,
    met: Met,
}

impl Receiver for Numbers {
    type Record = u64;

    fn acknowledges(&self) -> bool {
        true
    }

    async fn run(&self, start: ReceiverStart, out: Outlet<u64>) -> Result<(), SourceError> {
        let gone = || SourceError("the actor is gone".to_owned());
        let next = start.resume_after.map_or(0, |position| position.0 + 1);
        for number in next..NUMBERS {
            match self.items.try_send(Item(number)) {
                Ok(()) => {}
                // A full mailbox is a typed refusal that gives the message back; then the sender waits for room.
                Err(SendError::Full(item)) => {
                    self.met.refused.fetch_add(1, Ordering::Relaxed);
                    self.items.send(item).await.map_err(|_| gone())?;
                }
                Err(_) => return Err(gone()),
            }
            self.met.deepest.fetch_max(self.items.depth(), Ordering::Relaxed);
            let position = Position(number);
            if out.push_at(vec![number], Some((position, position))).await.is_err() {
                return Ok(());
            }
        }
        let left = self.how_many.ask(HowMany).await.map_err(|_| gone())?;
        *self.met.left.lock().expect("nobody panics") = Some(left);
        Ok(())
    }
}

#[test]
fn row_37_a_full_mailbox_refuses_by_type_its_sender_waits_and_nothing_is_dropped() {
    let (seen, met, taken) = (Seen::default(), Met::default(), Arc::new(Mutex::new(Vec::new())));
    let (into, watched, meets, takes) = (seen.clone(), seen.clone(), met.clone(), taken.clone());
    let pipeline = move |context: &StreamContext| {
        let mailbox = Mailbox::with_capacity(CAPACITY, CAPACITY);
        let (items, how_many) = (mailbox.address::<Item>(), mailbox.address::<HowMany>());
        let takes = takes.clone();
        let slow = ChildSpec::with_mailbox("slow", mailbox, move |_| Slow { taken: takes.clone() });
        let rest = Backoff { initial: AWAY, factor: 1.0, max: AWAY, jitter: 0.0, ..Backoff::default() };
        let patient = Intensity { restarts_max: 1_000, period: Duration::from_secs(1) };
        let group = SupervisorSpec::new("resting", Strategy::OneForOne).backoff(rest).intensity(patient);
        context.supervise(ChildSpec::supervisor(group.child(slow)));
        let numbers = Numbers { items, how_many, met: meets.clone() };
        into.fold(&context.receiver_stream(numbers, StreamOptions::default()).map(|number| (number % 10, 1)));
        Ok(())
    };
    let outcome = slow_tasks(37).run(pipeline, async |cluster| {
        watched.listen(cluster);
        cluster.wait_until_ended(Duration::from_secs(120)).await
    });
    assert_eq!(outcome.expect("the cluster starts"), Some(Ok(())));
    let (refused, deepest) = (met.refused.load(Ordering::Relaxed), met.deepest.load(Ordering::Relaxed));
    println!("{refused} messages were refused at first, at most {deepest} waited");
    // Each rest but the last fills the mailbox.
    assert!(refused >= NUMBERS / TAKES - 2, "the mailbox was full {refused} times only");
    assert!(deepest <= CAPACITY, "{deepest} waited");
    assert_eq!(*met.left.lock().expect("nobody panics"), Some(NUMBERS as usize));
    assert_eq!(
        *taken.lock().expect("nobody panics"),
        (0..NUMBERS).collect::<Vec<_>>(),
        "each once, in order"
    );
    let expected: BTreeMap<u64, u64> = (0..10).map(|digit| (digit, NUMBERS / 10)).collect();
    assert_eq!(seen.totals(), expected);
    assert_eq!(seen.count(|event| matches!(event, ClusterEvent::ExecutorDown(_))), 0);
}
