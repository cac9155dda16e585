//! A whole cluster in one thread, under virtual time: a driver, executors, and whatever the test puts beside them, over real
//! QUIC, TLS and MessagePack on a simulated network. For tests of pipelines: the same seed gives the same run, to the last
//! datagram, and faults strike where the test says.
//!
//! ```text
//!   10.0.0.1        driver      (node 0)    membership, batch generator, scheduler, rate controller
//!   10.0.0.2 …      executors   (node 1 …)  an agent, task slots, receivers: a supervision tree each
//!   10.0.1.1 …      hosts       whatever the test runs: senders, servers
//! ```
//!
//! The pipeline closure is called once for the driver, and once for each executor each time its process starts, as every
//! process of a real cluster would: what it captures is seen by all of them.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use tidemill::{Text, cluster::sim::SimCluster, sources::TextQueue};
//! use std::time::Duration;
//!
//! let queue = TextQueue::new(2);
//! queue.push(vec!["to be or not\n".into(), "to be\n".into()]);
//! queue.close();
//! let counted = Arc::new(Mutex::new(Vec::new()));
//! let (input, output) = (queue.clone(), counted.clone());
//! let pipeline = move |context: &tidemill::StreamContext| {
//!     let output = output.clone();
//!     let lines = context.text_blocks("lines", &input);
//!     let words = lines.flat_map_text(|line, out| line.split_ascii_whitespace().for_each(|word| out.push(word)));
//!     words.count_by_value().foreach_batch(move |counts, _| Ok(output.lock().unwrap().extend(counts)));
//!     Ok(())
//! };
//! let hash = SimCluster::builder(7)
//!     .run(pipeline, async |cluster| {
//!         let outcome = cluster.wait_until_ended(Duration::from_secs(60)).await;
//!         assert_eq!(outcome, Some(Ok(())));
//!         cluster.trace().hash()
//!     })
//!     .unwrap();
//! assert_ne!(hash, 0);
//! counted.lock().unwrap().sort();
//! assert_eq!(*counted.lock().unwrap(), [("be", 2), ("not", 1), ("or", 1), ("to", 2)].map(|(w, n)| (Text::from(w), n)));
//! ```
//!
//! **What does not work here**: a task that blocks its thread to wait for something else in the cluster (the ask of an
//! actor): there is only one thread. A user's own code must draw no lots of its own and must not take an order from std's
//! `HashMap`, or runs differ.
//!
//! **What is promised.** Blocks of acknowledged streams are held by two executors (`StorageLevel::Replicated`). Faults that
//! take both before the batch is decided, such as a cut of the driver from two executors for longer than their links live
//! (2 s), are beyond that promise: blocks that were acknowledged are gone. It is never silent: the pipeline says so with
//! [`GeneratorNote::BlocksLost`](crate::ClusterEvent::Note).

mod by_hand;
mod driver_node;
mod executor_node;
mod identities;
mod operate;

pub use operate::SimCluster;
pub use tidemill_actors::{planted::Planted, slots::CostModel};
pub use tidemill_protocol::{
    endpoint::Mtu,
    id::{BlockId, NodeId},
    world::{
        meter::{Meter, Work},
        sim::{FaultCounts, Link, SimNet, SimWorld, Trace},
    },
};

