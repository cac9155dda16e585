//! Carries out what the batch generator's core asks for: messages to executors and to the scheduler, questions to
//! planned sources.

use super::core::GeneratorCore;
use super::messages::{
    ExecutorOutlet, GeneratorAction as Action, GeneratorEvent as Event, PlanOutlet, RangesFound,
};
use crate::{core::Perform, seam::SourceHost, shell::ShellAddress};
use std::{collections::BTreeMap, sync::Arc};
use tidemill_protocol::{
    id::{BatchNumber, DataKey, PartitionId, StreamId},
    message::ToExecutor,
    world::World,
};

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
        mut planned: BTreeMap<PartitionId, u64>,
        records_max: Option<u64>,
        me: &ShellAddress<GeneratorCore>,
    ) {
        let (source, me) = (Arc::clone(&self.ports.source), me.clone());
        self.world.spawner.spawn(async move {
            let result = source.next_ranges(stream, &planned, records_max).await;
            let result = result.map_err(|error| error.to_string()).map(|ranges| {
                planned.extend(ranges.iter().map(|range| (range.partition, range.to)));
                RangesFound { exhausted: source.is_exhausted(stream, &planned), ranges }
            });
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
            Action::Replan { batch: _, plan, holders } => plans.replan(plan, holders),
            Action::BlockHeld { batch, block, holders } => plans.block_held(batch, block, holders),
            Action::BatchSafe(batch) => plans.batch_safe(batch),
            Action::CopyBlock { from, block, to } => {
                executors.send(from, ToExecutor::Replicate { block, to });
            }
            Action::Drained(member) => plans.drained(member),
            Action::ReadWall => drop(me.tell(Event::Wall { wall: self.world.clock.wall() })),
            Action::Note(note) => plans.note(note),
            Action::Ended => plans.ended(),
            Action::Fail(reason) => plans.failed(reason),
        }
    }
}
