//! Defects on order, each found by the swarm below seed 200: a swarm that finds nothing may be blind.

use tidemill::cluster::sim::Planted;
use tidemill_chaos::{Report, Scenario, Swarm, faults};

/// The first seed with which the defect shows.
fn found(planted: Planted) -> (u64, Report) {
    faults::silence_planned_panics();
    let swarm = Swarm { seeds: 0..200, jobs: 2, planted: Some(planted), ends_at_first: true };
    let mut found = swarm.run(|_, _| ());
    let seed = found.first_wrong().unwrap_or_else(|| panic!("{planted:?} is not found below seed 200"));
    let report = found.outcomes.remove(&seed).expect("it has run").expect("the cluster starts");
    println!("{planted:?} is found with seed {seed}: {}", report.text());
    (seed, report)
}

#[test]
fn without_an_incarnation_check_a_job_goes_wrong_that_is_sound_with_it() {
    // What goes wrong depends on the seed: lines count twice, or batches wait for ever for what a dead executor has promised.
    let (seed, _) = found(Planted::NoIncarnationCheck);
    let sound = Scenario::random(seed).run().expect("the cluster starts");
    assert!(sound.is_right(), "without the defect nothing is wrong: {}", sound.text());
}

#[test]
fn lines_acknowledged_before_they_are_safe_are_lost() {
    let (_, report) = found(Planted::AckBeforeSafe);
    assert!(report.difference.lost > 0, "{}", report.text());
}

#[test]
fn a_shuffle_merged_by_arrival_is_out_of_order() {
    let (_, report) = found(Planted::MergeByArrival);
    assert!(report.out_of_order > 0, "{}", report.text());
}

#[test]
fn the_adopted_result_of_a_dead_executor_is_missing() {
    let (_, report) = found(Planted::AdoptDead);
    assert!(report.difference.lost > 0, "{}", report.text());
}

#[test]
fn a_forgotten_replica_is_missed_when_the_other_holder_dies() {
    let (_, report) = found(Planted::ForgetReplica);
    assert!(report.difference.lost > 0, "{}", report.text());
}

#[test]
fn a_schedule_that_fails_shrinks_to_the_faults_that_matter() {
    faults::silence_planned_panics();
    let (seed, _) = found(Planted::AdoptDead);
    let scenario = Scenario { planted: Some(Planted::AdoptDead), ..Scenario::random(seed) };
    let shrunk = scenario.shrink().expect("it goes wrong with this seed");
    let (left, all) = (shrunk.faults.len(), scenario.faults.len());
    assert!(all >= 10 && left <= 4, "{left} of {all}: {:?}", shrunk.faults);
    let again = Scenario { faults: shrunk.faults.clone(), ..scenario }.run().expect("the cluster starts");
    assert!(!again.is_right(), "what is left does it: {}", again.text());
    let takes = shrunk.faults.iter().any(|scheduled| scheduled.fault.takes());
    assert!(takes, "only a lost executor has results to adopt: {:?}", shrunk.faults);
}
