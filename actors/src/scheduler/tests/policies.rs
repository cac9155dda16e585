//! The policies by hand: placement and lineage.

use super::super::{
    executors::{Executors, Standing},
    lineage::{Copy, LineageStage, LineageTask, rebuild},
    placement::Placement,
};
use super::{node, plan};
use tidemill_protocol::{
    id::{Member, PartitionId, StageId},
    world::SeededRng,
};

/// Executors (node, slots, tasks) with a queue as long as their slots.
fn executors(list: &[(u16, u32, u32)]) -> Executors {
    let mut executors = Executors::default();
    for (n, slots, tasks) in list {
        executors.enter(node(*n), *slots as u16, 1);
        (0..*tasks).for_each(|_| executors.take(node(*n)));
    }
    executors
}

/// One row: (name, executors (node, slots, tasks), bytes at, avoid, expected).
type PlacementRow =
    (&'static str, &'static [(u16, u32, u32)], &'static [(u16, u64)], &'static [u16], Option<u16>);

const PLACEMENTS: &[PlacementRow] = &[
    ("nobody there", &[], &[], &[], None),
    ("the lower id", &[(2, 1, 0), (1, 1, 0)], &[], &[], Some(1)),
    ("the less loaded", &[(1, 4, 2), (2, 4, 1)], &[], &[], Some(2)),
    ("load is per slot", &[(1, 8, 3), (2, 4, 2)], &[], &[], Some(1)),
    ("the holder, though loaded", &[(1, 4, 0), (2, 4, 3)], &[(2, 10)], &[], Some(2)),
    ("a free slot before the holder's queue", &[(1, 1, 0), (2, 1, 1)], &[(2, 10)], &[], Some(1)),
    ("the holder's queue before another queue", &[(1, 1, 1), (2, 1, 1)], &[(2, 10)], &[], Some(2)),
    ("half of the most is local", &[(1, 4, 1), (2, 4, 0)], &[(1, 10), (2, 5)], &[], Some(2)),
    ("less than half is not", &[(1, 4, 1), (2, 4, 0)], &[(1, 10), (2, 4)], &[], Some(1)),
    ("away from where it failed", &[(1, 4, 0), (2, 4, 3)], &[(1, 10)], &[1], Some(2)),
    ("waits for others that are full", &[(1, 4, 0), (2, 1, 2)], &[], &[1], None),
    ("where it failed, if nobody else is there", &[(1, 4, 0)], &[], &[1], Some(1)),
    ("all full", &[(1, 1, 2), (2, 1, 2)], &[], &[], None),
];

#[test]
fn placement_prefers_a_free_slot_then_locality_then_load_then_the_lower_id() {
    for (name, list, bytes_at, avoid, expected) in PLACEMENTS {
        let bytes_at: Vec<(Member, u64)> = bytes_at.iter().map(|(n, bytes)| (node(*n), *bytes)).collect();
        let avoid: Vec<Member> = avoid.iter().map(|n| node(*n)).collect();
        let policy = Placement { bytes_at: &bytes_at, avoid: &avoid };
        let decision = policy.decide(&executors(list));
        assert_eq!(decision, expected.map(node), "{name}");
    }
}

#[test]
fn one_that_was_overtaken_as_often_as_there_are_executors_is_still_avoided() {
    let two = executors(&[(1, 1, 0), (2, 1, 0)]);
    let avoid = [node(1), node(1)];
    assert_eq!(Placement { bytes_at: &[], avoid: &avoid }.decide(&two), Some(node(2)));
    // Waiting for node 2 is better too, as for one that is named once.
    let two = executors(&[(1, 1, 0), (2, 1, 2)]);
    assert_eq!(Placement { bytes_at: &[], avoid: &avoid }.decide(&two), None);
}

