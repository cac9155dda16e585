//! The driver: its four roles, and the wires between them.
//!
//! ```text
//!   inbox ──> node ──┬─> batch_generator ──plans──> scheduler ──orders──> executors
//!                    └──────────────────────────────^  │ completed
//!                        rates <── rate_controller <───┘
//!
//!   node-0
//!   ├─ driver           (one_for_all, no restart: without a log a driver's loss fails the job, with its cause)
//!   │  ├─ node
//!   │  ├─ batch_generator
//!   │  └─ scheduler
//!   └─ rate_controller  (permanent: a restart is a slow start)
//! ```

use super::{
    figures,
    inbox::fail_when_full,
    ledger::Ledger,
    prepared::{Prepared, Reported},
    progress::{ClusterEvent, Progress},
    role_configs::{generator_config, rate_config, rate_inputs, rate_interval, scheduler_config},
    routes::Routes,
};
use crate::{
    config::{BatchInterval, Checked},
    graph::Pipeline,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidemill_actors::{
    batch_generator::{
        ExecutorOutlet, GeneratorCore, GeneratorEvent, GeneratorNote, GeneratorPerformer, GeneratorPorts,
        PlanOutlet,
    },
    core::Core,
    node::{self, Links, Membership, MembershipConfig, MembershipPerformer},
    rate_controller::{InputKey, RateControllerCore, RateEvent, RateOutlet, RatePerformer},
    scheduler::{
        self, BatchTimings, BlockPlace, Followers, Misconduct, Outbox, Scheduler, SchedulerPerformer,
        TellExecutors,
    },
    seam::{BatchPlan, Program, StreamInfo, StreamKind},
    shell::{Observer, Shell, ShellAddress, ShellInbox},
    supervision::{ChildSpec, Exit, Intensity, Restart, Strategy, SupervisorSpec},
    transport::Transport,
};
use tidemill_protocol::{
    id::{BatchNumber, BlockId, Epoch, Member, ReceiverId, StreamId, TaskId, TaskKey},
    message::{PeerInfo, ToExecutor},
    world::World,
};

/// What a driver is made from.
pub(crate) struct DriverParts<L> {
    pub(crate) config: Checked,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) world: World,
    pub(crate) progress: Progress,
    /// The ways to executors.
    pub(crate) links: L,
    /// How prepared outputs come to the driver.
    pub(crate) transport: Arc<dyn Transport>,
    /// Told who lives, where the driver itself fetches from them.
    pub(crate) peers: Option<PeersListener>,
}

/// Takes the list of live executors.
pub(crate) type PeersListener = Arc<dyn Fn(Vec<PeerInfo>) + Send + Sync>;

/// The addresses of the driver's roles; they may be told before the roles run.
#[derive(Clone)]
pub(crate) struct Roles {
    pub(crate) node: ShellAddress<Membership>,
    pub(crate) generator: ShellAddress<GeneratorCore>,
    pub(crate) scheduler: ShellAddress<Scheduler>,
    pub(crate) rates: ShellAddress<RateControllerCore>,
    /// What is paused on request; each life of the rate controller is told.
    pub(crate) paused: Arc<Mutex<BTreeSet<InputKey>>>,
}

/// The reading ends of [`Roles`].
pub(crate) struct RoleInboxes {
    node: ShellInbox<Membership>,
    generator: ShellInbox<GeneratorCore>,
    scheduler: ShellInbox<Scheduler>,
    rates: ShellInbox<RateControllerCore>,
}

impl Roles {
    pub(crate) fn new(observer: Option<&Observer>) -> (Roles, RoleInboxes) {
        fn pair<C: Core>(observer: Option<&Observer>) -> (ShellAddress<C>, ShellInbox<C>) {
            let (address, inbox) = ShellAddress::new_pair();
            match observer {
                Some(observer) => (address, inbox.observed_by(observer.clone())),
                None => (address, inbox),
            }
        }
        let (node, node_inbox) = pair(observer);
        let (generator, generator_inbox) = pair(observer);
        let (scheduler, scheduler_inbox) = pair(observer);
        let (rates, rates_inbox) = pair(observer);
        let inboxes = RoleInboxes {
            node: node_inbox,
            generator: generator_inbox,
            scheduler: scheduler_inbox,
            rates: rates_inbox,
        };
        (Roles { node, generator, scheduler, rates, paused: Arc::default() }, inboxes)
    }

    /// Begins: receivers are placed as executors come.
    pub(crate) fn start(&self, world: &World) {
        self.generator.tell(GeneratorEvent::Start { wall: world.clock.wall() });
    }

