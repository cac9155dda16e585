//! One executor: an agent that takes the driver's orders, the executor's shell with its slots, and its receivers.
//!
//! ```text
//!   executor-2  (one_for_all: a life of all three is an incarnation)
//!   ├─ agent       orders from the driver; what is for tasks goes on to `tasks`, what is for receivers to them
//!   ├─ tasks       Shell<ExecutorCore>
//!   └─ receivers   (one_for_one, temporary children: the driver decides where a receiver goes on)
//! ```
//!
//! The agent is started first and makes the incarnation: its number, its block store, its connection. Whatever ends one of
//! the three ends the incarnation: its store is cleared, its connection closed, and the next one registers anew.

use super::{
    plumbing::{Connected, Die, End, Hears, Leave, Order, Plumbing, Uplink},
    ports::Ports,
    process::Origin,
    progress::{ClusterEvent, Progress},
    unconnected::Unconnected,
};
use crate::{config::Checked, graph::Pipeline};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidemill_actors::{
    block_store::{BlockStore, Budget, SpillConfig},
    core::Core,
    executor::{self, ExecutorConfig, ExecutorCore, Lifecycle},
    receiver::{ReceiverConfig, ReceiverCore, ReceiverEvent, ReceiverPerformer, ReceiverPorts, Replicator},
    seam::{Machine, PayloadCodec, Program, SourceHost, Tasks},
    shell::{EVENTS_CAPACITY, Observer, Shell, ShellAddress, ShellInbox},
    slots::{CostModel, InputSource, SlotWork},
    supervision::{
        Actor, ActorError, Address, Backoff, ChildSpec, Context, Exit, Handler, Intensity, Mailbox, Restart,
        Shutdown, Strategy, SupervisorHandle, SupervisorSpec, panic::catch_future,
    },
    transport::{Ear, Transport},
};
use tidemill_protocol::{
    id::{BlockId, DataKey, Incarnation, Member, NodeId, ReceiverId},
    message::{PeerInfo, ReceiverExitReason, ReceiverOrder, Registration, ToDriver, ToExecutor},
    world::World,
};

/// How many requests to end may wait for an agent: one is enough.
const ENDINGS_MAX: usize = 16;

/// What every incarnation of an executor is made from.
pub(crate) struct ExecutorParts {
    pub(crate) node: NodeId,
    pub(crate) config: Checked,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) world: World,
    pub(crate) plumbing: Arc<dyn Plumbing>,
    pub(crate) progress: Progress,
    /// Virtual task times, in simulation.
    pub(crate) cost: Option<CostModel>,
    /// The first incarnation; a process that starts anew on a node takes a higher one.
    pub(crate) first: Incarnation,
    /// What the agent knows that has started it.
    pub(crate) origin: Origin,
    /// Sees each action of each core, in simulation.
    pub(crate) observer: Option<Observer>,
    /// How many incarnations it may have before it gives up; none: a thousand in 10 s.
    pub(crate) intensity: Option<Intensity>,
}

impl ExecutorParts {
    /// A shell's address and inbox.
    fn shell<C: Core>(&self) -> (ShellAddress<C>, ShellInbox<C>) {
        let (address, inbox) = ShellAddress::new_pair();
        match &self.observer {
            Some(observer) => (address, inbox.observed_by(observer.clone())),
            None => (address, inbox),
        }
    }
}

/// One incarnation.
pub(super) struct Life {
    member: Member,
    pub(super) store: BlockStore,
    pub(super) connected: Connected,
}

impl Life {
    fn uplink(&self) -> Arc<dyn Uplink> {
        self.connected.uplink.clone()
    }
}

/// Where the children of one executor find the current incarnation.
#[derive(Clone, Default)]
struct Current(Arc<Mutex<Option<Arc<Life>>>>);

impl Current {
    fn set(&self, life: Option<Arc<Life>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = life;
    }

