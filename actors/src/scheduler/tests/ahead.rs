//! What is sent before its inputs are there: by hand.

use super::*;
use tidemill_protocol::message::{Route, StageRead};

/// Two maps on nodes 1 and 2, two reducers; all of it is out.
fn sent() -> Table {
    let mut t = Table::ahead(&[(1, 1), (2, 1), (3, 1)]);
    let places = vec![place(0, &[1, 2]), place(1, &[2, 1])];
    let runs = ["run 1: 0/0/0.0 0/1/0.0", "run 2: 0/0/1.0 0/1/1.0"];
    t.gives(plan(0, map_reduce(2, 2), places), &runs);
    t.gives(safe(0), &[]);
    t
}

/// The outcome of a reducer that was told by notices.
fn told(task: &str, on: u16, attempt: u16) -> Event {
    let Event::TaskDone(mut outcome) = done(task, on, &[0]) else { panic!("it is done") };
    Arc::make_mut(&mut outcome).read_stages =
        vec![StageRead { stage: StageId(0), attempt: Attempt(attempt) }];
    Event::TaskDone(outcome)
}

fn lost(batch: u64, reader: u16) -> Event {
    Event::NoticeLost { batch: BatchNumber(batch), reader: node(reader), by: node(reader) }
}

/// The routes of the launch to this node.
fn routes(t: &Table, n: u16) -> Vec<Arc<Route>> {
    let launched = t.last.iter().filter_map(|action| match action {
        Action::Launch { member, routes, .. } if *member == node(n) => Some(routes.clone()),
        _ => None,
    });
    launched.flatten().collect()
}

const PUBLISH: &str = "publish 0 sink 0: 0/1/0.0@1 0/1/1.0@2";

#[test]
fn all_stages_go_out_in_one_message_for_each_executor_and_readers_are_promised_first_attempts() {
    let mut t = Table::ahead(&[(1, 1), (2, 1), (3, 1)]);
    let places = vec![place(0, &[1]), place(1, &[2])];
    let runs = ["run 1: 0/0/0.0 0/1/0.0", "run 2: 0/0/1.0 0/1/1.0"];
    t.gives(plan(0, map_reduce(2, 2), places), &runs);
    assert_eq!(parts(&t.spec("0/1/0.0")), [["0/0-1.0>0"]]);
    assert_eq!(parts(&t.spec("0/1/1.0")), [["0/0-1.0>1"]]);
    let route = Arc::new(Route {
        stage: StageId(0),
        attempt: Attempt(0),
        readers: vec![(NodeId(1), Incarnation(1)), (NodeId(2), Incarnation(1))],
        partitions: vec![(PartitionId(0), 0), (PartitionId(1), 1)],
    });
    assert_eq!((routes(&t, 1), routes(&t, 2)), (vec![route.clone()], vec![route]));
}

#[test]
fn without_a_loss_the_driver_says_nothing_more_until_the_end() {
    let mut t = sent();
    t.gives(done("0/0/0.0", 1, &[0, 1]), &[]);
    t.gives(done("0/0/1.0", 2, &[0, 1]), &[]);
    t.gives(told("0/1/0.0", 1, 0), &[]);
    t.gives(told("0/1/1.0", 2, 0), &["decided 0", PUBLISH]);
    t.gives(published(0, 0), &["completed 0", "release 0 at [1, 2]"]);
}

#[test]
fn an_outcome_that_overtakes_those_it_has_read_counts_once_they_do() {
    let mut t = sent();
    t.gives(done("0/0/0.0", 1, &[0, 1]), &[]);
    t.gives(told("0/1/0.0", 1, 0), &[]);
    t.gives(told("0/1/0.0", 1, 0), &[]);
    t.gives(told("0/1/1.0", 2, 0), &[]);
    t.gives(done("0/0/1.0", 2, &[0, 1]), &["decided 0", PUBLISH]);
}

