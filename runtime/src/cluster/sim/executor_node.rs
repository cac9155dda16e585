//! An executor's process: one life between two power cuts, with as many incarnations as its supervisor starts.

use super::{Build, CONTROL_PORT, SimBuilder, SimWorld, StartError, by_hand::ByHand, ip_of, lanes};
use crate::cluster::{
    over_quic::{ExecutorSite, Site, start_executor},
    plumbing::{Die, Leave},
    process::Origin,
    progress::Progress,
    quic::QuicPlumbing,
    users,
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tidemill_actors::{
    seam::{PayloadCodec, Program},
    supervision::{Address, SupervisorHandle},
};
use tidemill_protocol::{
    id::{Incarnation, NodeId},
    identity::DenyList,
    world::World,
};

/// How many incarnations a process may have before the next process's would collide with them: its supervisor gives up far
/// earlier (1,000 restarts in 10 s).
const INCARNATIONS_OF_A_PROCESS: u32 = 100_000;

/// An executor that runs.
pub(super) struct ExecutorNode {
    pub(super) progress: Progress,
    pub(super) root: SupervisorHandle,
    pub(super) die: Address<Die>,
    pub(super) leave: Address<Leave>,
    pub(super) plumbing: Arc<QuicPlumbing>,
    /// How many processes this node had before.
    pub(super) process: u32,
}

impl ExecutorNode {
    /// Starts the process of `node` in `world`, its present life.
    pub(super) fn start(
        sim: &SimWorld,
        world: World,
        spec: &SimBuilder,
        build: &Build,
        (node, process): (NodeId, u32),
    ) -> Result<Self, StartError> {
        let (config, pipeline, context) = spec.pipeline(build, &world)?;
        let codec: Arc<dyn PayloadCodec> = pipeline.clone();
        let plumbing = Arc::new(QuicPlumbing {
            world: world.clone(),
            lanes: lanes(&world),
            is_seeded: spec.is_quic_seeded,
            endpoints: spec.endpoints(&world, node),
            ip: ip_of(node),
            driver: SocketAddr::new(ip_of(NodeId::DRIVER), CONTROL_PORT),
            cluster: spec.cluster(),
            codec,
            program: Program::id(&*pipeline),
            denied: DenyList::none(),
            lives: Mutex::default(),
            lost: Arc::default(),
        });
        let site = Site {
            config,
            pipeline,
            world: world.clone(),
            progress: context.progress().clone(),
            users: users::on_this_thread(context.take_actors()),
            lanes: lanes(&world),
        };
        let own = ExecutorSite {
            node,
            plumbing: match spec.hands.clone() {
                None => plumbing.clone(),
                Some(hands) => Arc::new(ByHand { quic: plumbing.clone(), hands }),
            },
            first: Incarnation(1 + process * INCARNATIONS_OF_A_PROCESS),
            origin: Origin::default(),
            cost: Some(spec.cost),
            observer: spec.observer(sim, node),
            intensity: None,
        };
        let (root, die, leave) = start_executor(site, own);
        Ok(ExecutorNode { progress: context.progress().clone(), root, die, leave, plumbing, process })
    }
}
