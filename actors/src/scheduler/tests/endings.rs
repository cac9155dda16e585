//! How a pipeline ends: by a task, a sink, a program, or because it is told to; and what is still published then.

use super::*;

#[test]
fn the_fourth_failure_ends_the_pipeline_with_task_node_and_message() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    t.scheduler = Scheduler::new(SchedulerConfig { first: BatchNumber(7), ..t.scheduler.config });
    t.gives(Event::ExecutorUp { member: node(1), slots: 4 }, &[]);
    t.gives(Event::ExecutorUp { member: node(2), slots: 4 }, &[]);
    let places = (0..4).map(|n| place(n, &[1])).collect();
    t.gives(plan(7, maps_only(4), places), &["run 1: 7/0/0.0 7/0/1.0 7/0/2.0 7/0/3.0"]);
    t.gives(failed("7/0/3.0", 1, "e"), &["discard sink 0: 7/0/3.0", "run 2: 7/0/3.1"]);
    t.gives(failed("7/0/3.1", 2, "e"), &["discard sink 0: 7/0/3.1", "run 1: 7/0/3.2"]);
    t.gives(failed("7/0/3.2", 1, "e"), &["discard sink 0: 7/0/3.2", "run 1: 7/0/3.3"]);
    t.gives(
        failed("7/0/3.3", 1, "divided by zero at job.rs:3"),
        &[
            "discard sink 0: 7/0/3.3",
            "failed: batch-7/stage-0/p3 failed 4 times, last on node-1: divided by zero at job.rs:3",
            "discard sink 0: 7/0/0.0",
            "discard sink 0: 7/0/1.0",
            "discard sink 0: 7/0/2.0",
            "cancel 1: 7/0/0.0 7/0/1.0 7/0/2.0",
            "stopped",
        ],
    );
    let failed = t.last.iter().position(|action| matches!(action, Action::AttemptFailed { .. }));
    let ended = t.last.iter().position(|action| matches!(action, Action::PipelineFailed { .. }));
    assert!(failed.is_some() && failed < ended, "the attempt is told before the pipeline: {:?}", t.last);
    t.gives(plan(8, maps_only(1), vec![place(0, &[1])]), &[]);
}