#[test]
fn placement_by_the_order_is_that_of_a_look_at_all_executors() {
    let mut rng = SeededRng::new(5);
    for round in 0..5_000 {
        let mut all = Executors::default();
        let mut plain = Vec::new();
        for n in 1..=rng.range(1, 8) as u16 {
            let (slots, suspected) = (rng.range(1, 4), rng.chance(0.2));
            let tasks = rng.range(0, 2 * slots + 1);
            let standing = match rng.range(0, 6) {
                0 => Standing::Excluded,
                1 => Standing::OnProbation,
                _ => Standing::Good,
            };
            all.enter(node(n), slots as u16, 1);
            (0..tasks).for_each(|_| all.take(node(n)));
            all.suspect(node(n), suspected);
            all.set_standing(node(n), standing);
            plain.push((n, slots, tasks, suspected, standing));
        }
        let some = |rng: &mut SeededRng, chance| (1..8).filter(|_| rng.chance(chance)).collect::<Vec<u16>>();
        let avoid = some(&mut rng, 0.2);
        let bytes: Vec<(u16, u64)> = some(&mut rng, 0.4).into_iter().map(|n| (n, rng.range(0, 5))).collect();
        let most = bytes.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
        let is_included = |e: &&(u16, u64, u64, bool, Standing)| e.4 != Standing::Excluded;
        let must_avoid = plain.iter().filter(is_included).any(|e| !avoid.contains(&e.0));
        let has_room = |e: &&(u16, u64, u64, bool, Standing)| match e.4 {
            Standing::Good => e.2 < 2 * e.1,
            Standing::OnProbation => e.2 < 1,
            Standing::Excluded => false,
        };
        let candidates = plain.iter().filter(has_room).filter(|e| !(must_avoid && avoid.contains(&e.0)));
        let expected = candidates.min_by_key(|(n, slots, tasks, suspected, _)| {
            let is_local = bytes.iter().any(|(holder, bytes)| holder == n && bytes * 2 >= most);
            (*suspected, tasks >= slots, !is_local, tasks * 1_000 / slots, *n)
        });
        let bytes_at: Vec<(Member, u64)> = bytes.iter().map(|(n, bytes)| (node(*n), *bytes)).collect();
        let avoid: Vec<Member> = avoid.iter().map(|n| node(*n)).collect();
        let decided = Placement { bytes_at: &bytes_at, avoid: &avoid }.decide(&all);
        assert_eq!(decided, expected.map(|e| node(e.0)), "round {round}: {plain:?}");
    }
}

#[test]
fn the_room_is_the_sum_over_live_executors() {
    let mut executors = Executors::default();
    assert!(!executors.has_room());
    assert!(executors.enter(node(1), 1, 1) && !executors.enter(node(1), 9, 9));
    executors.take(node(1));
    executors.take(node(1));
    assert!(!executors.has_room());
    executors.give_back(node(1));
    assert!(executors.has_room());
    assert!(executors.strike(node(1)) && !executors.strike(node(1)));
    executors.give_back(node(1));
    assert!(!executors.has_room());
}

type Names = Vec<(u16, u32)>;

/// Stages as text: parents, `!` if not deterministic, `w` wanted, `f` finished, then a letter for each task: held, coming, lost.
fn run_lineage(stages: &[(&[u16], &str, &str)]) -> (Names, Names) {
    let parents: Vec<Vec<StageId>> =
        stages.iter().map(|(parents, ..)| parents.iter().map(|p| StageId(*p)).collect()).collect();
    let stages: Vec<LineageStage<'_>> = stages
        .iter()
        .zip(&parents)
        .map(|((_, flags, tasks), parents)| LineageStage {
            wanted: flags.contains('w'),
            finished: flags.contains('f'),
            deterministic: !flags.contains('!'),
            tasks: tasks
                .chars()
                .map(|c| LineageTask {
                    parents,
                    copy: match c {
                        'h' => Copy::Held,
                        'c' => Copy::Coming,
                        _ => Copy::Lost,
                    },
                })
                .collect(),
        })
        .collect();
    let found = rebuild(&stages);
    let plain = |set: std::collections::BTreeSet<(StageId, PartitionId)>| {
        set.iter().map(|(s, p)| (s.0, p.0)).collect()
    };
    (plain(found.again), plain(found.spoiled))
}

