//! Cold data on disk: what goes there, how it comes back, and what happens when the disk does not do its part.

use super::*;
use crate::block_store::{
    SpillConfig,
    numbers::{LOSSY, NumbersCodec, UNWRITABLE, held_of, values},
};
use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};
use tidemill_protocol::world::{
    World,
    sim::{self, SimConfig, SimWorld},
};

const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

/// 800 bytes of memory, of which more than 400 make data move, and 10,000 bytes of files.
fn spilling(world: &World) -> BlockStore {
    let config = SpillConfig { folder: Some("/spill".into()), bytes_max: 10_000, from_percent: 50 };
    BlockStore::spilling(Budget::new(800), config, Arc::new(NumbersCodec), world)
}

/// Ten numbers, 80 bytes, that tell which data they are.
fn ten(name: u64) -> Held {
    held(&(name * 100..name * 100 + 10).collect::<Vec<_>>())
}

fn in_world(scenario: impl AsyncFnOnce(SimWorld, BlockStore)) {
    sim::run(3, SimConfig::default(), async move |world| {
        let store = spilling(&world.node(NODE));
        scenario(world, store).await;
    });
}

async fn settled() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn on_disk(store: &BlockStore, key: DataKey) -> bool {
    store.weight(key).expect("it is kept").file_bytes.is_some()
}

#[test]
fn what_is_needed_last_goes_to_disk_and_all_of_it_can_be_read() {
    in_world(async |_, store| {
        let output = |batch| DataKey::Output { task: task(batch, 0), partition: PartitionId(0) };
        store.put_output(task(1, 0), PartitionId(0), ten(1)).expect("room");
        store.put_output(task(2, 0), PartitionId(0), ten(2)).expect("room");
        store.put_received(block(3), ten(3)).expect("room");
        store.put_received(block(4), ten(4)).expect("room");
        store.put_block(block(5), ten(5)).expect("room");
        settled().await;
        assert_eq!(store.bytes(), 320, "400 are not above the mark, but 160 of 300 for received blocks are");
        store.put_block(block(6), ten(6)).expect("room");
        store.put_output(task(3, 0), PartitionId(0), ten(7)).expect("room");
        settled().await;

        let cold = [DataKey::Block(block(6)), DataKey::Block(block(4))];
        assert!(cold.iter().all(|key| on_disk(&store, *key)), "the youngest copy and the youngest block");
        assert!(!on_disk(&store, DataKey::Block(block(3))) && !on_disk(&store, DataKey::Block(block(5))));
        assert!([1, 2, 3].iter().all(|batch| !on_disk(&store, output(*batch))), "outputs are needed soon");
        assert!(store.bytes() <= 400, "{}", store.bytes());
        let expected =
            [(output(1), 1), (output(2), 2), (DataKey::Block(block(3)), 3), (DataKey::Block(block(5)), 5)]
                .into_iter()
                .chain([(cold[1], 4), (cold[0], 6), (output(3), 7)]);
        for (key, name) in expected {
            assert_eq!(values(&store.get(key).expect("kept")), values(&ten(name)));
            assert_eq!(values(&store.load(key).await.expect("kept")), values(&ten(name)));
            let pieces = store.pieces(key).await.expect("writable").expect("kept");
            assert_eq!(pieces, ten(name).encode().expect("writable"));
        }
    });
}

#[test]
fn removing_and_closing_remove_the_files() {
    in_world(async |world, store| {
        let disk = world.disk();
        for sequence in 0..8 {
            store.put_block(block(sequence), ten(sequence)).expect("room");
            settled().await;
        }
        let (now, ever) = store.spilled_bytes();
        assert!(now > 0 && now == ever);
        assert_eq!(disk.scratch_files().iter().map(|file| file.1).sum::<u64>(), now);
        let files = disk.scratch_files().len();
        let cold = (0..8).map(|n| DataKey::Block(block(n))).find(|key| on_disk(&store, *key));
        assert!(store.remove(cold.expect("some are on disk")));
        settled().await;
        assert_eq!(disk.scratch_files().len(), files - 1);
        assert_eq!(store.clear().blocks, 7);
        settled().await;
        assert_eq!((disk.scratch_files().len(), store.spilled_bytes().0, store.bytes()), (0, 0, 0));
    });
}

#[test]
fn a_full_disk_refuses_new_data_and_recovers_when_there_is_space_again() {
    in_world(async |world, store| {
        let disk = world.disk();
        disk.set_space(Some(0));
        for n in 0..12 {
            store.put_output(task(n, 0), PartitionId(0), ten(n)).expect("within 1,000 bytes");
        }
        settled().await;
        assert!(disk.refused() > 0, "the fault struck");
        assert_eq!(store.bytes(), 960, "what was in memory stays there");
        let refused = store.put_output(task(12, 0), PartitionId(0), ten(12)).expect_err("no room anywhere");
        assert!(matches!(refused, PutOutputError::Disk { needed: 80, .. }), "{refused}");
        assert!(refused.to_string().starts_with("resources exhausted"), "{refused}");
        assert_eq!(store.bytes(), 960, "nothing is left of it");
        for n in 0..12 {
            let key = DataKey::Output { task: task(n, 0), partition: PartitionId(0) };
            assert_eq!(values(&store.get(key).expect("kept")), values(&ten(n)));
        }

        disk.set_space(None);
        store.put_output(task(12, 0), PartitionId(0), ten(12)).expect("there is space again");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(store.bytes() <= 400, "the rest has followed: {}", store.bytes());
        assert_eq!(store.put_block(block(0), ten(20)), Ok(()));
    });
}