#[test]
fn executors_that_have_not_enough_are_each_asked_once_before_it_counts() {
    let mut t = Table::with(&[(1, 1), (2, 1)]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    t.gives(refused("0/0/0.0", 1), &["discard sink 0: 0/0/0.0", "run 2: 0/0/0.1"]);
    t.gives(refused("0/0/0.1", 2), &["discard sink 0: 0/0/0.1", "run 1: 0/0/0.2"]);
    for attempt in 2..4 {
        let (discard, run) =
            (format!("discard sink 0: 0/0/0.{attempt}"), format!("run 1: 0/0/0.{}", attempt + 1));
        t.gives(refused(&format!("0/0/0.{attempt}"), 1), &[&discard, &run]);
    }
    let text =
        "failed: no executor has enough for batch-0/stage-0/p0, tried last on node-1: resources exhausted";
    t.gives(refused("0/0/0.4", 1), &["discard sink 0: 0/0/0.4", text, "stopped"]);
}

#[test]
fn batches_before_a_failed_one_are_published_and_later_ones_are_not() {
    let mut t = Table::with(&[(1, 3)]);
    for batch in 0..3 {
        let run = format!("run 1: {batch}/0/0.0");
        t.gives(plan(batch, maps_only(1), vec![place(0, &[1])]), &[&run]);
        t.gives(safe(batch), &[]);
    }
    t.gives(done("2/0/0.0", 1, &[0]), &[]);
    for attempt in 0..3 {
        let (discard, run) =
            (format!("discard sink 0: 1/0/0.{attempt}"), format!("run 1: 1/0/0.{}", attempt + 1));
        t.gives(failed(&format!("1/0/0.{attempt}"), 1, "no"), &[&discard, &run]);
    }
    let text = "failed: batch-1/stage-0/p0 failed 4 times, last on node-1: no";
    let lost = ["discard sink 0: 1/0/0.3", text, "discard sink 0: 2/0/0.0", "drop 1: 2/0/0.0>0"];
    t.gives(failed("1/0/0.3", 1, "no"), &lost);
    t.gives(done("0/0/0.0", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.0@1"]);
    t.gives(published(0, 0), &["completed 0", "release 0 at [1]", "stopped"]);
}

#[test]
fn a_refusing_sink_ends_the_pipeline_with_its_words() {
    let mut t = Table::with(&[(1, 1)]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.0@1"]);
    let refused = not_published(0, 0, PublishFailure::Refused("disk full".into()));
    let text = "failed: sink-0 refused batch-0: disk full";
    t.gives(refused, &[text, "discard sink 0: 0/0/0.0", "drop 1: 0/0/0.0>0", "stopped"]);
}

#[test]
fn a_stop_publishes_what_is_decided_and_drops_the_rest() {
    let mut t = Table::with(&[(1, 2)]);
    for batch in 0..2 {
        let run = format!("run 1: {batch}/0/0.0");
        t.gives(plan(batch, maps_only(1), vec![place(0, &[1])]), &[&run]);
    }
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.0@1"]);
    t.gives(Event::Stop, &["discard sink 0: 1/0/0.0", "cancel 1: 1/0/0.0"]);
    t.gives(done("1/0/0.0", 1, &[0]), &["drop 1: 1/0/0.0>0"]);
    t.gives(published(0, 0), &["completed 0", "release 0 at [1]", "stopped"]);
    t.gives(Event::Stop, &[]);
}

#[test]
fn stop_now_ends_though_a_decided_batch_cannot_be_published() {
    let mut t = Table::with(&[(1, 1)]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.0@1"]);
    t.gives(Event::Stop, &[]);
    assert_eq!(t.wakes_in(), Some(Duration::from_secs(10)));
    // A second one does not prolong it.
    t.later(Duration::from_secs(9));
    t.gives(Event::Stop, &[]);
    t.later(Duration::from_secs(1));
    let text = "failed: batch-0 is decided, and could not be published within 10s of the stop";
    t.gives(Event::Wake, &[text, "stopped"]);
    assert_eq!(t.wakes_in(), None);
    // The same where its outputs are gone and nobody is there to make them again.
    let mut t = Table::with(&[(1, 1)]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.0@1"]);
    t.gives(down(1), &[]);
    t.gives(not_published(0, 0, PublishFailure::Missing(output("0/0/0.0", 0))), &["discard sink 0: 0/0/0.0"]);
    t.gives(Event::Stop, &[]);
    t.later(Duration::from_secs(10));
    t.gives(Event::Wake, &[text, "stopped"]);
}

#[test]
fn after_a_failure_the_batches_before_it_have_the_same_time_and_its_words_stay() {
    let mut t = Table::with(&[(1, 2)]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.0@1"]);
    let broken = JobPlan { stages: vec![stage(1, vec![], StageOutput::Sink(SinkId(0)))] };
    let text = "failed: batch-1 has no job: the job's stage stage-1 is not at its place";
    t.gives(plan(1, broken, vec![]), &[text]);
    t.later(Duration::from_secs(10));
    t.gives(Event::Wake, &["stopped"]);
}

#[test]
fn a_program_with_a_broken_job_is_named() {
    let mut t = Table::with(&[(1, 1)]);
    let job =
        JobPlan { stages: vec![stage(0, vec![vec![vec![shuffle(0, 0)]]], StageOutput::Sink(SinkId(0)))] };
    let text = "failed: batch-0 has no job: stage-0 reads stage-0, which is not an earlier shuffle";
    t.gives(plan(0, job, vec![]), &[text, "stopped"]);
    let mut t = Table::with(&[(1, 1)]);
    let job = JobPlan { stages: vec![stage(1, vec![], StageOutput::Sink(SinkId(0)))] };
    t.gives(
        plan(0, job, vec![]),
        &["failed: batch-0 has no job: the job's stage stage-1 is not at its place", "stopped"],
    );
}

#[test]
fn a_result_that_is_more_than_the_driver_may_be_given_ends_the_pipeline_at_its_batch() {
    // Each output has 8 bytes.
    let config = SchedulerConfig {
        result_bytes_max: 8,
        prescheduling: None,
        late_release: None,
        ..Default::default()
    };
    let mut t = Table::from(config, &[(1, 4)]);
    t.gives(plan(0, maps_only(1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    t.gives(plan(1, maps_only(2), vec![place(0, &[1]), place(1, &[1])]), &["run 1: 1/0/0.0 1/0/1.0"]);
    t.gives(safe(0), &[]);
    t.gives(safe(1), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.0@1"]);
    t.gives(published(0, 0), &["completed 0", "release 0 at [1]"]);
    t.gives(done("1/0/0.0", 1, &[0]), &[]);
    let text = "failed: sink-0 cannot be given batch-1: its records take 16 bytes, and result_bytes_max is 8; make the \
                result smaller, raise the limit, or write from tasks with foreach_partition or save_as_text_files";
    let lost =
        ["discard sink 0: 1/0/0.0", "discard sink 0: 1/0/1.0", "drop 1: 1/0/0.0>0 1/0/1.0>0", "stopped"];
    t.gives(done("1/0/1.0", 1, &[0]), &[&["decided 1", text], &lost[..]].concat());
}
