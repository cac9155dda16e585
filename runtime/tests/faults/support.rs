//! What the tests of this program share: a log that can be waited for, a small cluster, a folder that goes away.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc, Condvar, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Wake},
    thread::{self, Thread},
    time::Duration,
};
use tidemill::{
    BatchInterval, ClusterEvent, Config, DStream, PipelineError, Running, StreamContext, data::Data,
};
use tidemill_protocol::world::{Clock, World};

/// How long anything may take before the test fails: far more than it needs, on a machine with other things to do.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The real clock, one for all threads of the tests.
pub fn clock() -> Clock {
    static CLOCK: OnceLock<Clock> = OnceLock::new();
    CLOCK.get_or_init(|| World::real().clock).clone()
}

/// Holds this thread until `work` is done, without using the processor meanwhile.
pub fn wait<T>(work: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let (mut work, waker) = (pin!(work), Arc::new(Unpark(thread::current())).into());
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}

/// A list that grows, and that can be waited for.
pub struct Log<T>(Arc<(Mutex<Vec<T>>, Condvar)>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Log(self.0.clone())
    }
}

impl<T: Clone> Log<T> {
    pub fn new() -> Self {
        Log(Arc::default())
    }

    pub fn extend(&self, items: impl IntoIterator<Item = T>) {
        self.0.0.lock().unwrap().extend(items);
        self.0.1.notify_all();
    }

    pub fn all(&self) -> Vec<T> {
        self.0.0.lock().unwrap().clone()
    }

    /// Waits until `enough` says so of all that is there.
    pub fn wait_until(&self, what: &str, mut enough: impl FnMut(&[T]) -> bool) {
        let (items, changed) = &*self.0;
        let (items, waited) =
            changed.wait_timeout_while(items.lock().unwrap(), DEADLINE, |items| !enough(items)).unwrap();
        let count = items.len();
        drop(items);
        assert!(!waited.timed_out(), "waited {DEADLINE:?} for {what}; {count} items are there");
    }
}

/// Two executors with one slot each, and batches every 100 ms. Without copies of late tasks: the tests count attempts, and a copy
/// would end a batch long before anybody calls a loop stuck.
pub fn config() -> Config {
    Config {
        batch_interval: BatchInterval::Every(Duration::from_millis(100)),
        executors: 2,
        slots_per_executor: 1,
        block_interval: Duration::from_millis(50),
        rate_records_per_s_initial: 1_000_000,
        speculation: false,
        ..Config::default()
    }
}

/// The same, for sources that end by themselves.
pub fn available_now() -> Config {
    Config { batch_interval: BatchInterval::AvailableNow, ..config() }
}

/// Everything that will happen in the cluster of `context`.
pub fn events(context: &StreamContext) -> Log<ClusterEvent> {
    let log = Log::new();
    let events = log.clone();
    context.on_event(move |event| events.extend([event.clone()]));
    log
}

/// Everything that `stream` publishes.
pub fn published<T: Data>(stream: &DStream<T>) -> Log<T> {
    let log = Log::new();
    let rows = log.clone();
    stream.foreach_batch(move |batch, _time| {
        rows.extend(batch);
        Ok(())
    });
    log
}

/// Waits for the end of the pipeline, and of its threads.
pub fn end(running: Running) -> Result<(), PipelineError> {
    running.await_termination_for(DEADLINE).expect("the pipeline ends in time")
}

/// Stops the pipeline and waits for its end.
pub fn stop(running: Running) -> Result<(), PipelineError> {
    running.stopper().stop_gracefully();
    end(running)
}

/// How often the sources have reported `what`.
pub fn reports(events: &[ClusterEvent], what: &str) -> u64 {
    let count = |event: &ClusterEvent| match event {
        ClusterEvent::SourceReport { what: told, count, .. } if told == what => *count,
        _ => 0,
    };
    events.iter().map(count).sum()
}

/// The words of every failed attempt.
pub fn failures(events: &[ClusterEvent]) -> Vec<String> {
    let words = |event: &ClusterEvent| match event {
        ClusterEvent::TaskFailed { message, .. } => Some(message.clone()),
        _ => None,
    };
    events.iter().filter_map(words).collect()
}

/// An empty folder of its own; it goes away with this.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tidemill-faults-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