    /// Ends. Gracefully: what was received is still planned, run and published.
    pub(crate) fn stop(&self, graceful: bool) {
        self.generator.tell(GeneratorEvent::Stop { graceful });
        if !graceful {
            self.scheduler.tell(scheduler::Event::Stop);
        }
    }
}

/// What the driver's roles tell each other through: shared by their performers.
pub(super) struct Wires<L> {
    pub(super) roles: Roles,
    pub(super) links: L,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) progress: Progress,
    pub(super) ledger: Ledger,
    pub(super) world: World,
    pub(super) has_cuts: bool,
    pub(super) peers: Option<PeersListener>,
    pub(super) alive: Mutex<BTreeMap<Member, PeerInfo>>,
    /// What reports have brought for sinks.
    pub(super) reported: Arc<Reported>,
}

impl<L: TellExecutors + Send + Sync> ExecutorOutlet for Wires<L> {
    fn send(&self, to: Member, message: ToExecutor) {
        self.links.tell(to, message);
    }
}

impl<L> Wires<L> {
    fn hand_over(&self, plan: Arc<BatchPlan>, holders: BTreeMap<BlockId, Vec<Member>>) {
        let version = self.ledger.plan(&plan);
        // The generator's books decide what becomes of a block without holders: the scheduler waits for them.
        let blocks = holders.into_iter().map(|(block, holders)| BlockPlace { block, holders });
        let event = scheduler::Event::plan(&*self.pipeline, plan, version, blocks.collect());
        self.roles.scheduler.tell(event);
    }

    fn finish_if_through(&self) {
        if self.ledger.is_through() {
            self.progress.tell(ClusterEvent::Ended);
        }
    }
}

impl<L: Send + Sync> PlanOutlet for Wires<L> {
    fn plan_ready(&self, plan: Arc<BatchPlan>, holders: BTreeMap<BlockId, Vec<Member>>) {
        self.hand_over(plan, holders);
    }

    fn replan(&self, plan: Arc<BatchPlan>, holders: BTreeMap<BlockId, Vec<Member>>) {
        self.hand_over(plan, holders);
    }

    fn block_held(&self, block: BlockId, holders: Vec<Member>) {
        let place = BlockPlace { block, holders };
        self.roles.scheduler.tell(scheduler::Event::BlockHolders(place));
    }

    fn batch_safe(&self, batch: BatchNumber) {
        self.roles.scheduler.tell(scheduler::Event::BatchSafe { batch });
    }

    fn blocks_wait(&self, wait: bool) {
        self.roles.scheduler.tell(scheduler::Event::BlocksWait { wait });
    }

    fn drained(&self, member: Member) {
        self.roles.node.tell(node::Event::Drained { member, of: node::Drain::Blocks });
    }

    fn note(&self, note: GeneratorNote) {
        match &note {
            GeneratorNote::ReceiverRestarts { receiver, reason, .. } => {
                tracing::warn!(%receiver, reason, "a receiver has ended and will be started again");
                metrics::counter!("tidemill_receiver_restarts_total").increment(1);
                self.report_window(receiver.stream);
            }
            GeneratorNote::ReceiverStarted { receiver, on } => return self.report_receiver(*receiver, *on),
            GeneratorNote::HolderLost { member, blocks } => return self.report_holder(*member, *blocks),
            GeneratorNote::BlocksStruck { blocks, records } => {
                tracing::info!(blocks, records, "unsafe blocks were struck: their sender repeats them");
                metrics::counter!("tidemill_blocks_struck_total").increment(*blocks as u64);
            }
            GeneratorNote::BlocksLost { blocks, records } => {
                tracing::error!(blocks, records, "blocks are gone with all their holders");
                metrics::counter!("tidemill_blocks_lost_total").increment(*blocks as u64);
            }
            GeneratorNote::WordRefused { by } => {
                tracing::warn!(%by, "an executor speaks of a receiver or block that is not its own: ignored");
                metrics::counter!("tidemill_words_refused_total").increment(1);
            }
            GeneratorNote::BlockCopied { .. } => figures::block_copied(),
        }
        self.progress.tell(ClusterEvent::Note(note));
    }

    fn ended(&self) {
        self.ledger.no_more();
        self.finish_if_through();
    }

    fn failed(&self, reason: String) {
        self.progress.tell(ClusterEvent::Failed(reason));
    }
}

impl<L> Wires<L> {
    /// Nothing is left to be published: tells the outcome, once.
    fn settle(&self) {
        if self.progress.outcome().is_none() {
            self.progress.tell(self.ledger.failure().map_or(ClusterEvent::Ended, ClusterEvent::Failed));
        }
    }

