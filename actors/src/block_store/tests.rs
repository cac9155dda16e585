//! The store's books against plain ones, and its refusals.

mod credits;
mod spill;

use super::{BlockStore, Budget, Lost, PutBlockError, PutOutputError, numbers::held};
use crate::seam::Held;
use std::{collections::BTreeMap, pin::pin};
use tidemill_protocol::{
    id::{
        Attempt, BatchNumber, BlockId, DataKey, Incarnation, PartitionId, ReceiverId, ReceiverIndex, StageId,
        StreamId, TaskId, TaskKey,
    },
    world::SeededRng,
};

fn block(sequence: u64) -> BlockId {
    let receiver = ReceiverId { stream: StreamId(0), index: ReceiverIndex(0), incarnation: Incarnation(0) };
    BlockId { receiver, sequence }
}

fn task(batch: u64, partition: u32) -> TaskId {
    let key = TaskKey { batch: BatchNumber(batch), stage: StageId(0), partition: PartitionId(partition) };
    TaskId { key, attempt: Attempt(0) }
}

/// Data of `words` × 8 bytes.
fn data(words: u64) -> Held {
    held(&vec![7; usize::try_from(words).expect("small")])
}

fn store(bytes_max: u64, outputs_over_max: u64) -> BlockStore {
    BlockStore::new(Budget { bytes_max, outputs_over_max })
}

#[test]
fn blocks_are_refused_before_outputs_and_outputs_before_the_end_of_memory() {
    let store = store(80, 40);
    assert_eq!(store.put_block(block(0), data(9)), Ok(()));
    let full = PutBlockError::Full { needed: 16, used: 72, bytes_max: 80 };
    assert_eq!(store.put_block(block(1), data(2)), Err(full.clone()));
    assert!(full.is_retryable());
    assert!(!store.is_full(), "a block of one word would still fit");

    assert_eq!(store.put_output(task(0, 0), PartitionId(0), data(6)), Ok(()));
    assert!(store.is_full());
    let refused = store.put_output(task(0, 0), PartitionId(1), data(1));
    assert_eq!(refused, Err(PutOutputError::Full { needed: 8, used: 120, limit: 120 }));
    assert_eq!((store.bytes(), store.bytes_high_water()), (120, 120));

    let too_large = store.put_block(block(2), data(11));
    assert_eq!(too_large, Err(PutBlockError::TooLarge { needed: 88, bytes_max: 80 }));
}

#[test]
fn a_second_copy_of_the_same_block_is_not_counted() {
    let store = store(80, 0);
    assert_eq!(store.put_block(block(0), data(6)), Ok(()));
    assert_eq!(store.put_block(block(0), data(6)), Ok(()));
    assert_eq!(store.bytes(), 48);
    assert!(store.remove(DataKey::Block(block(0))));
    assert!(!store.remove(DataKey::Block(block(0))));
    assert_eq!(store.bytes(), 0);
}

#[test]
fn outputs_of_a_released_batch_are_dropped_and_late_ones_refused() {
    let store = store(800, 0);
    for batch in 0..3 {
        for partition in 0..2 {
            assert_eq!(store.put_output(task(batch, 0), PartitionId(partition), data(1)), Ok(()));
        }
    }
    assert_eq!(store.release_outputs(BatchNumber(1)), 4);
    assert_eq!(store.bytes(), 16);
    let late = store.put_output(task(1, 5), PartitionId(0), data(1));
    assert_eq!(late, Err(PutOutputError::Released(BatchNumber(1))));
    assert_eq!(store.release_outputs(BatchNumber(0)), 0, "an older release changes nothing");
    assert_eq!(store.put_output(task(2, 1), PartitionId(0), data(1)), Ok(()));
}

#[test]
fn a_killed_executors_store_is_counted_and_stays_closed() {
    let store = store(800, 0);
    assert_eq!(store.put_block(block(0), data(2)), Ok(()));
    assert_eq!(store.put_output(task(0, 0), PartitionId(0), data(3)), Ok(()));
    assert_eq!(store.put_output(task(0, 0), PartitionId(1), data(1)), Ok(()));
    assert_eq!(store.clear(), Lost { blocks: 1, outputs: 2, bytes: 48 });
    assert_eq!(store.bytes(), 0);
    assert_eq!(store.put_block(block(1), data(1)), Err(PutBlockError::Closed));
    assert_eq!(store.put_output(task(0, 0), PartitionId(0), data(1)), Err(PutOutputError::Closed));
    assert_eq!(store.clear(), Lost::default());
}

/// The books as one would keep them by hand.
#[derive(Default)]
struct Plain {
    entries: BTreeMap<DataKey, u64>,
    released: Option<u64>,
}

