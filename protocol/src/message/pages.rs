//! Lists that grow with the cluster, in messages that fit a control frame.

use super::{Reply, StatusEntry, ToExecutor};
use crate::codec::{self, CodecError, Limits};
use serde::Serialize;

/// What of a control body is left for a list when everything else in the message has its share.
const LIST_BYTES_MAX: usize = Limits::CONTROL.bytes - 4 * 1024;

impl ToExecutor {
    /// These orders as one message: the order itself if there is one only.
    #[must_use]
    pub fn together(mut orders: Vec<ToExecutor>) -> ToExecutor {
        match orders.pop() {
            Some(only) if orders.is_empty() => only,
            last => {
                orders.extend(last);
                ToExecutor::Group { orders }
            }
        }
    }

    /// The same order in as many messages as control frames need: the lists of `Run`, `NameInputs`, `Cancel`, `Drop` and `Denied` are cut, in their
    /// order, a `Group` into smaller ones; every other message stays whole. Received in turn they mean what the one would have meant.
    ///
    /// A single task whose inputs alone exceed a control frame stays a message of its own, and the link refuses it. Outputs of a stage
    /// are at most 17 bytes each, so that is some 3,500 of them, or 300 blocks with two holders: the scheduler ends a pipeline that has
    /// such a task, with its name.
    ///
    /// # Errors
    /// As [`codec::encode`].
    pub fn pages(self) -> Result<Vec<ToExecutor>, CodecError> {
        Ok(match self {
            ToExecutor::Run { facts, tasks, routes } if routes.is_empty() => {
                let run = |tasks| ToExecutor::Run { facts: facts.clone(), tasks, routes: Vec::new() };
                cut(tasks)?.into_iter().map(run).collect()
            }
            // Before the tasks, so that none of them ends without knowing whom to tell; with them if all fit one message.
            ToExecutor::Run { facts, tasks, routes } => {
                if codec::encode(&routes)?.len() + codec::encode(&tasks)?.len() <= LIST_BYTES_MAX {
                    return Ok(vec![ToExecutor::Run { facts, tasks, routes }]);
                }
                let routes = cut(routes)?.into_iter();
                let routes =
                    routes.map(|routes| ToExecutor::Run { facts: facts.clone(), tasks: Vec::new(), routes });
                let run = |tasks| ToExecutor::Run { facts: facts.clone(), tasks, routes: Vec::new() };
                routes.chain(cut(tasks)?.into_iter().map(run)).collect()
            }
            ToExecutor::NameInputs { tasks } => {
                cut(tasks)?.into_iter().map(|tasks| ToExecutor::NameInputs { tasks }).collect()
            }
            ToExecutor::Cancel { tasks } => {
                cut(tasks)?.into_iter().map(|tasks| ToExecutor::Cancel { tasks }).collect()
            }
            ToExecutor::Drop { keys } => {
                cut(keys)?.into_iter().map(|keys| ToExecutor::Drop { keys }).collect()
            }
            ToExecutor::Denied { nodes } => {
                cut(nodes)?.into_iter().map(|nodes| ToExecutor::Denied { nodes }).collect()
            }
            ToExecutor::Group { orders } => {
                let pages: Result<Vec<_>, _> = orders.into_iter().map(ToExecutor::pages).collect();
                cut(pages?.into_iter().flatten().collect())?.into_iter().map(ToExecutor::together).collect()
            }
            whole => vec![whole],
        })
    }
}

impl Reply {
    /// A status in as many replies as control frames need; at least one.
    ///
    /// # Errors
    /// As [`codec::encode`].
    pub fn status(entries: Vec<StatusEntry>) -> Result<Vec<Reply>, CodecError> {
        Ok(cut(entries)?.into_iter().map(Reply::Status).collect())
    }
}