    /// A receiver reads; unless its executor was lost meanwhile, which has been told already.
    fn report_receiver(&self, receiver: ReceiverId, on: Member) {
        if self.alive.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&on) {
            self.progress.tell(ClusterEvent::ReceiverStarted { receiver, on });
        }
    }

    /// Blocks went with an executor. In one process the executors say so themselves.
    fn report_holder(&self, member: Member, blocks: u64) {
        if self.peers.is_some() {
            tracing::warn!(%member, blocks, "blocks went with an executor: copies take their place, or their sender repeats them");
            self.progress.tell(ClusterEvent::DataLost { member, blocks, outputs: 0 });
        }
    }

    /// A life of a receiver is over. Where nobody repeats what it held, that is a loss, and nobody else is left to say so.
    fn report_window(&self, stream: StreamId) {
        let is_plain = |info: &StreamInfo| info.id == stream && info.kind == StreamKind::Unacknowledged;
        if Program::streams(&*self.pipeline).iter().any(is_plain) {
            let what = "window_lost".to_owned();
            tracing::warn!(%stream, "what stood between the sender and a safe block may be lost: nobody repeats it");
            figures::source_report(&what, 1);
            self.progress.tell(ClusterEvent::SourceReport { stream, what, count: 1 });
        }
    }
}

impl<L: Send + Sync> RateOutlet for Wires<L> {
    fn set_rate(&self, input: InputKey, records_per_s_max: u64) {
        let InputKey { stream, receiver } = input;
        self.roles.generator.tell(GeneratorEvent::SetRate { stream, receiver, records_per_s_max });
        figures::rate_set(input, records_per_s_max);
        self.progress.tell(ClusterEvent::RateSet { input, records_per_s_max });
    }
}

/// The scheduler's followers.
struct Follow<L>(Arc<Wires<L>>);

impl<L: Send + Sync + 'static> Followers for Follow<L> {
    fn decided(&self, batch: BatchNumber) {
        self.0.roles.generator.tell(GeneratorEvent::BatchDecided(batch));
    }

    fn completed(&self, timings: &BatchTimings) {
        let wires = &self.0;
        let cut = std::time::Duration::from_millis(timings.time.as_millis());
        let since_cut = wires.has_cuts.then(|| wires.world.clock.wall().saturating_sub(cut));
        if let Some(info) = wires.ledger.complete(timings, since_cut) {
            metrics::histogram!("tidemill_batch_total_delay_seconds").record(info.total_delay.as_secs_f64());
            metrics::histogram!("tidemill_batch_scheduling_delay_seconds")
                .record(info.scheduling_delay.as_secs_f64());
            metrics::histogram!("tidemill_batch_processing_seconds")
                .record(info.processing_time.as_secs_f64());
            metrics::counter!("tidemill_records_total").increment(info.records);
            wires.roles.rates.tell(RateEvent::BatchCompleted(info.clone()));
            wires.progress.tell(ClusterEvent::BatchCompleted(info));
        }
        wires.finish_if_through();
    }

    fn released(&self, batch: BatchNumber) {
        self.0.reported.release(batch);
        self.0.roles.generator.tell(GeneratorEvent::BatchReleased(batch));
    }

    fn tasks_lost(&self, batch: BatchNumber, member: Member, tasks: &[TaskKey]) {
        self.0.progress.tell(ClusterEvent::TasksLost { batch, member, count: tasks.len() as u64 });
    }

    fn attempt_failed(&self, task: TaskId, on: Member, message: String) {
        self.0.progress.tell(ClusterEvent::TaskFailed { task, on, message });
    }

    fn drained(&self, member: Member) {
        self.0.roles.node.tell(node::Event::Drained { member, of: node::Drain::Outputs });
    }

    fn copied(&self, task: TaskId, slow: Member) {
        self.0.progress.tell(ClusterEvent::TaskCopied { task, slow });
    }

    fn excluded(&self, member: Member, time: Duration, _why: Misconduct) {
        self.0.progress.tell(ClusterEvent::ExecutorExcluded { member, time });
    }

    /// The batches before the failed one are still to be published; `stopped` says when they are, or are given up.
    fn failed(&self, _batch: BatchNumber, text: &str) {
        self.0.ledger.fail(text);
    }

    fn stopped(&self) {
        self.0.settle();
    }
}

