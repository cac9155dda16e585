//! The driver's process.

use super::{Build, CONTROL_PORT, SimBuilder, SimError, SimWorld, ip_of, lanes};
use crate::cluster::{
    driver::Roles,
    over_quic::{DriverOverQuic, Site},
    progress::{ClusterEvent, Progress},
    quic::Answers,
    users,
};
use std::{net::SocketAddr, sync::Arc};
use tidemill_actors::supervision::SupervisorHandle;
use tidemill_protocol::{
    id::NodeId,
    identity::DenyList,
    message::{Reply, Request},
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
        let (roles, inboxes) = Roles::new(spec.observer(sim, NodeId::DRIVER).as_ref());
        let site = Site {
            config,
            pipeline,
            world: world.clone(),
            progress: context.progress().clone(),
            users: users::on_this_thread(context.take_actors()),
            lanes: lanes(&world),
        };
        let listen = SocketAddr::new(ip, CONTROL_PORT);
        let no_answers = |_: &SupervisorHandle| -> Answers {
            Arc::new(|_: Request| vec![Reply::Refused("a simulated driver answers no questions".to_owned())])
        };
        let cluster = (spec.cluster(), DenyList::none());
        let pair = (roles.clone(), inboxes);
        let started = DriverOverQuic::start(
            site,
            pair,
            &spec.endpoints(&world, NodeId::DRIVER),
            listen,
            cluster,
            no_answers,
        )?;
        let root = started.root;
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