impl Plain {
    fn bytes(&self) -> u64 {
        self.entries.values().sum()
    }

    fn copies(&self) -> u64 {
        self.entries.iter().filter(|(key, _)| matches!(key, DataKey::Block(_))).map(|(_, bytes)| bytes).sum()
    }
}

#[test]
fn the_books_agree_with_plain_ones_whatever_happens() {
    for seed in 0..50 {
        let (store, mut plain, mut rng) = (store(400, 100), Plain::default(), SeededRng::new(seed));
        for _ in 0..400 {
            step(&store, &mut plain, &mut rng);
            assert_eq!(store.bytes(), plain.bytes(), "seed {seed}");
            assert!(
                store.bytes() <= 700,
                "seed {seed}: with all outputs there may be, half of 400 are for copies"
            );
            for key in plain.entries.keys() {
                assert!(store.get(*key).is_some(), "seed {seed}: {key} is gone");
            }
        }
        let lost = store.clear();
        assert_eq!(lost.blocks + lost.outputs, plain.entries.len() as u64);
        assert_eq!(lost.bytes, plain.bytes());
    }
}

fn step(store: &BlockStore, plain: &mut Plain, rng: &mut SeededRng) {
    let words = rng.range(0, 12);
    match rng.range(0, 10) {
        0..4 => {
            let id = block(rng.range(0, 30));
            let fits = plain.entries.contains_key(&DataKey::Block(id))
                || plain.copies() + words * 8 <= 200
                || plain.bytes() + words * 8 <= 400;
            assert_eq!(store.put_block(id, data(words)).is_ok(), fits);
            if fits {
                plain.entries.entry(DataKey::Block(id)).or_insert(words * 8);
            }
        }
        4..7 => {
            let (batch, partition) = (rng.range(0, 40), PartitionId(0));
            let id = task(batch, 0);
            let key = DataKey::Output { task: id, partition };
            let released = plain.released.is_some_and(|up_to| batch <= up_to);
            let fits = plain.entries.contains_key(&key) || plain.bytes() + words * 8 <= 500;
            assert_eq!(store.put_output(id, partition, data(words)).is_ok(), fits && !released);
            if fits && !released {
                plain.entries.entry(key).or_insert(words * 8);
            }
        }
        7..9 => {
            let key = DataKey::Block(block(rng.range(0, 30)));
            assert_eq!(store.remove(key), plain.entries.remove(&key).is_some());
        }
        _ => {
            let up_to = rng.range(0, 20);
            plain.released = plain.released.max(Some(up_to));
            plain
                .entries
                .retain(|key, _| !matches!(key, DataKey::Output { task, .. } if task.key.batch.0 <= up_to));
            store.release_outputs(BatchNumber(up_to));
        }
    }
}

#[test]
fn the_books_are_exact_under_many_threads() {
    let store = store(10_000, 1_000);
    std::thread::scope(|scope| {
        for lane in 0..4u64 {
            let store = store.clone();
            scope.spawn(move || {
                for round in 0..500 {
                    let _ = store.put_block(block(lane * 1_000 + round), data(3));
                    let _ = store.put_output(task(round, 0), PartitionId(lane as u32), data(2));
                    store.remove(DataKey::Block(block(lane * 1_000 + round / 2)));
                    if round % 50 == 0 {
                        store.release_outputs(BatchNumber(round.saturating_sub(100)));
                    }
                }
            });
        }
    });
    assert!(store.bytes_high_water() <= 11_000);
    let before = store.bytes();
    assert_eq!(store.clear().bytes, before);
    assert_eq!(store.bytes(), 0);
}

/// Found with a real sender: two executors that were full of what they had received refused each other's copies for ever.
#[test]
fn a_store_that_is_full_of_received_blocks_takes_copies_up_to_half_of_its_budget() {
    let store = store(800, 0);
    let room = store.has_room();
    for sequence in 0..4 {
        assert_eq!(*room.borrow(), sequence < 2, "300 of 800 bytes are three eighths");
        assert_eq!(store.put_received(block(sequence), data(25)), Ok(()));
    }
    for sequence in 10..12 {
        assert!(!store.is_full());
        assert_eq!(store.put_block(block(sequence), data(25)), Ok(()));
    }
    assert!(store.is_full());
    let full = PutBlockError::Full { needed: 8, used: 1_200, bytes_max: 800 };
    assert_eq!(store.put_block(block(12), data(1)), Err(full));
    for sequence in 0..4 {
        assert!(store.remove(DataKey::Block(block(sequence))));
    }
    assert!(*room.borrow());
    assert_eq!(store.put_block(block(12), data(25)), Ok(()));
    assert_eq!(store.bytes(), 600);
}