/// The driver's children, in start order.
pub(crate) fn children<L>(parts: DriverParts<L>, roles: &Roles, inboxes: RoleInboxes) -> Vec<ChildSpec>
where
    L: TellExecutors + Links + Clone + Send + Sync,
{
    let DriverParts { config, pipeline, world, progress, links, transport, peers } = parts;
    fail_when_full(roles, &progress, &world);
    let wires = Arc::new(Wires {
        roles: roles.clone(),
        links: links.clone(),
        pipeline: pipeline.clone(),
        progress: progress.clone(),
        ledger: Ledger::default(),
        world: world.clone(),
        has_cuts: matches!(config.batch_interval, BatchInterval::Every(_)),
        peers,
        alive: Mutex::default(),
        reported: Arc::default(),
    });
    let program = Program::id(&*pipeline);
    let node = {
        let (links, wires) = (links.clone(), wires.clone());
        let membership = MembershipConfig {
            epoch: EPOCH,
            program,
            made_of: pipeline.made_of(),
            operators: pipeline.operators(),
            ..MembershipConfig::default()
        };
        Shell::child_spec(
            "node",
            inboxes.node,
            move |_| Membership::new(membership.clone()),
            move |_| MembershipPerformer { links: links.clone(), roles: Routes(wires.clone()) },
        )
    };
    let rate_controller = {
        let (outlet, inputs) = (wires.clone(), rate_inputs(&config, &pipeline));
        let rates = rate_config(&config, inputs.len());
        let (interval, roles) = (rate_interval(&config), roles.clone());
        Shell::child_spec(
            "rate_controller",
            inboxes.rates,
            move |_| {
                // Each life begins with a slow start.
                roles.rates.tell(RateEvent::Start);
                let paused = roles.paused.lock().unwrap_or_else(PoisonError::into_inner);
                for input in paused.iter() {
                    roles.rates.tell(RateEvent::Pause(*input));
                }
                RateControllerCore::new(rates.clone(), interval, inputs.clone())
            },
            move |_| RatePerformer::new(outlet.clone()),
        )
    };
    let inboxes = (inboxes.generator, inboxes.scheduler);
    let driver = driver_group(node, &config, &pipeline, &world, &wires, transport, inboxes);
    vec![rate_controller, driver]
}

/// Membership, batch generator and scheduler: each knows what only its own life has heard, so without a log the end of one is
/// the end of the job.
fn driver_group<L>(
    node: ChildSpec,
    config: &Checked,
    pipeline: &Arc<Pipeline>,
    world: &World,
    wires: &Arc<Wires<L>>,
    transport: Arc<dyn Transport>,
    inboxes: (ShellInbox<GeneratorCore>, ShellInbox<Scheduler>),
) -> ChildSpec
where
    L: TellExecutors + Clone + Send + Sync,
{
    let generator = {
        let ports =
            GeneratorPorts { executors: wires.clone(), plans: wires.clone(), source: pipeline.clone() };
        let (core, world) = (generator_config(config, pipeline, world), world.clone());
        Shell::child_spec(
            "batch_generator",
            inboxes.0,
            move |_| GeneratorCore::new(core.clone()),
            move |_| GeneratorPerformer::new(ports.clone(), world.clone()),
        )
    };
    let scheduler = {
        let core = scheduler_config(config, EPOCH, world);
        let (wires, pipeline, spawner) = (wires.clone(), pipeline.clone(), world.spawner.clone());
        Shell::child_spec(
            "scheduler",
            inboxes.1,
            move |_| Scheduler::new(core),
            move |_| SchedulerPerformer {
                executors: wires.links.clone(),
                followers: Follow(wires.clone()),
                prepared: Arc::new(Prepared {
                    reported: wires.reported.clone(),
                    codec: pipeline.clone(),
                    transport: transport.clone(),
                }),
                sinks: pipeline.clone(),
                run: core.run,
                spawner: spawner.clone(),
                outbox: Outbox::default(),
            },
        )
    };
    let group = SupervisorSpec::new("driver", Strategy::OneForAll)
        .intensity(Intensity { restarts_max: 0, period: Duration::from_secs(1) })
        .child(node)
        .child(generator)
        .child(scheduler);
    for role in ["node", "batch_generator", "scheduler"] {
        report_end(role, group.handle().watch(role), wires.progress.clone());
    }
    ChildSpec::supervisor(group).restart(Restart::Temporary)
}

/// The driver's reign; there is one only until a log exists.
pub(super) const EPOCH: Epoch = Epoch(1);

/// Fails the pipeline, with its cause, when a role of the driver ends otherwise than by order.
fn report_end(role: &'static str, mut exits: tokio::sync::mpsc::Receiver<Exit>, progress: Progress) {
    tokio::task::spawn_local(async move {
        while let Some(exit) = exits.recv().await {
            if !exit.is_orderly() {
                progress.tell(ClusterEvent::Failed(format!("the {role} has ended: {exit}")));
            }
        }
    });
}
