//! Lists that grow with the cluster, in messages that fit a control frame.

use super::{Reply, StatusEntry, ToExecutor};
use crate::codec::{self, CodecError, Limits};
use serde::Serialize;

/// What of a control body is left for a list when everything else in the message has its share.
const LIST_BYTES_MAX: usize = Limits::CONTROL.bytes - 4 * 1024;

impl ToExecutor {
    /// The same order in as many messages as control frames need: the lists of `Run`, `Cancel`, `Drop` and `Denied` are cut, in their
    /// order; every other message stays whole. Received in turn they mean what the one would have meant.
    ///
    /// A single task whose inputs alone exceed a control frame (some 550 parts of about 118 bytes) stays a message of its
    /// own, and the link refuses it: a plan must not have such tasks.
    ///
    /// # Errors
    /// As [`codec::encode`].
    pub fn pages(self) -> Result<Vec<ToExecutor>, CodecError> {
        Ok(match self {
            ToExecutor::Run { facts, tasks } => {
                let pages = cut(tasks)?.into_iter();
                pages.map(|tasks| ToExecutor::Run { facts: facts.clone(), tasks }).collect()
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
    use crate::id::{BatchNumber, NodeId, PartitionId, TaskId};
    use crate::message::{InputPart, TaskSpec};

    /// The task of the samples, with another partition and many inputs.
    fn tasks(count: u32, inputs: usize) -> (ToExecutor, Vec<TaskId>) {
        let sample = ToExecutor::samples().into_iter().find(|message| message.variant() == "Run");
        let Some(ToExecutor::Run { facts, tasks }) = sample else { panic!("the samples have every variant") };
        let like = &tasks[0];
        let part: InputPart = like.inputs[0][0].clone();
        let tasks: Vec<_> = (0..count)
            .map(|n| {
                let mut task = like.task;
                task.key.partition = PartitionId(n);
                TaskSpec { task, inputs: vec![vec![part.clone(); inputs]] }
            })
            .collect();
        let ids = tasks.iter().map(|task| task.task).collect();
        (ToExecutor::Run { facts, tasks }, ids)
    }

    #[test]
    fn a_long_run_becomes_several_that_fit_their_frames_and_say_the_same() {
        for (count, inputs) in [(0, 0), (1, 0), (1, 300), (1_000, 0), (64, 64), (7, 350)] {
            let (run, expected) = tasks(count, inputs);
            let mut found = Vec::new();
            for page in run.clone().pages().unwrap() {
                encode_message(&page).unwrap();
                let (ToExecutor::Run { facts: own, tasks }, ToExecutor::Run { facts, .. }) = (page, &run)
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
