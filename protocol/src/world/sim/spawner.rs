//! Threads of the simulated world, all of them the one thread: spawned work is a task of the runtime, blocking work runs
//! where it is asked for, and a slot's job first takes its cost in virtual time. All of it ends with the node's life.

use super::node::Life;
use crate::world::{Job, SLOT_QUEUE, SlotThread, SpawnerSource, lock, meter};
use futures_util::future::{self, BoxFuture};
use std::{
    collections::VecDeque,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{runtime::Handle, sync::Notify, time::sleep};

/// The threads of one life of a node.
#[derive(Clone)]
pub(super) struct SimThreads {
    runtime: Handle,
    life: Life,
}

impl SimThreads {
    /// Threads on `runtime` that end with `life`.
    pub(super) fn new(runtime: Handle, life: Life) -> Self {
        SimThreads { runtime, life }
    }
}

impl SpawnerSource for SimThreads {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        if self.life.is_alive() {
            let task = self.runtime.spawn(meter::inherit(work));
            self.life.adopt(task.abort_handle());
        }
    }

    fn blocking(&self, work: Job) -> BoxFuture<'static, ()> {
        if self.life.is_alive() {
            run(work);
        }
        Box::pin(future::ready(()))
    }

    fn slot(&self, name: String) -> Box<dyn SlotThread> {
        let slot = SimSlot { name, life: self.life.clone(), line: Arc::default() };
        self.spawn(Box::pin(serve(slot.line.clone(), self.life.clone())));
        Box::new(slot)
    }
}

/// Runs a job as a thread would: a panic ends the job only.
fn run(job: Job) {
    // The panic hook has told about it; whoever waits for the job sees it dropped.
    let _ = panic::catch_unwind(AssertUnwindSafe(job));
}

#[derive(Default)]
struct Line {
    state: Mutex<LineState>,
    changed: Notify,
}

#[derive(Default)]
struct LineState {
    jobs: VecDeque<(Job, Duration)>,
    closed: bool,
}

/// Runs the jobs of a slot one after the other, each after its cost.
async fn serve(line: Arc<Line>, life: Life) {
    loop {
        let next = {
            let mut state = lock(&line.state);
            if state.closed {
                return;
            }
            state.jobs.pop_front()
        };
        let Some((job, cost)) = next else {
            line.changed.notified().await;
            continue;
        };
        let cost = life.time_of(cost);
        if !cost.is_zero() {
            sleep(cost).await;
        }
        life.go_on().await;
        if !life.is_alive() {
            return;
        }
        run(job);
    }
}

/// The end of a slot that takes jobs.
struct SimSlot {
    name: String,
    life: Life,
    line: Arc<Line>,
}

impl SlotThread for SimSlot {
    fn run(&self, job: Job, cost: Duration) {
        if !self.life.is_alive() {
            return;
        }
        let mut state = lock(&self.line.state);
        assert!(state.jobs.len() < SLOT_QUEUE, "{SLOT_QUEUE} jobs wait at slot {}", self.name);
        state.jobs.push_back((job, cost));
        self.line.changed.notify_one();
    }
}

impl Drop for SimSlot {
    fn drop(&mut self) {
        let mut state = lock(&self.line.state);
        state.closed = true;
        let forgotten = std::mem::take(&mut state.jobs);
        drop(state);
        drop(forgotten);
        self.line.changed.notify_one();
    }
}
