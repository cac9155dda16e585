//! Losses: executors, inputs, outputs, blocks, prepared outputs; and plans that replace plans.

use super::*;
use crate::scheduler::Counter;

/// Two maps on nodes 1 and 2 done, two reducers running: partition 0 on 1, partition 1 on 2.
fn reducing() -> Table {
    let mut t = Table::with(&[(1, 1), (2, 1), (3, 2)]);
    let places = vec![place(0, &[1, 3]), place(1, &[2, 3])];
    t.gives(plan(0, map_reduce(2, 2), places), &["run 1: 0/0/0.0", "run 2: 0/0/1.0"]);
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.0", 1, &[0, 1]), &[]);
    t.gives(done("0/0/1.0", 2, &[0, 1]), &["run 1: 0/1/0.0", "run 2: 0/1/1.0"]);
    t
}

#[test]
fn running_tasks_of_a_lost_executor_go_elsewhere_and_no_failure_is_counted() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[1, 2])]), &["run 1: 0/0/0.0"]);
    let expected = ["discard sink 0: 0/0/0.0", "lost 1 of 0: 0/0", "run 2: 0/0/0.1"];
    t.gives(down(1), &expected);
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.1", 2, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.1@2"]);
    t.gives(published(0, 0), &["completed 0", "release 0 at [2]"]);
    assert!(t.last.iter().any(|a| matches!(a, Action::Completed(timings) if timings.failures == 0)));
}

#[test]
fn outputs_of_a_lost_executor_are_made_again_and_their_readers_wait() {
    let mut t = reducing();
    let mut expected = vec!["discard sink 0: 0/1/0.0", "discard sink 0: 0/1/1.0", "lost 1 of 0: 0/0 1/0"];
    expected.extend(["cancel 2: 0/1/1.0", "run 3: 0/0/0.1"]);
    t.gives(down(1), &expected);
    t.gives(done("0/1/1.0", 2, &[0]), &["discard sink 0: 0/1/1.0", "drop 2: 0/1/1.0>0"]);
    t.gives(done("0/0/0.1", 3, &[0, 1]), &["run 2: 0/1/0.1", "run 3: 0/1/1.1"]);
    assert_eq!(parts(&t.spec("0/1/1.1")), [["0/0/0.1>1@[3]", "0/0/1.0>1@[2]"]]);
}

#[test]
fn outputs_that_nobody_needs_are_not_made_again() {
    let mut t = reducing();
    t.gives(done("0/1/0.0", 1, &[]), &[]);
    t.gives(done("0/1/1.0", 2, &[0]), &["decided 0", "publish 0 sink 0: 0/1/0.0 0/1/1.0@2"]);
    t.gives(down(1), &[]);
    t.gives(published(0, 0), &["completed 0", "release 0 at [2]"]);
}

#[test]
fn an_empty_output_cannot_be_lost() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    let places = vec![place(0, &[1, 2]), place(1, &[2])];
    t.gives(plan(0, map_reduce(2, 1), places), &["run 1: 0/0/0.0", "run 2: 0/0/1.0"]);
    t.gives(done("0/0/0.0", 1, &[]), &[]);
    t.gives(down(1), &[]);
    t.gives(done("0/0/1.0", 2, &[0]), &["run 2: 0/1/0.0"]);
}

#[test]
fn lineage_goes_back_as_far_as_it_must() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    let chain = JobPlan {
        stages: vec![
            stage(0, vec![vec![vec![PlannedPart::Block(block(0))]]], StageOutput::Shuffle { partitions: 1 }),
            stage(1, vec![vec![vec![shuffle(0, 0)]]], StageOutput::Shuffle { partitions: 1 }),
            stage(2, vec![vec![vec![shuffle(1, 0)]]], StageOutput::Sink(SinkId(0))),
        ],
    };
    t.gives(plan(0, chain, vec![place(0, &[1, 2])]), &["run 1: 0/0/0.0"]);
    t.gives(done("0/0/0.0", 1, &[0]), &["run 1: 0/1/0.0"]);
    t.gives(done("0/1/0.0", 1, &[0]), &["run 1: 0/2/0.0"]);
    t.gives(down(1), &["discard sink 0: 0/2/0.0", "lost 1 of 0: 0/0 1/0 2/0", "run 2: 0/0/0.1"]);
    t.gives(done("0/0/0.1", 2, &[0]), &["run 2: 0/1/0.1"]);
    t.gives(done("0/1/0.1", 2, &[0]), &["run 2: 0/2/0.1"]);
}

