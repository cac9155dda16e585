//! What becomes of a change in an executor's standing: who is told.

use super::{
    driver::Roles,
    progress::{ClusterEvent, Progress},
};
use tidemill_actors::{batch_generator::GeneratorEvent, node::Standing, scheduler};
use tidemill_protocol::id::Member;

/// Tells the roles whom it concerns, and whoever watches the cluster.
pub(super) fn tell(roles: &Roles, progress: &Progress, member: Member, standing: Standing) {
    match standing {
        Standing::Suspected => {
            roles.scheduler.tell(scheduler::Event::ExecutorSuspected { member });
            roles.generator.tell(GeneratorEvent::ExecutorSuspected { member, suspected: true });
            progress.tell(ClusterEvent::ExecutorSuspected(member));
        }
        Standing::Trusted => {
            roles.scheduler.tell(scheduler::Event::ExecutorTrusted { member });
            roles.generator.tell(GeneratorEvent::ExecutorSuspected { member, suspected: false });
            progress.tell(ClusterEvent::ExecutorTrusted(member));
        }
        Standing::Leaving => {
            roles.scheduler.tell(scheduler::Event::ExecutorLeaving { member });
            roles.generator.tell(GeneratorEvent::ExecutorLeaving(member));
            progress.tell(ClusterEvent::ExecutorLeaving(member));
        }
    }
}