#[test]
fn more_than_may_be_spilled_is_refused_as_a_full_disk_is() {
    sim::run(3, SimConfig::default(), async |world| {
        let config = SpillConfig { folder: None, bytes_max: 250, from_percent: 50 };
        let store = BlockStore::spilling(Budget::new(800), config, Arc::new(NumbersCodec), &world.node(NODE));
        let put = |n| store.put_output(task(n, 0), PartitionId(0), ten(n));
        let kept = (0..30).take_while(|n| put(*n).is_ok()).count();
        settled().await;
        assert_eq!(kept, 14, "12 in memory, and two files of 120 bytes");
        assert!(store.spilled_bytes().0 <= 250);
    });
}

#[test]
fn damaged_torn_and_removed_files_are_missing_data_and_never_wrong_data() {
    in_world(async |world, store| {
        let disk = world.disk();
        for sequence in 0..10 {
            store.put_block(block(sequence), ten(sequence)).expect("room");
            settled().await;
        }
        let spilled: Vec<DataKey> =
            (0..10).map(|n| DataKey::Block(block(n))).filter(|key| on_disk(&store, *key)).collect();
        let files = disk.scratch_files();
        assert!(files.len() >= 4 && files.len() == spilled.len());
        let path = |at: usize| -> &Path { &files[at].0 };
        assert_eq!(disk.damage(path(0), 60, 1), 1, "a bit of the data");
        assert_eq!(disk.damage(path(1), 9, 1), 1, "a bit of the checksum");
        let whole = world.files().read_range(path(2), 0, 1_000).expect("it is there");
        world.files().write(path(2), &whole[..whole.len() / 2]).expect("torn");
        world.files().remove(path(3)).expect("removed");
        let missing = spilled.iter().filter(|key| store.get(**key).is_none()).count();
        assert_eq!(missing, 4);
        assert_eq!(spilled.iter().filter(|key| store.weight(**key).is_some()).count(), spilled.len() - 4);
        for (n, key) in (0..10).map(|n| (n, DataKey::Block(block(n)))) {
            if let Some(read) = store.load(key).await {
                assert_eq!(values(&read), values(&ten(n)));
            }
        }
    });
}

#[test]
fn what_cannot_be_written_or_read_back_stays_in_memory_or_is_missing() {
    in_world(async |_, store| {
        store.put_block(block(0), held_of(UNWRITABLE, &[1; 30])).expect("room");
        store.put_block(block(1), held_of(LOSSY, &[2; 30])).expect("room");
        settled().await;
        assert_eq!(store.in_memory(DataKey::Block(block(0))).map(|held| held.rows()), Some(30));
        assert!(on_disk(&store, DataKey::Block(block(1))));
        store.put_block(block(2), ten(2)).expect("room");
        settled().await;
        assert!(store.bytes() <= 400, "others go in its place");
    });
}

#[test]
fn the_files_of_a_dead_process_are_removed_by_the_next_one() {
    sim::run(3, SimConfig::default(), async |world| {
        let store = spilling(&world.node(NODE));
        for sequence in 0..8 {
            store.put_block(block(sequence), ten(sequence)).expect("room");
            settled().await;
        }
        assert!(!world.disk().scratch_files().is_empty());
        world.kill(NODE);
        drop(store);
        settled().await;
        assert!(!world.disk().scratch_files().is_empty(), "the dead do not tidy up");
        let next = spilling(&world.revive(NODE));
        settled().await;
        assert!(world.disk().scratch_files().is_empty());
        assert_eq!(next.spilled_bytes(), (0, 0));
    });
}

#[test]
fn real_files_are_private_and_gone_with_their_store() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let world = World::real_on(runtime.handle().clone());
    let own = world.files.scratch_folder(None).expect("the system has a place for temporary files");
    let config = SpillConfig { folder: Some(own.path().to_path_buf()), bytes_max: 10_000, from_percent: 50 };
    let store = BlockStore::spilling(Budget::new(80), config, Arc::new(NumbersCodec), &world);
    store.put_output(task(0, 0), PartitionId(0), ten(1)).expect("room in memory");
    store.put_output(task(1, 0), PartitionId(0), ten(2)).expect("room on disk");
    let key = |batch| DataKey::Output { task: task(batch, 0), partition: PartitionId(0) };
    assert!(on_disk(&store, key(1)));
    assert_eq!(values(&store.get(key(1)).expect("kept")), values(&ten(2)));
    assert_eq!(world.files.sweep_scratch(Some(own.path())).expect("readable"), 0, "its owner lives");
    drop(own);
    assert_eq!(store.get(key(1)).map(|held| held.rows()), None, "somebody has removed all files");
}
