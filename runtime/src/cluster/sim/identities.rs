//! Who the nodes of a simulated cluster are.

use std::{fmt, rc::Rc};
use tidemill_protocol::{
    endpoint::{self, Identity},
    id::NodeId,
    identity::{ClusterName, Role},
    world::World,
};

/// Where the nodes' certificates come from.
#[derive(Clone)]
pub(super) enum Identities {
    /// The same bytes in every run.
    Pinned,
    /// From the test.
    Given(ClusterName, Rc<dyn Fn(NodeId) -> Identity>),
}

impl Identities {
    /// The identity of a node that lives in `world`.
    pub(super) fn of(&self, node: NodeId, world: &World) -> Identity {
        let role = || if node == NodeId::DRIVER { Role::Driver } else { Role::node(node) };
        match self {
            Identities::Pinned => endpoint::test_identity_of(&role()),
            Identities::Given(_, of) => of(node).with_clock(world.clock.clone()),
        }
    }

    /// The cluster that they are of.
    pub(super) fn cluster(&self) -> ClusterName {
        match self {
            Identities::Pinned => endpoint::test_cluster(),
            Identities::Given(cluster, _) => cluster.clone(),
        }
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Identities::Pinned => "Pinned",
            Identities::Given(..) => "Given",
        })
    }
}
