//! Membership's way to the driver's other roles: who comes, who is lost, and who is told what.

use super::{
    driver::Wires,
    figures,
    inbox::{generator_event, scheduler_event},
    progress::ClusterEvent,
    standing,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};
use tidemill_actors::{
    batch_generator::GeneratorEvent,
    node::{self, Destination, DownReason},
    scheduler,
    seam::Machine,
};
use tidemill_protocol::{
    id::Member,
    message::{PeerInfo, Registration, ToDriver},
};

/// Membership's way to the other roles.
pub(super) struct Routes<L>(pub(super) Arc<Wires<L>>);

impl<L> Routes<L> {
    fn tell_peers(&self, change: impl FnOnce(&mut BTreeMap<Member, PeerInfo>)) {
        let peers = {
            let mut alive = self.0.alive.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut alive);
            alive.values().cloned().collect()
        };
        if let Some(listener) = &self.0.peers {
            listener(peers);
        }
    }
}

impl<L: Send + Sync + 'static> node::Roles for Routes<L> {
    fn executor_up(&self, registration: &Registration) {
        let Registration { member, slots, bulk_address, .. } = registration.clone();
        self.tell_peers(|alive| {
            alive.insert(member, PeerInfo { member, bulk_address });
        });
        let wires = &self.0;
        wires.progress.remember_executor(registration);
        wires.roles.scheduler.tell(scheduler::Event::ExecutorUp { member, slots });
        wires.roles.generator.tell(GeneratorEvent::ExecutorUp(member));
        if let Some(machine) = bulk_address.map(Machine::at) {
            wires.roles.generator.tell(GeneratorEvent::ExecutorAt(member, machine));
        }
        wires.progress.tell(ClusterEvent::ExecutorUp(member));
    }

    fn executor_down(&self, member: Member, reason: DownReason) {
        // At the end of the pipeline they are stopped before us, which is no news.
        match self.0.progress.outcome() {
            None => tracing::warn!(%member, ?reason, "an executor is gone"),
            Some(_) => tracing::debug!(%member, ?reason, "an executor is gone"),
        }
        self.tell_peers(|alive| {
            alive.remove(&member);
        });
        let wires = &self.0;
        let has_ended = reason == DownReason::Ended;
        wires.roles.scheduler.tell(scheduler::Event::ExecutorDown { member, has_ended });
        wires.roles.generator.tell(GeneratorEvent::ExecutorDown(member));
        if reason == DownReason::Left {
            wires.progress.tell(ClusterEvent::ExecutorLeft(member));
        }
        wires.progress.tell(ClusterEvent::ExecutorDown(member));
    }

    fn standing(&self, member: Member, standing: node::Standing) {
        standing::tell(&self.0.roles, &self.0.progress, member, standing);
    }

    fn deliver(&self, to: Destination, from: Member, mut message: ToDriver) {
        let wires = &self.0;
        match to {
            Destination::BatchGenerator => {
                if let ToDriver::BlockAdded(block) = &message {
                    figures::block_received(block.bytes);
                }
                // What it says counts only if the batch generator finds that it may say it; status hears of it from there.
                if let Some(what) = generator_event(message).map(Box::new) {
                    wires.roles.generator.tell(GeneratorEvent::Said { by: from, what });
                }
            }
            Destination::Scheduler => {
                match &mut message {
                    ToDriver::TaskDone(outcome) => {
                        wires.reported.keep(outcome);
                        wires.progress.task_done(outcome.task, from);
                    }
                    ToDriver::SlotLeaked { task } => {
                        tracing::warn!(%task, on = %from, "a task does not stop: its slot goes on with a new thread");
                        wires.progress.tell(ClusterEvent::SlotReplaced { task: *task, on: from });
                    }
                    _ => {}
                }
                if let Some(event) = scheduler_event(from, message) {
                    wires.roles.scheduler.tell(event);
                }
            }
            Destination::Reports => {
                if let ToDriver::SourceReport { stream, what, count } = message {
                    tracing::info!(%stream, what, count, "a source reports");
                    figures::source_report(&what, count);
                    wires.progress.tell(ClusterEvent::SourceReport { stream, what, count });
                }
            }
            Destination::Node => {}
        }
    }
}
