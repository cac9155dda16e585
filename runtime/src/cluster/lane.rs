//! Where the work of an endpoint runs. In a real process control and bulk have threads of their own, so that a driver's
//! decisions never queue behind blocks; in simulation all is one thread, and what runs dies with its node.

#[cfg(feature = "sim")]
use tidemill_protocol::world::Spawner;
use tokio::runtime::{Builder, Handle, Runtime};

/// One thread's worth of endpoint work.
#[derive(Clone)]
pub(crate) enum Lane {
    /// By the world: simulation.
    #[cfg(feature = "sim")]
    World(Spawner),
    /// On this runtime.
    Runtime(Handle),
}

/// The two lanes of a process.
#[derive(Clone)]
pub(crate) struct Lanes {
    pub(crate) control: Lane,
    pub(crate) bulk: Lane,
}

impl Lane {
    /// Runs `work` there.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        match self {
            #[cfg(feature = "sim")]
            Lane::World(spawner) => spawner.spawn(work),
            Lane::Runtime(runtime) => drop(runtime.spawn(work)),
        }
    }

    /// Makes something that is driven there: endpoints take the runtime that they are made in.
    pub(crate) fn make<T>(&self, make: impl FnOnce() -> T) -> T {
        match self {
            #[cfg(feature = "sim")]
            Lane::World(_) => make(),
            Lane::Runtime(runtime) => {
                let _entered = runtime.enter();
                make()
            }
        }
    }

    /// Completes `work` there, for the caller, who is on any thread; `None` if the lane is gone.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        match self {
            #[cfg(feature = "sim")]
            Lane::World(_) => Some(work.await),
            Lane::Runtime(runtime) => runtime.spawn(work).await.ok(),
        }
    }

    /// The runtime behind it.
    pub(crate) fn handle(&self) -> Handle {
        match self {
            #[cfg(feature = "sim")]
            Lane::World(_) => Handle::current(),
            Lane::Runtime(runtime) => runtime.clone(),
        }
    }
}

/// The thread of a process's bulk endpoint; it ends when this is dropped.
pub(crate) struct BulkThread(Option<Runtime>);

impl BulkThread {
    /// Starts it.
    ///
    /// # Errors
    /// What the system says when it gives no thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .thread_name("tidemill-bulk")
            .enable_all()
            .build()
            .map(|rt| BulkThread(Some(rt)))
    }

    /// The lanes of a process whose control runs on the current runtime.
    pub(crate) fn lanes(&self) -> Lanes {
        let bulk = self.0.as_ref().expect("it is there until it is dropped").handle().clone();
        Lanes { control: Lane::Runtime(Handle::current()), bulk: Lane::Runtime(bulk) }
    }
}

impl Drop for BulkThread {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
