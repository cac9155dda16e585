//! Memory on its way: shares, and who waits for whom.

use super::*;
use crate::block_store::{Reserved, ResourcesExhausted, Share};
use futures_util::FutureExt;
use std::collections::VecDeque;

#[tokio::test]
async fn a_share_is_given_in_the_order_of_asking_and_never_beyond_its_limit() {
    let store = store(1_000, 0);
    assert_eq!(store.budget().share(Share::Inputs), 500);
    let first = store.credit(Share::Inputs, 300).await.expect("half of the budget");
    let mut large = pin!(store.credit(Share::Inputs, 400));
    let mut small = pin!(store.credit(Share::Inputs, 100));
    assert!(large.as_mut().now_or_never().is_none());
    assert!(small.as_mut().now_or_never().is_none(), "who asks later does not overtake: nobody starves");
    let other = store.credit(Share::Sending, 125).now_or_never().expect("another share does not wait");
    assert_eq!(store.bytes(), 425);
    drop((first, other));
    let (large, small) = (large.await.expect("free"), small.await.expect("free"));
    assert_eq!((large.bytes(), small.bytes(), store.bytes()), (400, 100, 500));
    drop((large, small));
    assert_eq!(store.bytes(), 0);
    let refused = store.credit(Share::Inputs, 501).await.map(drop);
    assert_eq!(refused, Err(ResourcesExhausted { share: Share::Inputs, needed: 501, max: 500 }));
}

#[tokio::test]
async fn what_is_not_needed_is_given_back_and_an_abandoned_wait_takes_nothing() {
    let store = store(1_000, 0);
    let mut held = store.credit(Share::Inputs, 500).await.expect("free");
    {
        let mut waits = pin!(store.credit(Share::Inputs, 200));
        assert!(waits.as_mut().now_or_never().is_none());
    }
    held.shrink_to(300);
    held.shrink_to(400);
    assert_eq!((held.bytes(), store.bytes()), (300, 300));
    let rest = store.credit(Share::Inputs, 200).now_or_never().expect("given back").expect("free");
    assert!(store.credit(Share::Inputs, 1).now_or_never().is_none());
    drop((held, rest));
    assert_eq!(store.bytes(), 0);
}

#[test]
fn room_for_a_copy_is_kept_or_refused_at_once() {
    let store = store(800, 0);
    let room = store.reserve_copy(300).expect("within the half for copies");
    for sequence in 0..5 {
        store.put_received(block(sequence), data(25)).expect("never refused");
    }
    assert!(matches!(store.reserve_copy(200), Err(PutBlockError::Full { .. })));
    drop(room);
    let room = store.reserve_copy(200).expect("given back");
    drop(room);
    assert_eq!(store.put_block(block(9), data(25)), Ok(()));
    assert!(matches!(store.reserve_copy(801), Err(PutBlockError::TooLarge { .. })));
    store.clear();
    assert!(matches!(store.reserve_copy(1), Err(PutBlockError::Closed)));
}

/// Everything that takes memory, at random: the limit holds at every step, and all of it comes back.
#[test]
fn the_budget_is_never_exceeded_and_every_reservation_comes_back() {
    for seed in 0..100 {
        let mut rng = SeededRng::new(seed);
        let store = store(1_600, 400);
        let (limit, room) = (store.budget().limit(), store.has_room());
        let mut held: VecDeque<Reserved> = VecDeque::new();
        let mut sequence = 0;
        for _ in 0..600 {
            sequence += 1;
            let words = rng.range(0, 20);
            match rng.range(0, 9) {
                // A receiver is permitted one read while there is room; it may be an eighth of the budget.
                0 if *room.borrow() => {
                    store.put_received(block(sequence), data(rng.range(0, 25))).expect("never refused");
                }
                0 | 1 => drop(store.put_block(block(1_000 + sequence), data(words))),
                2 | 3 => {
                    drop(store.put_output(task(sequence / 50, sequence as u32), PartitionId(0), data(words)))
                }
                4 => {
                    let share = [Share::Inputs, Share::FirstAsks, Share::Sending][rng.range(0, 3) as usize];
                    if let Some(Ok(reserved)) = store.credit(share, rng.range(0, 300)).now_or_never() {
                        held.push_back(reserved);
                    }
                }
                5 => held.extend(store.reserve_copy(rng.range(0, 200)).ok()),
                6 => drop(held.pop_front()),
                7 => {
                    if let Some(mut reserved) = held.pop_back() {
                        reserved.shrink_to(reserved.bytes() / 2);
                        held.push_front(reserved);
                    }
                }
                _ => {
                    store.remove(DataKey::Block(block(rng.range(0, 2_000))));
                    if rng.chance(0.1) {
                        store.release_outputs(BatchNumber(rng.range(0, sequence / 50 + 1)));
                    }
                }
            }
            assert!(
                store.bytes_high_water() <= limit,
                "seed {seed}: {} of {limit}",
                store.bytes_high_water()
            );
        }
        let reserved: u64 = held.iter().map(Reserved::bytes).sum();
        let lost = store.clear();
        assert_eq!(store.bytes(), reserved, "seed {seed}: {lost:?}");
        held.clear();
        assert_eq!(store.bytes(), 0, "seed {seed}");
    }
}

#[test]
fn what_tasks_build_has_a_share_for_all_of_them_which_comes_back_however_they_end() {
    let store = store(1_000, 0);
    let (first, second) = (store.work_meter(), store.work_meter());
    assert_eq!((first.charge(600), second.charge(400)), (Ok(()), Ok(())));
    let refused = ResourcesExhausted { share: Share::Work, needed: 1_001, max: 1_000 };
    assert_eq!(second.clone().charge(1), Err(refused));
    assert_eq!(store.bytes(), 0, "blocks are not refused because tasks compute");
    second.release();
    assert_eq!(first.charge(400), Ok(()), "what was refused was not counted");
    drop(first);
    assert_eq!(second.charge(1_000), Ok(()));
}
