//! Records whose destructors panic, and when records are dropped.

use super::*;
use crate::{
    seam::{Payload, PayloadError},
    slots::{
        Waste,
        rig::{Standing, spawner},
    },
};
use std::{
    any::Any,
    sync::atomic::{AtomicUsize, Ordering},
};
use tidemill_protocol::{
    id::{DatasetId, Incarnation, ReceiverId, ReceiverIndex, StreamId},
    world::Clock,
};

#[derive(Debug)]
struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        panic!("it does not go quietly");
    }
}

impl Payload for Explosive {
    fn rows(&self) -> u64 {
        1
    }

    fn heap_bytes(&self) -> u64 {
        100
    }

    fn dataset(&self) -> DatasetId {
        DatasetId(99)
    }

    fn encode(&self) -> Result<Vec<u8>, PayloadError> {
        Ok(Vec::new())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[tokio::test]
async fn data_whose_destructor_panics_are_let_go_of_like_all_others() {
    let mut rig = Rig::local(member(1));
    let explosive = || Held::new(vec![Arc::new(Explosive)]);
    rig.store.put_output(task(0, 7), PartitionId(0), explosive()).expect("room");
    rig.store.put_output(task(0, 8), PartitionId(0), explosive()).expect("room");
    assert_eq!(rig.store.bytes(), 200);
    rig.order(ToExecutor::Drop { keys: vec![output(task(0, 7), 0)] });
    assert_eq!(rig.store.bytes(), 100);
    rig.order(ToExecutor::ReleaseOutputs { up_to: BatchNumber(3) });
    assert_eq!(rig.store.bytes(), 0);
    rig.run(task(3, 0), vec![]);
    assert!(matches!(rig.told(Time::ZERO).await, ToDriver::TaskFailed(_)), "it goes on");
    let receiver = ReceiverId { stream: StreamId(0), index: ReceiverIndex(0), incarnation: Incarnation(0) };
    rig.store.put_block(BlockId { receiver, sequence: 0 }, explosive()).expect("room");
    rig.store.clear();
    assert_eq!(rig.store.bytes(), 0, "nor does it stop who clears the store");
}

/// So many bytes that count when they are dropped.
#[derive(Debug)]
struct Told(u64, Arc<AtomicUsize>);

impl Drop for Told {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

impl Payload for Told {
    fn rows(&self) -> u64 {
        1
    }

    fn heap_bytes(&self) -> u64 {
        self.0
    }

    fn dataset(&self) -> DatasetId {
        DatasetId(98)
    }

    fn encode(&self) -> Result<Vec<u8>, PayloadError> {
        Ok(Vec::new())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[test]
fn little_waits_for_company_and_much_goes_at_once() {
    let (clock, dropped) = (Standing::default(), Arc::new(AtomicUsize::new(0)));
    let store = BlockStore::new(Budget::new(1 << 20));
    let mut waste = Waste::new(spawner(), Clock::new(clock.clone()));
    // At (ms), outputs of so many bytes are released: so many are dropped from the beginning.
    let table: [(u64, &[u64], usize); 8] = [
        (1, &[100, 200], 0),
        (99, &[], 0),
        // It is time.
        (100, &[], 2),
        (110, &[50], 2),
        // More than a little takes along what waits.
        (120, &[70_000], 4),
        // What together is more than a little does not wait.
        (130, &[40_000, 40_000], 6),
        (140, &[1; 256], 262),
        (150, &[5], 262),
    ];
    for (ms, sizes, expected) in table {
        clock.put(Time(ms * 1_000_000));
        for (partition, bytes) in (0..).zip(sizes) {
            let held = Held::new(vec![Arc::new(Told(*bytes, dropped.clone()))]);
            store.put_output(task(0, 0), PartitionId(partition), held).expect("room");
        }
        waste.take(
            (0..sizes.len() as u32).filter_map(|partition| store.withdraw(output(task(0, 0), partition))),
        );
        assert_eq!(dropped.load(Ordering::Relaxed), expected, "at {ms} ms");
        assert_eq!(store.bytes(), 0, "at {ms} ms: the books have it no more");
    }
    drop(waste);
    assert_eq!(dropped.load(Ordering::Relaxed), 263, "nothing stays");
}
