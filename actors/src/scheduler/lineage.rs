//! What must run again after a loss: a pure function from (which outputs exist, which are still wanted) to tasks.
//!
//! ```text
//!     backwards: a task that must run needs every task of the stages it reads
//!         p0* ──┐                p0 lost, p1 held, reader open   ⇒  p0 runs
//!         p1  ──┴─> r0 (open)    p0 lost, reader done            ⇒  nothing runs
//!
//!     forwards: when a lost output of a stage that is *not deterministic* runs again, its new value differs from the one
//!         that readers have seen; they are spoiled, so that no batch mixes two runs of one task
//! ```
//!
//! Outputs of a sink that has been published, or is being published, are neither wanted nor spoiled. The paper: Zaharia et
//! al., "Discretized Streams" (SOSP 2013), section 3.3, parallel recovery.

use std::collections::BTreeSet;
use tidemill_protocol::id::{PartitionId, StageId};

/// A task's output, as far as lineage cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    /// Somebody alive holds it.
    Held,
    /// It will be made in any case: it is waiting, ready or running.
    Coming,
    /// It was made once and is gone.
    Lost,
}

/// A task.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineageTask<'a> {
    /// The stages whose every task it reads, ascending.
    pub parents: &'a [StageId],
    /// Its output.
    pub copy: Copy,
}

/// A stage; parents stand before children.
#[derive(Clone, Debug)]
pub(super) struct LineageStage<'a> {
    /// Whether somebody outside the job wants its outputs: a sink that is not published.
    pub wanted: bool,
    /// Whether running it again gives the same bytes.
    pub deterministic: bool,
    /// Whether its outputs are out of reach: its sink is published or being published.
    pub finished: bool,
    /// Its tasks, by partition.
    pub tasks: Vec<LineageTask<'a>>,
}

/// What must happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rebuild {
    /// Lost (or spoiled) tasks that must run again.
    pub again: BTreeSet<(StageId, PartitionId)>,
    /// Held outputs that must not be used any more.
    pub spoiled: BTreeSet<(StageId, PartitionId)>,
}

/// The smallest set of tasks that gives everything that is wanted.
pub(super) fn rebuild(stages: &[LineageStage<'_>]) -> Rebuild {
    let mut spoiled = BTreeSet::new();
    loop {
        let again = run_again(stages, &spoiled);
        let more = spoiled_by(stages, &again, &spoiled);
        if more.is_empty() {
            return Rebuild { again, spoiled };
        }
        // What was spoiled must run too, and may need parents that are lost: look again. Ends, because it only grows.
        spoiled.extend(more);
    }
}

type Tasks = BTreeSet<(StageId, PartitionId)>;

fn at(stage: usize, partition: usize) -> (StageId, PartitionId) {
    (StageId(stage as u16), PartitionId(partition as u32))
}

/// Backwards from what is wanted, through what is not held.
fn run_again(stages: &[LineageStage<'_>], spoiled: &Tasks) -> Tasks {
    let mut again = Tasks::new();
    let mut wanted: Vec<bool> = stages.iter().map(|s| s.wanted).collect();
    for (s, stage) in stages.iter().enumerate().rev() {
        for (p, task) in stage.tasks.iter().enumerate() {
            let runs = match task.copy {
                Copy::Coming => true,
                Copy::Held => wanted[s] && spoiled.contains(&at(s, p)),
                Copy::Lost => wanted[s],
            };
            if runs {
                task.parents.iter().for_each(|parent| wanted[usize::from(parent.0)] = true);
            }
            if runs && task.copy != Copy::Coming {
                again.insert(at(s, p));
            }
        }
    }
    again
}

/// Forwards from what runs again and will differ, to those who have read it.
fn spoiled_by(stages: &[LineageStage<'_>], again: &Tasks, spoiled: &Tasks) -> Tasks {
    let mut more = Tasks::new();
    let mut differs = vec![false; stages.len()];
    for (s, stage) in stages.iter().enumerate() {
        for (p, task) in stage.tasks.iter().enumerate() {
            let inputs_differ = task.parents.iter().any(|parent| differs[usize::from(parent.0)]);
            let was_read = task.copy != Copy::Coming && !stage.finished;
            if task.copy == Copy::Held && inputs_differ && was_read && !spoiled.contains(&at(s, p)) {
                more.insert(at(s, p));
            }
            // A lost output counts too: readers may have seen it before it was lost.
            differs[s] |= was_read && inputs_differ;
            differs[s] |= !stage.deterministic && again.contains(&at(s, p));
        }
    }
    more
}
