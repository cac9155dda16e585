//! What the outside sees of a running cluster: events as they happen, and a bounded memory of the last batches, kept for
//! whoever asks later (a table, a page, a test).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tidemill_actors::{
    batch_generator::GeneratorNote,
    block_store::BlockStore,
    rate_controller::{BatchInfo, InputKey},
    supervision::panic::catch,
};
use tidemill_protocol::{
    id::{BatchNumber, Member, NodeId, ReceiverId, StreamId, TaskId},
    message::Registration,
};

/// How many batches are remembered.
pub const BATCHES_REMEMBERED_MAX: usize = 1_000;

/// Something that happened in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterEvent {
    /// A batch has been published.
    BatchCompleted(BatchInfo),
    /// An executor has joined, or come back with a new incarnation.
    ExecutorUp(Member),
    /// An executor is lost.
    ExecutorDown(Member),
    /// An executor is silent for longer than usual: others are preferred.
    ExecutorSuspected(Member),
    /// A suspected executor is heard again as usual.
    ExecutorTrusted(Member),
    /// An executor leaves in good order; `ExecutorLeft` and `ExecutorDown` follow when it has.
    ExecutorLeaving(Member),
    /// An executor has left in good order: nothing of it is needed any more. `ExecutorDown` follows.
    ExecutorLeft(Member),
    /// A receiver runs.
    ReceiverStarted {
        /// Which, and which of its lives.
        receiver: ReceiverId,
        /// Where.
        on: Member,
    },
    /// Tasks that must run again because an executor was lost.
    TasksLost {
        /// The batch they belong to.
        batch: BatchNumber,
        /// Who was lost.
        member: Member,
        /// How many.
        count: u64,
    },
    /// Blocks and outputs that went with an executor.
    DataLost {
        /// Whose.
        member: Member,
        /// Received blocks.
        blocks: u64,
        /// Outputs of tasks.
        outputs: u64,
    },
    /// News about receivers and their blocks.
    Note(GeneratorNote),
    /// An input's permitted rate has been set, in records per second.
    RateSet {
        /// Which input.
        input: InputKey,
        /// The new rate.
        records_per_s_max: u64,
    },
    /// An attempt that counted has failed: its own fault, a panic for one, or an input was not to be had, or its executor had not
    /// enough for it. Of attempts that do not count any more nothing is told.
    TaskFailed {
        /// The attempt.
        task: TaskId,
        /// Where it ran.
        on: Member,
        /// In words; for a panic, message and place.
        message: String,
    },
    /// A task did not stop: its slot goes on with a new thread, the old one is left to itself.
    SlotReplaced {
        /// The attempt that holds the old thread.
        task: TaskId,
        /// Where.
        on: Member,
    },
    /// A task takes too long: a copy of it was started elsewhere, and the first to end is taken.
    TaskCopied {
        /// The copy.
        task: TaskId,
        /// Where the attempt runs that takes too long.
        slow: Member,
    },
    /// An executor gets no tasks for a time: they fail there or take much longer than elsewhere, or others do not reach it.
    ExecutorExcluded {
        /// Which.
        member: Member,
        /// For how long.
        time: Duration,
    },
    /// Something about a source: `bad_utf8`, `line_too_long`, `record_too_long` (of a user's own receiver, refused),
    /// `cut_line`, `connect_failed`, `reconnect`, `lost_connection`, `sender_does_not_read`, `window_lost` (a receiver whose sender repeats nothing has died), or what a user's own receiver reports.
    SourceReport {
        /// Which stream.
        stream: StreamId,
        /// What.
        what: String,
        /// How many.
        count: u64,
    },
    /// The pipeline has stopped at a batch; nothing later is published.
    Failed(String),
    /// The pipeline has ended: its sources are exhausted, or it was stopped.
    Ended,
}

/// The pipeline could not go on, in words that name the batch, the task and the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PipelineError(pub String);

/// What the data of one executor take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// Whose.
    pub executor: Member,
    /// Blocks, outputs and fetched inputs now.
    pub bytes: u64,
    /// The most there ever was in this incarnation.
    pub bytes_high_water: u64,
}

type Listener = Box<dyn FnMut(&ClusterEvent) + Send>;
/// Hears of each task that an executor says is done.
type TaskListener = Box<dyn FnMut(TaskId, Member) + Send>;

/// What the driver knows of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReceiverState {
    /// It runs there.
    Running(Member),
    /// Its life has ended, for this reason, and the next has not begun.
    Waiting(String),
}

#[derive(Default)]
struct State {
    batches: VecDeque<BatchInfo>,
    outcome: Option<Result<(), PipelineError>>,
    receivers: BTreeMap<(StreamId, u16), (ReceiverId, ReceiverState)>,
    executors: BTreeMap<NodeId, Registration>,
    permitted: BTreeMap<InputKey, u64>,
}

