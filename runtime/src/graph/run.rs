//! Runs one task: builds the chain of its branch from the end to the beginning, and feeds it.

use super::{NodeKind, Pipeline, TaskEnv, attempts::input_hash, stages::End};
use crate::data::payload_survives;
use std::rc::Rc;
use tidemill_actors::seam::{PayloadError, TaskContext, TaskError, TaskOutput, TaskRequest, Tasks};
use tidemill_protocol::{id::TaskId, message::TaskFacts, world::Files};

impl Tasks for Pipeline {
    fn run(&self, mut request: TaskRequest, context: &TaskContext) -> Result<TaskOutput, TaskError> {
        let flat = self.flat(context.facts.time);
        let number = usize::from(request.task.key.stage.0);
        let stage = flat.stages.get(number).ok_or_else(|| unknown(&request))?;
        let branch = stage
            .branches
            .iter()
            .find(|branch| branch.inputs_before + branch.inputs() == request.inputs.len())
            .ok_or_else(|| unknown(&request))?;
        let partitions = match stage.end {
            End::Exchange(_, asked) => self.partitions(asked),
            End::Sink(_) => 1,
        };
        let env = TaskEnv::new(context, self.options.hash_seed, partitions, self.graph.codec.clone());
        let mut chain = match stage.end {
            End::Sink(id) => self.sinks[usize::from(id.0)].sink.open(id, &env),
            End::Exchange(node, _) => match &flat.nodes[node].kind {
                NodeKind::Exchange(exchange) => exchange.open(&env),
                _ => return Err(unknown(&request)),
            },
        };
        for &node in branch.path.iter().rev() {
            if let NodeKind::Narrow(narrow) = &flat.nodes[node].kind {
                chain = narrow.wrap(chain, &env);
            }
        }
        let inputs = request.inputs.split_off(branch.inputs_before);
        let unlike = |error: PayloadError| TaskError::Failed(error.to_string());
        let is_compared = cfg!(debug_assertions) && stage.deterministic;
        let input = if is_compared { input_hash(&inputs).map_err(unlike)? } else { 0 };
        match &flat.nodes[branch.leaf].kind {
            NodeKind::Source(_, leaf) | NodeKind::Merge(leaf) => leaf.feed(inputs, chain, &env)?,
            _ => return Err(unknown(&request)),
        }
        let output = self.result(&env, stage.end)?;
        if is_compared {
            self.compare_attempts(request.task, (&flat, branch), input, &output)
                .map_err(TaskError::Failed)?;
        }
        Ok(output)
    }

    fn discard(&self, task: TaskId, facts: &TaskFacts, files: &Files) {
        let flat = self.flat(facts.time);
        let stage = flat.stages.get(usize::from(task.key.stage.0));
        if let Some(End::Sink(sink)) = stage.map(|stage| stage.end) {
            self.sinks[usize::from(sink.0)].sink.discard(facts.run, sink, task, files);
        }
    }
}

impl Pipeline {
    fn result(&self, env: &Rc<TaskEnv>, end: End) -> Result<TaskOutput, TaskError> {
        let (mut outputs, rows_in) = env.take_outputs();
        outputs.sort_by_key(|(partition, _)| *partition);
        if cfg!(debug_assertions) {
            for piece in outputs.iter().flat_map(|(_, held)| held.pieces.iter()) {
                payload_survives(env.codec(), piece.as_ref())
                    .map_err(|e| TaskError::Failed(e.to_string()))?;
            }
        }
        Ok(TaskOutput { outputs, rows_in, is_for_sink: matches!(end, End::Sink(_)) })
    }
}

fn unknown(request: &TaskRequest) -> TaskError {
    TaskError::Failed(format!(
        "{} with {} inputs is no task of this program",
        request.task,
        request.inputs.len()
    ))
}
