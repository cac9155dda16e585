//! A bounded queue in front of an actor, in two lanes: *control* (reserved credit, never waits, read first) and *data*
//! (waits for room, so that a slow reader slows its writers). It belongs to the child's spec and not to the actor, so what
//! waits in it survives a restart.
//!
//! actix has a queue of its own, but `do_send` and `send` pass its bound; it is not used here at all.

use super::{
    actor::{Actor, Handler, Message},
    address::{Address, Deliver, Refusal, Refused},
    context::Context,
    panic,
};
use std::{
    any::Any,
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
    task::{Poll, Waker},
};
use tokio::sync::{Notify, oneshot};

/// Messages that the control lane of a mailbox holds, unless told otherwise.
pub const CONTROL_CAPACITY: usize = 1_024;
/// Messages that the data lane of a mailbox holds, unless told otherwise.
pub const DATA_CAPACITY: usize = 4_096;

/// Which of the two queues a message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Control,
    Data,
}

/// Where an answer goes.
pub(crate) enum ReplyTo<R> {
    Nobody,
    Task(oneshot::Sender<R>),
    Thread(SyncSender<R>),
}

/// A message and where its answer goes. Dropped unread, or with the actor that was reading it, it tells the asker.
pub(crate) struct Letter<M: Message> {
    pub message: M,
    pub reply_to: ReplyTo<M::Reply>,
}

/// A letter whose message type is forgotten.
pub(crate) trait Envelope<A: Actor>: Send {
    fn deliver(self: Box<Self>, actor: &mut A, ctx: &mut Context<A>);
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<A: Handler<M>, M: Message> Envelope<A> for Letter<M> {
    fn deliver(self: Box<Self>, actor: &mut A, ctx: &mut Context<A>) {
        let Letter { message, reply_to } = *self;
        let reply = actor.handle(message, ctx);
        match reply_to {
            ReplyTo::Nobody => {}
            // An asker that has gone away wants no answer.
            ReplyTo::Task(asker) => drop(asker.send(reply)),
            ReplyTo::Thread(asker) => drop(asker.try_send(reply)),
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

type Sealed<A> = Box<dyn Envelope<A>>;

/// How many messages wait, whatever their types.
pub(crate) trait Depth: Send + Sync {
    fn depth(&self) -> usize;
}

impl<A: Actor> Depth for Queue<A> {
    fn depth(&self) -> usize {
        Queue::depth(self)
    }
}

/// The queue itself, shared by writers and the one reader.
pub(crate) struct Queue<A: Actor> {
    lanes: Mutex<Lanes<A>>,
    room: Notify,
    control_capacity: usize,
    data_capacity: usize,
}

struct Lanes<A: Actor> {
    control: VecDeque<Sealed<A>>,
    data: VecDeque<Sealed<A>>,
    open: bool,
    reader: Option<Waker>,
}

impl<A: Actor> Queue<A> {
    fn lanes(&self) -> MutexGuard<'_, Lanes<A>> {
        // No code of others runs under this lock, and a queue is whole after each step.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message, control first; or remembers whom to wake.
    pub(crate) fn poll_next(&self, reader: &Waker) -> Poll<Sealed<A>> {
        let mut lanes = self.lanes();
        if let Some(next) = lanes.control.pop_front() {
            return Poll::Ready(next);
        }
        if let Some(next) = lanes.data.pop_front() {
            drop(lanes);
            self.room.notify_one();
            return Poll::Ready(next);
        }
        match &mut lanes.reader {
            Some(known) if known.will_wake(reader) => {}
            known => *known = Some(reader.clone()),
        }
        Poll::Pending
    }

    pub(crate) fn depth(&self) -> usize {
        let lanes = self.lanes();
        lanes.control.len() + lanes.data.len()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lanes().open
    }

    pub(crate) fn open(&self) {
        self.lanes().open = true;
    }

    /// Refuses all further messages and drops those that wait.
    pub(crate) fn close(&self) {
        let mut lanes = self.lanes();
        lanes.open = false;
        let unread = (std::mem::take(&mut lanes.control), std::mem::take(&mut lanes.data));
        drop(lanes);
        self.room.notify_waiters();
        // Users' messages have destructors of their own.
        let _ = panic::catch(|| drop(unread));
    }
}

impl<A: Handler<M>, M: Message> Deliver<M> for Queue<A> {
    fn push(&self, lane: Lane, letter: Letter<M>) -> Result<(), Refused<M>> {
        let mut lanes = self.lanes();
        let capacity = if lane == Lane::Control { self.control_capacity } else { self.data_capacity };
        if !lanes.open {
            return Err((Refusal::Gone, letter));
        }
        let queue = if lane == Lane::Control { &mut lanes.control } else { &mut lanes.data };
        if queue.len() >= capacity {
            return Err((Refusal::Full, letter));
        }
        queue.push_back(Box::new(letter));
        let reader = lanes.reader.take();
        drop(lanes);
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(())
    }

    fn room(&self) -> &Notify {
        &self.room
    }

    fn depth(&self) -> usize {
        Queue::depth(self)
    }

    fn is_open(&self) -> bool {
        Queue::is_open(self)
    }
}

/// The owning end of an actor's mailbox. Make it before the actor to have addresses of it early; give it to a
/// [`ChildSpec`](super::ChildSpec), which keeps it over restarts. When it is dropped, senders get `Gone`.
pub struct Mailbox<A: Actor> {
    queue: Arc<Queue<A>>,
}

impl<A: Actor> Mailbox<A> {
    /// A mailbox with the usual capacities ([`CONTROL_CAPACITY`], [`DATA_CAPACITY`]).
    pub fn new() -> Self {
        Mailbox::with_capacity(CONTROL_CAPACITY, DATA_CAPACITY)
    }

    /// A mailbox whose lanes hold this many messages each (at least one).
    pub fn with_capacity(control: usize, data: usize) -> Self {
        let lanes = Lanes { control: VecDeque::new(), data: VecDeque::new(), open: true, reader: None };
        let queue = Queue {
            lanes: Mutex::new(lanes),
            room: Notify::new(),
            control_capacity: control.max(1),
            data_capacity: data.max(1),
        };
        Mailbox { queue: Arc::new(queue) }
    }

    /// An address for messages of type `M`; good over restarts.
    pub fn address<M: Message>(&self) -> Address<M>
    where
        A: Handler<M>,
    {
        Address::new(self.queue.clone())
    }

    /// Messages that wait, in both lanes together.
    pub fn depth(&self) -> usize {
        self.queue.depth()
    }

    /// Takes out the messages of type `M` that wait in the control lane.
    pub(crate) fn take_messages<M: Message>(&self) -> Vec<M> {
        let letters = std::mem::take(&mut self.queue.lanes().control);
        let message = |letter: Sealed<A>| Some(letter.into_any().downcast::<Letter<M>>().ok()?.message);
        letters.into_iter().filter_map(message).collect()
    }

    pub(crate) fn queue(&self) -> &Arc<Queue<A>> {
        &self.queue
    }
}

impl<A: Actor> Default for Mailbox<A> {
    fn default() -> Self {
        Mailbox::new()
    }
}

impl<A: Actor> Drop for Mailbox<A> {
    fn drop(&mut self) {
        self.queue.close();
    }
}