impl State {
    /// Takes what is said of a life of a receiver, unless a later one has begun.
    fn receive(&mut self, receiver: ReceiverId, state: ReceiverState) {
        let known = self.receivers.entry((receiver.stream, receiver.index.0));
        let known = known.or_insert_with(|| (receiver, state.clone()));
        if receiver.incarnation >= known.0.incarnation {
            *known = (receiver, state);
        }
    }
}

/// The shared memory of what happened. Cloning gives another handle.
#[derive(Clone, Default)]
pub struct Progress {
    state: Arc<(Mutex<State>, Condvar)>,
    listeners: Arc<Mutex<Vec<Listener>>>,
    /// Apart from the events: there are as many as tasks, and only a measurement wants them.
    tasks: Arc<Mutex<Option<TaskListener>>>,
    stores: Arc<Mutex<BTreeMap<NodeId, (Member, BlockStore)>>>,
}

impl Progress {
    /// Calls `listener` with every event from now on, on the control thread: it must return quickly, and may not itself add a
    /// listener. A panic in it is logged.
    pub fn listen(&self, listener: impl FnMut(&ClusterEvent) + Send + 'static) {
        lock(&self.listeners).push(Box::new(listener));
    }

    /// Calls `listener` for each task that is reported as done, accepted or not, in place of the listener before.
    pub(crate) fn listen_to_tasks(&self, listener: impl FnMut(TaskId, Member) + Send + 'static) {
        *lock(&self.tasks) = Some(Box::new(listener));
    }

    /// An executor says that a task is done.
    pub(crate) fn task_done(&self, task: TaskId, on: Member) {
        if let Some(listener) = lock(&self.tasks).as_mut() {
            listener(task, on);
        }
    }

    /// The last batches, oldest first; at most [`BATCHES_REMEMBERED_MAX`].
    pub fn batches(&self) -> Vec<BatchInfo> {
        lock(&self.state.0).batches.iter().cloned().collect()
    }

    /// The receivers that run, and where.
    pub fn receivers(&self) -> Vec<(ReceiverId, Member)> {
        let running = |(receiver, state): (ReceiverId, ReceiverState)| match state {
            ReceiverState::Running(on) => Some((receiver, on)),
            ReceiverState::Waiting(_) => None,
        };
        self.all_receivers().into_iter().filter_map(running).collect()
    }

    /// The receivers that have begun, also those that wait for their next life: the last life of each.
    pub(crate) fn all_receivers(&self) -> Vec<(ReceiverId, ReceiverState)> {
        lock(&self.state.0).receivers.values().cloned().collect()
    }

    /// The executors that live, by node.
    pub(crate) fn executors(&self) -> Vec<Registration> {
        lock(&self.state.0).executors.values().cloned().collect()
    }

    /// An executor has registered.
    pub(crate) fn remember_executor(&self, registration: &Registration) {
        lock(&self.state.0).executors.insert(registration.member.node, registration.clone());
    }

    /// The rate that an input is permitted, once it has been set.
    pub(crate) fn permitted(&self, input: InputKey) -> Option<u64> {
        lock(&self.state.0).permitted.get(&input).copied()
    }

    /// What the executors of this process hold in memory, by node: at most `memory_bytes_max`, and a quarter on top for
    /// outputs of tasks; only where outputs leave nothing, the half that copies of blocks are sure of comes beyond that. Open blocks, at most an eighth of it for each receiver, are not in it.
    pub fn memory(&self) -> Vec<MemoryUse> {
        let of_store = |(executor, store): &(Member, BlockStore)| MemoryUse {
            executor: *executor,
            bytes: store.bytes(),
            bytes_high_water: store.bytes_high_water(),
        };
        lock(&self.stores).values().map(of_store).collect()
    }

    /// A new incarnation keeps its data here.
    pub(crate) fn remember_store(&self, member: Member, store: &BlockStore) {
        lock(&self.stores).insert(member.node, (member, store.clone()));
    }

    /// How the pipeline ended, if it has.
    pub fn outcome(&self) -> Option<Result<(), PipelineError>> {
        lock(&self.state.0).outcome.clone()
    }

