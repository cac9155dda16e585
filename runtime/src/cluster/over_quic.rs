//! A driver and an executor whose messages travel over QUIC: the same assembly in a real process and in simulation.

use super::{
    driver::{self, DriverParts, RoleInboxes, Roles},
    executor::{ExecutorParts, executor_that_leaves},
    inbox::DriverInbox,
    lane::Lanes,
    plumbing::{Die, Leave, Plumbing},
    process::Origin,
    progress::Progress,
    quic::{Answers, Bulk, Door, Gate, QuicLinks},
};
use crate::{config::Checked, graph::Pipeline};
use std::{net::SocketAddr, sync::Arc};
use tidemill_actors::{
    node,
    seam::{PayloadCodec, Program},
    shell::Observer,
    slots::CostModel,
    supervision::{Address, ChildSpec, Intensity, Strategy, Supervisor, SupervisorHandle, SupervisorSpec},
    transport::QuicTransport,
};
use tidemill_protocol::{
    endpoint::{self, EndpointConfig, EndpointError},
    id::{Incarnation, Member, NodeId},
    identity::{ClusterName, DenyList},
    message::Hello,
    world::World,
};

/// What runs in a process, whichever.
pub(crate) struct Site {
    pub(crate) config: Checked,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) world: World,
    pub(crate) progress: Progress,
    /// The user's own actors, as one child.
    pub(crate) users: ChildSpec,
    pub(crate) lanes: Lanes,
}

/// A driver that listens.
pub(crate) struct DriverOverQuic {
    pub(crate) root: SupervisorHandle,
    pub(crate) control: quinn::Endpoint,
    pub(crate) bulk: quinn::Endpoint,
    pub(crate) links: QuicLinks,
}

impl DriverOverQuic {
    /// Starts on the control thread. `listen` is where executors come; nobody fetches from a driver, so its bulk endpoint only connects.
    pub(crate) fn start(
        site: Site,
        (roles, inboxes): (Roles, RoleInboxes),
        endpoints: &EndpointConfig,
        listen: SocketAddr,
        (cluster, denied): (ClusterName, DenyList),
        answers: impl FnOnce(&SupervisorHandle) -> Answers,
    ) -> Result<Self, EndpointError> {
        let Site { config, pipeline, world, progress, users, lanes } = site;
        let inbox = Arc::new(DriverInbox::new(roles.clone()));
        let any_port = SocketAddr::new(listen.ip(), 0);
        let control = lanes.control.make(|| endpoint::control_endpoint(&world.udp, listen, endpoints))?;
        let bulk = lanes.bulk.make(|| endpoint::bulk_client(&world.udp, any_port, endpoints))?;
        let hello = Hello {
            member: Member { node: NodeId::DRIVER, incarnation: Incarnation(1) },
            epoch: driver::EPOCH,
            program: Program::id(&*pipeline),
        };
        let root = SupervisorSpec::new("node-0", Strategy::OneForOne);
        // Before anybody can register.
        roles.node.tell(node::Event::Denied { nodes: denied.all() });
        let links = QuicLinks::default();
        let gate = Gate::new("control", world.clock.clone());
        let door = Door { hello, inbox, answers: answers(&root.handle()), denied, gate };
        lanes.control.spawn(links.clone().accept(control.clone(), door, lanes.control.clone()));
        let codec: Arc<dyn PayloadCodec> = pipeline.clone();
        let client = Bulk { endpoint: bulk.clone(), lane: lanes.bulk.clone(), cluster };
        let transport = QuicTransport::new(client, codec, world.clock.clone());
        let peers = transport.clone();
        let parts = DriverParts {
            config,
            pipeline,
            world: world.clone(),
            progress,
            links: links.clone(),
            transport: Arc::new(transport),
            peers: Some(Arc::new(move |living| peers.set_peers(living))),
        };
        let root = driver::children(parts, &roles, inboxes).into_iter().fold(root, SupervisorSpec::child);
        let root = Supervisor::start(root.child(users), &world);
        Ok(DriverOverQuic { root, control, bulk, links })
    }
}

/// What makes an executor's process itself.
pub(crate) struct ExecutorSite {
    pub(crate) node: NodeId,
    pub(crate) first: Incarnation,
    /// What the agent knows that has started it.
    pub(crate) origin: Origin,
    pub(crate) plumbing: Arc<dyn Plumbing>,
    /// Virtual task times, in simulation.
    pub(crate) cost: Option<CostModel>,
    pub(crate) observer: Option<Observer>,
    /// How many incarnations the process may have before it ends; none: as its supervisor permits.
    pub(crate) intensity: Option<Intensity>,
}

/// Starts an executor on the control thread; it connects as it comes up.
pub(crate) fn start_executor(
    site: Site,
    own: ExecutorSite,
) -> (SupervisorHandle, Address<Die>, Address<Leave>) {
    let Site { config, pipeline, world, progress, users, .. } = site;
    let parts = ExecutorParts {
        node: own.node,
        config,
        pipeline,
        world: world.clone(),
        plumbing: own.plumbing,
        progress,
        cost: own.cost,
        first: own.first,
        origin: own.origin,
        observer: own.observer,
        intensity: own.intensity,
    };
    let (child, die, leave) = executor_that_leaves(Arc::new(parts));
    let mut root = SupervisorSpec::new(format!("node-{}", own.node.0), Strategy::OneForOne);
    if let Some(intensity) = own.intensity {
        root = root.intensity(intensity);
    }
    let root = root.child(users).child(child);
    (Supervisor::start(root, &world), die, leave)
}