#[test]
fn with_no_executor_alive_everything_waits_for_one() {
    let mut t = Table::with(&[(1, 1)]);
    let ranges = JobPlan { stages: vec![stage(0, vec![vec![vec![]]], StageOutput::Sink(SinkId(0)))] };
    t.gives(plan(0, ranges, vec![]), &["run 1: 0/0/0.0"]);
    t.gives(safe(0), &[]);
    t.gives(down(1), &["discard sink 0: 0/0/0.0", "lost 1 of 0: 0/0"]);
    t.gives(Event::Wake, &[]);
    let again = Member { node: NodeId(1), incarnation: Incarnation(2) };
    t.gives(Event::ExecutorUp { member: again, slots: 1 }, &["run 1: 0/0/0.1"]);
    t.gives(done("0/0/0.0", 1, &[0]), &["discard sink 0: 0/0/0.0"]);
}

#[test]
fn an_output_that_a_reader_misses_is_made_again_elsewhere() {
    let mut t = reducing();
    let mut expected = vec!["discard sink 0: 0/1/0.0", "discard sink 0: 0/1/1.0"];
    expected.extend(["drop 2: 0/0/1.0>0 0/0/1.0>1", "cancel 2: 0/1/1.0", "run 3: 0/0/1.1"]);
    t.gives(missing("0/1/0.0", 1, output("0/0/1.0", 0)), &expected);
    let told = Action::AttemptFailed { task: id("0/1/0.0"), on: node(1), message: "not there".into() };
    assert!(t.last.contains(&told), "{:?}", t.last);
    t.gives(missing("0/1/1.0", 2, output("0/0/1.0", 1)), &[]);
    assert_eq!(t.last, [Action::Count(Counter::ReportsRefused, 1)], "it was cancelled");
    t.gives(done("0/0/1.1", 3, &[0, 1]), &["run 1: 0/1/0.1", "run 3: 0/1/1.1"]);
}