/// One row: (name, stages (parents, flags, tasks), again, spoiled).
type LineageRow = (
    &'static str,
    &'static [(&'static [u16], &'static str, &'static str)],
    &'static [(u16, u32)],
    &'static [(u16, u32)],
);

const LINEAGES: &[LineageRow] = &[
    ("nothing lost", &[(&[], "", "hh"), (&[0], "w", "hc")], &[], &[]),
    ("lost, reader coming", &[(&[], "", "lh"), (&[0], "w", "hc")], &[(0, 0)], &[]),
    ("lost, readers done", &[(&[], "", "lh"), (&[0], "w", "hh")], &[], &[]),
    ("a sink's output lost", &[(&[], "", "hh"), (&[0], "w", "hl")], &[(1, 1)], &[]),
    ("a sink's output and its input", &[(&[], "", "lh"), (&[0], "w", "hl")], &[(0, 0), (1, 1)], &[]),
    ("a finished sink's output", &[(&[], "", "lh"), (&[0], "f", "hl")], &[], &[]),
    (
        "through a held stage lineage does not go",
        &[(&[], "", "l"), (&[0], "", "h"), (&[1], "w", "l")],
        &[(2, 0)],
        &[],
    ),
    (
        "diamond: one arm is held, one is lost",
        &[(&[], "", "l"), (&[0], "", "h"), (&[0], "", "l"), (&[1, 2], "w", "c")],
        &[(0, 0), (2, 0)],
        &[],
    ),
    ("not deterministic, but nobody has read it", &[(&[], "!", "lh"), (&[0], "w", "cc")], &[(0, 0)], &[]),
    (
        "not deterministic: those who have read it run again",
        &[(&[], "!", "lh"), (&[0], "w", "hc")],
        &[(0, 0), (1, 0)],
        &[(1, 0)],
    ),
    (
        "what was spoiled may need more that is lost",
        &[(&[], "!", "l"), (&[], "", "l"), (&[0, 1], "w", "h"), (&[0], "w", "c")],
        &[(0, 0), (1, 0), (2, 0)],
        &[(2, 0)],
    ),
    (
        "spoiled through a stage that is lost itself",
        &[(&[], "!", "l"), (&[0], "", "l"), (&[1], "w", "h"), (&[0], "w", "c")],
        &[(0, 0), (1, 0), (2, 0)],
        &[(2, 0)],
    ),
    (
        "a finished sink is not spoiled",
        &[(&[], "!", "l"), (&[0], "f", "h"), (&[0], "w", "c")],
        &[(0, 0)],
        &[],
    ),
];

#[test]
fn lineage_rebuilds_what_is_lost_and_needed_and_nothing_else() {
    for (name, stages, again, spoiled) in LINEAGES {
        assert_eq!(run_lineage(stages), (again.to_vec(), spoiled.to_vec()), "{name}");
    }
}

#[test]
fn the_programs_job_and_the_plan_make_the_event() {
    use super::super::Event;
    use crate::seam::{BatchPlan, JobPlan, Program, SinkInfo, StreamInfo};
    struct Fixed;
    impl Program for Fixed {
        fn id(&self) -> tidemill_protocol::id::ProgramId {
            tidemill_protocol::id::ProgramId(7)
        }
        fn streams(&self) -> &[StreamInfo] {
            &[]
        }
        fn sinks(&self) -> &[SinkInfo] {
            &[]
        }
        fn plan(&self, plan: &BatchPlan) -> JobPlan {
            super::maps_only(plan.batch.0)
        }
    }
    let places = vec![super::place(0, &[1])];
    let made = Event::plan(&Fixed, super::batch_plan(2, &places), 0, places.clone());
    assert_eq!(format!("{made:?}"), format!("{:?}", plan(2, super::maps_only(2), places)));
}