    fn get(&self) -> Option<Arc<Life>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The subtree of one executor, the address that kills its incarnation, and the one that makes it leave for good.
pub(crate) fn executor_that_leaves(parts: Arc<ExecutorParts>) -> (ChildSpec, Address<Die>, Address<Leave>) {
    let id = format!("executor-{}", parts.node.0);
    let current = Current::default();
    let (tasks, tasks_pair) = parts.shell::<ExecutorCore>();
    let receivers = SupervisorSpec::new("receivers", Strategy::OneForOne);
    let intensity =
        parts.intensity.unwrap_or(Intensity { restarts_max: 1_000, period: Duration::from_secs(10) });
    let mailbox = Mailbox::<Agent>::with_capacity(EVENTS_CAPACITY, ENDINGS_MAX);
    let (die, leave) = (mailbox.address::<Die>(), mailbox.address::<Leave>());
    let agent = {
        let (parts, current, receivers, orders) =
            (parts.clone(), current.clone(), receivers.handle(), mailbox.address::<Order>());
        let die = die.clone();
        let mut next = parts.first;
        ChildSpec::with_mailbox("agent", mailbox, move |_| {
            let member = Member { node: parts.node, incarnation: next };
            next = next.next();
            Agent {
                parts: parts.clone(),
                current: current.clone(),
                member,
                life: None,
                tasks: tasks.clone(),
                receivers: receivers.clone(),
                running: BTreeMap::new(),
                peers: Vec::new(),
                leaving_peers: Vec::new(),
                is_leaving: false,
                orders: orders.clone(),
                die: die.clone(),
            }
        })
        .restart(Restart::Transient)
        .shutdown(Shutdown::Brutal)
    };
    let tasks = {
        let (core_parts, core_current) = (parts.clone(), current.clone());
        let hands_die = die.clone();
        Shell::child_spec(
            "tasks",
            tasks_pair,
            move |_| ExecutorCore::new(executor_config(&core_parts, core_current.get().as_deref())),
            move |_| task_hands(&parts, current.get(), hands_die.clone()),
        )
        .shutdown(Shutdown::Brutal)
    };
    let spec = SupervisorSpec::new(id, Strategy::OneForAll)
        .intensity(intensity)
        .backoff(Backoff {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(2),
            ..Backoff::default()
        })
        .child(agent)
        .child(tasks)
        .child(ChildSpec::supervisor(receivers).shutdown(Shutdown::Brutal));
    (ChildSpec::supervisor(spec), die, leave)
}

fn executor_config(parts: &ExecutorParts, life: Option<&Life>) -> ExecutorConfig {
    // Without a life (the agent could not connect) no order can come; the group is about to be restarted.
    let nobody = Member { node: parts.node, incarnation: Incarnation(0) };
    let member = life.map_or(nobody, |life| life.member);
    ExecutorConfig {
        inputs_immediate: life.is_some_and(|life| life.connected.transport.is_immediate()),
        task_stuck_after: parts.config.task_stuck_after,
        ..ExecutorConfig::new(member, Program::id(&*parts.pipeline), parts.config.slots_per_executor)
    }
}

/// Blocks are small beside the memory of an executor: one that does not fit into a peer's could never be copied there, and
/// what is open or under way stays a small part of the limit.
fn receiver_config(config: &Checked) -> ReceiverConfig {
    let default = ReceiverConfig::default();
    ReceiverConfig {
        block_interval: config.block_interval,
        block_bytes_max: default.block_bytes_max.min(config.memory_bytes_max / 16),
        open_bytes_max: default.open_bytes_max.min(config.memory_bytes_max / 8),
        unsafe_bytes_max: default.unsafe_bytes_max.min(config.memory_bytes_max / 2),
        bytes_per_s_max: config.rate_bytes_per_s_max.unwrap_or(u64::MAX),
        ..default
    }
}

/// An empty store, and where it spills to.
fn new_store(parts: &ExecutorParts) -> BlockStore {
    let config = &parts.config;
    let budget = Budget::new(config.memory_bytes_max);
    if config.spill_bytes_max == 0 {
        return BlockStore::new(budget);
    }
    let spill = SpillConfig {
        folder: config.spill_dir.clone(),
        bytes_max: config.spill_bytes_max,
        from_percent: config.spill_from_percent,
    };
    let codec: Arc<dyn PayloadCodec> = parts.pipeline.clone();
    BlockStore::spilling(budget, spill, codec, &parts.world)
}

fn task_hands(parts: &ExecutorParts, life: Option<Arc<Life>>, die: Address<Die>) -> executor::Performer {
    let member = executor_config(parts, life.as_deref()).member;
    let (store, transport, uplink): (BlockStore, Arc<dyn Transport>, Arc<dyn Uplink>) = match &life {
        Some(life) => (life.store.clone(), life.connected.transport.clone(), life.uplink()),
        None => (BlockStore::new(Budget::new(0)), Arc::new(Unconnected), Arc::new(Unconnected)),
    };
    let work = SlotWork {
        tasks: parts.pipeline.clone() as Arc<dyn Tasks>,
        source: InputSource { me: member, store, transport },
        clock: parts.world.clock.clone(),
        files: parts.world.files.clone(),
    };
    let slots = (parts.world.spawner.clone(), parts.config.slots_per_executor);
    let bulk = parts.plumbing.bulk();
    executor::Performer::new(
        work,
        slots,
        bulk,
        parts.cost,
        move |message| uplink.tell(message),
        Process { die },
    )
}

/// Ends the incarnation when its executor cannot go on.
struct Process {
    die: Address<Die>,
}

impl Lifecycle for Process {
    fn left(&self) {
        self.end_process("it was told to leave".into());
    }

