//! One life of an actor, on actix: the only file that knows actix's `Actor`.
//!
//! ```text
//!   a task of ours ── Run ── catch_unwind ── actix ContextFut ── Host { actor, context }
//!                                                  └── Drain: our mailbox, as a future of the actix context
//! ```
//!
//! What actix 0.13 would do by itself, and why it is not left to: a panic in a handler drops the context future and tells
//! nobody; that drop *polls the context again* and runs `stopping` and `stopped` on the half-updated actor, and a panic there,
//! while unwinding, aborts the process. So the future is polled inside `catch`, and when it has panicked it is dropped
//! afterwards, inside another `catch`, with hooks that call the user's code only through a third.

use super::{
    actor::Actor,
    context::{Context, Life},
    exit::Exit,
    mailbox::Queue,
    panic,
};
use actix::{ActorContext, AsyncContext};
use futures_util::future::LocalBoxFuture;
use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};
use tidemill_protocol::world::World;

/// Messages that an actor handles in one go before it lets others have the thread.
pub const DRAIN_BUDGET: u32 = 64;

/// Where a child lives.
pub(crate) struct Seat {
    pub world: World,
    pub path: Arc<str>,
    pub role: &'static str,
    /// To be called once the child is at work.
    pub up: Box<dyn FnOnce()>,
}

/// What a supervisor can do with a running child besides aborting its task.
pub(crate) trait Lever {
    /// Asks it to end with [`Exit::Shutdown`].
    fn stop(&self);
    /// Its progress counter.
    fn progress(&self) -> u64;
}

impl Lever for Life {
    fn stop(&self) {
        self.end(Exit::Shutdown);
    }

    fn progress(&self) -> u64 {
        self.progress.count()
    }
}

/// One life of a child, ready to run.
pub(crate) struct Incarnation {
    pub run: LocalBoxFuture<'static, Exit>,
    pub lever: Rc<dyn Lever>,
}

/// A life of `actor` that reads `queue`.
pub(crate) fn incarnation<A: Actor>(actor: A, queue: &Arc<Queue<A>>, seat: Seat) -> Incarnation {
    let life = Life::new(seat.path, seat.world);
    let host = Host {
        actor: Box::new(actor),
        ctx: Context { life: life.clone(), queue: queue.clone() },
        up: Some(seat.up),
        started: false,
        depth: metrics::gauge!("tidemill_mailbox_depth", "role" => seat.role),
        depth_told: 0,
    };
    let future = actix::Context::new().into_future(host);
    Incarnation { run: Box::pin(Run { future: Some(future), life: life.clone() }), lever: life }
}

/// The actix actor around one of ours.
struct Host<A: Actor> {
    actor: Box<A>,
    ctx: Context<A>,
    up: Option<Box<dyn FnOnce()>>,
    started: bool,
    depth: metrics::Gauge,
    depth_told: usize,
}

impl<A: Actor> Host<A> {
    /// Adds what has changed to the gauge, which is the sum over all actors of a role.
    fn tell_depth(&mut self, depth: usize) {
        if depth != self.depth_told {
            self.depth.increment(depth as f64 - self.depth_told as f64);
            self.depth_told = depth;
        }
    }
}

impl<A: Actor> actix::Actor for Host<A> {
    type Context = actix::Context<Self>;

    fn started(&mut self, host_ctx: &mut Self::Context) {
        match self.actor.started(&mut self.ctx) {
            Ok(()) => {
                self.started = true;
                if let Some(up) = self.up.take() {
                    up();
                }
            }
            Err(error) => self.ctx.fail(error),
        }
        host_ctx.spawn(Drain);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.tell_depth(0);
        let life = &self.ctx.life;
        if !self.started || life.aborted.get() {
            return;
        }
        let exit = life.exit().unwrap_or(Exit::Normal);
        if let Err(text) = panic::catch(|| self.actor.stopped(&exit)) {
            tracing::error!(actor = &*life.name, panic = %text, "an actor panicked while it was stopping");
        }
    }
}

/// Feeds the actor from its mailbox for as long as it lives.
struct Drain;

impl<A: Actor> actix::fut::ActorFuture<Host<A>> for Drain {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        host: &mut Host<A>,
        host_ctx: &mut actix::Context<Host<A>>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        host.ctx.life.remember_waker(task.waker());
        for _ in 0..DRAIN_BUDGET {
            let waiting = poll_wait(&host.ctx.life, task);
            if host.ctx.life.must_end() {
                host_ctx.stop();
                return Poll::Ready(());
            }
            if waiting {
                let depth = host.ctx.queue.depth();
                host.tell_depth(depth);
                return Poll::Pending;
            }
            match host.ctx.queue.poll_next(task.waker()) {
                Poll::Ready(letter) => {
                    letter.deliver(&mut host.actor, &mut host.ctx);
                    host.ctx.life.progress.record();
                }
                Poll::Pending => {
                    host.tell_depth(0);
                    return Poll::Pending;
                }
            }
        }
        let depth = host.ctx.queue.depth();
        host.tell_depth(depth);
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Polls what the actor waits for; true if it still does.
fn poll_wait(life: &Life, task: &mut TaskContext<'_>) -> bool {
    // Taken out while it is polled: it may run code that looks at this life.
    let taken = life.wait.borrow_mut().take();
    let Some(mut work) = taken else { return false };
    if work.as_mut().poll(task).is_ready() {
        return false;
    }
    *life.wait.borrow_mut() = Some(work);
    true
}

/// The task of one life.
struct Run<A: Actor> {
    future: Option<actix::dev::ContextFut<Host<A>, actix::Context<Host<A>>>>,
    life: Rc<Life>,
}

impl<A: Actor> Future for Run<A> {
    type Output = Exit;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Exit> {
        let future = self.future.as_mut().expect("a life is not polled after its end");
        match panic::catch(|| Pin::new(future).poll(task)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => {}
            Err(text) => self.life.end(Exit::Panicked(text.to_string())),
        }
        self.finish();
        Poll::Ready(self.life.exit().unwrap_or(Exit::Normal))
    }
}

impl<A: Actor> Run<A> {
    /// Drops the actor (which, after a panic, lets actix call its `stopped` first) and all it has spawned.
    fn finish(&mut self) {
        self.life.abort_tasks();
        let future = self.future.take();
        if let Err(text) = panic::catch(|| drop(future)) {
            tracing::error!(actor = &*self.life.name, panic = %text, "an actor panicked while it was dropped");
        }
    }
}

impl<A: Actor> Drop for Run<A> {
    fn drop(&mut self) {
        if self.future.is_some() {
            self.life.aborted.set(true);
            self.finish();
        }
    }
}
