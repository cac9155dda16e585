//! When executors are told that batches are over: by hand.

use super::*;

/// Two executors of two slots, stage by stage.
fn table() -> Table {
    let config = SchedulerConfig { prescheduling: None, ..SchedulerConfig::default() };
    Table::from(config, &[(1, 2), (2, 2)])
}

/// An outcome with this much for partition 0.
fn heavy(task: &str, on: u16, bytes: u64) -> Event {
    let Event::TaskDone(mut outcome) = done(task, on, &[0]) else { panic!("it is done") };
    Arc::make_mut(&mut outcome).outputs[0].bytes = bytes;
    Event::TaskDone(outcome)
}

/// A batch of a task on each executor that leaves so many bytes there, up to its publication.
fn run(t: &mut Table, batch: u64, bytes: [u64; 2], launch: &[&str]) {
    let places = vec![place(0, &[1]), place(1, &[2])];
    t.gives(plan(batch, maps_only(2), places), launch);
    end(t, batch, bytes);
}

fn end(t: &mut Table, batch: u64, bytes: [u64; 2]) {
    t.gives(safe(batch), &[]);
    let (one, two) = (format!("{batch}/0/0.0"), format!("{batch}/0/1.0"));
    t.gives(heavy(&one, 1, bytes[0]), &[]);
    let publish = format!("publish {batch} sink 0: {one}@1 {two}@2");
    t.gives(heavy(&two, 2, bytes[1]), &[&format!("decided {batch}"), &publish]);
}

/// Without copies, which have deadlines of their own.
fn calm() -> Table {
    let config = SchedulerConfig { prescheduling: None, speculation: None, ..SchedulerConfig::default() };
    Table::from(config, &[(1, 2), (2, 2)])
}

#[test]
fn small_outputs_are_released_with_the_next_tasks_or_after_a_second() {
    let mut t = calm();
    run(&mut t, 0, [8, 8], &["run 1: 0/0/0.0", "run 2: 0/0/1.0"]);
    t.gives(published(0, 0), &["completed 0", "release 0 at []"]);
    assert_eq!(t.wakes_in(), Some(Duration::from_secs(1)));
    t.later(Duration::from_millis(400));
    let sent = ["release up to 0 at 1", "run 1: 1/0/0.0"];
    t.gives(plan(1, maps_only(1), vec![place(0, &[1])]), &sent);
    t.gives(done("1/0/0.0", 1, &[0]), &[]);
    t.gives(safe(1), &["decided 1", "publish 1 sink 0: 1/0/0.0@1"]);
    t.gives(published(1, 0), &["completed 1", "release 1 at []"]);
    assert_eq!(t.wakes_in(), Some(Duration::from_millis(600)));
    t.later(Duration::from_millis(599));
    t.gives(Event::Wake, &[]);
    t.later(Duration::from_millis(1));
    t.gives(Event::Wake, &["release up to 0 at 2"]);
    assert_eq!(t.wakes_in(), Some(Duration::from_millis(400)));
    t.later(Duration::from_millis(400));
    t.gives(Event::Wake, &["release up to 1 at 1"]);
    assert_eq!(t.wakes_in(), None);
}

#[test]
fn who_holds_much_is_told_at_once() {
    let mut t = table();
    run(&mut t, 0, [65_537, 65_536], &["run 1: 0/0/0.0", "run 2: 0/0/1.0"]);
    t.gives(published(0, 0), &["completed 0", "release 0 at [1]"]);
    // Nothing more is owed to it, and the other one is told with its tasks.
    let sent = ["run 1: 1/0/0.0", "release up to 0 at 2", "run 2: 1/0/1.0"];
    run(&mut t, 1, [8, 8], &sent);
}

#[test]
fn what_notices_brought_to_a_reader_counts_as_held_there() {
    let mut t = Table::from(SchedulerConfig::default(), &[(1, 1), (2, 1)]);
    let runs = ["run 1: 0/0/0.0 0/1/0.0", "run 2: 0/1/1.0"];
    t.gives(plan(0, map_reduce(1, 2), vec![place(0, &[1])]), &runs);
    t.gives(safe(0), &[]);
    let Event::TaskDone(mut map) = done("0/0/0.0", 1, &[0, 1]) else { panic!("it is done") };
    let outputs = &mut Arc::make_mut(&mut map).outputs;
    (outputs[0].bytes, outputs[1].bytes) = (10, 65_537);
    t.gives(Event::TaskDone(map), &[]);
    t.gives(done("0/1/0.0", 1, &[]), &[]);
    t.gives(done("0/1/1.0", 2, &[]), &["decided 0", "publish 0 sink 0: 0/1/0.0 0/1/1.0"]);
    t.gives(published(0, 0), &["completed 0", "release 0 at [1, 2]"]);
}

#[test]
fn what_an_executor_claims_of_its_outputs_is_only_added_up() {
    let mut t = Table::from(SchedulerConfig::default(), &[(1, 1), (2, 1)]);
    let runs = ["run 1: 0/0/0.0 0/1/0.0", "run 2: 0/1/1.0"];
    t.gives(plan(0, map_reduce(1, 2), vec![place(0, &[1])]), &runs);
    t.gives(safe(0), &[]);
    // Partition 1 twice, and one that no reader has.
    let Event::TaskDone(mut map) = done("0/0/0.0", 1, &[0, 1, 1, u32::MAX]) else { panic!("it is done") };
    Arc::make_mut(&mut map).outputs.iter_mut().for_each(|output| output.bytes = u64::MAX);
    t.gives(Event::TaskDone(map), &[]);
    t.gives(done("0/1/0.0", 1, &[]), &[]);
    t.gives(done("0/1/1.0", 2, &[]), &["decided 0", "publish 0 sink 0: 0/1/0.0 0/1/1.0"]);
    t.gives(published(0, 0), &["completed 0", "release 0 at [1, 2]"]);
}

#[test]
fn what_several_batches_leave_adds_up() {
    let mut t = table();
    let places = || vec![place(0, &[1]), place(1, &[2])];
    t.gives(plan(0, maps_only(2), places()), &["run 1: 0/0/0.0", "run 2: 0/0/1.0"]);
    t.gives(plan(1, maps_only(2), places()), &["run 1: 1/0/0.0", "run 2: 1/0/1.0"]);
    end(&mut t, 0, [40_000, 8]);
    t.gives(published(0, 0), &["completed 0", "release 0 at []"]);
    end(&mut t, 1, [40_000, 8]);
    t.gives(published(1, 0), &["completed 1", "release 1 at [1]"]);
    t.later(Duration::from_secs(1));
    t.gives(Event::Wake, &["release up to 1 at 2"]);
}

#[test]
fn only_who_was_sent_something_is_told_and_a_dead_one_is_not() {
    let mut t = table();
    t.gives(plan(0, maps_only(1), vec![place(0, &[1])]), &["run 1: 0/0/0.0"]);
    t.gives(safe(0), &[]);
    t.gives(done("0/0/0.0", 1, &[0]), &["decided 0", "publish 0 sink 0: 0/0/0.0@1"]);
    t.gives(published(0, 0), &["completed 0", "release 0 at []"]);
    t.gives(down(1), &[]);
    t.later(Duration::from_secs(1));
    t.gives(Event::Wake, &[]);
    t.gives(plan(1, maps_only(1), vec![place(0, &[2])]), &["run 2: 1/0/0.0"]);
}
