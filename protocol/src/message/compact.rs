//! Lists that grow with the partitions of a stage, in few bytes: what follows each other and differs in little is written once,
//! with a short row for each. In memory they are what they are elsewhere; only the wire knows this form.
//!
//! | list | a row |
//! |---|---|
//! | parts of an input that are outputs of one stage for one partition, each with one holder | task, attempt, node, incarnation |
//! | keys of such outputs | task, attempt |
//! | outputs of a task | partition, records, bytes |
//!
//! So a control frame takes thousands of them, where a part with all its names has more than a hundred bytes.

use super::{InputPart, OutputInfo};
use crate::id::{
    Attempt, BatchNumber, DataKey, Incarnation, Member, NodeId, PartitionId, StageId, TaskId, TaskKey,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Outputs of a stage for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Shelf {
    batch: BatchNumber,
    stage: StageId,
    partition: PartitionId,
}

impl Shelf {
    fn of(key: &DataKey) -> Option<(Shelf, PartitionId, Attempt)> {
        let DataKey::Output { task: TaskId { key, attempt }, partition } = *key else { return None };
        Some((Shelf { batch: key.batch, stage: key.stage, partition }, key.partition, attempt))
    }

    fn key(self, task: PartitionId, attempt: Attempt) -> DataKey {
        let key = TaskKey { batch: self.batch, stage: self.stage, partition: task };
        DataKey::Output { task: TaskId { key, attempt }, partition: self.partition }
    }
}

/// The inputs of a task.
pub(super) mod inputs {
    use super::*;

    #[derive(Serialize, Deserialize)]
    enum Run {
        One(InputPart),
        Outputs(Shelf, Vec<(PartitionId, Attempt, NodeId, Incarnation)>),
    }

    pub fn serialize<S: Serializer>(inputs: &[Vec<InputPart>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(inputs.iter().map(|parts| shorten(parts)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<InputPart>>, D::Error> {
        let inputs = Vec::<Vec<Run>>::deserialize(from)?;
        Ok(inputs.into_iter().map(|runs| runs.into_iter().flat_map(lengthen).collect()).collect())
    }

    fn shorten(parts: &[InputPart]) -> Vec<Run> {
        let mut runs = Vec::new();
        for part in parts {
            let row = match part {
                InputPart::Held { key, holders } if holders.len() == 1 => {
                    Shelf::of(key).map(|(shelf, task, attempt)| (shelf, (task, attempt, holders[0])))
                }
                _ => None,
            };
            match (row, runs.last_mut()) {
                (None, _) => runs.push(Run::One(part.clone())),
                (Some((shelf, (task, attempt, on))), last) => {
                    let row = (task, attempt, on.node, on.incarnation);
                    match last {
                        Some(Run::Outputs(before, rows)) if *before == shelf => rows.push(row),
                        _ => runs.push(Run::Outputs(shelf, vec![row])),
                    }
                }
            }
        }
        runs
    }

    fn lengthen(run: Run) -> Vec<InputPart> {
        match run {
            Run::One(part) => vec![part],
            Run::Outputs(shelf, rows) => rows
                .into_iter()
                .map(|(task, attempt, node, incarnation)| InputPart::Held {
                    key: shelf.key(task, attempt),
                    holders: vec![Member { node, incarnation }],
                })
                .collect(),
        }
    }
}

/// What a task has read.
pub(super) mod keys {
    use super::*;

    #[derive(Serialize, Deserialize)]
    enum Run {
        One(DataKey),
        Outputs(Shelf, Vec<(PartitionId, Attempt)>),
    }

    pub fn serialize<S: Serializer>(keys: &[DataKey], to: S) -> Result<S::Ok, S::Error> {
        let mut runs: Vec<Run> = Vec::new();
        for key in keys {
            match (Shelf::of(key), runs.last_mut()) {
                (None, _) => runs.push(Run::One(*key)),
                (Some((shelf, task, attempt)), Some(Run::Outputs(before, rows))) if *before == shelf => {
                    rows.push((task, attempt));
                }
                (Some((shelf, task, attempt)), _) => runs.push(Run::Outputs(shelf, vec![(task, attempt)])),
            }
        }
        runs.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<DataKey>, D::Error> {
        let runs = Vec::<Run>::deserialize(from)?.into_iter();
        Ok(runs
            .flat_map(|run| match run {
                Run::One(key) => vec![key],
                Run::Outputs(shelf, rows) => {
                    rows.into_iter().map(|(task, attempt)| shelf.key(task, attempt)).collect()
                }
            })
            .collect())
    }
}

/// What a task has made.
pub(super) mod outputs {
    use super::*;

    pub fn serialize<S: Serializer>(outputs: &[OutputInfo], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(outputs.iter().map(|output| (output.partition, output.rows, output.bytes)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<OutputInfo>, D::Error> {
        let rows = Vec::<(PartitionId, u64, u64)>::deserialize(from)?.into_iter();
        Ok(rows.map(|(partition, rows, bytes)| OutputInfo { partition, rows, bytes }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{self, Limits};
    use crate::frame::encode_message;
    use crate::id::{BlockId, Epoch, ProgramId, ReceiverId, ReceiverIndex, RunId, StreamId};
    use crate::message::{TaskFacts, TaskOutcome, TaskSpec, ToDriver, ToExecutor};
    use crate::time::BatchTime;
    use std::sync::Arc;

    fn task(partition: u32, attempt: u16) -> TaskId {
        let key =
            TaskKey { batch: BatchNumber(u64::MAX), stage: StageId(3), partition: PartitionId(partition) };
        TaskId { key, attempt: Attempt(attempt) }
    }

    fn output(of: u32, attempt: u16, partition: u32) -> DataKey {
        DataKey::Output { task: task(of, attempt), partition: PartitionId(partition) }
    }

    fn block() -> DataKey {
        let receiver =
            ReceiverId { stream: StreamId(1), index: ReceiverIndex(2), incarnation: Incarnation(3) };
        DataKey::Block(BlockId { receiver, sequence: 4 })
    }

    fn on(node: u16) -> Member {
        Member { node: NodeId(node), incarnation: Incarnation(65_536) }
    }

    fn run(inputs: Vec<Vec<InputPart>>) -> ToExecutor {
        let (epoch, program, batch) = (Epoch(1), ProgramId(2), BatchNumber(u64::MAX));
        let facts = TaskFacts { epoch, program, batch, time: BatchTime(5), seed: 6, run: RunId(7) };
        ToExecutor::Run {
            facts,
            tasks: vec![Arc::new(TaskSpec { task: task(9, 0), inputs })],
            routes: Vec::new(),
        }
    }

    fn done(outputs: Vec<OutputInfo>, read: Vec<DataKey>) -> ToDriver {
        ToDriver::TaskDone(Arc::new(TaskOutcome {
            task: task(9, 0),
            holder: on(1),
            outputs,
            rows_in: 7,
            run_ns: 8,
            read,
            read_stages: Vec::new(),
            prepared: Vec::new(),
        }))
    }

    #[test]
    fn mixed_lists_come_back_as_they_were() {
        let held =
            |key, holders: &[u16]| InputPart::Held { key, holders: holders.iter().map(|n| on(*n)).collect() };
        let range = InputPart::Range { stream: StreamId(1), partition: PartitionId(2), from: 3, to: 4 };
        let parts = vec![
            held(output(0, 0, 5), &[1]),
            held(output(1, 2, 5), &[2]),
            held(output(2, 0, 6), &[1]),
            held(output(3, 0, 6), &[1, 2]),
            held(output(4, 0, 6), &[]),
            held(block(), &[1]),
            range,
            held(output(5, 0, 6), &[3]),
        ];
        let message = run(vec![parts, Vec::new(), vec![held(output(0, 0, 5), &[1])]]);
        let bytes = codec::encode(&message).unwrap();
        assert_eq!(codec::decode::<ToExecutor>(&bytes, &Limits::CONTROL).unwrap(), message);
        let info = |partition| OutputInfo { partition: PartitionId(partition), rows: 1 << 40, bytes: 2 };
        let message =
            done(vec![info(0), info(7)], vec![output(0, 0, 5), block(), output(1, 0, 5), output(2, 3, 5)]);
        let bytes = codec::encode(&message).unwrap();
        assert_eq!(codec::decode::<ToDriver>(&bytes, &Limits::CONTROL).unwrap(), message);
    }

    #[test]
    fn thousands_of_outputs_fit_a_control_frame() {
        let parts = |n| -> Vec<InputPart> {
            (0..n).map(|i| InputPart::Held { key: output(i, 1, 900), holders: vec![on(300)] }).collect()
        };
        let info = |i| OutputInfo { partition: PartitionId(i), rows: 1 << 40, bytes: 1 << 40 };
        let run = run(vec![parts(3_400)]);
        let bytes = codec::encode(&run).unwrap();
        assert!(bytes.len() < 58 << 10, "{} bytes", bytes.len());
        assert_eq!(codec::decode::<ToExecutor>(&bytes, &Limits::CONTROL).unwrap(), run);
        let read = (0..3_400).map(|i| output(i, 1, 900)).collect();
        for done in [done((0..2_400).map(info).collect(), Vec::new()), done(Vec::new(), read)] {
            encode_message(&done).unwrap();
            let bytes = codec::encode(&done).unwrap();
            assert_eq!(codec::decode::<ToDriver>(&bytes, &Limits::CONTROL).unwrap(), done);
        }
    }
}
