//! Which executor holds which received block, as far as the driver has heard: what went with one that is lost.

use std::collections::{BTreeMap, BTreeSet};
use tidemill_protocol::{
    id::{BatchNumber, BlockId, Member},
    message::BlockInfo,
};

/// The blocks of batches that are not released.
#[derive(Debug, Default)]
pub(super) struct Holdings(BTreeMap<BlockId, (BatchNumber, BTreeSet<Member>)>);

impl Holdings {
    /// A receiver has cut a block.
    pub(super) fn added(&mut self, block: &BlockInfo) {
        self.0.insert(block.block, (block.batch, BTreeSet::from([block.holder])));
    }

    /// A block has a copy.
    pub(super) fn copied(&mut self, block: BlockId, replica: Member) {
        if let Some((_, holders)) = self.0.get_mut(&block) {
            holders.insert(replica);
        }
    }

    /// Nobody will ask for the blocks of batches up to this one.
    pub(super) fn released(&mut self, batch: BatchNumber) {
        self.0.retain(|_, (of, _)| *of > batch);
    }

    /// An executor is lost: how many blocks it held.
    pub(super) fn lost(&mut self, member: Member) -> u64 {
        self.0.values_mut().filter_map(|(_, holders)| holders.remove(&member).then_some(())).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_protocol::{
        id::{Incarnation, NodeId, ReceiverId, ReceiverIndex, StreamId},
        message::ToDriver,
    };

    fn member(node: u16) -> Member {
        Member { node: NodeId(node), incarnation: Incarnation(1) }
    }

    fn block(sequence: u64, batch: u64, holder: u16) -> BlockInfo {
        let sample = ToDriver::samples().into_iter().find_map(|message| match message {
            ToDriver::BlockAdded(block) => Some(block),
            _ => None,
        });
        let receiver =
            ReceiverId { stream: StreamId(0), index: ReceiverIndex(0), incarnation: Incarnation(0) };
        BlockInfo {
            block: BlockId { receiver, sequence },
            batch: BatchNumber(batch),
            holder: member(holder),
            ..sample.unwrap()
        }
    }

    #[test]
    fn a_lost_executor_takes_what_it_held_of_batches_that_are_not_released() {
        let mut holdings = Holdings::default();
        for (sequence, batch, holder) in [(0, 1, 1), (1, 2, 1), (2, 3, 1), (3, 3, 2)] {
            holdings.added(&block(sequence, batch, holder));
        }
        holdings.copied(block(3, 3, 2).block, member(1));
        holdings.released(BatchNumber(1));
        assert_eq!(holdings.lost(member(1)), 3);
        assert_eq!(holdings.lost(member(1)), 0);
        assert_eq!(holdings.lost(member(2)), 1);
    }
}
