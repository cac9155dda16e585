//! Copies of late tasks, and executors that get no tasks for a time: by hand.

use super::super::conduct::{Conduct, Sample};
use super::*;
use crate::seam::PlannedRange;

const MS: Duration = Duration::from_millis(1);

/// `tasks` tasks that read a range each and write sink 0.
fn ranges(batch: u64, tasks: u64) -> Event {
    let mut job = maps_only(tasks);
    for part in job.stages[0].tasks.iter_mut().flatten().flatten() {
        let (partition, from, to) = (PartitionId(0), batch, batch + 1);
        *part = PlannedPart::Range(StreamId(0), PlannedRange { partition, from, to, rows: 1 });
    }
    plan(batch, job, Vec::new())
}

/// Four maps on nodes 1 to 4, the first two done after 10 ms: two are running, two slots are idle.
fn half_done() -> Table {
    let mut t = Table::with(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
    let places = (0..4).map(|n| place(n, &[n as u16 + 1, (n as u16 + 1) % 4 + 1])).collect();
    let runs = ["run 1: 0/0/0.0", "run 2: 0/0/1.0", "run 3: 0/0/2.0", "run 4: 0/0/3.0"];
    t.gives(plan(0, maps_only(4), places), &runs);
    t.gives(safe(0), &[]);
    assert_eq!(t.wakes_in(), None, "nothing is known about this stage: nothing to wait for");
    t.later(10 * MS);
    t.gives(done("0/0/0.0", 1, &[0]), &[]);
    t.gives(done("0/0/1.0", 2, &[0]), &[]);
    t
}

/// As `half_done`, and 4 ms later a copy of task 2 runs on node 1, which holds its block too.
fn copied() -> Table {
    let mut t = half_done();
    assert_eq!(t.wakes_in(), Some(4 * MS), "1.4 times the median");
    t.later(4 * MS - Duration::from_nanos(1));
    t.gives(Event::Wake, &[]);
    t.later(Duration::from_nanos(1));
    t.gives(Event::Wake, &["copy from 3: 0/0/2.1", "run 1: 0/0/2.1"]);
    t
}

#[test]
fn a_late_task_is_copied_to_an_idle_slot_and_the_first_to_end_is_taken() {
    let mut t = copied();
    assert_eq!(t.wakes_in(), None, "a stage of four tasks may have one copy: nothing more to wait for");
    t.gives(done("0/0/2.1", 1, &[0]), &["discard sink 0: 0/0/2.0", "cancel 3: 0/0/2.0"]);
    // The twin ended before it heard.
    t.gives(done("0/0/2.0", 3, &[0]), &["discard sink 0: 0/0/2.0", "drop 3: 0/0/2.0>0"]);
    let publish = "publish 0 sink 0: 0/0/0.0@1 0/0/1.0@2 0/0/2.1@1 0/0/3.0@4";
    t.gives(done("0/0/3.0", 4, &[0]), &["decided 0", publish]);
}

#[test]
fn the_copy_is_stopped_when_its_original_ends_first() {
    let mut t = copied();
    t.gives(done("0/0/2.0", 3, &[0]), &["discard sink 0: 0/0/2.1", "cancel 1: 0/0/2.1"]);
    t.gives(failed("0/0/2.1", 1, "late"), &[]);
}

#[test]
fn when_one_of_two_attempts_fails_or_is_lost_the_other_goes_on() {
    let mut t = copied();
    t.gives(failed("0/0/2.0", 3, "no"), &["discard sink 0: 0/0/2.0"]);
    t.gives(done("0/0/2.1", 1, &[0]), &[]);

    let mut t = copied();
    t.gives(failed("0/0/2.1", 1, "no"), &["discard sink 0: 0/0/2.1"]);
    t.gives(done("0/0/2.0", 3, &[0]), &[]);

    // The loss of a twin costs nothing, so no task is told to be lost.
    let mut t = copied();
    t.gives(down(3), &["discard sink 0: 0/0/2.0"]);
    t.gives(done("0/0/2.1", 1, &[0]), &[]);

    let mut t = copied();
    t.gives(missing("0/0/2.0", 3, DataKey::Block(block(2))), &["discard sink 0: 0/0/2.0"]);
    t.gives(failed("0/0/2.1", 1, "no"), &["discard sink 0: 0/0/2.1", "run 2: 0/0/2.2"]);
}

#[test]
fn both_attempts_are_stopped_when_the_batch_is_planned_anew() {
    let mut t = copied();
    let places = vec![place(7, &[2])];
    t.last.clear();
    t.scheduler.on_event(t.now, replan(0, 1, maps_only(1), places), &mut t.last);
    t.scheduler.assert_invariants();
    let lines: Vec<String> = t.last.iter().filter_map(line).filter(|l| l.starts_with("cancel")).collect();
    assert_eq!(lines, ["cancel 1: 0/0/2.1", "cancel 3: 0/0/2.0", "cancel 4: 0/0/3.0"]);
}

#[test]
fn without_an_idle_slot_elsewhere_there_is_no_copy_and_no_timer() {
    let mut t = half_done();
    t.gives(ranges(1, 2), &["run 1: 1/0/0.0", "run 2: 1/0/1.0"]);
    t.later(20 * MS);
    t.gives(Event::Wake, &[]);
    assert_eq!(t.wakes_in(), None, "a slot that frees is an event");
    t.gives(done("1/0/1.0", 2, &[0]), &["copy from 3: 0/0/2.1", "run 2: 0/0/2.1"]);
}

#[test]
fn what_is_late_by_less_than_2_ms_is_not_late() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    let places = vec![place(0, &[1, 2]), place(1, &[2, 1])];
    t.gives(plan(0, maps_only(2), places), &["run 1: 0/0/0.0", "run 2: 0/0/1.0"]);
    t.later(MS);
    t.gives(done("0/0/0.0", 1, &[0]), &[]);
    assert_eq!(t.wakes_in(), Some(2 * MS), "1 ms and 2 ms more");
}