#[test]
fn an_input_that_is_no_input_of_the_task_is_its_own_failure() {
    let mut t = Table::with(&[(1, 1)]);
    t.gives(plan(0, map_reduce(1, 1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    for attempt in 0..3 {
        let run = format!("run 1: 0/0/0.{}", attempt + 1);
        t.gives(missing(&format!("0/0/0.{attempt}"), 1, output("0/1/0.0", 0)), &[&run]);
    }
    let text = "failed: batch-0/stage-0/p0 failed 4 times, last on node-1: not there";
    t.gives(missing("0/0/0.3", 1, output("7/0/0.0", 0)), &[text, "stopped"]);
}

#[test]
fn a_block_that_is_missing_is_read_elsewhere_at_once_and_then_after_a_pause() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    t.gives(plan(0, map_reduce(1, 1), vec![place(0, &[1, 2])]), &["run 1: 0/0/0.0"]);
    t.gives(missing("0/0/0.0", 1, DataKey::Block(block(0))), &["run 2: 0/0/0.1"]);
    t.gives(missing("0/0/0.1", 2, DataKey::Block(block(0))), &[]);
    assert_eq!(t.scheduler.next_deadline(), Some(t.now + Duration::from_millis(100)));
    t.gives(Event::Wake, &[]);
    t.later(Duration::from_millis(100));
    t.gives(Event::Wake, &["run 1: 0/0/0.2"]);
    assert_eq!(t.scheduler.next_deadline(), None);
}

#[test]
fn a_block_that_stays_missing_ends_the_pipeline() {
    let mut t = Table::with(&[(1, 1)]);
    t.scheduler = Scheduler::new(SchedulerConfig { missing_max: 2, ..t.scheduler.config });
    t.gives(Event::ExecutorUp { member: node(1), slots: 1 }, &[]);
    t.gives(plan(0, map_reduce(1, 1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    t.gives(missing("0/0/0.0", 1, DataKey::Block(block(0))), &["run 1: 0/0/0.1"]);
    let text =
        "failed: batch-0/stage-0/p0 could not have block stream-0/r0.i0#0: 2 such reports, last on node-1";
    t.gives(missing("0/0/0.1", 1, DataKey::Block(block(0))), &[text, "stopped"]);
}

#[test]
fn a_block_of_a_decided_batch_without_holders_ends_the_pipeline_with_its_name() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.0@1"]);
    t.gives(down(1), &[]);
    let text = "failed: batch-0/stage-0/p0 needs block stream-0/r0.i0#0, and nobody alive holds it any more";
    let missing = PublishFailure::Missing(output("0/0/0.0", 0));
    t.gives(not_published(0, 0, missing), &["discard sink 0: 0/0/0.0", text, "stopped"]);
}

#[test]
fn a_block_without_holders_waits_for_a_new_plan_which_becomes_safe_anew() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    let places = vec![place(0, &[1]), place(1, &[2])];
    t.gives(plan(0, maps_only(2), places), &["run 1: 0/0/0.0", "run 2: 0/0/1.0"]);
    t.gives(safe(0), &[]);
    t.gives(down(1), &["discard sink 0: 0/0/0.0", "lost 1 of 0: 0/0"]);
    t.gives(done("0/0/1.0", 2, &[0]), &[]);
    let job = JobPlan {
        stages: vec![stage(0, vec![vec![vec![PlannedPart::Block(block(1))]]], StageOutput::Sink(SinkId(0)))],
    };
    let expected = ["discard sink 0: 0/0/1.0", "drop 2: 0/0/1.0>0", "run 2: 0/0/0.1"];
    t.gives(replan(0, 1, job, vec![place(1, &[2])]), &expected);
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.1", 2, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.1@2"]);
}

#[test]
fn news_of_a_block_feeds_the_tasks_that_starve() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[])]), &[]);
    t.gives(Event::BlockHolders(place(0, &[2])), &["run 2: 0/0/0.0"]);
    t.gives(Event::BlockHolders(place(9, &[2])), &[]);
}

#[test]
fn a_new_plan_stops_the_old_and_never_reuses_an_attempt() {
    let mut t = Table::with(&[(1, 2), (2, 2)]);
    let places = vec![place(0, &[1]), place(1, &[1])];
    t.gives(plan(0, map_reduce(2, 1), places), &["run 1: 0/0/0.0 0/0/1.0"]);
    t.gives(done("0/0/0.0", 1, &[0]), &[]);
    let expected = ["drop 1: 0/0/0.0>0", "cancel 1: 0/0/1.0", "run 2: 0/0/0.1"];
    t.gives(replan(0, 1, map_reduce(1, 1), vec![place(0, &[2])]), &expected);
    t.gives(done("0/0/1.0", 1, &[0]), &["drop 1: 0/0/1.0>0"]);
    t.gives(done("0/0/0.1", 2, &[0]), &["run 2: 0/1/0.1"]);
}

#[test]
fn an_outcome_that_read_what_is_not_accepted_is_refused() {
    let mut t = reducing();
    let read = vec![output("0/0/0.7", 0)];
    let expected = ["discard sink 0: 0/1/0.0", "drop 1: 0/1/0.0>0", "run 1: 0/1/0.1"];
    t.gives(done_reading("0/1/0.0", 1, &[0], read), &expected);
    let read = vec![output("0/0/0.0", 0), output("0/0/1.0", 0)];
    t.gives(done_reading("0/1/0.1", 1, &[0], read), &[]);
}

