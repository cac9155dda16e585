//! Timers of sub-millisecond precision: a thread that waits on a condition variable and wakes tasks, because tokio's
//! timer wheel has a granularity of 1 ms and a batch of a few milliseconds cannot afford that.
//!
//! ```text
//!   Sleep::poll ── (deadline, id, waker) ──▶ Queue (ordered) ◀── thread `tidemill-timer`: waits for the first deadline,
//!   Sleep::drop ── removes its entry ──────▶                     takes what is due, wakes it outside the lock
//! ```
//!
//! The thread starts with the first sleep that has to wait, and ends when the last [`Timer`] and [`Sleep`] are dropped.
//! A sleep can be polled by any runtime.

use super::lock;
use crate::time::Time;
use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

/// The longest that the thread waits at a stretch; it keeps far deadlines away from the system's limits.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// Monotonic time from a start, and the means to wait for it.
#[derive(Clone)]
pub(super) struct Timer(Arc<Owner>);

/// What timers and sleeps share; its end is the end of the thread, which holds only [`Shared`].
struct Owner {
    shared: Arc<Shared>,
}

struct Shared {
    start: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// Until when the thread waits; none: it is awake, and looks at the queue before it waits again.
    waits_until: Option<Time>,
    running: bool,
    stopped: bool,
}

impl State {
    /// Whether the thread is to be woken for a deadline. If it wakes before, for a sleep that was cancelled meanwhile, it finds
    /// this one; a change of threads for each sleep that takes another's place would cost a small batch a tenth of its time.
    fn oversleeps(&mut self, deadline: Time) -> bool {
        let oversleeps = self.waits_until.is_some_and(|until| deadline < until);
        if oversleeps {
            // Once: it is on its way.
            self.waits_until = None;
        }
        oversleeps
    }
}

/// Waiting tasks by deadline. An ordered map rather than a heap, so that a cancelled sleep leaves nothing behind.
#[derive(Default)]
struct Queue {
    waiting: BTreeMap<(Time, u64), Waker>,
    next_id: u64,
}

impl Queue {
    fn add(&mut self, deadline: Time, waker: Waker) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.insert((deadline, id), waker);
        id
    }

    fn first(&self) -> Option<Time> {
        self.waiting.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Takes all that is due at `now`, in order of deadline and then of arrival.
    fn take_due(&mut self, now: Time) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > now {
                break;
            }
            due.push(entry.remove());
        }
        due
    }
}

impl Timer {
    /// A timer whose time begins now; starts no thread yet.
    pub(super) fn new() -> Self {
        #[allow(clippy::disallowed_methods, reason = "the one place where monotonic time enters the program")]
        let start = Instant::now();
        let shared = Shared { start, state: Mutex::default(), changed: Condvar::new() };
        Timer(Arc::new(Owner { shared: Arc::new(shared) }))
    }

    /// Monotonic time since the timer was made.
    pub(super) fn now(&self) -> Time {
        self.0.shared.now()
    }

    /// Completes at `deadline`.
    pub(super) fn sleep_until(&self, deadline: Time) -> Sleep {
        Sleep { timer: self.clone(), deadline, id: None }
    }

    /// Completes after `duration`.
    pub(super) fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }
}

