//! Tasks that take down the process in which they run, by an abort, a full stack or all the memory there is: tried elsewhere they
//! would take down one executor after the other, for ever.
//!
//! A process that ends takes everything along that ran there, so its end says little of a single task. What is counted for each
//! task is how many processes have ended while it *ran*; the others change with the batch, that one does not. A process counts
//! if it is known to have ended, because its agent has seen it: one that is silent or cut off may be well. Of the attempts on an
//! executor those ran that were sent first, as many as it has slots; the others waited.

use super::{
    core::Scheduler,
    job::{At, Job},
};
use crate::seam::PlannedPart;
use tidemill_protocol::{
    id::{BatchNumber, Member, TaskKey},
    time::Time,
};

/// So many inputs of such a task are named.
const INPUTS_NAMED_MAX: usize = 4;

impl Scheduler {
    /// The process of an executor has ended: notes what ran there. Returns the first batch with a task for which this was once
    /// too often, and what to say of it.
    pub(super) fn blame(&mut self, member: Member) -> Option<(BatchNumber, String)> {
        let slots = self.executors.get(member)?.slots as usize;
        let mut ran: Vec<(Time, TaskKey)> = Vec::new();
        for job in self.jobs.values() {
            for (at, task) in job.tasks() {
                let here = task.attempts().filter(|twin| twin.on == member);
                ran.extend(here.map(|twin| (twin.launched, job.key(at))));
            }
        }
        ran.sort_unstable();
        let mut found: Option<(TaskKey, u16)> = None;
        for (_, key) in ran.into_iter().take(slots) {
            let job = self.jobs.get_mut(&key.batch)?;
            let deaths = job.deaths.entry((key.stage, key.partition)).or_default();
            *deaths += 1;
            if *deaths >= self.config.failures_max && found.is_none_or(|(first, _)| key < first) {
                found = Some((key, *deaths));
            }
        }
        let (key, deaths) = found?;
        let inputs = inputs(self.jobs.get(&key.batch)?, (key.stage, key.partition));
        let node = member.node;
        let text = format!(
            "{deaths} processes of executors have ended while {key} ran there, last on {node}; it reads {inputs}"
        );
        Some((key.batch, text))
    }
}

/// What a task reads, in words.
fn inputs(job: &Job, (stage, partition): At) -> String {
    let planned = job.job.stages.get(usize::from(stage.0));
    let task = planned.and_then(|stage| stage.tasks.get(partition.0 as usize));
    let parts: Vec<&PlannedPart> = task.into_iter().flatten().flatten().collect();
    let mut names: Vec<String> = parts.iter().take(INPUTS_NAMED_MAX).map(|part| name(part)).collect();
    match parts.len() - names.len() {
        0 if names.is_empty() => "nothing".to_owned(),
        0 => names.join(", "),
        more => {
            names.push(format!("and {more} more"));
            names.join(", ")
        }
    }
}

fn name(part: &PlannedPart) -> String {
    match part {
        PlannedPart::Block(block) => block.to_string(),
        PlannedPart::Range(stream, range) => {
            format!("{stream}/{} from {} to {}", range.partition, range.from, range.to)
        }
        PlannedPart::Shuffle { parent, partition } => format!("{partition} of {parent}"),
    }
}
