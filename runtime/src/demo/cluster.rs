//! What the demo, and benchmarks of a cluster, run on: executors that are processes of their own, with a certificate each from an authority that is made
//! for this one run; or, with `--in-process`, executors inside this process.

use crate::{
    Running, StreamContext,
    cluster::process::{AgentSpec, AgentThread, DriverOptions, Launch},
    run_folder::RunFolder,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use tidemill_protocol::{
    id::NodeId,
    identity::{Authority, save_identity},
    world::World,
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Longer than any demo or benchmark.
const LIFETIME: Duration = Duration::from_secs(24 * 3_600);

/// A cluster that runs.
pub(crate) struct Cluster {
    /// Dropped first, so that the executors leave while their driver is there.
    agent: Option<AgentThread>,
    running: Option<Running>,
    _folder: Option<RunFolder>,
}

impl Cluster {
    /// Driver and executors in this process.
    pub(crate) fn in_process(context: &StreamContext) -> Result<Self, String> {
        let running = context.start().map_err(|error| error.to_string())?;
        Ok(Cluster { agent: None, running: Some(running), _folder: None })
    }

    /// The driver in this process, each executor in one of its own.
    pub(crate) fn of_processes(context: &StreamContext, world: &World) -> Result<Self, String> {
        let folder = RunFolder::make(world, "processes").map_err(|error| error.to_string())?;
        let (ca, data) = (folder.path().join("ca"), folder.path().join("node"));
        let (count, slots) = (context.config().executors, context.config().slots_per_executor);
        let now = world.clock.wall();
        let authority = Authority::create(&ca, now).map_err(|error| error.to_string())?;
        let (executors, identity) =
            authority.node_identity(now, count, LIFETIME).map_err(|error| error.to_string())?;
        save_identity(&data, "node", &identity).map_err(|error| error.to_string())?;
        let options = DriverOptions { join: None, ..DriverOptions::new(SocketAddr::new(LOOPBACK, 0), ca) };
        let running = context.start_driver(options).map_err(|error| error.to_string())?;
        let driver = running.address().ok_or("the driver does not listen")?;
        let launch = Launch {
            driver,
            ip: LOOPBACK,
            slots: Some(slots),
            data,
            spill_dir: None,
            metrics: BTreeMap::new(),
            is_heard: false,
        };
        let agent = AgentThread::start(AgentSpec { launch, executors, life: 1, renewal: None, _lock: None })?;
        Ok(Cluster { agent: Some(agent), running: Some(running), _folder: Some(folder) })
    }

    /// The driver.
    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("it is there until the cluster is stopped")
    }

    /// Kills an executor: its process, with SIGKILL, or what is one inside this process. False if there is none.
    pub(crate) fn kill(&self, node: NodeId) -> bool {
        match &self.agent {
            Some(agent) => agent.kill(node),
            None => self.running().kill_executor(node),
        }
    }

    /// The process of an executor, if it has one that runs.
    pub(crate) fn pid(&self, node: NodeId) -> Option<u32> {
        self.agent.as_ref()?.pid(node)
    }

    /// Ends at once; what is not published is dropped.
    pub(crate) fn stop_now(mut self) {
        if let Some(running) = self.running.take() {
            // The outcome of a pipeline that was told to end is of no more interest.
            let _ = running.stop_now();
        }
    }
}