#[test]
fn a_prepared_output_lost_before_publishing_is_made_again() {
    let mut t = Table::with(&[(1, 2)]);
    for batch in 0..2 {
        let run = format!("run 1: {batch}/0/0.0");
        t.gives(plan(batch, maps_only(1), vec![place(0, &[1, 2])]), &[&run]);
        t.gives(safe(batch), &[]);
    }
    t.gives(done("0/0/0.0", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.0@1"]);
    t.gives(done("1/0/0.0", 1, &[0]), &["decided 1"]);
    t.gives(Event::ExecutorUp { member: node(2), slots: 1 }, &[]);
    // Batch 0 is being published: whether the loss matters to it, the sink's answer says.
    t.gives(down(1), &["discard sink 0: 1/0/0.0", "lost 1 of 1: 0/0", "run 2: 1/0/0.1"]);
    let missed = not_published(0, 0, PublishFailure::Missing(output("0/0/0.0", 0)));
    t.gives(missed, &["discard sink 0: 0/0/0.0"]);
    t.gives(done("1/0/0.1", 2, &[0]), &["run 2: 0/0/0.1"]);
    t.gives(done("0/0/0.1", 2, &[0]), &["publish 0 sink 0: 0/0/0.1@2"]);
    t.gives(published(0, 0), &["completed 0", "release 0 at [2]", "publish 1 sink 0: 1/0/0.1@2"]);
}

#[test]
fn a_sink_that_misses_what_it_was_never_given_ends_the_pipeline() {
    let mut t = Table::with(&[(1, 1)]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.0@1"]);
    let text = "failed: sink-0 misses block stream-0/r0.i0#0, which is no output of batch-0 for it";
    let expected = [text, "discard sink 0: 0/0/0.0", "drop 1: 0/0/0.0>0", "stopped"];
    t.gives(not_published(0, 0, PublishFailure::Missing(DataKey::Block(block(0)))), &expected);
}

#[test]
fn slots_freed_by_a_new_plan_are_used_in_the_same_event() {
    let mut t = Table::with(&[(1, 1)]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    t.gives(plan(1, maps_only(1), vec![place(0, &[1])]), &[]);
    t.gives(
        replan(0, 1, JobPlan::default(), vec![]),
        &["discard sink 0: 0/0/0.0", "cancel 1: 0/0/0.0", "run 1: 1/0/0.0"],
    );
}

#[test]
fn two_runs_of_a_task_that_is_not_deterministic_are_not_mixed_in_a_sink_that_was_being_published() {
    let mut t = Table::with(&[(1, 1), (2, 1), (3, 1)]);
    let read = |p| vec![vec![shuffle(0, p)]];
    let mut job = JobPlan {
        stages: vec![
            stage(0, vec![vec![vec![PlannedPart::Block(block(0))]]], StageOutput::Shuffle { partitions: 2 }),
            stage(1, vec![read(0), read(1)], StageOutput::Sink(SinkId(0))),
            stage(2, vec![read(0)], StageOutput::Sink(SinkId(1))),
        ],
    };
    job.stages[0].deterministic = false;
    t.gives(plan(0, job, vec![place(0, &[1, 2])]), &["run 1: 0/0/0.0"]);
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.0", 1, &[0, 1]), &["run 1: 0/1/0.0", "run 2: 0/1/1.0", "run 3: 0/2/0.0"]);
    t.gives(done("0/1/0.0", 1, &[0]), &[]);
    t.gives(done("0/1/1.0", 2, &[0]), &[]);
    t.gives(done("0/2/0.0", 3, &[0]), &["decided 0", "publish 0 sink 0: 0/1/0.0@1 0/1/1.0@2"]);
    t.gives(down(1), &[]);
    t.gives(down(3), &["discard sink 1: 0/2/0.0", "lost 3 of 0: 0/0 2/0", "run 2: 0/0/0.1"]);
    let missed = not_published(0, 0, PublishFailure::Missing(output("0/1/0.0", 0)));
    let expected = ["discard sink 0: 0/1/0.0", "discard sink 0: 0/1/1.0", "drop 2: 0/1/1.0>0"];
    t.gives(missed, &expected);
    t.gives(done("0/0/0.1", 2, &[0, 1]), &["run 2: 0/1/0.1"]);
}

fn ended(n: u16) -> Event {
    Event::ExecutorDown { member: node(n), has_ended: true }
}

#[test]
fn a_task_that_has_taken_down_four_processes_ends_the_pipeline_with_its_name_and_inputs() {
    let mut t = Table::with(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
    let everywhere = vec![place(0, &[1, 2, 3, 4, 5])];
    t.gives(plan(0, maps_only(1), everywhere), &["run 1: 0/0/0.0"]);
    for n in 1..4 {
        let attempt = n - 1;
        let discard = format!("discard sink 0: 0/0/0.{attempt}");
        let (lost, run) = (format!("lost {n} of 0: 0/0"), format!("run {}: 0/0/0.{n}", n + 1));
        t.gives(ended(n), &[&discard, &lost, &run]);
    }
    let text = "failed: 4 processes of executors have ended while batch-0/stage-0/p0 ran there, last on node-4; \
                it reads stream-0/r0.i0#0";
    t.gives(ended(4), &["discard sink 0: 0/0/0.3", "lost 4 of 0: 0/0", text, "stopped"]);
}

#[test]
fn silence_cuts_and_ends_while_a_task_only_waited_say_nothing_of_it() {
    let mut t = Table::with(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
    let everywhere = vec![place(0, &[1, 2, 3, 4, 5])];
    t.gives(plan(0, maps_only(1), everywhere.clone()), &["run 1: 0/0/0.0"]);
    for n in 1..5 {
        let discard = format!("discard sink 0: 0/0/0.{}", n - 1);
        let (lost, run) = (format!("lost {n} of 0: 0/0"), format!("run {}: 0/0/0.{n}", n + 1));
        t.gives(down(n), &[&discard, &lost, &run]);
    }
    // Two slots and a queue: the third task waits behind the first two, which are blamed alone.
    let mut scheduler = Scheduler::new(SchedulerConfig { prescheduling: None, ..SchedulerConfig::default() });
    let mut out = Vec::new();
    let mut tell = |scheduler: &mut Scheduler, event| {
        scheduler.on_event(Time(1), event, &mut out);
        scheduler.assert_invariants();
        out.drain(..).filter_map(|action| line(&action)).collect::<Vec<_>>()
    };
    tell(&mut scheduler, Event::ExecutorUp { member: node(1), slots: 2 });
    let places = (0..3).map(|n| place(n, &[1, 2])).collect();
    assert_eq!(tell(&mut scheduler, plan(0, maps_only(3), places)), ["run 1: 0/0/0.0 0/0/1.0 0/0/2.0"]);
    tell(&mut scheduler, ended(1));
    let blamed: Vec<u32> = scheduler.jobs[&BatchNumber(0)].deaths.keys().map(|at| at.1.0).collect();
    assert_eq!(blamed, [0, 1]);
}

#[test]
fn only_a_task_that_ran_at_every_end_is_blamed_and_a_new_plan_does_not_clear_it() {
    let mut t = Table::with(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
    let all = [1, 2, 3, 4, 5];
    // Task 1 is done before the second end; task 0 runs at each.
    let places = vec![place(0, &[1]), place(1, &[2])];
    t.gives(plan(0, maps_only(2), places), &["run 1: 0/0/0.0", "run 2: 0/0/1.0"]);
    t.gives(ended(2), &["discard sink 0: 0/0/1.0", "lost 2 of 0: 0/1"]);
    t.gives(Event::BlockHolders(place(0, &all)), &[]);
    t.gives(ended(1), &["discard sink 0: 0/0/0.0", "lost 1 of 0: 0/0", "run 3: 0/0/0.1"]);
    // Planned anew without block 1: what is known of task 0 stays.
    let out = ["discard sink 0: 0/0/0.1", "cancel 3: 0/0/0.1", "run 3: 0/0/0.2"];
    t.gives(replan(0, 1, maps_only(1), vec![place(0, &all)]), &out);
    let deaths = &t.scheduler.jobs[&BatchNumber(0)].deaths;
    assert_eq!(deaths.iter().map(|(at, n)| (at.1.0, *n)).collect::<Vec<_>>(), [(0, 1), (1, 1)]);
}

/// 1 and 2 do not reach each other. 2 holds a map of batch 1, and could not be read from for batch 0, whose map was made again on 1.
fn gap(holders: &[u16]) -> Table {
    let config = SchedulerConfig { prescheduling: None, late_release: None, ..SchedulerConfig::default() };
    let mut t = Table::from(SchedulerConfig { speculation: None, ..config }, &[(1, 2), (2, 2)]);
    let places = || vec![place(0, &[1, 2]), place(1, holders)];
    t.gives(plan(0, map_reduce(2, 2), places()), &["run 1: 0/0/0.0", "run 2: 0/0/1.0"]);
    t.gives(safe(0), &[]);
    t.gives(plan(1, map_reduce(2, 2), places()), &["run 1: 1/0/0.0", "run 2: 1/0/1.0"]);
    t.gives(done("1/0/1.0", 2, &[0, 1]), &[]);
    t.gives(done("0/0/0.0", 1, &[0, 1]), &[]);
    t.gives(done("0/0/1.0", 2, &[0, 1]), &["run 1: 0/1/1.0", "run 2: 0/1/0.0"]);
    let lost = ["discard sink 0: 0/1/1.0", "discard sink 0: 0/1/0.0", "drop 2: 0/0/1.0>0 0/0/1.0>1"];
    let again = ["cancel 2: 0/1/0.0", "run 1: 0/0/1.1"];
    t.gives(unreached("0/1/1.0", 1, output("0/0/1.0", 1), 2), &[&lost[..], &again].concat());
    t.gives(done("0/0/1.1", 1, &[0, 1]), &["run 1: 0/1/0.1", "run 2: 0/1/1.1"]);
    t
}

#[test]
fn of_two_that_do_not_reach_each_other_one_goes_without_tasks_and_what_it_holds_is_made_again() {
    let mut t = gap(&[2, 1]);
    t.later(Duration::from_secs(1));
    // What 1 holds is not lost: 1 can read it.
    let expected =
        ["discard sink 0: 0/1/1.1", "exclude 2 for 10s: OutOfReach", "drop 2: 1/0/1.0>0 1/0/1.0>1"];
    t.gives(unreached("0/1/1.1", 2, output("0/0/0.0", 1), 1), &expected);
    t.gives(done("0/1/0.1", 1, &[0]), &["run 1: 0/1/1.2"]);
    t.gives(
        done("0/1/1.2", 1, &[0]),
        &["decided 0", "publish 0 sink 0: 0/1/0.1@1 0/1/1.2@1", "run 1: 1/0/1.1"],
    );
    t.gives(published(0, 0), &["completed 0", "release 0 at [1, 2]"]);
    t.later(Duration::from_secs(10));
    t.gives(Event::Wake, &["include 2"]);
}

#[test]
fn a_gap_that_is_new_and_one_to_who_alone_holds_a_block_leave_everybody_at_work() {
    let mut t = gap(&[2, 1]);
    t.later(Duration::from_millis(999));
    let expected = ["discard sink 0: 0/1/1.1", "discard sink 0: 0/1/0.1", "drop 1: 0/0/0.0>0 0/0/0.0>1"];
    let expected = [&expected[..], &["cancel 1: 0/1/0.1", "run 2: 0/0/0.1"]].concat();
    t.gives(unreached("0/1/1.1", 2, output("0/0/0.0", 1), 1), &expected);
    // Of two holders one is not there.
    for holders in [&[2][..], &[2, 3]] {
        let mut t = gap(holders);
        t.later(Duration::from_secs(60));
        t.last.clear();
        t.scheduler.on_event(t.now, unreached("0/1/1.1", 2, output("0/0/0.0", 1), 1), &mut t.last);
        assert!(!t.last.iter().any(|action| matches!(action, Action::Excluded { .. })), "{:?}", t.last);
    }
}
