//! Carries out what the batch generator's core asks for: messages to executors and to the scheduler, questions to
//! planned sources.

use super::core::GeneratorCore;
use super::messages::{ExecutorOutlet, GeneratorAction as Action, GeneratorEvent as Event, PlanOutlet};
use crate::{core::Perform, seam::SourceHost, shell::ShellAddress, supervision::panic::catch_future};
use futures_util::FutureExt;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tidemill_protocol::{
    id::{BatchNumber, DataKey, PartitionId, StreamId},
    message::ToExecutor,
    world::World,
};

/// How long a planned source may take to say what it holds; after that it has failed, and is asked again like any other that has.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What the batch generator needs from the driver it runs on.
#[derive(Clone)]
pub struct GeneratorPorts {
    /// The way to executors.
    pub executors: Arc<dyn ExecutorOutlet>,
    /// The way to the scheduler.
    pub plans: Arc<dyn PlanOutlet>,
    /// The program's sources.
    pub source: Arc<dyn SourceHost>,
}

/// The hands of the batch generator. The one who starts it tells it `Start` with the wall clock.
pub struct GeneratorPerformer {
    ports: GeneratorPorts,
    world: World,
}

impl GeneratorPerformer {
    /// Hands that reach out through `ports`.
    pub fn new(ports: GeneratorPorts, world: World) -> Self {
        GeneratorPerformer { ports, world }
    }

    fn ask_ranges(
        &self,
        (batch, stream): (BatchNumber, StreamId),
        planned: BTreeMap<PartitionId, u64>,
        records_max: Option<u64>,
        me: &ShellAddress<GeneratorCore>,
    ) {
        let (source, clock, me) = (Arc::clone(&self.ports.source), self.world.clock.clone(), me.clone());
        let answer = catch_future(async move { source.next_ranges(stream, &planned, records_max).await });
        let mut answer = Box::pin(answer.map(|answered| match answered {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(panic) => Err(format!("it panicked: {panic}")),
        }));
        // Who knows it at once need not wait for another thread.
        if let Some(result) = (&mut answer).now_or_never() {
            me.tell(Event::RangesReady { batch, stream, result });
            return;
        }
        self.world.spawner.spawn(async move {
            let result = tokio::select! { biased;
                result = answer => result,
                () = clock.sleep(ANSWER_WITHIN) => Err(format!("no answer within {ANSWER_WITHIN:?}")),
            };
            me.tell(Event::RangesReady { batch, stream, result });
        });
    }
}

impl Perform<GeneratorCore> for GeneratorPerformer {
    fn perform(&mut self, action: Action, me: &ShellAddress<GeneratorCore>) {
        let (executors, plans) = (&self.ports.executors, &self.ports.plans);
        match action {
            Action::StartReceiver { member, order } => {
                executors.send(member, ToExecutor::StartReceiver(order))
            }
            Action::StopReceiver { member, receiver } => {
                executors.send(member, ToExecutor::StopReceiver { receiver });
            }
            Action::AnnounceCut { members, batch, at } => {
                members.into_iter().for_each(|member| executors.send(member, ToExecutor::Cut { batch, at }));
            }
            Action::SetRate { member, receiver, records_per_s_max } => {
                executors.send(member, ToExecutor::SetRate { receiver, records_per_s_max });
            }
            Action::RecordSafe { member, block } => {
                executors.send(member, ToExecutor::SafeRecorded { block })
            }
            Action::DropBlocks { member, blocks } => {
                let keys = blocks.into_iter().map(DataKey::Block).collect();
                executors.send(member, ToExecutor::Drop { keys });
            }
            Action::AskRanges { batch, stream, planned, records_max } => {
                self.ask_ranges((batch, stream), planned, records_max, me);
            }
            Action::PlanReady { plan, holders } => plans.plan_ready(plan, holders),
            Action::Replan { plan, holders } => plans.replan(plan, holders),
            Action::BlockHeld { block, holders } => plans.block_held(block, holders),
            Action::BatchSafe(batch) => plans.batch_safe(batch),
            Action::CopyBlock { from, block, to } => {
                executors.send(from, ToExecutor::Replicate { block, to });
            }
            Action::BlocksWait(wait) => plans.blocks_wait(wait),
            Action::Drained(member) => plans.drained(member),
            Action::ReadWall => drop(me.tell(Event::Wall { wall: self.world.clock.wall() })),
            Action::Note(note) => plans.note(note),
            Action::Ended => plans.ended(),
            Action::Fail(reason) => plans.failed(reason),
        }
    }
}
