//! The driver's process.

use super::{Build, CONTROL_PORT, SimBuilder, SimError, SimWorld, ip_of, observer};
use crate::cluster::{
    bulk::Bulk,
    driver::{self, DriverParts, Roles},
    inbox::DriverInbox,
    progress::{ClusterEvent, Progress},
    quic::QuicLinks,
};
use std::{net::SocketAddr, sync::Arc};
use tidemill_actors::{
    seam::{PayloadCodec, Program},
    supervision::{ChildSpec, Strategy, Supervisor, SupervisorHandle, SupervisorSpec},
    transport::QuicTransport,
};
use tidemill_protocol::{
    endpoint,
    id::{Incarnation, Member, NodeId},
    message::Hello,
};

/// A driver that runs.
pub(super) struct DriverNode {
    pub(super) progress: Progress,
    pub(super) roles: Roles,
    pub(super) root: SupervisorHandle,
}

impl DriverNode {
    pub(super) fn start(sim: &SimWorld, spec: &SimBuilder, build: &Build) -> Result<Self, SimError> {
        let ip = ip_of(NodeId::DRIVER);
        let world = sim.node(ip);
        let (config, pipeline, context) = spec.pipeline(build, &world)?;
        let observer = observer(sim, NodeId::DRIVER);
        let (roles, inboxes) = Roles::new(Some(&observer));
        let inbox = Arc::new(DriverInbox::new(roles.clone()));
        let endpoints = spec.endpoints(&world);
        let control = endpoint::control_endpoint(&world.udp, SocketAddr::new(ip, CONTROL_PORT), &endpoints)?;
        let bulk = endpoint::bulk_endpoint(&world.udp, SocketAddr::new(ip, 0), &endpoints)?;
        let hello = Hello {
            member: Member { node: NodeId::DRIVER, incarnation: Incarnation(1) },
            epoch: driver::EPOCH,
            program: Program::id(&*pipeline),
        };
        let links = QuicLinks::default();
        world.spawner.spawn(links.clone().accept(control, hello, inbox, world.clone()));
        let codec: Arc<dyn PayloadCodec> = pipeline.clone();
        let transport = QuicTransport::new(Bulk { endpoint: bulk }, codec, world.clock.clone());
        let peers = transport.clone();
        let parts = DriverParts {
            config,
            pipeline,
            world: world.clone(),
            progress: context.progress().clone(),
            links,
            transport: Arc::new(transport),
            peers: Some(Arc::new(move |living| peers.set_peers(living))),
        };
        let mut root = SupervisorSpec::new("node-0", Strategy::OneForOne);
        for child in driver::children(parts, &roles, inboxes) {
            root = root.child(child);
        }
        let mut actors = SupervisorSpec::new("actors", Strategy::OneForOne);
        for user in context.take_actors() {
            actors = actors.child(user);
        }
        let root = Supervisor::start(root.child(ChildSpec::supervisor(actors)), &world);
        let (progress, watched) = (context.progress().clone(), root.clone());
        let told = progress.clone();
        actix_rt::spawn(async move {
            let exit = watched.ended().await;
            // After a regular end the first outcome stays.
            told.tell(ClusterEvent::Failed(format!("the driver has ended: {exit}")));
        });
        roles.start(&world);
        Ok(DriverNode { progress, roles, root })
    }
}