use self::{by_hand::Hands, identities::Identities};
use super::{
    lane::{Lane, Lanes},
    start::{StartError, check_interval},
};
use crate::{
    config::{BatchInterval, Checked, Config},
    context::StreamContext,
    graph::{BuildOptions, GraphError, Pipeline},
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tidemill_actors::{planted, shell::Observer};
use tidemill_protocol::{
    endpoint::{EndpointConfig, EndpointError, Identity},
    identity::ClusterName,
    world::{
        World,
        sim::{self, SimConfig},
    },
};

/// Where the driver listens for executors.
const CONTROL_PORT: u16 = 7_000;

/// The pipeline of a simulated cluster: called once for each process.
type Build = Arc<dyn Fn(&StreamContext) -> Result<(), GraphError>>;

/// Why a simulated cluster does not start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// As in any cluster: the configuration, the graph, a source or sink.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The driver cannot listen.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

/// What a simulated cluster is made from; see [`SimCluster::builder`].
#[derive(Clone, Debug)]
pub struct SimBuilder {
    seed: u64,
    config: Config,
    link: Link,
    cost: CostModel,
    is_quic_seeded: bool,
    trace_lines: usize,
    is_observed: bool,
    mtu: Mtu,
    idle_timeout: Option<Duration>,
    absent: BTreeSet<NodeId>,
    planted: Option<Planted>,
    identities: Identities,
    hands: Option<Hands>,
}

impl SimBuilder {
    pub(crate) fn new(seed: u64) -> Self {
        let config = Config {
            executors: 3,
            slots_per_executor: 1,
            batch_interval: BatchInterval::Every(Duration::from_millis(200)),
            block_interval: Duration::from_millis(50),
            ..Config::default()
        };
        SimBuilder {
            seed,
            config: Config { seed: Some(seed), ..config },
            link: Link::default(),
            cost: CostModel { seed, ..CostModel::default() },
            is_quic_seeded: true,
            trace_lines: 0,
            is_observed: true,
            mtu: Mtu::Smallest,
            idle_timeout: None,
            absent: BTreeSet::new(),
            planted: None,
            identities: Identities::Pinned,
            hands: None,
        }
    }

    /// Sets how large datagrams become. Default: always the smallest.
    #[must_use]
    pub fn mtu(mut self, mtu: Mtu) -> Self {
        self.mtu = mtu;
        self
    }

    /// Sets how long a connection may be silent before it is lost. Default: as everywhere (2 s). A longer one leaves it to
    /// membership to find who is silent.
    #[must_use]
    pub fn idle_timeout(mut self, idle_timeout: Duration) -> Self {
        self.idle_timeout = Some(idle_timeout);
        self
    }

    /// Takes the nodes' certificates from `of`, which is asked whenever a process starts and gives those of `cluster`; each node
    /// judges others' by its own wall clock. Default: pinned ones that are valid for a hundred years. To rotate certificates under
    /// way, keep clones of what `of` gives: [`Identity::replace`] on a clone reaches all of them.
    #[must_use]
    pub fn identities(mut self, cluster: ClusterName, of: impl Fn(NodeId) -> Identity + 'static) -> Self {
        self.identities = Identities::Given(cluster, Rc::new(of));
        self
    }

    /// Does not start this executor: [`SimCluster::revive`] does, later.
    #[must_use]
    pub fn absent(mut self, node: NodeId) -> Self {
        self.absent.insert(node);
        self
    }

    /// Plants a defect, to see that a test finds it.
    #[must_use]
    pub fn planted(mut self, bug: Option<Planted>) -> Self {
        self.planted = bug;
        self
    }

    /// Sets the configuration. Default: three executors of one slot, batches of 200 ms, blocks of 50 ms. Its seed is not used:
    /// all chance comes from the builder's.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Changes the configuration.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Sets what every link does to what passes. Default: 0.5 to 2 ms, nothing lost.
    #[must_use]
    pub fn link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// Sets what tasks cost in virtual time.
    #[must_use]
    pub fn cost(mut self, cost: CostModel) -> Self {
        self.cost = cost;
        self
    }

    /// Keeps the first `lines` entries of the trace as text, to find where two runs part.
    #[must_use]
    pub fn trace_lines(mut self, lines: usize) -> Self {
        self.trace_lines = lines;
        self
    }

    /// Leaves the actions of the cores out of the trace, and in release builds their invariants unchecked: for measurements, which both
    /// disturb. The trace has the datagrams still.
    #[must_use]
    pub fn unobserved(mut self) -> Self {
        self.is_observed = false;
        self
    }

    /// Lets executors take data and notices from each other's hands instead of the simulated network: for measurements of the
    /// driver, whose control links stay what they are. In one thread the executors' own traffic takes the driver's memory out of
    /// the processor's caches, which on machines of their own it does not.
    #[must_use]
    pub fn data_by_hand(mut self) -> Self {
        self.hands = Some(Hands::default());
        self
    }

    /// Lets quinn draw its own lots from the operating system: then runs of one seed differ. It shows that a comparison of
    /// traces can fail.
    #[must_use]
    pub fn unseeded_quic(mut self) -> Self {
        self.is_quic_seeded = false;
        self
    }

    /// Builds the cluster in a thread-bound runtime of its own, runs `scenario` in it, and takes everything down again.
    ///
    /// # Errors
    /// [`SimError`]; the scenario was not run.
    ///
    /// # Panics
    /// If the scenario does; or inside another tokio runtime.
    pub fn run<T>(
        self,
        pipeline: impl Fn(&StreamContext) -> Result<(), GraphError> + 'static,
        scenario: impl AsyncFnOnce(&mut SimCluster) -> T,
    ) -> Result<T, SimError> {
        let system = actix_rt::System::with_tokio_rt(sim::runtime);
        let _planted = Garden::plant(self.planted);
        let build: Build = Arc::new(pipeline);
        system.block_on(async move {
            let config =
                SimConfig { link: self.link.clone(), trace_lines: self.trace_lines, ..SimConfig::default() };
            let world = SimWorld::new(self.seed, config);
            let mut cluster = SimCluster::start(world, self, build)?;
            let result = scenario(&mut cluster).await;
            cluster.take_down().await;
            Ok(result)
        })
    }

    /// A process's pipeline, in its world.
    fn pipeline(
        &self,
        build: &Build,
        world: &World,
    ) -> Result<(Checked, Arc<Pipeline>, StreamContext), StartError> {
        let config = self.config.check()?;
        let context = StreamContext::with_config(self.config.clone());
        build(&context)?;
        let options =
            BuildOptions { default_partitions: config.default_partitions(), ..BuildOptions::default() };
        let pipeline = Arc::new(context.build(options, world.files.clone())?);
        pipeline.attach(world.clone());
        check_interval(&config, &pipeline)?;
        // Receivers are not asked whether they can listen: which node they come to is not known yet.
        pipeline.preflight().map_err(StartError::Unusable)?;
        Ok((config, pipeline, context))
    }

    fn endpoints(&self, world: &World, node: NodeId) -> EndpointConfig {
        let seed = self.is_quic_seeded.then(|| world.entropy.seed("quic"));
        let mut endpoints = EndpointConfig::new(self.identities.of(node, world), seed);
        for transport in [&mut endpoints.control, &mut endpoints.bulk] {
            transport.mtu = self.mtu;
            transport.idle_timeout = self.idle_timeout.unwrap_or(transport.idle_timeout);
        }
        endpoints
    }

    /// What sees every action of every core of a node and puts it into the trace, with the node that decided it.
    fn observer(&self, world: &SimWorld, node: NodeId) -> Option<Observer> {
        let trace = world.trace().clone();
        let observer: Observer =
            Arc::new(move |core, action| trace.event(&format!("{node} {core} {action}")));
        self.is_observed.then_some(observer)
    }

    fn cluster(&self) -> ClusterName {
        self.identities.cluster()
    }
}

/// The defect of this thread; it goes with the run, also with one that panics.
struct Garden;

impl Garden {
    fn plant(bug: Option<Planted>) -> Garden {
        planted::plant(bug);
        Garden
    }
}

impl Drop for Garden {
    fn drop(&mut self) {
        planted::plant(None);
    }
}

/// One thread does everything, and what it does dies with its node.
fn lanes(world: &World) -> Lanes {
    let lane = || Lane::World(world.spawner.clone());
    Lanes { control: lane(), bulk: lane() }
}

/// The address of a node.
fn ip_of(node: NodeId) -> IpAddr {
    let [high, low] = (node.0 + 1).to_be_bytes();
    Ipv4Addr::new(10, 0, high, low).into()
}