#[test]
fn a_stage_of_which_nothing_is_done_is_held_against_earlier_batches() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    for batch in 0..4_u64 {
        let run = format!("run 1: {batch}/0/0.0");
        t.gives(ranges(batch, 1), &[&run]);
        t.gives(safe(batch), &[]);
        let known = batch >= 3;
        assert_eq!(t.wakes_in(), known.then_some(14 * MS), "three batches must be known");
        t.later(10 * MS);
        if !known {
            t.last.clear();
            t.scheduler.on_event(t.now, done(&format!("{batch}/0/0.0"), 1, &[0]), &mut t.last);
            t.scheduler.on_event(t.now, published(batch, 0), &mut t.last);
        }
    }
    t.later(4 * MS);
    t.gives(Event::Wake, &["copy from 1: 3/0/0.1", "run 2: 3/0/0.1"]);
}

#[test]
fn an_executor_on_which_two_tasks_fail_gets_none_for_10_s_then_one_at_a_time() {
    let mut t = Table::with(&[(1, 2), (2, 4)]);
    t.gives(ranges(0, 4), &["run 1: 0/0/0.0 0/0/3.0", "run 2: 0/0/1.0 0/0/2.0"]);
    t.gives(failed("0/0/0.0", 1, "no"), &["discard sink 0: 0/0/0.0", "run 2: 0/0/0.1"]);
    let excluded = "exclude 1 for 10s: Failures";
    t.gives(failed("0/0/3.0", 1, "no"), &["discard sink 0: 0/0/3.0", excluded, "run 2: 0/0/3.1"]);
    t.gives(ranges(1, 2), &[]);
    // Not the one that is left, whatever it does.
    t.gives(failed("0/0/1.0", 2, "no"), &["discard sink 0: 0/0/1.0", "run 2: 0/0/1.1"]);
    t.gives(failed("0/0/2.0", 2, "no"), &["discard sink 0: 0/0/2.0", "run 2: 0/0/2.1"]);
    assert_eq!(t.wakes_in(), Some(10_000 * MS));
    t.later(10_000 * MS);
    t.gives(Event::Wake, &["include 1", "run 1: 1/0/0.0"]);
    // Two more failures: twice as long.
    t.gives(failed("1/0/0.0", 1, "no"), &["discard sink 0: 1/0/0.0", "run 1: 1/0/1.0"]);
    t.gives(failed("1/0/1.0", 1, "no"), &["discard sink 0: 1/0/1.0", "exclude 1 for 20s: Failures"]);
    // When the other one dies, the excluded one is better than nobody.
    t.last.clear();
    t.scheduler.on_event(t.now, down(2), &mut t.last);
    let lines: Vec<String> = t.last.iter().filter_map(line).collect();
    assert!(lines.contains(&"include 1".to_owned()), "{lines:?}");
    assert!(lines.contains(&"run 1: 0/0/0.2 0/0/1.2".to_owned()), "{lines:?}");
}

