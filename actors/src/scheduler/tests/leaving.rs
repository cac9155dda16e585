//! An executor that leaves: nothing new goes there, and it is drained once nothing of it is needed.

use super::*;
use crate::seam::PlannedRange;

fn leaving(n: u16) -> Event {
    Event::ExecutorLeaving { member: node(n) }
}

#[test]
fn an_idle_executor_is_drained_at_once_and_told_once() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    t.gives(leaving(1), &["drained 1"]);
    t.gives(leaving(1), &[]);
    t.gives(leaving(9), &[]);
    t.gives(plan(0, maps_only(2), vec![place(0, &[1]), place(1, &[1])]), &["run 2: 0/0/0.0"]);
    t.gives(down(1), &[]);
}

#[test]
fn what_runs_there_ends_and_its_outputs_are_kept_until_they_are_released() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    let places = vec![place(0, &[1, 2]), place(1, &[1, 2])];
    t.gives(plan(0, map_reduce(2, 1), places), &["run 1: 0/0/0.0", "run 2: 0/0/1.0"]);
    t.gives(safe(0), &[]);
    t.gives(leaving(1), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &[]);
    t.gives(done("0/0/1.0", 2, &[0]), &["run 2: 0/1/0.0"]);
    assert_eq!(parts(&t.spec("0/1/0.0")), [["0/0/0.0>0@[1]", "0/0/1.0>0@[2]"]]);
    t.gives(done("0/1/0.0", 2, &[0]), &["decided 0", "publish 0 sink 0: 0/1/0.0@2"]);
    t.gives(published(0, 0), &["completed 0", "release 0 at [1, 2]", "drained 1"]);
    // Gone now: nothing runs again.
    t.gives(down(1), &[]);
}

#[test]
fn a_task_that_fails_there_goes_elsewhere_also_if_it_has_failed_elsewhere_before() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[2])]), &["run 2: 0/0/0.0"]);
    t.gives(failed("0/0/0.0", 2, "no"), &["discard sink 0: 0/0/0.0", "run 1: 0/0/0.1"]);
    t.gives(leaving(1), &[]);
    let expected = ["discard sink 0: 0/0/0.1", "run 2: 0/0/0.2", "drained 1"];
    t.gives(failed("0/0/0.1", 1, "no"), &expected);
}

#[test]
fn when_all_leave_they_work_on_until_what_was_received_is_done() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    t.gives(leaving(1), &["drained 1"]);
    t.gives(leaving(2), &["drained 2"]);
    let places = vec![place(0, &[1, 2]), place(1, &[1, 2])];
    t.gives(plan(0, maps_only(2), places), &["run 1: 0/0/0.0", "run 2: 0/0/1.0"]);
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &[]);
    t.gives(done("0/0/1.0", 2, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.0@1 0/0/1.0@2"]);
    t.gives(published(0, 0), &["completed 0", "release 0 at [1, 2]"]);
}

#[test]
fn when_all_leave_what_can_be_read_again_waits_for_the_next_executor() {
    let mut t = Table::with(&[(1, 1)]);
    t.gives(leaving(1), &["drained 1"]);
    let range = PlannedRange { partition: PartitionId(0), from: 0, to: 1, rows: 1 };
    let inputs = vec![vec![vec![PlannedPart::Range(StreamId(0), range)]]];
    let job = JobPlan { stages: vec![stage(0, inputs, StageOutput::Sink(SinkId(0)))] };
    t.gives(plan(0, job, vec![]), &[]);
    t.gives(Event::ExecutorUp { member: node(2), slots: 1 }, &["run 2: 0/0/0.0"]);
}

#[test]
fn when_all_leave_batches_without_blocks_run_as_long_as_blocks_wait_behind_them() {
    let mut t = Table::with(&[(1, 1)]);
    t.gives(leaving(1), &["drained 1"]);
    let range = PlannedRange { partition: PartitionId(0), from: 0, to: 1, rows: 1 };
    let inputs = vec![vec![vec![PlannedPart::Range(StreamId(0), range)]]];
    let job = JobPlan { stages: vec![stage(0, inputs, StageOutput::Sink(SinkId(0)))] };
    t.gives(plan(0, job, vec![]), &[]);
    t.gives(Event::BlocksWait { wait: true }, &["run 1: 0/0/0.0"]);
    // With the next plan the blocks are here.
    t.gives(plan(1, maps_only(1), vec![place(0, &[1])]), &[]);
    t.gives(Event::BlocksWait { wait: false }, &[]);
    t.gives(safe(0), &[]);
    t.gives(safe(1), &[]);
    let out = ["decided 0", "publish 0 sink 0: 0/0/0.0@1", "run 1: 1/0/0.0"];
    t.gives(done("0/0/0.0", 1, &[0]), &out);
}
