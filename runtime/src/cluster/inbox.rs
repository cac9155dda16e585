//! Where what executors say arrives at the driver, whichever way it travelled.

use super::{
    driver::Roles,
    progress::{ClusterEvent, Progress},
};
use std::sync::atomic::{AtomicU64, Ordering};
use tidemill_actors::{
    batch_generator::GeneratorEvent,
    core::Core,
    node::{Event, LinkId},
    scheduler,
    shell::ShellAddress,
};
use tidemill_protocol::{id::Member, message::ToDriver, world::World};

/// The driver's ear: everything goes to membership first, which knows who lives. Usable from any thread; never waits.
pub(crate) struct DriverInbox {
    roles: Roles,
    links: AtomicU64,
}

impl DriverInbox {
    pub(crate) fn new(roles: Roles) -> Self {
        DriverInbox { roles, links: AtomicU64::new(1) }
    }

    /// A number for a new connection.
    pub(crate) fn new_link(&self) -> LinkId {
        LinkId(self.links.fetch_add(1, Ordering::Relaxed))
    }

    /// Somebody says something. Messages of one connection arrive in order.
    pub(crate) fn deliver(&self, link: LinkId, from: Member, message: ToDriver) {
        self.roles.node.tell(Event::Message { link, from, message });
    }

    /// A connection has ended: nothing will come over it any more.
    pub(crate) fn lost(&self, link: LinkId) {
        self.roles.node.tell(Event::LinkLost { link });
    }
}

/// What the batch generator is told by a message for it.
pub(super) fn generator_event(message: ToDriver) -> Option<GeneratorEvent> {
    Some(match message {
        ToDriver::ReceiverStarted { receiver } => GeneratorEvent::ReceiverStarted(receiver),
        ToDriver::BlockAdded(block) => GeneratorEvent::BlockAdded(block),
        ToDriver::BlockSafe { block, replica } => GeneratorEvent::BlockSafe { block, replica },
        ToDriver::BlockCopied { block, to, kept } => GeneratorEvent::BlockCopied { block, to, kept },
        ToDriver::EndOfBatch { receiver, batch } => GeneratorEvent::EndOfBatch { receiver, batch },
        ToDriver::ReceiverExited { receiver, reason } => GeneratorEvent::ReceiverExited { receiver, reason },
        _ => return None,
    })
}

/// What the scheduler is told by a message for it.
pub(super) fn scheduler_event(from: Member, message: ToDriver) -> Option<scheduler::Event> {
    Some(match message {
        ToDriver::TaskDone(outcome) => scheduler::Event::TaskDone(outcome),
        ToDriver::TaskFailed(failure) => scheduler::Event::TaskFailed(failure),
        ToDriver::SlotLeaked { task } => scheduler::Event::SlotLeaked { task },
        ToDriver::NoticeLost { batch, reader } => scheduler::Event::NoticeLost { batch, reader, by: from },
        _ => return None,
    })
}

/// What to do about a role that is told more than it can read.
const REMEDY: &str = "its books would be wrong; give the driver's machine more processor, or it less to do (a longer batch \
                      interval, fewer executors and partitions)";

/// Fails the job when membership, generator or scheduler is told more than fits: an event that is lost makes their books wrong.
/// The rate controller may lose some, for its next batch tells it anew.
pub(super) fn fail_when_full(roles: &Roles, progress: &Progress, world: &World) {
    fn watch<C: Core>(role: &ShellAddress<C>, progress: &Progress, world: &World) {
        let (progress, spawner) = (progress.clone(), world.spawner.clone());
        role.when_refused(move |text| {
            // Not at once: whoever tells may be a listener of events, and those are called one at a time.
            spawner.spawn(async move { progress.tell(ClusterEvent::Failed(format!("{text}: {REMEDY}"))) });
        });
    }
    watch(&roles.node, progress, world);
    watch(&roles.generator, progress, world);
    watch(&roles.scheduler, progress, world);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tidemill_actors::{rate_controller::RateEvent, shell::EVENTS_CAPACITY};
    use tidemill_protocol::id::{Incarnation, NodeId};

    /// Tells a role that does not read `count` times by `tell`, and gives what the job's end is by then.
    fn flood(count: usize, waits: Duration, tell: impl Fn(&Roles) -> bool) -> Option<String> {
        let (roles, _inboxes) = Roles::new(None);
        let (progress, world) = (Progress::default(), World::real());
        fail_when_full(&roles, &progress, &world);
        // Whether the role took it is what the outcome must say.
        (0..count).for_each(|_| {
            tell(&roles);
        });
        let outcome = progress.wait(Some(waits));
        outcome.map(|outcome| outcome.expect_err("a flood is no regular end").to_string())
    }

    /// The role's lane takes its capacity, and the next event is the job's end.
    fn drowns(role: &str, tell: impl Fn(&Roles) -> bool) {
        assert_eq!(flood(EVENTS_CAPACITY, Duration::ZERO, &tell), None, "{role}");
        let text = flood(EVENTS_CAPACITY + 1, Duration::from_secs(30), &tell).expect("the job fails");
        let cause = format!("an event was refused by the {role}, for which 65536 wait already: ");
        assert!(text.starts_with(&cause) && text.contains("a longer batch interval"), "{text}");
    }

    #[test]
    fn an_executor_that_floods_membership_fails_the_job_with_the_name_of_the_role() {
        drowns("node", |roles| {
            let from = Member { node: NodeId(1), incarnation: Incarnation(1) };
            DriverInbox::new(roles.clone()).deliver(LinkId(1), from, ToDriver::Alive { nonce: 0 });
            true
        });
    }

    #[test]
    fn a_flooded_generator_or_scheduler_fails_the_job_with_the_name_of_the_role() {
        drowns("batch_generator", |roles| roles.generator.tell(GeneratorEvent::Stop { graceful: true }));
        drowns("scheduler", |roles| roles.scheduler.tell(scheduler::Event::Stop));
    }

    #[test]
    fn a_flooded_rate_controller_fails_nothing() {
        let tell = |roles: &Roles| roles.rates.tell(RateEvent::Start);
        assert_eq!(flood(EVENTS_CAPACITY + 1, Duration::ZERO, tell), None);
    }
}
