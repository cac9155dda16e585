//! Inputs in this process that lie on disk: reading them is counted, and can be too much.

use super::*;
use crate::{block_store::SpillConfig, slots::Flags};
use std::net::{IpAddr, Ipv4Addr};
use tidemill_protocol::world::{
    World,
    sim::{self, SimConfig},
};

const MIB: u64 = 1 << 20;

fn spilling(world: &World) -> BlockStore {
    let config = SpillConfig { folder: Some("/spill".into()), bytes_max: 64 * MIB, from_percent: 100 };
    BlockStore::spilling(Budget::new(MIB), config, Arc::new(NumbersCodec), world)
}

/// Keeps so many numbers as output `partition`; where it lies.
fn put(store: &BlockStore, partition: u32, numbers: u64) -> DataKey {
    let numbers: Vec<u64> = (0..numbers).collect();
    store.put_output(task(0, 0), PartitionId(partition), held(&numbers)).expect("in memory or on disk");
    output(task(0, 0), partition)
}

/// Fills the memory, so that all that is kept from now on goes to disk.
fn fill(store: &BlockStore) {
    put(store, 100, MIB / 8);
    put(store, 101, 25_600);
}

fn spec(keys: &[DataKey], holder: Member) -> TaskSpec {
    TaskSpec { task: task(1, 0), inputs: vec![keys.iter().map(|key| part(*key, holder)).collect()] }
}

#[test]
fn what_a_slot_reads_from_disk_is_counted_and_more_than_there_can_be_is_refused_with_the_numbers() {
    sim::run(3, SimConfig::default(), async move |world| {
        let (me, peer) = (member(1), member(2));
        let world = world.node(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
        let (store, theirs) = (spilling(&world), spilling(&world));
        let local = LocalTransport::with_wire_check(Arc::new(NumbersCodec), false);
        local.register(me, store.clone()).expect("the first");
        local.register(peer, theirs.clone()).expect("the first");
        let source = InputSource { me, store: store.clone(), transport: Arc::new(local) };
        for (owner, holder) in [(&store, me), (&theirs, peer)] {
            fill(owner);
            let keys: Vec<DataKey> = (0..8).map(|partition| put(owner, partition, MIB / 8)).collect();
            let small = put(owner, 8, 10_000);
            let on_disk = |key: &DataKey| owner.weight(*key).expect("it is kept").file_bytes.is_some();
            assert!(keys.iter().all(on_disk) && on_disk(&small), "the fault strikes");

            let work = store.work_meter();
            let end = source.read_now(&spec(&keys, holder), &Flags::default(), &work).map(drop);
            let Err(TaskEnd::Failed { message, exhausted: Some(exhausted) }) = end else { panic!("{end:?}") };
            assert!(message.starts_with("resources exhausted"), "{message}");
            assert_eq!((exhausted.resource, exhausted.max), (Resource::Outputs, MIB));
            assert!(exhausted.needed > 16 * MIB, "files and what becomes of them: {exhausted:?}");

            // 80,000 bytes in memory are counted while the task runs, and no more those of the file.
            let read = source.read_now(&spec(&[small], holder), &Flags::default(), &work).expect("room");
            assert_eq!(read.len(), 1);
            let other = store.work_meter();
            assert!(other.charge(MIB - 80_000 + 1).is_err());
            assert_eq!(other.charge(MIB - 80_000), Ok(()));
        }
    });
}

#[test]
fn a_task_that_waits_for_room_shows_progress_and_hears_that_nobody_wants_it() {
    sim::run(3, SimConfig::default(), async move |world| {
        let me = member(1);
        let store = spilling(&world.node(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))));
        let transport = Arc::new(LocalTransport::with_wire_check(Arc::new(NumbersCodec), false));
        let source = InputSource { me, store: store.clone(), transport };
        fill(&store);
        let spec = spec(&[put(&store, 1, 10_000)], me);
        let (all, work) = (store.work_meter(), store.work_meter());
        all.charge(MIB).expect("the whole share");
        let flags = Flags::default();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| source.read_now(&spec, &flags, &work).map(|inputs| inputs.len()));
            while flags.progress.load(std::sync::atomic::Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            all.release();
            assert_eq!(waits.join().expect("no panic").expect("there is room again"), 1);
        });
        work.release();
        all.charge(MIB).expect("it was given back");
        flags.cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
        let end = source.read_now(&spec, &flags, &work).map(drop).expect_err("nobody wants it");
        assert!(matches!(end, TaskEnd::Cancelled), "{end:?}");
    });
}
