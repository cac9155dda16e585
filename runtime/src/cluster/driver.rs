//! The driver: its four roles, and the wires between them.
//!
//! ```text
//!   inbox ──> node ──┬─> batch_generator ──plans──> scheduler ──orders──> executors
//!                    └──────────────────────────────^  │ completed
//!                        rates <── rate_controller <───┘
//!
//!   node-0
//!   ├─ node             (permanent)
//!   ├─ driver           (one_for_all, no restart: without a log a driver's loss fails the job, with its cause)
//!   │  ├─ batch_generator
//!   │  └─ scheduler
//!   └─ rate_controller  (permanent: a restart is a slow start)
//! ```

use super::{
    inbox::Inbox,
    ledger::Ledger,
    local::Prepared,
    progress::{ClusterEvent, Progress},
};
use crate::{
    config::{BatchInterval, Checked},
    graph::Pipeline,
};
use std::{collections::BTreeMap, sync::Arc};
use tidemill_actors::{
    batch_generator::{
        ExecutorOutlet, GeneratorConfig, GeneratorCore, GeneratorEvent, GeneratorNote, GeneratorPerformer,
        GeneratorPorts, PlanOutlet,
    },
    rate_controller::{
        InputKey, RateConfig, RateControllerCore, RateEvent, RateOutlet, RatePerformer,
    },
    scheduler::{
        self, BatchTimings, BlockPlace, Followers, Scheduler, SchedulerConfig, SchedulerPerformer,
        TellExecutors,
    },
    seam::{BatchPlan, Program},
    shell::{Observer, Shell, ShellAddress, ShellInbox},
    supervision::{ChildSpec, Exit, Intensity, Restart, Strategy, SupervisorSpec},
    transport::Transport,
};
use tidemill_protocol::{
    id::{BatchNumber, BlockId, Epoch, Member, TaskKey},
    message::{ToDriver, ToExecutor},
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
    /// Sees every action of every core, for the trace of a simulation.
    pub(crate) observer: Option<Observer>,
}

/// The addresses of the driver's roles; they may be told before the roles run.
#[derive(Clone)]
pub(crate) struct Roles {
    pub(crate) node: ShellAddress<NodeCore>,
    pub(crate) generator: ShellAddress<GeneratorCore>,
    pub(crate) scheduler: ShellAddress<Scheduler>,
    pub(crate) rates: ShellAddress<RateControllerCore>,
}

/// The reading ends of [`Roles`].
pub(crate) struct RoleInboxes {
    node: ShellInbox<NodeCore>,
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
        (Roles { node, generator, scheduler, rates }, inboxes)
    }

    /// Begins: receivers are placed as executors come.
    pub(crate) fn start(&self, world: &World) {
        self.rates.tell(RateEvent::Start);
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
struct Wires<L> {
    roles: Roles,
    links: L,
    pipeline: Arc<Pipeline>,
    progress: Progress,
    ledger: Ledger,
    world: World,
    has_cuts: bool,
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
        let blocks = holders.into_iter().map(|(block, holders)| BlockPlace { block, holders, safe: false });
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

    fn block_held(&self, _batch: BatchNumber, block: BlockId, holders: Vec<Member>) {
        let place = BlockPlace { block, holders, safe: false };
        self.roles.scheduler.tell(scheduler::Event::BlockHolders(place));
    }

    fn batch_safe(&self, batch: BatchNumber) {
        self.roles.scheduler.tell(scheduler::Event::BatchSafe { batch });
    }

    fn note(&self, note: GeneratorNote) {
        match &note {
            GeneratorNote::ReceiverRestarts { receiver, reason, .. } => {
                tracing::warn!(%receiver, reason, "a receiver has ended and will be started again");
                metrics::counter!("tidemill_receiver_restarts_total").increment(1);
            }
            GeneratorNote::BlocksStruck { blocks, records } => {
                tracing::info!(blocks, records, "unsafe blocks were struck: their sender repeats them");
                metrics::counter!("tidemill_blocks_struck_total").increment(*blocks as u64);
            }
            GeneratorNote::BlocksLost { blocks, records } => {
                tracing::error!(blocks, records, "blocks are gone with all their holders");
                metrics::counter!("tidemill_blocks_lost_total").increment(*blocks as u64);
            }
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

impl<L: Send + Sync> RateOutlet for Wires<L> {
    fn set_rate(&self, input: InputKey, records_per_s_max: u64) {
        let InputKey { stream, receiver } = input;
        self.roles.generator.tell(GeneratorEvent::SetRate { stream, receiver, records_per_s_max });
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
            metrics::histogram!("tidemill_batch_processing_seconds").record(info.processing_time.as_secs_f64());
            metrics::counter!("tidemill_records_total").increment(info.records);
            wires.roles.rates.tell(RateEvent::BatchCompleted(info.clone()));
            wires.progress.tell(ClusterEvent::BatchCompleted(info));
        }
        wires.finish_if_through();
    }

    fn released(&self, batch: BatchNumber) {
        self.0.roles.generator.tell(GeneratorEvent::BatchReleased(batch));
    }

    fn tasks_lost(&self, batch: BatchNumber, _member: Member, tasks: &[TaskKey]) {
        self.0.progress.tell(ClusterEvent::TasksLost { batch, count: tasks.len() as u64 });
    }

    fn failed(&self, _batch: BatchNumber, text: &str) {
        self.0.progress.tell(ClusterEvent::Failed(text.to_owned()));
    }

    fn stopped(&self) {
        // After a failure the first outcome stays.
        self.0.progress.tell(ClusterEvent::Ended);
    }
}
