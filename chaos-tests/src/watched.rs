//! What the driver says of its executors while faults are played: who lives, when it has recovered, who has left in good order,
//! and what ran again for one of those.

use std::{collections::BTreeSet, time::Duration};
use tidemill::{ClusterEvent, cluster::Member, cluster::sim::NodeId};

/// What was heard so far.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    living: BTreeSet<NodeId>,
    lost_at_ms: u64,
    published_ms: u64,
    left: BTreeSet<Member>,
}

impl Watched {
    /// Whether so many executors live and a batch was published that was cut after the last loss.
    pub(crate) fn has_recovered(&self, executors: usize) -> bool {
        self.living.len() == executors && self.published_ms > self.lost_at_ms
    }

    /// Whether this incarnation has left in good order.
    pub(crate) fn has_left(&self, member: Member) -> bool {
        self.left.contains(&member)
    }

    /// Takes an event that came at this wall time.
    pub(crate) fn note(&mut self, event: &ClusterEvent, wall: Duration) {
        match event {
            ClusterEvent::ExecutorUp(member) => _ = self.living.insert(member.node),
            ClusterEvent::ExecutorLeft(member) => _ = self.left.insert(*member),
            ClusterEvent::ExecutorDown(member) => {
                self.living.remove(&member.node);
                self.lost_at_ms = wall.as_millis() as u64;
            }
            ClusterEvent::BatchCompleted(info) => self.published_ms = info.time.as_millis(),
            _ => {}
        }
    }

    /// How many tasks run again by this event for the sake of one that has left in good order: none, unless something is wrong.
    pub(crate) fn needless(&self, event: &ClusterEvent) -> u64 {
        match event {
            ClusterEvent::TasksLost { member, count, .. } if self.has_left(*member) => *count,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_protocol::id::{BatchNumber, Incarnation};

    fn member(node: u16) -> Member {
        Member { node: NodeId(node), incarnation: Incarnation(1) }
    }

    #[test]
    fn only_what_runs_again_for_one_that_has_left_is_needless() {
        let mut watched = Watched::default();
        for event in [
            ClusterEvent::ExecutorUp(member(1)),
            ClusterEvent::ExecutorUp(member(2)),
            ClusterEvent::ExecutorLeft(member(1)),
            ClusterEvent::ExecutorDown(member(1)),
            ClusterEvent::ExecutorDown(member(2)),
        ] {
            watched.note(&event, Duration::from_secs(1));
        }
        let lost =
            |node, count| ClusterEvent::TasksLost { batch: BatchNumber(3), member: member(node), count };
        assert_eq!((watched.needless(&lost(2, 5)), watched.needless(&lost(1, 5))), (0, 5));
        assert!(watched.has_left(member(1)) && !watched.has_left(member(2)) && !watched.has_recovered(2));
    }
}