    fn end_process(&self, reason: String) {
        self.die.end(reason);
    }
}

/// Takes the driver's orders.
struct Agent {
    parts: Arc<ExecutorParts>,
    current: Current,
    member: Member,
    life: Option<Arc<Life>>,
    tasks: ShellAddress<ExecutorCore>,
    receivers: SupervisorHandle,
    running: BTreeMap<ReceiverId, ShellAddress<ReceiverCore>>,
    /// Who may be given copies of blocks, together with those who are about to leave.
    peers: Vec<PeerInfo>,
    leaving_peers: Vec<Member>,
    /// It was told to leave: the end of this incarnation is the last.
    is_leaving: bool,
    orders: Address<Order>,
    die: Address<Die>,
}

impl Actor for Agent {
    fn started(&mut self, _ctx: &mut Context<Self>) -> Result<(), ActorError> {
        let store = new_store(&self.parts);
        let plumbing = &self.parts.plumbing;
        let tasks = self.tasks.clone();
        let ear: Ear = Arc::new(move |noticed| tasks.tell(executor::Event::Noticed(noticed)));
        let hears = Hears { orders: self.orders.clone(), ear, die: self.die.clone() };
        let connected = plumbing.connect(self.member, &store, hears);
        let connected = connected.map_err(ActorError::new)?;
        let bulk_address = connected.bulk_address;
        self.parts.progress.remember_store(self.member, &store);
        let life = Arc::new(Life { member: self.member, store, connected });
        self.current.set(Some(life.clone()));
        life.connected.uplink.tell(ToDriver::Register(Registration {
            member: self.member,
            slots: self.parts.config.slots_per_executor,
            program: Program::id(&*self.parts.pipeline),
            bulk_address,
            made_of: self.parts.pipeline.made_of(),
            ended: self.parts.origin.ended.map(|ended| ended.last),
            ended_since: self.parts.origin.ended.map(|ended| ended.first),
            agent: self.parts.origin.agent,
        }));
        self.life = Some(life);
        Ok(())
    }
}

impl Drop for Agent {
    /// Whatever ended this life: nothing of it is heard any more, and its data are gone.
    fn drop(&mut self) {
        self.bury();
    }
}

impl Agent {
    fn bury(&mut self) {
        let Some(life) = self.life.take() else { return };
        self.parts.plumbing.disconnect(life.member);
        self.current.set(None);
        let lost = life.store.clear();
        let (member, blocks, outputs) = (life.member, lost.blocks, lost.outputs);
        self.parts.progress.tell(ClusterEvent::DataLost { member, blocks, outputs });
    }