/// Node 1 is excluded for 10 s, with nothing on it; node 2 is full, and batch 1 waits.
fn one_excluded() -> Table {
    let mut t = Table::with(&[(1, 2), (2, 4)]);
    t.gives(ranges(0, 4), &["run 1: 0/0/0.0 0/0/3.0", "run 2: 0/0/1.0 0/0/2.0"]);
    t.gives(failed("0/0/0.0", 1, "no"), &["discard sink 0: 0/0/0.0", "run 2: 0/0/0.1"]);
    let excluded = "exclude 1 for 10s: Failures";
    t.gives(failed("0/0/3.0", 1, "no"), &["discard sink 0: 0/0/3.0", excluded, "run 2: 0/0/3.1"]);
    t.gives(ranges(1, 2), &[]);
    t
}

/// Node 1 in its second life.
fn again() -> Event {
    Event::ExecutorUp { member: Member { incarnation: Incarnation(2), ..node(1) }, slots: 2 }
}

#[test]
fn a_process_that_starts_again_does_not_end_the_exclusion_of_its_node() {
    let mut t = one_excluded();
    t.later(4_000 * MS);
    t.gives(down(1), &[]);
    t.gives(again(), &["exclude 1 for 6s: EarlierLife"]);
    assert_eq!(t.wakes_in(), Some(6_000 * MS));
    t.later(6_000 * MS);
    t.gives(Event::Wake, &["include 1", "run 1: 1/0/0.0"]);
}

#[test]
fn an_excluded_node_that_starts_again_is_used_if_it_is_the_last() {
    let mut t = one_excluded();
    t.gives(down(1), &[]);
    let lost = (0..4).map(|n| format!("discard sink 0: 0/0/{n}.{}", if n % 3 == 0 { 1 } else { 0 }));
    let expected: Vec<String> = lost.chain(["lost 2 of 0: 0/0 0/1 0/2 0/3".to_owned()]).collect();
    t.gives(down(2), &expected.iter().map(String::as_str).collect::<Vec<_>>());
    t.gives(again(), &["run 1: 0/0/0.2 0/0/1.1"]);
    // Its time is over while nobody was there: then it is on probation, as if it had stayed.
    let mut t = one_excluded();
    t.gives(down(1), &[]);
    t.later(10_000 * MS);
    t.gives(Event::Wake, &[]);
    t.gives(again(), &["run 1: 1/0/0.0"]);
    t.later(10_000 * MS);
    t.gives(Event::Wake, &["run 1: 1/0/1.0"]);
}

#[test]
fn a_suspected_executor_is_used_when_all_others_are_full() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    t.gives(Event::ExecutorSuspected { member: node(1) }, &[]);
    t.gives(ranges(0, 1), &["run 2: 0/0/0.0"]);
    t.gives(ranges(1, 1), &["run 1: 1/0/0.0"]);
    t.gives(Event::ExecutorTrusted { member: node(1) }, &[]);
    t.gives(done("1/0/0.0", 1, &[0]), &[]);
    t.gives(ranges(2, 1), &["run 1: 2/0/0.0"]);
}

fn sample(on: u16, ms: u32, rows: u64) -> Sample {
    Sample { on: node(on), ran: ms * MS, rows }
}