#[test]
fn the_whole_depth_of_a_batch_is_sent_and_early_outcomes_count_in_the_order_of_stages() {
    let mut t = Table::ahead(&[(1, 1), (2, 1)]);
    let chain = JobPlan {
        stages: vec![
            stage(0, vec![vec![vec![PlannedPart::Block(block(0))]]], StageOutput::Shuffle { partitions: 1 }),
            stage(1, vec![vec![vec![shuffle(0, 0)]]], StageOutput::Shuffle { partitions: 1 }),
            stage(2, vec![vec![vec![shuffle(1, 0)]]], StageOutput::Sink(SinkId(0))),
        ],
    };
    // The reader stands by its writer, the next one where nothing is.
    let runs = ["run 1: 0/0/0.0 0/1/0.0", "run 2: 0/2/0.0"];
    t.gives(plan(0, chain, vec![place(0, &[1])]), &runs);
    t.gives(safe(0), &[]);
    let Event::TaskDone(mut last) = told("0/2/0.0", 2, 0) else { panic!("it is done") };
    Arc::make_mut(&mut last).read_stages[0].stage = StageId(1);
    t.gives(Event::TaskDone(last), &[]);
    t.gives(told("0/1/0.0", 1, 0), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/2/0.0@2"]);
}

#[test]
fn what_waits_takes_no_room_and_what_begins_takes_it_also_where_there_is_none() {
    let mut t = Table::ahead(&[(1, 1)]);
    let places = vec![place(0, &[1])];
    t.gives(plan(0, map_reduce(1, 1), places.clone()), &["run 1: 0/0/0.0 0/1/0.0"]);
    t.gives(plan(1, map_reduce(1, 1), places), &[]);
    // The reader of batch 0 has the slot now.
    t.gives(done("0/0/0.0", 1, &[0]), &[]);
    t.gives(told("0/1/0.0", 1, 0), &["run 1: 1/0/0.0 1/1/0.0"]);
}

#[test]
fn two_batches_in_flight_have_their_own_promises() {
    let mut t = Table::ahead(&[(1, 2)]);
    t.gives(plan(0, map_reduce(1, 1), vec![place(0, &[1])]), &["run 1: 0/0/0.0 0/1/0.0"]);
    t.gives(plan(1, map_reduce(1, 1), vec![place(0, &[1])]), &["run 1: 1/0/0.0 1/1/0.0"]);
    t.gives(done("1/0/0.0", 1, &[0]), &[]);
    t.gives(told("1/1/0.0", 1, 0), &[]);
    let orders = ["discard sink 0: 0/1/0.0", "cancel 1: 0/1/0.0", "run 1: 0/0/0.1"];
    t.gives(failed("0/0/0.0", 1, "no luck"), &orders);
    t.gives(done("0/0/0.1", 1, &[0]), &["run 1: 0/1/0.1"]);
}

#[test]
fn a_failed_attempt_calls_its_readers_back_and_they_go_by_name() {
    let mut t = sent();
    t.gives(done("0/0/0.0", 1, &[0, 1]), &[]);
    let discards = ["discard sink 0: 0/1/0.0", "discard sink 0: 0/1/1.0"];
    let orders = ["cancel 1: 0/1/0.0", "cancel 2: 0/1/1.0", "run 1: 0/0/1.1"];
    t.gives(failed("0/0/1.0", 2, "no luck"), &[&discards[..], &orders[..]].concat());
    assert_eq!(routes(&t, 1), [], "of another attempt nobody is told");
    t.gives(done("0/0/1.1", 1, &[0, 1]), &["run 1: 0/1/0.1", "run 2: 0/1/1.1"]);
    assert_eq!(parts(&t.spec("0/1/0.1")), [["0/0/0.0>0@[1]", "0/0/1.1>0@[1]"]]);
    // What was called back has run all the same.
    t.gives(told("0/1/0.0", 1, 0), &["discard sink 0: 0/1/0.0", "drop 1: 0/1/0.0>0"]);
}

#[test]
fn an_early_outcome_that_has_read_what_falls_is_refused_and_what_it_made_is_dropped() {
    let mut t = sent();
    t.gives(done("0/0/0.0", 1, &[0, 1]), &[]);
    t.gives(told("0/1/0.0", 1, 0), &[]);
    let again = ["discard sink 0: 0/1/0.0", "discard sink 0: 0/1/1.0"];
    let orders = ["drop 1: 0/1/0.0>0", "cancel 2: 0/1/1.0", "run 1: 0/0/1.1"];
    t.gives(failed("0/0/1.0", 2, "no luck"), &[&again[..], &orders[..]].concat());
}

#[test]
fn a_dead_writer_calls_readers_back() {
    let mut t = sent();
    t.gives(done("0/0/0.0", 1, &[0, 1]), &[]);
    // What waited with it is gone, the other reader is called back, the lost map is made again.
    let lost = ["discard sink 0: 0/1/0.0", "lost 1 of 0: 0/0", "discard sink 0: 0/1/1.0"];
    let orders = ["cancel 2: 0/1/1.0", "run 3: 0/0/0.1"];
    t.gives(down(1), &[&lost[..], &orders[..]].concat());
    t.gives(done("0/0/1.0", 2, &[0, 1]), &[]);
    t.gives(done("0/0/0.1", 3, &[0, 1]), &["run 2: 0/1/0.1", "run 3: 0/1/1.1"]);
}

#[test]
fn a_writer_that_died_with_nothing_but_empty_outputs_may_not_have_said_so() {
    let mut t = sent();
    t.gives(done("0/0/0.0", 1, &[]), &[]);
    t.gives(done("0/0/1.0", 2, &[0, 1]), &[]);
    // The reader on node 2 runs, as far as the driver knows; the one on node 1 is gone with it.
    t.gives(down(1), &["discard sink 0: 0/1/0.0", "name 2: 0/1/1.0", "lost 1 of 0: 1/0", "run 3: 0/1/0.1"]);
    let named = t.last.iter().find_map(|action| match action {
        Action::Name { tasks, .. } => Some(parts(&tasks[0])),
        _ => None,
    });
    assert_eq!(named, Some(vec![vec!["0/0/1.0>1@[2]".to_owned()]]));
}

#[test]
fn a_lost_notice_makes_the_driver_name_the_inputs_at_once_or_when_they_are_there_and_once_only() {
    let mut t = sent();
    t.gives(done("0/0/0.0", 1, &[0, 1]), &[]);
    t.gives(lost(0, 2), &[]);
    t.gives(done("0/0/1.0", 2, &[0, 1]), &["name 2: 0/1/1.0"]);
    t.gives(lost(0, 2), &[]);
    t.gives(lost(0, 1), &["name 1: 0/1/0.0"]);
    t.gives(lost(7, 1), &[]);
    t.gives(lost(0, 3), &[]);
    // Named inputs are read by name.
    let read = vec![output("0/0/0.0", 1), output("0/0/1.0", 1)];
    t.gives(done_reading("0/1/1.0", 2, &[0], read), &[]);
    t.gives(told("0/1/0.0", 1, 0), &["decided 0", PUBLISH]);
}

#[test]
fn an_early_report_of_a_missing_input_counts_when_its_turn_comes() {
    let mut t = sent();
    t.gives(done("0/0/0.0", 1, &[0, 1]), &[]);
    t.gives(missing("0/1/1.0", 2, output("0/0/0.0", 1)), &[]);
    // With the last map both readers run; the report is looked at, and the output that it names is made again elsewhere.
    let lost = ["discard sink 0: 0/1/1.0", "discard sink 0: 0/1/0.0"];
    let orders = ["drop 1: 0/0/0.0>0 0/0/0.0>1", "cancel 1: 0/1/0.0", "run 2: 0/0/0.1"];
    t.gives(done("0/0/1.0", 2, &[0, 1]), &[&lost[..], &orders[..]].concat());
}

#[test]
fn a_copy_that_wins_calls_readers_back_and_one_that_loses_does_not() {
    for (first, second) in [("0/0/3.1", "0/0/3.0"), ("0/0/3.0", "0/0/3.1")] {
        let mut t = Table::ahead(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
        let places = (0..4).map(|n| place(n, &[n as u16 + 1, (n as u16 + 1) % 4 + 1])).collect();
        let runs = ["run 1: 0/0/0.0 0/1/0.0", "run 2: 0/0/1.0", "run 3: 0/0/2.0", "run 4: 0/0/3.0"];
        t.gives(plan(0, map_reduce(4, 1), places), &runs);
        t.gives(safe(0), &[]);
        t.later(Duration::from_millis(10));
        (0..3).for_each(|n| t.gives(done(&format!("0/0/{n}.0"), n + 1, &[0]), &[]));
        t.later(Duration::from_millis(4));
        t.gives(
            Event::Wake,
            &["copy from 4: 0/0/3.0", "run 1: 0/0/3.1"].map(|line| match line {
                "copy from 4: 0/0/3.0" => "copy from 4: 0/0/3.1",
                other => other,
            }),
        );
        let on = |task: &str| if task.ends_with('1') { 1 } else { 4 };
        let stop = format!("cancel {}: {second}", on(second));
        if first.ends_with('0') {
            t.gives(done(first, on(first), &[0]), &[&stop]);
            t.gives(told("0/1/0.0", 1, 0), &["decided 0", "publish 0 sink 0: 0/1/0.0@1"]);
        } else {
            let orders = ["discard sink 0: 0/1/0.0", "cancel 1: 0/1/0.0", &stop, "run 1: 0/1/0.1"];
            t.gives(done(first, on(first), &[0]), &orders);
        }
    }
}

#[test]
fn a_new_plan_a_stop_and_a_failure_take_back_what_was_sent_ahead() {
    let first = vec![place(0, &[1, 2])];
    let mut t = sent();
    t.gives(done("0/0/0.0", 1, &[0, 1]), &[]);
    t.gives(told("0/1/0.0", 1, 0), &[]);
    let fewer = replan(0, 1, map_reduce(1, 1), first);
    let away = ["discard sink 0: 0/1/0.0", "discard sink 0: 0/1/1.0"];
    let drops = ["drop 1: 0/0/0.0>0 0/0/0.0>1 0/1/0.0>0"];
    let orders = ["cancel 2: 0/0/1.0 0/1/1.0", "run 1: 0/0/0.1 0/1/0.1"];
    t.gives(fewer, &[&away[..], &drops[..], &orders[..]].concat());
    assert_eq!(parts(&t.spec("0/1/0.1")), [["0/0-0.1>0"]]);
    let orders = ["discard sink 0: 0/1/0.1", "cancel 1: 0/0/0.1 0/1/0.1", "stopped"];
    t.gives(Event::Stop, &orders);
}

#[test]
fn an_executor_that_leaves_ends_what_it_was_sent_ahead() {
    let mut t = sent();
    t.gives(Event::ExecutorLeaving { member: node(2) }, &[]);
    t.gives(done("0/0/0.0", 1, &[0, 1]), &[]);
    t.gives(done("0/0/1.0", 2, &[]), &[]);
    t.gives(told("0/1/1.0", 2, 0), &[]);
    t.gives(told("0/1/0.0", 1, 0), &["decided 0", PUBLISH]);
    t.gives(published(0, 0), &["completed 0", "release 0 at [1, 2]", "drained 2"]);
    // From the next batch on nothing is sent there.
    let places = vec![place(0, &[1]), place(1, &[2])];
    t.gives(plan(1, map_reduce(2, 2), places), &["run 1: 1/0/0.0 1/1/0.0", "run 3: 1/0/1.0 1/1/1.0"]);
}

#[test]
fn only_executors_in_good_standing_are_sent_something_ahead_and_with_none_a_batch_goes_stage_by_stage() {
    let mut t = Table::ahead(&[(1, 1), (2, 1)]);
    t.gives(Event::ExecutorSuspected { member: node(1) }, &[]);
    let places = vec![place(0, &[1]), place(1, &[1])];
    t.gives(plan(0, map_reduce(2, 2), places.clone()), &["run 1: 0/0/1.0", "run 2: 0/0/0.0 0/1/0.0 0/1/1.0"]);
    let mut t = Table::ahead(&[(1, 1)]);
    t.gives(Event::ExecutorSuspected { member: node(1) }, &[]);
    t.gives(plan(0, map_reduce(1, 1), places[..1].to_vec()), &["run 1: 0/0/0.0"]);
    t.gives(done("0/0/0.0", 1, &[0]), &["run 1: 0/1/0.0"]);
    assert_eq!(parts(&t.spec("0/1/0.0")), [["0/0/0.0>0@[1]"]]);
}

#[test]
fn maps_that_find_room_later_are_told_whom_to_tell_and_a_batch_with_too_many_readers_goes_stage_by_stage() {
    let mut t = Table::ahead(&[(1, 1)]);
    let places = vec![place(0, &[1]), place(1, &[1])];
    t.gives(plan(0, map_reduce(2, 1), places.clone()), &["run 1: 0/0/0.0 0/1/0.0"]);
    t.gives(Event::ExecutorUp { member: node(2), slots: 1 }, &["run 2: 0/0/1.0"]);
    assert_eq!(routes(&t, 2).len(), 1);
    let limits = crate::scheduler::PreschedulingLimits { route_entries_max: 5 };
    let config = SchedulerConfig { prescheduling: Some(limits), ..SchedulerConfig::default() };
    let mut t = Table::from(config, &[(1, 1)]);
    t.gives(plan(0, map_reduce(1, 1), places[..1].to_vec()), &["run 1: 0/0/0.0 0/1/0.0"]);
    let mut t = Table::from(config, &[(1, 1)]);
    t.gives(plan(0, map_reduce(1, 2), places[..1].to_vec()), &["run 1: 0/0/0.0"]);
}