impl Owner {
    /// Sees that the thread runs.
    fn start(&self, state: &mut State) -> io::Result<()> {
        if !state.running {
            let shared = Arc::clone(&self.shared);
            thread::Builder::new().name("tidemill-timer".into()).spawn(move || shared.serve())?;
            state.running = true;
        }
        Ok(())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        lock(&self.shared.state).stopped = true;
        // Not joined: the last owner may be dropped on the timer's own thread, inside a waker.
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn now(&self) -> Time {
        #[allow(clippy::disallowed_methods, reason = "the one place where monotonic time enters the program")]
        let now = Instant::now();
        Time::ZERO + now.saturating_duration_since(self.start)
    }

    fn serve(&self) {
        let mut state = lock(&self.state);
        while !state.stopped {
            let now = self.now();
            let due = state.queue.take_due(now);
            if !due.is_empty() {
                // A waker may run any code, such as dropping another sleep: never under the lock.
                drop(state);
                due.into_iter().for_each(Waker::wake);
                state = lock(&self.state);
                continue;
            }
            let wait = state.queue.first().map_or(WAIT_MAX, |first| first.since(now).min(WAIT_MAX));
            state.waits_until = Some(now + wait);
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            state.waits_until = None;
        }
    }
}

/// Waits for a deadline; dropping it cancels the wait.
pub(super) struct Sleep {
    timer: Timer,
    deadline: Time,
    id: Option<u64>,
}

impl Sleep {
    /// Puts `waker` in the queue in place of the one put there before, which is returned to be dropped unlocked.
    fn register(&mut self, waker: &Waker) -> io::Result<Option<Waker>> {
        let owner = &self.timer.0;
        let mut state = lock(&owner.shared.state);
        owner.start(&mut state)?;
        if let Some(id) = self.id
            && let Some(known) = state.queue.waiting.get_mut(&(self.deadline, id))
        {
            return Ok((!known.will_wake(waker)).then(|| std::mem::replace(known, waker.clone())));
        }
        self.id = Some(state.queue.add(self.deadline, waker.clone()));
        if state.oversleeps(self.deadline) {
            owner.shared.changed.notify_one();
        }
        Ok(None)
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.deadline <= self.timer.now() {
            return Poll::Ready(());
        }
        match self.register(cx.waker()) {
            Ok(replaced) => drop(replaced),
            Err(error) => {
                // The system has no thread to give. Ask again at the next turn: late and hot, but nothing hangs.
                tracing::error!(%error, "cannot start the timer thread");
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let cancelled = lock(&self.timer.0.shared.state).queue.waiting.remove(&(self.deadline, id));
            drop(cancelled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Wake;

    /// Writes down who was woken.
    struct Note(u32, Arc<Mutex<Vec<u32>>>);

    impl Wake for Note {
        fn wake(self: Arc<Self>) {
            lock(&self.1).push(self.0);
        }
    }

    #[test]
    fn what_is_due_comes_in_order_of_deadline_then_of_arrival() {
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut queue = Queue::default();
        for (name, deadline) in [(1, 30), (2, 10), (3, 20), (4, 10), (5, 40)] {
            queue.add(Time(deadline), Waker::from(Arc::new(Note(name, woken.clone()))));
        }
        assert!(queue.take_due(Time(9)).is_empty());
        queue.take_due(Time(30)).into_iter().for_each(Waker::wake);
        assert_eq!(*lock(&woken), [2, 4, 3, 1]);
        assert_eq!(queue.first(), Some(Time(40)));
    }

    #[test]
    fn the_thread_is_woken_only_for_what_it_would_oversleep_and_once() {
        let mut state = State::default();
        let table = [
            // It is awake, and looks for itself.
            (None, 5, false),
            (Some(10), 10, false),
            (Some(10), 11, false),
            (Some(10), 9, true),
        ];
        for (waits_until, deadline, expected) in table {
            state.waits_until = waits_until.map(Time);
            assert_eq!(state.oversleeps(Time(deadline)), expected, "{waits_until:?} {deadline}");
        }
        assert!(!state.oversleeps(Time(1)), "it is on its way");
    }

    #[test]
    fn a_sleep_in_the_place_of_a_cancelled_one_comes_in_time() {
        let timer = Timer::new();
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = Box::pin(timer.sleep(Duration::from_millis(5)));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        drop(first);
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        struct Tell(std::sync::mpsc::SyncSender<()>);
        impl Wake for Tell {
            fn wake(self: Arc<Self>) {
                let _ = self.0.try_send(());
            }
        }
        let waker = Waker::from(Arc::new(Tell(tell)));
        for ms in [20, 10] {
            let mut later = Box::pin(timer.sleep(Duration::from_millis(ms)));
            assert!(later.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            told.recv_timeout(Duration::from_secs(30)).expect("it is woken");
        }
    }

    #[test]
    fn a_dropped_sleep_leaves_nothing_behind() {
        let timer = Timer::new();
        let mut sleep = Box::pin(timer.sleep(Duration::from_secs(3_600)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        assert!(sleep.as_mut().poll(&mut cx).is_pending(), "a second poll keeps the one entry");
        assert_eq!(lock(&timer.0.shared.state).queue.waiting.len(), 1);
        drop(sleep);
        assert_eq!(lock(&timer.0.shared.state).queue.waiting.len(), 0);
    }

    #[test]
    fn the_thread_starts_with_the_first_wait_and_ends_with_the_last_owner() {
        let timer = Timer::new();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Box::pin(timer.sleep_until(Time::ZERO)).as_mut().poll(&mut cx).is_ready());
        assert!(!lock(&timer.0.shared.state).running, "a sleep that is over at once needs no thread");

        let mut sleep = Box::pin(timer.sleep(Duration::from_secs(3_600)));
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        assert!(lock(&timer.0.shared.state).running);
        let shared = Arc::downgrade(&timer.0.shared);
        drop(timer);
        assert!(shared.upgrade().is_some(), "a sleep keeps the thread");
        drop(sleep);

        let patience = Timer::new();
        while shared.upgrade().is_some() {
            assert!(patience.now() < Time::ZERO + Duration::from_secs(30), "the thread lives on");
            thread::yield_now();
        }
    }
}
