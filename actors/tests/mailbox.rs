//! Mailboxes: bounds, lanes, waiting for room, asking from a plain thread, answering later, and the price of a message.

mod support;

use std::{cell::RefCell, rc::Rc, time::Duration};
use support::{Count, Do, Hang, Log, in_virtual_time, ms, probe};
use tidemill_actors::supervision::{
    Actor, AskError, ChildSpec, Context, DRAIN_BUDGET, Exit, Handler, Mailbox, Message, Responder, SendError,
    Start, Strategy, Supervisor, SupervisorSpec, responder,
};

struct Item(u32);
impl Message for Item {
    type Reply = ();
}

struct Later(Responder<u32>);
impl Message for Later {
    type Reply = ();
}

/// Keeps what it is sent, in order, and answers the later the better.
struct Keeper {
    kept: Rc<RefCell<Vec<u32>>>,
}

struct Kept;
impl Message for Kept {
    type Reply = Vec<u32>;
}

impl Actor for Keeper {}
impl Handler<Item> for Keeper {
    fn handle(&mut self, Item(n): Item, _: &mut Context<Self>) {
        self.kept.borrow_mut().push(n);
    }
}
impl Handler<Kept> for Keeper {
    fn handle(&mut self, _: Kept, _: &mut Context<Self>) -> Vec<u32> {
        self.kept.borrow().clone()
    }
}
impl Handler<Later> for Keeper {
    fn handle(&mut self, Later(responder): Later, ctx: &mut Context<Self>) {
        let (kept, clock) = (self.kept.clone(), ctx.world().clock.clone());
        ctx.spawn_local(async move {
            clock.sleep(ms(50)).await;
            responder.answer(kept.borrow().len() as u32);
        });
    }
}

fn keeper(mailbox: Mailbox<Keeper>) -> SupervisorSpec {
    let child = ChildSpec::with_mailbox("keeper", mailbox, |_: &Start| Keeper { kept: Rc::default() });
    SupervisorSpec::new("root", Strategy::OneForOne).child(child)
}

#[test]
fn lanes_are_bounded_and_control_goes_first() {
    in_virtual_time(1, |world| async move {
        let mailbox = Mailbox::<Keeper>::with_capacity(2, 3);
        let items = mailbox.address::<Item>();
        for n in 1..=3 {
            items.try_send(Item(n)).unwrap();
        }
        let Err(SendError::Full(Item(4))) = items.try_send(Item(4)) else { panic!("the message comes back") };
        items.tell_control(Item(11)).unwrap();
        items.tell_control(Item(12)).unwrap();
        assert!(items.tell_control(Item(13)).unwrap_err().is_retryable());
        assert_eq!(items.depth(), 5);
        let kept = mailbox.address::<Kept>();
        let _root = Supervisor::start(keeper(mailbox), &world);
        assert_eq!(kept.ask(Kept).await.unwrap(), [11, 12, 1, 2, 3]);
        assert_eq!(items.depth(), 0);
    });
}

#[test]
fn senders_wait_for_room_and_lose_nothing() {
    in_virtual_time(1, |world| async move {
        let mailbox = Mailbox::<Keeper>::with_capacity(1, 4);
        let (items, kept) = (mailbox.address::<Item>(), mailbox.address::<Kept>());
        let sender = |from: u32| {
            let items = items.clone();
            actix_rt::spawn(async move {
                for n in from..from + 500 {
                    items.send(Item(n)).await.unwrap();
                    assert!(items.depth() <= 5);
                }
            })
        };
        let senders = [sender(0), sender(1_000), sender(2_000)];
        world.clock.sleep(ms(1)).await;
        assert_eq!(items.depth(), 4, "nobody reads yet");
        let _root = Supervisor::start(keeper(mailbox), &world);
        for sender in senders {
            sender.await.unwrap();
        }
        let mut all = kept.ask(Kept).await.unwrap();
        for from in [0, 1_000, 2_000] {
            let of_one: Vec<u32> = all.iter().copied().filter(|n| n / 1_000 == from / 1_000).collect();
            assert_eq!(of_one, (from..from + 500).collect::<Vec<_>>(), "each sender's order is kept");
        }
        all.dedup();
        assert_eq!(all.len(), 1_500);
    });
}

#[test]
fn a_sender_that_waits_learns_that_the_actor_is_gone() {
    in_virtual_time(1, |world| async move {
        let mailbox = Mailbox::<Keeper>::with_capacity(1, 1);
        let items = mailbox.address::<Item>();
        items.try_send(Item(1)).unwrap();
        let waiting = actix_rt::spawn(async move { items.send(Item(2)).await });
        world.clock.sleep(ms(1)).await;
        drop(mailbox);
        assert!(matches!(waiting.await.unwrap(), Err(SendError::Gone(Item(2)))));
    });
}

#[test]
fn an_answer_may_come_later_and_does_not_hold_the_mailbox() {
    in_virtual_time(1, |world| async move {
        let mailbox = Mailbox::<Keeper>::new();
        let (items, later) = (mailbox.address::<Item>(), mailbox.address::<Later>());
        let root = Supervisor::start(keeper(mailbox), &world);
        let (give, answer) = responder();
        later.try_send(Later(give)).unwrap();
        items.try_send(Item(1)).unwrap();
        assert_eq!(answer.await, Ok(1));
        let (give, answer) = responder();
        later.send(Later(give)).await.unwrap();
        world.clock.sleep(ms(10)).await;
        root.shutdown();
        assert_eq!(answer.await, Err(AskError::Lost), "what was spawned ends with its life");
    });
}

#[test]
fn a_plain_thread_can_ask() {
    in_virtual_time(1, |world| async move {
        let log = Log::default();
        let mailbox = Mailbox::new();
        let (counts, orders, hang) =
            (mailbox.address::<Count>(), mailbox.address::<Do>(), mailbox.address::<Hang>());
        let _root = Supervisor::start(
            SupervisorSpec::new("root", Strategy::OneForOne).child(probe("a", &log, mailbox)),
            &world,
        );
        let patience = Duration::from_secs(30);
        let (tell, told) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let first = counts.ask_blocking(Count, patience);
            let lost = orders.ask_blocking(Do(Exit::Panicked("no".into())), patience);
            hang.ask_blocking(Hang, patience).unwrap();
            let late = counts.ask_blocking(Count, Duration::from_millis(1));
            tell.send((first, lost, late)).unwrap();
        });
        let (first, lost, late) = told.await.unwrap();
        assert_eq!((first, lost, late), (Ok(1), Err(AskError::Lost), Err(AskError::TimedOut)));
        thread.join().unwrap();
    });
}

#[test]
fn a_flood_does_not_hold_the_thread() {
    in_virtual_time(1, |world| async move {
        let mailbox = Mailbox::<Keeper>::new();
        let items = mailbox.address::<Item>();
        let _root = Supervisor::start(keeper(mailbox), &world);
        for n in 0..1_000 {
            items.try_send(Item(n)).unwrap();
        }
        let other = actix_rt::spawn(async move {
            let mut depths = Vec::new();
            std::future::poll_fn(|task| {
                depths.push(items.depth());
                task.waker().wake_by_ref();
                if items.depth() == 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
            depths
        });
        let depths = other.await.unwrap();
        assert!(depths.len() >= 1_000 / DRAIN_BUDGET as usize, "another task saw only the depths {depths:?}");
    });
}