    fn start_receiver(&mut self, order: ReceiverOrder, ctx: &mut Context<Self>) {
        let Some(life) = self.life.clone() else { return };
        let streams = Program::streams(&*self.parts.pipeline);
        let id = order.receiver;
        let Some(stream) = streams.get(usize::from(id.stream.0)) else {
            let reason = ReceiverExitReason::Failed(format!("{} is not in this program", id.stream));
            return life.connected.uplink.tell(ToDriver::ReceiverExited { receiver: id, reason });
        };
        let name = format!("receiver-{}-{}-{}", id.stream.0, id.index.0, id.incarnation.0);
        let (address, pair) = self.parts.shell::<ReceiverCore>();
        let config = receiver_config(&self.parts.config);
        let (kind, storage, member) = (stream.kind, stream.storage, self.member);
        let ports = Arc::new(Ports { life: life.clone(), pipeline: self.parts.pipeline.clone() });
        let ports = ReceiverPorts {
            hold: ports.clone(),
            replicator: ports.clone(),
            driver: ports,
            source: self.parts.pipeline.clone() as Arc<dyn SourceHost>,
        };
        let exits = self.receivers.watch(&name);
        let (core_config, core_order) = (config.clone(), order.clone());
        let (world, receivers, finished) = (self.parts.world.clone(), self.receivers.clone(), name.clone());
        let child = Shell::child_spec(
            name,
            pair,
            move |_| ReceiverCore::new(core_config.clone(), core_order.clone(), member, kind, storage),
            move |_| {
                let (receivers, finished) = (receivers.clone(), finished.clone());
                ReceiverPerformer::new(
                    config.clone(),
                    order.clone(),
                    ports.clone(),
                    world.clone(),
                    move || {
                        // Gone is as good as terminated.
                        let _ = receivers.request_terminate(&finished);
                    },
                )
            },
        );
        let child = child.restart(Restart::Temporary).shutdown(Shutdown::Brutal).role("receiver");
        if let Err(error) = self.receivers.request_start(child) {
            let reason = ReceiverExitReason::Failed(error.to_string());
            life.connected.uplink.tell(ToDriver::ReceiverExited { receiver: id, reason });
            return;
        }
        ctx.spawn_local(end_with(exits, id, self.die.clone()));
        address.tell(self.staying_peers());
        address.tell(ReceiverEvent::Start);
        self.running.retain(|_, running| running.alive());
        self.running.insert(id, address);
    }

    fn set_peers(&mut self, peers: &[PeerInfo]) {
        self.parts.plumbing.peers(self.member, peers);
        self.peers = peers.to_vec();
        self.tell_receivers_peers();
    }

    /// Those who are about to leave are given no copies, unless all others are.
    fn staying_peers(&self) -> ReceiverEvent {
        let stays = |peer: &PeerInfo| !self.leaving_peers.contains(&peer.member);
        let any = self.peers.iter().any(|peer| peer.member != self.member && stays(peer));
        let staying = || self.peers.iter().filter(|peer| !any || stays(peer));
        let machine = |peer: &PeerInfo| peer.bulk_address.map(Machine::at);
        let mine = self.peers.iter().find(|peer| peer.member == self.member).and_then(machine);
        let near = staying().filter(|peer| mine.is_some() && machine(peer) == mine);
        ReceiverEvent::Peers {
            near: near.map(|peer| peer.member).collect(),
            members: staying().map(|peer| peer.member).collect(),
        }
    }

    fn tell_receivers_peers(&self) {
        let peers = self.staying_peers();
        for receiver in self.running.values() {
            receiver.tell(peers.clone());
        }
    }

    /// Gives another executor a copy of a block that is held here, and tells the driver how it ended.
    fn copy_block(&self, block: BlockId, to: Member) {
        let Some(life) = self.life.clone() else { return };
        let ports = Ports { life: life.clone(), pipeline: self.parts.pipeline.clone() };
        self.parts.world.spawner.spawn(async move {
            // The driver waits for an answer, however copying ends.
            let kept = matches!(catch_future(ports.replicate(block, to)).await, Ok(Ok(())));
            life.connected.uplink.tell(ToDriver::BlockCopied { block, to, kept });
        });
    }