/// `list` in pieces that are as long as the limit allows; an empty list is one empty piece.
fn cut<T: Serialize>(list: Vec<T>) -> Result<Vec<Vec<T>>, CodecError> {
    let (mut pages, mut page, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut encoded = Vec::new();
    for item in list {
        encoded.clear();
        codec::encode_into(&item, &mut encoded)?;
        if bytes + encoded.len() > LIST_BYTES_MAX && !page.is_empty() {
            pages.push(std::mem::take(&mut page));
            bytes = 0;
        }
        bytes += encoded.len();
        page.push(item);
    }
    pages.push(page);
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameDecoder, decode_message, encode_message};
    use crate::id::{Attempt, BatchNumber, Incarnation, NodeId, PartitionId, StageId, TaskId};
    use crate::message::{InputPart, Route, TaskSpec};
    use std::sync::Arc;

    /// The task of the samples, with another partition and many inputs.
    fn tasks(count: u32, inputs: usize) -> (ToExecutor, Vec<TaskId>) {
        let sample = ToExecutor::samples().into_iter().find(|message| message.variant() == "Run");
        let Some(ToExecutor::Run { facts, tasks, .. }) = sample else {
            panic!("the samples have every variant")
        };
        let like = &tasks[0];
        let part: InputPart = like.inputs[0][0].clone();
        let tasks: Vec<_> = (0..count)
            .map(|n| {
                let mut task = like.task;
                task.key.partition = PartitionId(n);
                Arc::new(TaskSpec { task, inputs: vec![vec![part.clone(); inputs]] })
            })
            .collect();
        let ids = tasks.iter().map(|task| task.task).collect();
        (ToExecutor::Run { facts, tasks, routes: Vec::new() }, ids)
    }

    #[test]
    fn a_long_run_becomes_several_that_fit_their_frames_and_say_the_same() {
        for (count, inputs) in [(0, 0), (1, 0), (1, 300), (1_000, 0), (64, 64), (7, 350)] {
            let (run, expected) = tasks(count, inputs);
            let mut found = Vec::new();
            for page in run.clone().pages().unwrap() {
                encode_message(&page).unwrap();
                let (ToExecutor::Run { facts: own, tasks, .. }, ToExecutor::Run { facts, .. }) = (page, &run)
                else {
                    panic!("another message");
                };
                assert_eq!(own, *facts);
                found.extend(tasks.into_iter().map(|task| task.task));
            }
            assert_eq!(found, expected, "{count} tasks of {inputs} parts");
        }
    }

    #[test]
    fn routes_go_before_the_tasks_of_a_run_that_is_too_long_and_with_those_of_a_short_one() {
        for (count, readers, expected) in [(3, 4u16, 1), (3, 3_500, 2), (1_200, 4, 3)] {
            let (run, ids) = tasks(count, 0);
            let ToExecutor::Run { facts, tasks, .. } = run else { panic!("tasks makes a Run") };
            let route = Arc::new(Route {
                stage: StageId(0),
                attempt: Attempt(0),
                readers: (0..readers).map(|node| (NodeId(node), Incarnation(70_000))).collect(),
                partitions: (0..readers).map(|n| (PartitionId(100_000 + u32::from(n)), n)).collect(),
            });
            let run = ToExecutor::Run { facts, tasks, routes: vec![route.clone()] };
            let (mut found, mut told, mut pages) = (Vec::new(), Vec::new(), 0);
            for page in run.pages().unwrap() {
                encode_message(&page).unwrap();
                let ToExecutor::Run { tasks, routes, .. } = page else { panic!("another message") };
                assert!(!routes.is_empty() || told == [route.clone()], "a task goes before its route");
                found.extend(tasks.into_iter().map(|task| task.task));
                told.extend(routes);
                pages += 1;
            }
            assert_eq!((found, told), (ids, vec![route]));
            assert_eq!(pages, expected, "{count} tasks, {readers} readers");
        }
    }

    #[test]
    fn a_long_group_becomes_several_that_fit_their_frames_and_say_the_same_in_order() {
        for (counts, is_one) in [([3, 4, 5], true), ([1, 2_000, 1], false), ([900, 900, 900], false)] {
            let (mut orders, mut said) = (Vec::new(), Vec::new());
            for (batch, count) in (0..).zip(counts) {
                let up_to = BatchNumber(batch);
                let (run, ids) = tasks(count, 0);
                orders.extend([ToExecutor::ReleaseOutputs { up_to }, run]);
                said.extend(ids.into_iter().map(|id| (up_to, id)));
            }
            let (mut found, mut released) = (Vec::new(), BatchNumber(u64::MAX));
            let pages = ToExecutor::together(orders).pages().unwrap();
            assert_eq!(pages.len() == 1, is_one, "{counts:?}: {}", pages.len());
            for page in pages {
                encode_message(&page).unwrap();
                let orders = match page {
                    ToExecutor::Group { orders } => orders,
                    order => vec![order],
                };
                for order in orders {
                    match order {
                        ToExecutor::ReleaseOutputs { up_to } => released = up_to,
                        ToExecutor::Run { tasks, .. } => {
                            found.extend(tasks.into_iter().map(|task| (released, task.task)));
                        }
                        other => panic!("{other:?} was not in the group"),
                    }
                }
            }
            assert_eq!(found, said, "{counts:?}");
        }
    }

    #[test]
    fn a_long_status_becomes_several_replies_that_fit_their_frames_and_say_the_same() {
        let samples = Reply::samples();
        let entries = samples.iter().find_map(|reply| match reply {
            Reply::Status(entries) => Some(entries),
            _ => None,
        });
        let entries: Vec<_> = entries.unwrap().iter().cycle().take(2_000).cloned().collect();
        let pages = Reply::status(entries.clone()).unwrap();
        assert!(pages.len() > 1);
        let mut found = Vec::new();
        for page in pages {
            encode_message(&page).unwrap();
            let Reply::Status(page) = page else { panic!("another reply") };
            found.extend(page);
        }
        assert_eq!(found, entries);
        assert_eq!(Reply::status(Vec::new()).unwrap(), [Reply::Status(Vec::new())]);
    }

    #[test]
    fn a_list_of_all_numbers_that_there_are_becomes_several_messages_that_fit_their_frames() {
        let all: Vec<_> = (1..=u16::MAX).map(NodeId).collect();
        let mut found = Vec::new();
        for page in (ToExecutor::Denied { nodes: all.clone() }).pages().unwrap() {
            let bytes = encode_message(&page).unwrap();
            let mut frames = Vec::new();
            FrameDecoder::new(usize::MAX).push(&bytes, &mut frames).unwrap();
            // Within the receiver's limit of values, too.
            let ToExecutor::Denied { nodes } = decode_message(&frames[0]).unwrap() else {
                panic!("another message");
            };
            found.extend(nodes);
        }
        assert_eq!(found, all);
    }

    #[test]
    fn short_messages_and_others_stay_whole() {
        for message in ToExecutor::samples() {
            assert_eq!(message.clone().pages().unwrap(), [message]);
        }
        let release = ToExecutor::ReleaseOutputs { up_to: BatchNumber(1) };
        assert_eq!(release.clone().pages().unwrap(), [release]);
    }
}
