//! Threads of the real world: a multi-thread runtime for asynchronous user code with its pool for blocking work, and
//! a plain thread for each task slot.

use crate::world::{Job, SLOT_QUEUE, SlotThread, SpawnerSource};
use futures_util::future::BoxFuture;
use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads of the user runtime: receivers and sinks wait far more than they compute.
const USER_THREADS: usize = 2;

/// Where work runs.
pub(super) enum Threads {
    /// On a runtime of our own, built with the first work; none if the system refused the threads.
    Own(OnceLock<Option<Runtime>>),
    /// On the caller's runtime.
    Given(Handle),
}

impl Threads {
    /// A runtime of our own.
    pub(super) fn own() -> Self {
        Threads::Own(OnceLock::new())
    }

    /// The caller's runtime.
    pub(super) fn given(runtime: Handle) -> Self {
        Threads::Given(runtime)
    }

    fn handle(&self) -> Option<&Handle> {
        match self {
            Threads::Own(runtime) => runtime.get_or_init(build).as_ref().map(Runtime::handle),
            Threads::Given(handle) => Some(handle),
        }
    }
}

fn build() -> Option<Runtime> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(USER_THREADS)
        .thread_name("tidemill-user")
        .enable_all()
        .build();
    runtime
        .inspect_err(|error| tracing::error!(%error, "cannot start the user runtime: its work is dropped"))
        .ok()
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Threads::Own(runtime) = self
            && let Some(Some(runtime)) = runtime.take()
        {
            // Dropping a runtime waits for its blocking work, and panics when that happens inside a runtime.
            runtime.shutdown_background();
        }
    }
}

impl SpawnerSource for Threads {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        if let Some(handle) = self.handle() {
            handle.spawn(work);
        }
    }

    fn blocking(&self, work: Job) -> BoxFuture<'static, ()> {
        // Begun here and not with the first poll, so that the runtime is not needed any longer.
        let done = self.handle().map(|handle| handle.spawn_blocking(work));
        Box::pin(async move {
            if let Some(done) = done
                && let Err(error) = done.await
            {
                tracing::error!(%error, "blocking work did not end well");
            }
        })
    }

    fn slot(&self, name: String) -> Box<dyn SlotThread> {
        Box::new(RealSlot::new(name))
    }
}

/// A thread that runs jobs one after the other.
struct RealSlot {
    name: String,
    jobs: SyncSender<Job>,
    closed: Arc<AtomicBool>,
}

impl RealSlot {
    fn new(name: String) -> Self {
        let (jobs, queue) = sync_channel(SLOT_QUEUE);
        let closed = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&closed);
        if let Err(error) = thread::Builder::new().name(name.clone()).spawn(move || serve(&queue, &seen)) {
            tracing::error!(%error, name, "cannot start a slot's thread: its jobs are dropped");
        }
        RealSlot { name, jobs, closed }
    }
}

fn serve(queue: &Receiver<Job>, closed: &AtomicBool) {
    while let Ok(job) = queue.recv() {
        if closed.load(Ordering::Acquire) {
            break;
        }
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(job)) {
            tracing::error!(message = message_of(&*panic), "a job panicked on its slot");
        }
    }
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text")
}

impl SlotThread for RealSlot {
    fn run(&self, job: Job, _cost: Duration) {
        match self.jobs.try_send(job) {
            // Disconnected: there is no thread, which has been logged. Whoever waits for the job sees it dropped.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(job)) => {
                tracing::warn!(name = self.name, SLOT_QUEUE, "a slot's queue is full: waiting");
                let _ = self.jobs.send(job);
            }
        }
    }
}

impl Drop for RealSlot {
    fn drop(&mut self) {
        // What is still queued does not run; the closed channel ends a thread that waits.
        self.closed.store(true, Ordering::Release);
    }
}