    fn tell_receiver(&self, id: ReceiverId, event: ReceiverEvent) {
        if let Some(receiver) = self.running.get(&id) {
            receiver.tell(event);
        }
    }
}

/// A source that fails is told by its receiver. A receiver that fails itself leaves blocks that nobody makes safe any more: its
/// incarnation ends with it, and the driver's books settle them as after any loss of an executor.
async fn end_with(mut exits: tokio::sync::mpsc::Receiver<Exit>, receiver: ReceiverId, die: Address<Die>) {
    if let Some(exit @ (Exit::Panicked(_) | Exit::Failed(_))) = exits.recv().await {
        die.end(format!("receiver {receiver} has {exit}"));
    }
}

impl Handler<Order> for Agent {
    fn handle(&mut self, Order { to, message }: Order, ctx: &mut Context<Self>) {
        if to == self.member {
            self.obey(message, ctx);
        }
    }
}

impl Agent {
    fn obey(&mut self, order: ToExecutor, ctx: &mut Context<Self>) {
        match order {
            ToExecutor::Group { orders } => orders.into_iter().for_each(|order| self.obey(order, ctx)),
            ToExecutor::Peers { peers } => self.set_peers(&peers),
            ToExecutor::PeersLeaving { members } => {
                self.leaving_peers = members;
                self.tell_receivers_peers();
            }
            ToExecutor::Denied { nodes } => self.parts.plumbing.denied(self.member, &nodes),
            ToExecutor::Replicate { block, to } => self.copy_block(block, to),
            ToExecutor::StartReceiver(order) => self.start_receiver(order, ctx),
            ToExecutor::StopReceiver { receiver } => self.tell_receiver(receiver, ReceiverEvent::Stop),
            ToExecutor::Cut { batch, at } => {
                let wall = self.parts.world.clock.wall();
                for receiver in self.running.values() {
                    receiver.tell(ReceiverEvent::Cut { batch, at, wall });
                }
            }
            ToExecutor::SetRate { receiver, records_per_s_max } => {
                self.tell_receiver(receiver, ReceiverEvent::SetRate { records_per_s_max });
            }
            ToExecutor::SafeRecorded { block } => {
                self.tell_receiver(block.receiver, ReceiverEvent::SafeRecorded { block });
            }
            ToExecutor::Ping { nonce } => {
                if let Some(life) = &self.life {
                    life.connected.uplink.tell(ToDriver::Alive { nonce });
                }
            }
            other => {
                self.release_blocks(&other);
                if let Ok(event) = executor::Event::from_wire(other) {
                    self.tasks.tell(event);
                }
            }
        }
    }

    /// Receivers that wait for copies of blocks which are dropped need not wait any more.
    fn release_blocks(&self, message: &ToExecutor) {
        let ToExecutor::Drop { keys } = message else { return };
        let mut released: BTreeMap<ReceiverId, Vec<BlockId>> = BTreeMap::new();
        for key in keys {
            if let DataKey::Block(block) = key {
                released.entry(block.receiver).or_default().push(*block);
            }
        }
        for (receiver, blocks) in released {
            self.tell_receiver(receiver, ReceiverEvent::Released { blocks });
        }
    }
}

impl Handler<Die> for Agent {
    fn handle(&mut self, die: Die, ctx: &mut Context<Self>) {
        self.bury();
        if self.is_leaving {
            tracing::info!(member = %self.member, reason = die.reason, "this executor has left");
            ctx.stop();
        } else {
            ctx.fail(ActorError::new(die.reason));
        }
    }
}

impl Handler<Leave> for Agent {
    fn handle(&mut self, _leave: Leave, _ctx: &mut Context<Self>) {
        self.is_leaving = true;
        if let Some(life) = &self.life {
            life.connected.uplink.tell(ToDriver::Leaving);
        }
    }
}
