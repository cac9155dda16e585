//! Inputs on their way: one asynchronous piece of work for each task that reads from other processes.

use super::{Fetched, InputError, InputSource};
use crate::{
    executor::{Event, Report},
    supervision::panic::{PanicText, catch},
};
use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};
use tidemill_protocol::{id::TaskId, message::TaskSpec};
use tokio::{runtime::Handle, sync::Semaphore, task::AbortHandle};

/// How many tasks of an executor fetch at the same time; the rest wait in order.
const FETCHING_TASKS_MAX: usize = 64;

/// The fetches of an executor. They run on the runtime that drives bulk connections, where records are decoded without
/// holding up control.
pub struct Fetches {
    runtime: Handle,
    permits: Arc<Semaphore>,
    table: Table,
}

// An entry stands from the order to the start (or the end of interest): what arrives without an entry is dropped.
type Table = Arc<Mutex<BTreeMap<TaskId, State>>>;

enum State {
    OnTheWay(AbortHandle),
    Arrived(Fetched),
}

impl Fetches {
    /// No fetches yet; they will run on `runtime`.
    pub fn new(runtime: Handle) -> Self {
        Fetches { runtime, permits: Arc::new(Semaphore::new(FETCHING_TASKS_MAX)), table: Table::default() }
    }

    /// Fetches the inputs of `spec`; reports `InputsReady` or `InputsFailed` unless forgotten before.
    pub fn start<R: Report>(&mut self, spec: Arc<TaskSpec>, source: InputSource, report: R) {
        let (task, permits, table) = (spec.task, self.permits.clone(), self.table.clone());
        // Locked until the entry stands: the work may end on another thread before this call does.
        let mut entries = lock(&self.table);
        let work = self.runtime.spawn(async move {
            // The semaphore is never closed; were it, the fetch would go on without a permit.
            let _permit = permits.acquire_owned().await.ok();
            // Decoding runs user code, and nobody looks at the end of a spawned piece of work.
            let mut fetch = pin!(source.fetch(&spec));
            let fetched = poll_fn(|context| match catch(|| fetch.as_mut().poll(context)) {
                Ok(poll) => poll,
                Err(panic) => Poll::Ready(Err(unreadable(task, &panic))),
            })
            .await;
            if let Some(event) = arrive(&table, task, fetched) {
                report.report(event);
            }
        });
        entries.insert(task, State::OnTheWay(work.abort_handle()));
    }

    /// What was fetched for `task`, if anything.
    pub fn take(&mut self, task: TaskId) -> Option<Fetched> {
        match lock(&self.table).remove(&task) {
            Some(State::Arrived(fetched)) => Some(fetched),
            Some(State::OnTheWay(work)) => {
                work.abort();
                None
            }
            None => None,
        }
    }
}

impl Drop for Fetches {
    fn drop(&mut self) {
        for (_, state) in std::mem::take(&mut *lock(&self.table)) {
            if let State::OnTheWay(work) = state {
                work.abort();
            }
        }
    }
}

fn arrive(table: &Table, task: TaskId, fetched: Result<Fetched, InputError>) -> Option<Event> {
    let mut entries = lock(table);
    let entry = entries.get_mut(&task)?;
    match fetched {
        Ok(fetched) => {
            *entry = State::Arrived(fetched);
            Some(Event::InputsReady { task })
        }
        Err(InputError { missing, exhausted, unreached, message }) => {
            entries.remove(&task);
            Some(Event::InputsFailed { task, missing, exhausted, unreached, message })
        }
    }
}

fn unreadable(task: TaskId, panic: &PanicText) -> InputError {
    InputError::unreadable(format!("an input of {task} cannot be read: its codec panicked: {panic}"))
}

fn lock(table: &Table) -> MutexGuard<'_, BTreeMap<TaskId, State>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
