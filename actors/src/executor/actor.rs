//! Carries out what the executor core asks for. The shell drives the core; slots, fetches and the store do the work.

use super::{Action, Counted, Event, ExecutorCore, Lifecycle, Report, SlotIndex, TellDriver};
use crate::{
    core::Perform,
    shell::ShellAddress,
    slots::{
        Assignment, CostModel, Fetched, Fetches, Flags, Notifications, SlotWork, Slots, Waste, in_background,
        let_go,
    },
};
use metrics::{Counter, Gauge, Histogram};
use std::{sync::Arc, time::Duration};
use tidemill_protocol::{
    id::NodeId,
    message::{TaskFacts, TaskSpec},
    world::Spawner,
};
use tokio::runtime::Handle;

/// The hands of an executor.
pub struct Performer {
    work: Arc<SlotWork>,
    spawner: Spawner,
    slots: Slots,
    waste: Waste,
    fetches: Fetches,
    notifications: Notifications,
    cost: Option<CostModel>,
    driver: Box<dyn TellDriver>,
    lifecycle: Box<dyn Lifecycle>,
    meters: Meters,
}

impl Performer {
    /// Starts `slots` threads. Fetches run on `bulk`, the runtime that drives bulk connections. With a cost model tasks
    /// take virtual time (simulation), without one their own.
    pub fn new(
        work: SlotWork,
        (spawner, slots): (Spawner, u16),
        bulk: Handle,
        cost: Option<CostModel>,
        driver: impl TellDriver,
        lifecycle: impl Lifecycle,
    ) -> Self {
        let (me, clock) = (work.source.me, work.clock.clone());
        Performer {
            work: Arc::new(work),
            waste: Waste::new(spawner.clone(), clock),
            slots: Slots::new(me, spawner.clone(), slots),
            spawner,
            fetches: Fetches::new(bulk.clone()),
            notifications: Notifications::new(bulk),
            cost,
            driver: Box::new(driver),
            lifecycle: Box::new(lifecycle),
            meters: Meters::new(me.node),
        }
    }

    /// Carries out one action; answers go to `report`.
    pub fn carry_out<R: Report>(&mut self, action: Action, report: &R) {
        let store = &self.work.source.store;
        match action {
            Action::Fetch { spec } => self.fetches.start(spec, self.work.source.clone(), report.clone()),
            Action::Forget { task } => let_go(&self.spawner, self.fetches.take(task)),
            Action::Start { slot, facts, spec } => self.start(slot, facts, spec, report.clone()),
            Action::SetCancel { task } => self.slots.set_cancel(task),
            Action::ReadProgress => report.report(Event::Progress { counters: self.slots.progress() }),
            Action::ReplaceSlot { slot, .. } => self.slots.replace(slot),
            Action::DropData { keys } => {
                self.waste.take(keys.into_iter().filter_map(|key| store.withdraw(key)));
            }
            Action::ReleaseOutputs { up_to } => self.waste.take(store.withdraw_outputs(up_to)),
            Action::Discard { task, facts } => {
                let work = self.work.clone();
                in_background(&self.spawner, move || work.discard(task, &facts));
            }
            Action::Notify { notice, bring } => {
                self.notifications.send(notice, bring, self.work.source.clone(), report.clone());
            }
            Action::TellDriver(message) => self.driver.tell(message),
            Action::Count(what) => self.meters.count(what, store.bytes()),
            Action::Leave => self.lifecycle.left(),
            Action::EndProcess { reason } => self.lifecycle.end_process(reason),
        }
    }

    fn start<R: Report>(&mut self, slot: SlotIndex, facts: TaskFacts, spec: Arc<TaskSpec>, report: R) {
        let (task, flags, work) = (spec.task, Flags::default(), self.work.clone());
        let fetched = self.fetches.take(task);
        let rows = || fetched.as_ref().map_or_else(|| work.source.rows_now(&spec), Fetched::rows);
        let cost = self.cost.map_or(Duration::ZERO, |model| model.cost(task, rows()));
        let given = work.clock.now();
        let assignment = Assignment { facts, spec, fetched, flags: flags.clone(), cost, given };
        let job = Box::new(move || {
            let end = work.run(assignment);
            report.report(Event::SlotFree { slot, task, end });
        });
        self.slots.start(slot, task, flags, job, cost);
    }
}

impl Perform<ExecutorCore> for Performer {
    fn perform(&mut self, action: Action, me: &ShellAddress<ExecutorCore>) {
        self.carry_out(action, me);
    }
}

/// The metrics of one executor, looked up once; labels are bounded by the number of nodes.
struct Meters {
    done: Counter,
    failed: Counter,
    cancelled: Counter,
    refused: Counter,
    leaked: Counter,
    run_seconds: Histogram,
    store_bytes: Gauge,
}

impl Meters {
    fn new(node: NodeId) -> Self {
        let node = node.to_string();
        let ended = |end: &'static str| metrics::counter!("tidemill_executor_tasks_total", "node" => node.clone(), "end" => end);
        Meters {
            done: ended("done"),
            failed: ended("failed"),
            cancelled: ended("cancelled"),
            refused: metrics::counter!("tidemill_executor_orders_refused_total", "node" => node.clone()),
            leaked: metrics::counter!("tidemill_executor_slots_leaked_total", "node" => node.clone()),
            run_seconds: metrics::histogram!("tidemill_executor_task_run_seconds", "node" => node.clone()),
            store_bytes: metrics::gauge!("tidemill_executor_store_bytes", "node" => node.clone()),
        }
    }

    fn count(&self, what: Counted, store_bytes: u64) {
        match what {
            Counted::Done { run_ns } => {
                self.done.increment(1);
                self.run_seconds.record(run_ns as f64 / 1e9);
            }
            Counted::Failed => self.failed.increment(1),
            Counted::Cancelled => self.cancelled.increment(1),
            Counted::SlotLeaked => self.leaked.increment(1),
            Counted::Refused => self.refused.increment(1),
        }
        self.store_bytes.set(store_bytes as f64);
    }
}
