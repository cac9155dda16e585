//! What an actor sees of the place it lives in: itself by address, its name, the world, and the way out.

use super::{
    actor::{Actor, Handler, Message},
    address::Address,
    exit::{ActorError, Exit},
    mailbox::Queue,
    panic,
};
use futures_util::future::LocalBoxFuture;
use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};
use tidemill_protocol::{
    time::Time,
    world::{World, meter},
};
use tokio::task::JoinSet;

/// Counts what an actor has got done; a child that is supervised with `stuck_after` must move it while messages wait.
/// Each handled message moves it; long work beside messages moves it through this handle.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Moves the counter.
    pub fn record(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One life of one actor, as far as it does not depend on the actor's type.
pub(super) struct Life {
    pub(super) name: Arc<str>,
    pub(super) world: World,
    pub(super) progress: Progress,
    /// Polled before the next message is taken.
    pub(super) wait: RefCell<Option<LocalBoxFuture<'static, ()>>>,
    /// Aborted by the supervisor: no code of the actor but destructors runs any more.
    pub(super) aborted: Cell<bool>,
    exit: RefCell<Option<Exit>>,
    waker: RefCell<Option<Waker>>,
    tasks: RefCell<JoinSet<()>>,
}

impl Life {
    pub(super) fn new(name: Arc<str>, world: World) -> Rc<Self> {
        Rc::new(Life {
            name,
            world,
            progress: Progress::default(),
            wait: RefCell::new(None),
            aborted: Cell::new(false),
            exit: RefCell::new(None),
            waker: RefCell::new(None),
            tasks: RefCell::new(JoinSet::new()),
        })
    }

    /// Asks for the end. The first orderly reason stands; a failure replaces an orderly one.
    pub(super) fn end(&self, exit: Exit) {
        let mut ending = self.exit.borrow_mut();
        if ending.as_ref().is_none_or(|old| old.is_orderly() && !exit.is_orderly()) {
            *ending = Some(exit);
        }
        drop(ending);
        self.wake();
    }

    /// Whether the actor is to end now. An orderly end waits for what the actor waits for; a failure does not.
    pub(super) fn must_end(&self) -> bool {
        match &*self.exit.borrow() {
            None => false,
            Some(exit) => !exit.is_orderly() || self.wait.borrow().is_none(),
        }
    }

    pub(super) fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    pub(super) fn remember_waker(&self, waker: &Waker) {
        match &mut *self.waker.borrow_mut() {
            Some(known) if known.will_wake(waker) => {}
            known => *known = Some(waker.clone()),
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Aborts everything that was spawned in this life.
    pub(super) fn abort_tasks(&self) {
        self.tasks.borrow_mut().abort_all();
        let wait = self.wait.borrow_mut().take();
        let _ = panic::catch(|| drop(wait));
    }

    fn spawn(self: &Rc<Self>, work: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(meter::inherit(self.guarded(work)));
    }

    /// `work`, whose panic ends this life.
    fn guarded(
        self: &Rc<Self>,
        work: impl Future<Output = ()> + 'static,
    ) -> impl Future<Output = ()> + 'static {
        let life: Weak<Life> = Rc::downgrade(self);
        let work = panic::catch_future(work);
        async move {
            if let Err(text) = work.await
                && let Some(life) = life.upgrade()
            {
                life.end(Exit::Panicked(text.to_string()));
            }
        }
    }
}

/// An actor's view of one of its lives.
pub struct Context<A: Actor> {
    pub(super) life: Rc<Life>,
    pub(super) queue: Arc<Queue<A>>,
}

impl<A: Actor> Context<A> {
    /// Ends this life with [`Exit::Normal`] before the next message.
    pub fn stop(&mut self) {
        self.life.end(Exit::Normal);
    }

    /// Ends this life with [`Exit::Failed`] before the next message.
    pub fn fail(&mut self, error: ActorError) {
        self.life.end(Exit::Failed(error.to_string()));
    }

    /// The actor's own address for messages of type `M`.
    pub fn address<M: Message>(&self) -> Address<M>
    where
        A: Handler<M>,
    {
        Address::new(self.queue.clone())
    }

    /// Runs `work` beside the messages, on the actor's thread. It is aborted when this life ends, and a panic in it ends
    /// this life.
    pub fn spawn_local(&self, work: impl Future<Output = ()> + 'static) {
        self.life.spawn(work);
    }

    /// Takes no further message until `work` is done. A supervisor that stops the actor waits for it, as long as the
    /// child's spec allows. If the actor already waits, it waits for both, in that order.
    pub fn wait(&mut self, work: impl Future<Output = ()> + 'static) {
        let work = self.life.guarded(work);
        let mut wait = self.life.wait.borrow_mut();
        *wait = Some(match wait.take() {
            None => Box::pin(work),
            Some(first) => Box::pin(async move {
                first.await;
                work.await;
            }),
        });
    }

    /// Sends `message` to the actor itself, in the control lane, after `delay`, unless this life has ended before.
    pub fn notify_after<M: Message>(&self, message: M, delay: Duration)
    where
        A: Handler<M>,
    {
        let (me, timer) = (self.address::<M>(), self.life.world.clock.sleep(delay));
        let name = self.life.name.clone();
        self.life.spawn(async move {
            timer.await;
            if me.tell_control(message).is_err() {
                tracing::error!(actor = &*name, "a delayed message found the actor's own control lane full");
            }
        });
    }

    /// Now, on the world's monotonic clock.
    pub fn now(&self) -> Time {
        self.life.world.clock.now()
    }

    /// The world the actor lives in.
    pub fn world(&self) -> &World {
        &self.life.world
    }

    /// Says that the actor is getting on (each handled message says so by itself).
    pub fn record_progress(&self) {
        self.life.progress.record();
    }

    /// The progress counter, for work that the actor has started and waits for.
    pub fn progress(&self) -> Progress {
        self.life.progress.clone()
    }

    /// The path of ids from the root supervisor to this child, such as `node/driver/scheduler`.
    pub fn name(&self) -> &str {
        &self.life.name
    }
}