    /// Waits for the end, at most `timeout`; `None` if it has not come.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Option<Result<(), PipelineError>> {
        #[allow(clippy::disallowed_methods)] // A user's thread waits here, in real time, outside any world.
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let (state, changed) = &*self.state;
        let mut state = lock(state);
        while state.outcome.is_none() {
            #[allow(clippy::disallowed_methods)] // As above.
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            state = match left {
                Some(left) if left.is_zero() => return None,
                Some(left) => changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.outcome.clone()
    }

    /// Remembers an event and tells the listeners. The first outcome stays, and stands before anybody hears of the end: whoever
    /// ends something because of it finds the cause in place.
    pub(crate) fn tell(&self, event: ClusterEvent) {
        self.remember(&event);
        for listener in lock(&self.listeners).iter_mut() {
            // A user's code: its panic must not end the role that happens to tell it.
            if let Err(panic) = catch(|| listener(&event)) {
                tracing::error!(%panic, "a listener of cluster events panicked");
            }
        }
        if matches!(event, ClusterEvent::Failed(_) | ClusterEvent::Ended) {
            self.state.1.notify_all();
        }
    }

    fn remember(&self, event: &ClusterEvent) {
        let mut state = lock(&self.state.0);
        match event {
            ClusterEvent::BatchCompleted(info) => {
                if state.batches.len() == BATCHES_REMEMBERED_MAX {
                    state.batches.pop_front();
                }
                state.batches.push_back(info.clone());
            }
            ClusterEvent::ReceiverStarted { receiver, on } => {
                state.receive(*receiver, ReceiverState::Running(*on));
            }
            ClusterEvent::Note(GeneratorNote::ReceiverRestarts { receiver, reason, .. }) => {
                state.receive(*receiver, ReceiverState::Waiting(reason.clone()));
            }
            ClusterEvent::ExecutorDown(member) => {
                for (_, receiver) in state.receivers.values_mut() {
                    if *receiver == ReceiverState::Running(*member) {
                        *receiver = ReceiverState::Waiting(format!("{member} is gone"));
                    }
                }
                state.executors.retain(|_, executor| executor.member != *member);
            }
            ClusterEvent::RateSet { input, records_per_s_max } => {
                state.permitted.insert(*input, *records_per_s_max);
            }
            ClusterEvent::Failed(text) => drop(state.outcome.get_or_insert(Err(PipelineError(text.clone())))),
            ClusterEvent::Ended => drop(state.outcome.get_or_insert(Ok(()))),
            _ => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept here stays consistent whatever a listener did: each change is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_protocol::id::{Incarnation, ReceiverIndex};

    #[test]
    fn the_outcome_stands_before_listeners_hear_of_the_end_and_the_first_one_stays() {
        let (progress, seen) = (Progress::default(), Arc::new(Mutex::new(Vec::new())));
        let (asked, sink) = (progress.clone(), seen.clone());
        progress.listen(move |_| lock(&sink).push(asked.outcome()));
        progress.tell(ClusterEvent::Failed("why".into()));
        progress.tell(ClusterEvent::Ended);
        let why = Some(Err(PipelineError("why".into())));
        assert_eq!(*lock(&seen), [why.clone(), why.clone()]);
        assert_eq!(progress.wait(None), why);
    }

    #[test]
    fn a_receiver_whose_life_has_ended_waits_for_the_next_and_says_why() {
        let on = |node| Member { node: NodeId(node), incarnation: Incarnation(1) };
        let life = |life| ReceiverId {
            stream: StreamId(0),
            index: ReceiverIndex(0),
            incarnation: Incarnation(life),
        };
        let started = |number, node| ClusterEvent::ReceiverStarted { receiver: life(number), on: on(node) };
        let ended = |number| {
            let (reason, after) = ("connection refused".to_owned(), Duration::ZERO);
            let note =
                GeneratorNote::ReceiverRestarts { receiver: life(number), reason, after, resume_after: None };
            ClusterEvent::Note(note)
        };
        let waiting = |why: &str| ReceiverState::Waiting(why.to_owned());
        let table = [
            (started(0, 1), 0, ReceiverState::Running(on(1))),
            (ended(0), 0, waiting("connection refused")),
            (started(1, 2), 1, ReceiverState::Running(on(2))),
            // What is late is of no interest any more.
            (ended(0), 1, ReceiverState::Running(on(2))),
            (started(0, 1), 1, ReceiverState::Running(on(2))),
            (ClusterEvent::ExecutorDown(on(1)), 1, ReceiverState::Running(on(2))),
            (ClusterEvent::ExecutorDown(on(2)), 1, waiting("node-2.i1 is gone")),
            (ended(1), 1, waiting("connection refused")),
            (started(2, 1), 2, ReceiverState::Running(on(1))),
        ];
        let progress = Progress::default();
        for (event, number, state) in table {
            progress.tell(event.clone());
            assert_eq!(progress.all_receivers(), [(life(number), state.clone())], "{event:?}");
            let running = matches!(state, ReceiverState::Running(_));
            assert_eq!(progress.receivers().len(), usize::from(running), "{event:?}");
        }
    }
}
