//! The rules of a batch without losses: what is launched when and where, failures, deciding, publishing.

use super::*;
use crate::scheduler::{BatchTimings, Counter};

#[test]
fn a_batch_goes_from_plan_to_release() {
    let mut t = Table::with(&[(1, 2), (2, 2)]);
    let places = vec![place(0, &[1]), place(1, &[2])];
    t.gives(plan(0, map_reduce(2, 2), places), &["run 1: 0/0/0.0", "run 2: 0/0/1.0"]);
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.0", 1, &[0, 1]), &[]);
    t.gives(done("0/0/1.0", 2, &[0]), &["run 1: 0/1/0.0 0/1/1.0"]);
    assert_eq!(parts(&t.spec("0/1/0.0")), [["0/0/0.0>0@[1]", "0/0/1.0>0@[2]"]]);
    assert_eq!(parts(&t.spec("0/1/1.0")), [["0/0/0.0>1@[1]"]], "an empty output is not asked for");
    t.gives(done("0/1/0.0", 1, &[0]), &[]);
    t.gives(done("0/1/1.0", 1, &[]), &["decided 0", "publish 0 sink 0: 0/1/0.0@1 0/1/1.0"]);
    t.gives(published(0, 0), &["completed 0", "release 0 at [1, 2]"]);
}

#[test]
fn the_timings_of_a_batch_are_those_of_its_events() {
    let mut t = Table::with(&[]);
    t.now = Time(100);
    t.gives(plan(0, maps_only(1), vec![place(0, &[1])]), &[]);
    t.gives(safe(0), &[]);
    t.now = Time(130);
    t.gives(Event::ExecutorUp { member: node(1), slots: 1 }, &["run 1: 0/0/0.0"]);
    t.now = Time(140);
    t.gives(failed("0/0/0.0", 1, "once"), &["discard sink 0: 0/0/0.0", "run 1: 0/0/0.1"]);
    t.now = Time(150);
    t.gives(done("0/0/0.1", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.1@1"]);
    t.now = Time(170);
    t.gives(published(0, 0), &["completed 0", "release 0 at [1]"]);
    let expected = BatchTimings {
        batch: BatchNumber(0),
        version: 0,
        time: BatchTime(1_000),
        submitted: Time(100),
        first_launch: Time(130),
        decided: Time(150),
        published: Time(170),
        records_in: 10,
        tasks: 1,
        failures: 1,
    };
    assert!(t.last.contains(&Action::Completed(expected)));
    let delays = (expected.scheduling_delay(), expected.processing_time(), expected.total_delay());
    assert_eq!(delays, (Duration::from_nanos(30), Duration::from_nanos(40), Duration::from_nanos(70)));
}

#[test]
fn the_facts_of_a_launch_are_those_of_the_plan() {
    let mut t = Table::with(&[(1, 1)]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    let Some(Action::Launch { facts, .. }) = t.last.iter().find(|a| matches!(a, Action::Launch { .. }))
    else {
        panic!("it was launched")
    };
    assert_eq!((facts.batch, facts.time, facts.seed), (BatchNumber(0), BatchTime(1_000), 42));
    assert_eq!((facts.program, facts.epoch), (ProgramId(7), Epoch(0)));
}

#[test]
fn tasks_for_one_executor_travel_in_one_message() {
    let mut t = Table::with(&[(1, 3)]);
    let places = (0..3).map(|n| place(n, &[1])).collect();
    t.gives(plan(0, maps_only(3), places), &["run 1: 0/0/0.0 0/0/1.0 0/0/2.0"]);
}

#[test]
fn a_launch_with_many_parts_is_cut_into_messages() {
    let mut t = Table::with(&[(1, 3)]);
    let read_all = |_| vec![(0..200).map(|n| PlannedPart::Block(block(n))).collect()];
    let job =
        JobPlan { stages: vec![stage(0, (0..3).map(read_all).collect(), StageOutput::Sink(SinkId(0)))] };
    let places = (0..200).map(|n| place(n, &[1])).collect();
    t.gives(plan(0, job, places), &["run 1: 0/0/0.0", "run 1: 0/0/1.0", "run 1: 0/0/2.0"]);
}

#[test]
fn an_executor_gets_no_more_than_its_slots_and_queue() {
    let config = SchedulerConfig { queue_per_slot: 1, prescheduling: None, ..SchedulerConfig::default() };
    let mut t = Table { scheduler: Scheduler::new(config), now: Time(1), last: Vec::new() };
    t.gives(Event::ExecutorUp { member: node(1), slots: 1 }, &[]);
    let places = (0..3).map(|n| place(n, &[1])).collect();
    t.gives(plan(0, maps_only(3), places), &["run 1: 0/0/0.0 0/0/1.0"]);
    t.gives(done("0/0/0.0", 1, &[0]), &["run 1: 0/0/2.0"]);
}

#[test]
fn the_oldest_batch_takes_free_slots_first() {
    let mut t = Table::with(&[(1, 1)]);
    t.gives(plan(0, maps_only(2), vec![place(0, &[1]), place(1, &[1])]), &["run 1: 0/0/0.0"]);
    t.gives(plan(1, maps_only(1), vec![place(0, &[1])]), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &["run 1: 0/0/1.0"]);
    t.gives(done("0/0/1.0", 1, &[0]), &["run 1: 1/0/0.0"]);
}

#[test]
fn the_holder_placed_upon_is_named_first() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    let places = vec![place(0, &[1, 2]), place(1, &[1, 2])];
    t.gives(plan(0, maps_only(2), places), &["run 1: 0/0/0.0", "run 2: 0/0/1.0"]);
    assert_eq!(parts(&t.spec("0/0/1.0")), [["b1@[2, 1]"]]);
}

#[test]
fn a_failed_task_is_tried_elsewhere() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    t.gives(failed("0/0/0.0", 1, "boom"), &["discard sink 0: 0/0/0.0", "run 2: 0/0/0.1"]);
    t.gives(failed("0/0/0.1", 2, "boom"), &["discard sink 0: 0/0/0.1", "run 1: 0/0/0.2"]);
}

#[test]
fn a_task_that_failed_waits_for_another_executor_that_is_full() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    let places = vec![place(0, &[1]), place(1, &[2])];
    t.gives(plan(0, maps_only(2), places), &["run 1: 0/0/0.0", "run 2: 0/0/1.0"]);
    t.gives(failed("0/0/0.0", 1, "boom"), &["discard sink 0: 0/0/0.0"]);
    t.gives(done("0/0/1.0", 2, &[0]), &["run 2: 0/0/0.1"]);
}

