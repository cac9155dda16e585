//! What a scenario does with a simulated cluster: looks, waits, and strikes.

use super::{
    Build, CONTROL_PORT, NodeId, SimBuilder, SimError, SimNet, SimWorld, StartError, Trace,
    driver_node::DriverNode, executor_node::ExecutorNode, ip_of,
};
use crate::cluster::{
    drain,
    plumbing::{Die, Leave},
    progress::{ClusterEvent, PipelineError, Progress},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tidemill_actors::supervision::Tree;
use tidemill_protocol::{
    id::Member,
    world::{World, meter::Meter},
};
use tokio::sync::Notify;

/// How long actors may take to stop when the scenario is over.
const FAREWELL: Duration = Duration::from_secs(10);

/// How often a scenario looks whether what it waits for has come.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A simulated cluster that runs.
pub struct SimCluster {
    world: SimWorld,
    spec: SimBuilder,
    build: Build,
    driver: DriverNode,
    executors: BTreeMap<NodeId, ExecutorNode>,
    dead: BTreeMap<NodeId, u32>,
    ended: Arc<Notify>,
    meter: Meter,
}

impl SimCluster {
    /// A cluster whose every chance comes from `seed`.
    pub fn builder(seed: u64) -> SimBuilder {
        SimBuilder::new(seed)
    }

    pub(super) fn start(world: SimWorld, spec: SimBuilder, build: Build) -> Result<Self, SimError> {
        let meter = Meter::default();
        let driver = meter.enter(|| DriverNode::start(&world, &spec, &build))?;
        let ended = Arc::new(Notify::new());
        let notify = ended.clone();
        driver.progress.listen(move |event| {
            if matches!(event, ClusterEvent::Ended | ClusterEvent::Failed(_)) {
                notify.notify_one();
            }
        });
        let mut executors = BTreeMap::new();
        for number in 1..=spec.config.executors {
            let node = NodeId(number);
            if spec.absent.contains(&node) {
                continue;
            }
            let process = ExecutorNode::start(&world, world.node(ip_of(node)), &spec, &build, (node, 0))?;
            executors.insert(node, process);
        }
        // The process that never was is the one before the first.
        let dead = spec.absent.iter().map(|node| (*node, 0)).collect();
        Ok(SimCluster { world, spec, build, driver, executors, dead, ended, meter })
    }

    /// The simulated world, for what is not offered here: slow nodes, wall clocks, fault points.
    pub fn world(&self) -> &SimWorld {
        &self.world
    }

    /// The network: links, cuts, TCP connections, counters of faults that struck.
    pub fn net(&self) -> &SimNet {
        self.world.net()
    }

    /// The running hash of all datagrams and all actions of all cores.
    pub fn trace(&self) -> &Trace {
        self.world.trace()
    }

    /// What the driver knows: batches, receivers, events, the outcome.
    pub fn progress(&self) -> &Progress {
        &self.driver.progress
    }

    /// The account of what the driver costs: the time of its actors, of its publication and of its endpoints, and what goes
    /// over its control links and through its sockets. The rest of the cluster, on the same thread, is not in it.
    pub fn driver_meter(&self) -> Meter {
        self.meter.clone()
    }

    /// What an executor's process knows (the data it has lost); none while it is dead.
    pub fn executor_progress(&self, node: NodeId) -> Option<&Progress> {
        self.executors.get(&node).map(|executor| &executor.progress)
    }

    /// The supervision trees: the driver's, then those of the executors that live.
    pub fn trees(&self) -> Vec<Tree> {
        let executors = self.executors.values().map(|executor| executor.root.tree());
        std::iter::once(self.driver.root.tree()).chain(executors).collect()
    }

    /// Where a node lives: the driver is node 0.
    pub fn ip(&self, node: NodeId) -> IpAddr {
        ip_of(node)
    }

    /// Where a host of the test lives.
    pub fn host_ip(&self, number: u8) -> IpAddr {
        Ipv4Addr::new(10, 1, 0, number).into()
    }

    /// The world of a host of the test, a machine of its own, for senders and servers.
    pub fn host(&self, number: u8) -> World {
        self.world.node(self.host_ip(number))
    }

    /// Lets virtual time pass.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Waits until the pipeline has ended, at most `limit` of virtual time; `None` if it has not.
    pub async fn wait_until_ended(&self, limit: Duration) -> Option<Result<(), PipelineError>> {
        if self.progress().outcome().is_none() {
            tokio::select! {
                biased;
                () = self.ended.notified() => {}
                () = tokio::time::sleep(limit) => {}
            }
        }
        // The listener is called before the outcome stands.
        tokio::task::yield_now().await;
        self.progress().outcome()
    }

    /// Reads no more, publishes what was received, and ends the pipeline.
    pub fn stop_gracefully(&self) {
        self.driver.roles.stop(true);
    }

    /// The incarnation of an executor that is there now, if there is one.
    pub fn member(&self, node: NodeId) -> Option<Member> {
        self.executors.get(&node)?.plumbing.member()
    }

    /// The bytes that an executor's block store holds, and the most that it held; `None` while it has no incarnation.
    pub fn store_bytes(&self, node: NodeId) -> Option<(u64, u64)> {
        self.executors.get(&node)?.plumbing.store_bytes()
    }

    /// The bytes that an executor has in spill files, and all that its present incarnation ever wrote to them.
    pub fn spilled_bytes(&self, node: NodeId) -> Option<(u64, u64)> {
        self.executors.get(&node)?.plumbing.spilled_bytes()
    }

    /// The most that an executor's memory budget ever permits, all shares used up at once.
    pub fn memory_limit(&self, node: NodeId) -> Option<u64> {
        self.executors.get(&node)?.plumbing.memory_limit()
    }

    /// The executors whose processes live.
    pub fn living(&self) -> Vec<NodeId> {
        self.executors.keys().copied().collect()
    }

    /// Where the first receiver runs.
    pub fn receiver_host(&self) -> Option<NodeId> {
        self.progress().receivers().first().map(|(_, on)| on.node)
    }

    /// Cuts the power of an executor: its sockets say nothing any more, its process is gone. False if it is dead already.
    pub fn kill(&mut self, node: NodeId) -> bool {
        let Some(executor) = self.executors.remove(&node) else { return false };
        self.world.kill(ip_of(node));
        executor.root.shutdown();
        self.dead.insert(node, executor.process);
        true
    }

    /// Starts an executor's process again, as its next incarnation. False if it lives.
    ///
    /// # Panics
    /// If the pipeline, which could be built before, cannot be built now.
    pub fn revive(&mut self, node: NodeId) -> bool {
        let Some(process) = self.dead.remove(&node) else { return false };
        let world = self.world.revive(ip_of(node));
        let start = ExecutorNode::start(&self.world, world, &self.spec, &self.build, (node, process + 1));
        let executor = start.unwrap_or_else(|error: StartError| panic!("{node} cannot start again: {error}"));
        self.executors.insert(node, executor);
        true
    }

    /// Ends the present incarnation of an executor and lets its supervisor start the next, as after a defect of its process.
    pub fn restart(&self, node: NodeId) -> bool {
        let reason = "the scenario says so".to_owned();
        self.executors.get(&node).is_some_and(|executor| executor.die.try_send(Die { reason }).is_ok())
    }

    /// Asks an executor to leave in good order, and does not wait: [`ClusterEvent::ExecutorLeft`] says when it has. Its process
    /// is to be [killed](Self::kill) then, as it would have ended. Gives which incarnation was asked; none if there is none.
    pub fn ask_to_leave(&self, node: NodeId) -> Option<Member> {
        let executor = self.executors.get(&node)?;
        let member = executor.plumbing.member()?;
        executor.leave.try_send(Leave).is_ok().then_some(member)
    }

    /// How long an executor's process waits until it is let go, before it ends without consent.
    pub fn leave_limit(&self) -> Duration {
        drain::limit(self.spec.config.batch_interval)
    }

    /// Has an executor leave in good order, and waits until it has, at most `limit` of virtual time. Then its process is gone, and
    /// can be revived. False if it is dead already, or has not left by then.
    pub async fn leave(&mut self, node: NodeId, limit: Duration) -> bool {
        self.leave_together(&[node], limit).await
    }

    /// As [`leave`](Self::leave), several at once. False if one of them does not leave within the limit.
    pub async fn leave_together(&mut self, nodes: &[NodeId], limit: Duration) -> bool {
        if nodes.iter().any(|node| self.ask_to_leave(*node).is_none()) {
            return false;
        }
        let deadline = tokio::time::Instant::now() + limit;
        while nodes.iter().any(|node| self.member(*node).is_some()) {
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        nodes.iter().all(|node| self.kill(*node))
    }

    /// Lets tasks that start on a node from now on take `factor` times as long; 1 heals it. How many it has struck is told by
    /// [`slowed`](Self::slowed).
    pub fn slow(&self, node: NodeId, factor: f64) {
        self.world.set_slowdown(ip_of(node), factor);
    }

    /// How many tasks of a node have taken longer because of [`slow`](Self::slow).
    pub fn slowed(&self, node: NodeId) -> u64 {
        self.world.slowed(ip_of(node))
    }

    /// Lets a node stand still for this long, as SIGSTOP does; then it goes on.
    pub fn pause(&self, node: NodeId, lasts: Duration) {
        self.world.pause(ip_of(node), lasts);
    }

    /// Gives an executor's connection to the driver another port, as a NAT that forgot it does.
    pub fn rebind(&self, node: NodeId) {
        self.net().rebind(ip_of(node), SocketAddr::new(ip_of(NodeId::DRIVER), CONTROL_PORT));
    }

    /// Lets the UDP sockets that a node has now fail for good. Gives how many.
    pub fn break_sockets(&self, node: NodeId) -> u64 {
        self.net().break_sockets(ip_of(node))
    }

    /// Cuts both directions between two nodes.
    pub fn cut_both(&self, a: NodeId, b: NodeId) {
        self.net().cut_both(ip_of(a), ip_of(b));
    }

    /// Cuts one direction.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.net().cut(ip_of(from), ip_of(to));
    }

    /// Mends both directions between two nodes.
    pub fn heal_both(&self, a: NodeId, b: NodeId) {
        self.net().heal_both(ip_of(a), ip_of(b));
    }

    /// Mends one direction.
    pub fn heal(&self, from: NodeId, to: NodeId) {
        self.net().heal(ip_of(from), ip_of(to));
    }

    /// Everything ends, and nothing is left on the thread.
    pub(super) async fn take_down(self) {
        self.driver.roles.stop(false);
        self.driver.root.shutdown();
        for executor in self.executors.values() {
            executor.root.shutdown();
        }
        let all_ended = async {
            for executor in self.executors.values() {
                executor.root.ended().await;
            }
            self.driver.root.ended().await;
        };
        // What has not stopped by then is dropped with the runtime.
        let _ = tokio::time::timeout(FAREWELL, all_ended).await;
    }
}
