//! Threads of a world. Real: a multi-thread runtime for asynchronous user code, a pool for blocking work, one plain thread
//! for each task slot. Simulated: everything runs on the one thread, and a slot's job takes virtual time first.

use futures_util::future::BoxFuture;
use std::{sync::Arc, time::Duration};

/// A piece of synchronous work.
pub type Job = Box<dyn FnOnce() + Send>;

/// How many jobs may wait at one slot. Schedulers place a handful; a slot that is this far behind is a defect, which a
/// simulated slot answers with a panic and a real one by making the caller wait.
pub const SLOT_QUEUE: usize = 1_024;

/// What a world's threads are made of.
pub trait SpawnerSource: Send + Sync {
    /// Runs asynchronous work of sources and sinks (the *user* thread of the design).
    fn spawn(&self, work: BoxFuture<'static, ()>);
    /// Runs work that blocks (files) and completes when it is done.
    fn blocking(&self, work: Job) -> BoxFuture<'static, ()>;
    /// A new slot: a thread of its own for tasks.
    fn slot(&self, name: String) -> Box<dyn SlotThread>;
}

/// A thread for tasks, one at a time. Dropping it lets a running job finish unobserved and then ends the thread.
pub trait SlotThread: Send {
    /// Runs `job` after those given before. `cost` is the virtual time that a simulated slot takes; real ones ignore it.
    fn run(&self, job: Job, cost: Duration);
}

/// A shared handle to the world's threads.
#[derive(Clone)]
pub struct Spawner(Arc<dyn SpawnerSource>);

impl Spawner {
    /// Threads made by `source`.
    pub fn new(source: impl SpawnerSource + 'static) -> Self {
        Spawner(Arc::new(source))
    }

    /// Runs asynchronous work of sources and sinks.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(Box::pin(work));
    }

    /// Runs `work` where blocking is allowed, and gives its result.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let job: Job = Box::new(move || {
            let _ = tell.send(work());
        });
        self.0.blocking(job).await;
        told.await.ok()
    }

    /// A new task slot.
    pub fn slot(&self, name: impl Into<String>) -> Slot {
        Slot(self.0.slot(name.into()))
    }
}

/// A task slot.
pub struct Slot(Box<dyn SlotThread>);

impl Slot {
    /// Runs `job` after those given before.
    pub fn run(&self, job: Job, cost: Duration) {
        self.0.run(job, cost);
    }
}