#[test]
fn a_batch_is_not_decided_before_its_blocks_are_safe() {
    let mut t = Table::with(&[(1, 1)]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    t.gives(done("0/0/0.0", 1, &[0]), &[]);
    t.gives(safe(0), &["decided 0", "publish 0 sink 0: 0/0/0.0@1"]);
}

#[test]
fn a_batch_may_be_safe_before_its_plan_comes() {
    let mut t = Table::with(&[(1, 1)]);
    t.gives(safe(0), &[]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    t.gives(done("0/0/0.0", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.0@1"]);
}

#[test]
fn batches_are_decided_and_published_in_order_whatever_ends_first() {
    let mut t = Table::with(&[(1, 2)]);
    for batch in 0..2 {
        let run = format!("run 1: {batch}/0/0.0");
        t.gives(plan(batch, maps_only(1), vec![place(0, &[1])]), &[&run]);
        t.gives(safe(batch), &[]);
    }
    t.gives(done("1/0/0.0", 1, &[0]), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &["decided 0", "decided 1", "publish 0 sink 0: 0/0/0.0@1"]);
    t.gives(published(1, 0), &[]);
    t.gives(published(0, 0), &["completed 0", "release 0 at [1]", "publish 1 sink 0: 1/0/0.0@1"]);
    t.gives(published(1, 0), &["completed 1", "release 1 at [1]"]);
}

/// Two stages without shuffle, writing sink 1 and sink 0.
fn two_sinks() -> JobPlan {
    let read = || vec![vec![vec![PlannedPart::Block(block(0))]]];
    JobPlan {
        stages: vec![
            stage(0, read(), StageOutput::Sink(SinkId(1))),
            stage(1, read(), StageOutput::Sink(SinkId(0))),
        ],
    }
}

#[test]
fn sinks_of_a_batch_are_published_by_id_one_after_the_other() {
    let mut t = Table::with(&[(1, 2)]);
    t.gives(plan(0, two_sinks(), vec![place(0, &[1])]), &["run 1: 0/0/0.0 0/1/0.0"]);
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &[]);
    t.gives(done("0/1/0.0", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/1/0.0@1"]);
    t.gives(published(0, 0), &["publish 0 sink 1: 0/0/0.0@1"]);
    t.gives(published(0, 0), &[]);
    t.gives(published(0, 1), &["completed 0", "release 0 at [1]"]);
}

#[test]
fn a_batch_without_tasks_goes_straight_through() {
    let mut t = Table::with(&[]);
    t.gives(plan(0, JobPlan::default(), vec![]), &[]);
    t.gives(safe(0), &["decided 0", "completed 0", "release 0 at []"]);
    t.gives(plan(1, maps_only(0), vec![]), &[]);
    t.gives(safe(1), &["decided 1", "publish 1 sink 0:"]);
    t.gives(published(1, 0), &["completed 1", "release 1 at []"]);
}

#[test]
fn a_report_of_an_attempt_that_does_not_run_is_refused_and_counted() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    t.gives(plan(0, map_reduce(1, 1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    let is_told = |t: &Table| t.last.iter().any(|action| matches!(action, Action::AttemptFailed { .. }));
    t.gives(failed("0/0/0.0", 1, "e"), &["run 2: 0/0/0.1"]);
    let told = Action::AttemptFailed { task: id("0/0/0.0"), on: node(1), message: "e".into() };
    assert!(t.last.contains(&told), "{:?}", t.last);
    t.gives(done("0/0/0.0", 1, &[0]), &["drop 1: 0/0/0.0>0"]);
    assert!(t.last.contains(&Action::Count(Counter::ReportsRefused, 1)));
    t.gives(failed("0/0/0.0", 1, "e"), &[]);
    assert!(t.last.contains(&Action::Count(Counter::ReportsRefused, 1)) && !is_told(&t), "{:?}", t.last);
    t.gives(done("0/0/0.1", 1, &[0]), &["drop 1: 0/0/0.1>0"]);
    t.gives(done("9/9/9.9", 3, &[0]), &[]);
    t.gives(done("0/0/0.1", 2, &[0]), &["run 2: 0/1/0.0"]);
    t.gives(done("0/0/0.1", 2, &[0]), &[]);
    assert!(
        t.last.contains(&Action::Count(Counter::ReportsRefused, 1)),
        "told twice: counted, but nothing is dropped"
    );
}

#[test]
fn a_plan_that_comes_twice_or_too_late_is_refused() {
    let mut t = Table::with(&[(1, 1)]);
    let places = || vec![place(0, &[1])];
    t.gives(plan(0, maps_only(1), places()), &["run 1: 0/0/0.0"]);
    t.gives(plan(0, maps_only(1), places()), &[]);
    assert_eq!(t.last, [Action::Count(Counter::PlansRefused, 1)]);
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.0@1"]);
    t.gives(replan(0, 1, maps_only(1), places()), &[]);
    assert_eq!(t.last, [Action::Count(Counter::PlansRefused, 1)]);
}

#[test]
fn a_leaked_slot_is_counted_only() {
    let mut t = Table::with(&[(1, 1)]);
    t.gives(Event::SlotLeaked { task: id("0/0/0.0") }, &[]);
    assert_eq!(t.last, [Action::Count(Counter::SlotsLeaked, 1)]);
}

#[test]
fn a_wide_stage_is_launched_in_one_event_and_its_reader_in_the_event_of_its_last_input() {
    let mut t = Table::with(&[(1, 1_000)]);
    let places = (0..1_000).map(|n| place(n, &[1])).collect();
    let mut launched = Vec::new();
    t.scheduler.on_event(t.now, plan(0, map_reduce(1_000, 1), places), &mut launched);
    let tasks: usize = launched
        .iter()
        .filter_map(|a| match a {
            Action::Launch { tasks, .. } => Some(tasks.len()),
            _ => None,
        })
        .sum();
    assert_eq!(tasks, 1_000, "all of them in the event of the plan");
    let messages = launched.iter().filter(|a| matches!(a, Action::Launch { .. })).count();
    assert_eq!(messages, 4, "256 parts a message");
    for n in 0..1_000 {
        let mut out = Vec::new();
        t.scheduler.on_event(t.now, done(&format!("0/0/{n}.0"), 1, &[0]), &mut out);
        let launches = out.iter().filter(|a| matches!(a, Action::Launch { .. })).count();
        assert_eq!(launches, usize::from(n == 999));
    }
    t.scheduler.assert_invariants();
}

#[test]
fn what_no_message_holds_ends_the_pipeline_with_its_name_and_no_executor() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    let places: Vec<BlockPlace> = (0..400).map(|n| place(n, &[1, 2])).collect();
    let parts = (0..400).map(|n| PlannedPart::Block(block(n))).collect();
    let job = JobPlan { stages: vec![stage(0, vec![vec![parts]], StageOutput::Sink(SinkId(0)))] };
    let text = "failed: batch-0/stage-0/p0 reads 400 parts, more than a message holds: fewer partitions before it, or shorter \
                batches with fewer blocks";
    t.gives(plan(0, job, places), &[text, "stopped"]);

    let mut t = Table::with(&[(1, 1)]);
    let text = "failed: batch-0 has no job: stage-0 writes 2401 partitions, and there may be 2400: use repartition or \
                reduce_by_key_into with fewer";
    t.gives(plan(0, map_reduce(1, 2_401), vec![place(0, &[1])]), &[text, "stopped"]);
}