#[test]
fn slow_is_what_takes_three_times_as_long_as_the_middle_for_the_same_records_three_batches_in_a_row() {
    let slow = vec![sample(1, 9, 10), sample(2, 3, 10), sample(3, 3, 10)];
    let even = vec![sample(1, 8, 10), sample(2, 3, 10), sample(3, 3, 10)];
    let skewed = vec![sample(1, 30, 100), sample(2, 3, 10), sample(3, 3, 10)];
    let alone = vec![sample(1, 90, 10)];
    let tiny = vec![Sample { ran: MS / 2, ..sample(1, 0, 10) }, Sample { ran: MS / 10, ..sample(2, 0, 10) }];
    let two = vec![sample(1, 30, 10), sample(2, 3, 10)];
    // One row: batches (stages, overtaken attempts on), who is to be excluded after the last.
    type Row<'a> = (&'a str, Vec<(Vec<&'a Vec<Sample>>, &'a [u16])>, &'a [u16]);
    let rows: Vec<Row<'_>> = vec![
        ("three slow batches", vec![(vec![&slow], &[]), (vec![&slow], &[]), (vec![&slow], &[])], &[1]),
        ("two", vec![(vec![&slow], &[]), (vec![&slow], &[])], &[]),
        (
            "interrupted",
            vec![(vec![&slow], &[]), (vec![&even], &[]), (vec![&slow], &[]), (vec![&slow], &[])],
            &[],
        ),
        (
            "a batch that says nothing does not interrupt",
            vec![(vec![&slow], &[]), (vec![&alone], &[]), (vec![&slow], &[]), (vec![&slow], &[])],
            &[1],
        ),
        (
            "more records take longer",
            vec![(vec![&skewed], &[]), (vec![&skewed], &[]), (vec![&skewed], &[])],
            &[],
        ),
        ("too short to tell", vec![(vec![&tiny], &[]), (vec![&tiny], &[]), (vec![&tiny], &[])], &[]),
        ("of two the slower", vec![(vec![&two], &[]), (vec![&two], &[]), (vec![&two], &[])], &[1]),
        ("one stage against one", vec![(vec![&slow, &even], &[]); 3], &[]),
        ("overtaken each time", vec![(vec![&alone], &[1]); 3], &[1]),
        ("overtaken once among good ones", vec![(vec![&even, &even], &[1]); 3], &[]),
    ];
    for (name, batches, expected) in rows {
        let mut conduct = Conduct::new(ConductLimits::default());
        let mut found = Vec::new();
        for (stages, overtaken) in batches {
            let stages: Vec<Vec<Sample>> = stages.into_iter().cloned().collect();
            let overtaken: Vec<Member> = overtaken.iter().map(|n| node(*n)).collect();
            found = conduct.batch_ended(&stages, &overtaken);
        }
        assert_eq!(found, expected.iter().map(|n| node(*n)).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn exclusions_double_up_to_the_limit_and_a_time_of_good_conduct_begins_anew() {
    let mut conduct = Conduct::new(ConductLimits::default());
    let mut now = Time(0);
    for seconds in [10, 20, 40, 80, 160, 300, 300] {
        assert_eq!(conduct.exclude(now, node(1)), Duration::from_secs(seconds));
        now = now + Duration::from_secs(seconds);
        assert_eq!(conduct.next_deadline(), Some(now));
        assert_eq!(conduct.due(now), [(node(1).node, true)]);
        // On probation one slow batch is enough.
        let slow = vec![sample(1, 9, 10), sample(2, 3, 10), sample(3, 3, 10)];
        assert_eq!(conduct.batch_ended(&[slow], &[]), [node(1)]);
    }
    now = now + Duration::from_secs(10);
    assert_eq!(conduct.due(now), [(node(1).node, false)], "the probation is over");
    assert_eq!(conduct.next_deadline(), None);
    now = now + Duration::from_secs(300);
    assert_eq!(conduct.exclude(now, node(1)), Duration::from_secs(10));
    let failed = |conduct: &mut Conduct, at: u64, partition| {
        let task = TaskKey { partition: PartitionId(partition), ..id("0/0/0.0").key };
        conduct.task_failed(Time(0) + Duration::from_secs(at), node(2), task)
    };
    assert!(!failed(&mut conduct, 1_000, 0) && !failed(&mut conduct, 1_010, 0), "one task, twice");
    assert!(!failed(&mut conduct, 1_071, 1), "61 s after the first");
    assert!(failed(&mut conduct, 1_080, 2));
}
