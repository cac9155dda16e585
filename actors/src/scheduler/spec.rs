//! What a task is told: its inputs, with those who hold them; and, on the way, where its input lies.

use super::{
    executors::Executors,
    job::{At, Job, TaskState},
};
use crate::seam::PlannedPart;
use std::sync::Arc;
use tidemill_protocol::{
    id::{BlockId, DataKey, Member, PartitionId, StageId, TaskId},
    message::{InputPart, TaskSpec},
};

/// The most bytes of a task's parts in a message: what a control frame leaves, less the task's own names.
pub(super) const TASK_BYTES_MAX: usize = 58 * 1024;

/// The inputs of a task that could be launched now.
#[derive(Clone, Debug, Default)]
pub(super) struct Inputs {
    /// For each input of the stage, the parts in the order of the value. Empty shuffle outputs are left out.
    pub inputs: Vec<Vec<InputPart>>,
    /// How many parts there are in all.
    pub parts: usize,
    /// Bytes by holder; each holder once.
    pub bytes_at: Vec<(Member, u64)>,
}

impl Inputs {
    /// Looks up who holds the inputs of a task whose parents are done.
    ///
    /// # Errors
    /// The block that nobody holds.
    pub fn of(job: &Job, at: At, executors: &Executors) -> Result<Inputs, BlockId> {
        Inputs::look_up(job, at, executors, false)
    }

    /// The same for a task whose parents are not done: of shuffles it says what is promised. None if a block is nowhere.
    pub fn ahead(job: &Job, at: At, executors: &Executors) -> Option<Inputs> {
        Inputs::look_up(job, at, executors, true).ok()
    }

    fn look_up(job: &Job, at: At, executors: &Executors, is_ahead: bool) -> Result<Inputs, BlockId> {
        let planned = &job.job.stages[usize::from(at.0.0)].tasks[at.1.0 as usize];
        let mut found = Inputs { inputs: Vec::with_capacity(planned.len()), ..Inputs::default() };
        for parts in planned {
            let mut list = Vec::with_capacity(parts.len());
            for part in parts {
                match *part {
                    PlannedPart::Block(block) => list.push(found.block(job, block, executors)?),
                    PlannedPart::Range(stream, range) => {
                        let (from, to) = (range.from, range.to);
                        list.push(InputPart::Range { stream, partition: range.partition, from, to });
                    }
                    PlannedPart::Shuffle { parent, partition } if is_ahead => {
                        let writers = job.stage(parent).tasks.len() as u32;
                        list.push(InputPart::Shuffle {
                            stage: parent,
                            partition,
                            writers,
                            attempt: job.first,
                        });
                    }
                    PlannedPart::Shuffle { parent, partition } => {
                        found.shuffle(job, parent, partition, &mut list);
                    }
                }
            }
            found.parts += list.len();
            found.inputs.push(list);
        }
        found.sum_up();
        Ok(found)
    }

    /// At most so many bytes are its parts in a message, where outputs of one stage are rows of a table.
    pub fn bytes(&self) -> usize {
        const ROW: usize = 17;
        const NAMES: usize = 128;
        const HOLDER: usize = 32;
        let bytes = |part: &InputPart| match part {
            InputPart::Held { key: DataKey::Output { .. }, holders } if holders.len() == 1 => ROW,
            InputPart::Held { holders, .. } => NAMES + HOLDER * holders.len(),
            InputPart::Range { .. } | InputPart::Shuffle { .. } => NAMES,
        };
        self.inputs.iter().flatten().map(bytes).sum()
    }

    /// The task for `member`: what it holds itself is nearest.
    pub fn spec(mut self, task: TaskId, member: Member) -> Arc<TaskSpec> {
        for part in self.inputs.iter_mut().flatten() {
            if let InputPart::Held { holders, .. } = part
                && let Some(own) = holders.iter().position(|holder| *holder == member)
            {
                holders.swap(0, own);
            }
        }
        Arc::new(TaskSpec { task, inputs: self.inputs })
    }

    fn block(&mut self, job: &Job, block: BlockId, executors: &Executors) -> Result<InputPart, BlockId> {
        let place = job.blocks.get(&block).ok_or(block)?;
        let holders: Vec<Member> = place.holders.iter().copied().filter(|h| executors.is_live(*h)).collect();
        if holders.is_empty() {
            return Err(block);
        }
        let bytes = job.block_bytes.get(&block).copied().unwrap_or(0);
        holders.iter().for_each(|holder| self.weigh(*holder, bytes));
        Ok(InputPart::Held { key: DataKey::Block(block), holders })
    }

    fn shuffle(&mut self, job: &Job, parent: StageId, partition: PartitionId, list: &mut Vec<InputPart>) {
        for (index, task) in job.stage(parent).tasks.iter().enumerate() {
            let TaskState::Done { attempt, holder } = task.state else {
                unreachable!("a task is launched when all tasks it reads are done")
            };
            if let Ok(found) = task.outputs.binary_search_by_key(&partition, |(p, _)| *p) {
                self.weigh(holder, task.outputs[found].1);
                let task = job.id((parent, PartitionId(index as u32)), attempt);
                list.push(InputPart::Held {
                    key: DataKey::Output { task, partition },
                    holders: vec![holder],
                });
            }
        }
    }

    fn weigh(&mut self, holder: Member, bytes: u64) {
        self.bytes_at.push((holder, bytes));
    }

    /// Makes one entry of each holder's: sorting is cheaper than looking each part's holder up.
    fn sum_up(&mut self) {
        self.bytes_at.sort_unstable();
        self.bytes_at.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            if is_same {
                kept.1 += next.1;
            }
            is_same
        });
    }
}
