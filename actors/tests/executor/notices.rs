//! Tasks that were sent before their inputs were there, and what executors tell each other, by hand-written tables.

use crate::desk::*;
use std::sync::Arc;
use tidemill_actors::{
    executor::{Action, Counted, Event, ExecutorConfig, TaskEnd},
    transport::Noticed,
};
use tidemill_protocol::{
    id::{Attempt, BatchNumber, Epoch, Incarnation, Member, NodeId, PartitionId, ProgramId, StageId, TaskId},
    message::{InputPart, Notice, OutputInfo, Route, StageRead, TaskOutcome, TaskSpec, ToDriver},
};

const THIRD: Member = Member { node: NodeId(3), incarnation: Incarnation(0) };

/// A reducer of partition 4 of stage 0, which has so many tasks; besides it reads what `ME` holds.
fn reader(batch: u64, writers: u32) -> Arc<TaskSpec> {
    let id = task(batch, 1, 4);
    let (stage, partition, attempt) = (StageId(0), PartitionId(4), Attempt(0));
    let shuffle = InputPart::Shuffle { stage, partition, writers, attempt };
    let own = InputPart::Held { key: output(task(batch, 9, 4), 0), holders: vec![ME] };
    Arc::new(TaskSpec { task: id, inputs: vec![vec![shuffle], vec![own]] })
}

/// The same with names: by writer, who holds it.
fn named(batch: u64, held: &[(u32, &[Member])]) -> Arc<TaskSpec> {
    let part = |(writer, holders): &(u32, &[Member])| InputPart::Held {
        key: output(task(batch, 0, *writer), 4),
        holders: holders.to_vec(),
    };
    let shuffle = held.iter().map(part).collect();
    let reader = reader(batch, 0);
    Arc::new(TaskSpec { task: reader.task, inputs: vec![shuffle, reader.inputs[1].clone()] })
}

fn order(tasks: Vec<Arc<TaskSpec>>, routes: Vec<Arc<Route>>) -> Event {
    Event::Run { facts: facts(tasks[0].task.key.batch.0), tasks, routes }
}

fn info(partition: u32, bytes: u64) -> OutputInfo {
    OutputInfo { partition: PartitionId(partition), rows: u64::from(bytes > 0), bytes }
}

/// `from` tells of a writer's attempt, whose output for partition 4 is empty, elsewhere, or came with it.
fn notice(id: TaskId, from: Member, full: bool, came: bool) -> Noticed {
    let outputs = if full { vec![info(4, 16)] } else { vec![] };
    let notice = Notice { epoch: Epoch(1), from, to: ME, task: id, outputs, brought: vec![] };
    Noticed { notice, kept: if came { vec![PartitionId(4)] } else { vec![] } }
}

fn tells(id: TaskId, from: Member) -> Event {
    Event::Noticed(notice(id, from, true, false))
}

fn start_of(slot: u16, spec: &Arc<TaskSpec>) -> Action {
    let facts = facts(spec.task.key.batch.0);
    Action::Start { slot: tidemill_actors::executor::SlotIndex(slot), facts, spec: spec.clone() }
}

fn lost(batch: u64, reader: Member) -> Vec<Action> {
    vec![Action::TellDriver(ToDriver::NoticeLost { batch: BatchNumber(batch), reader })]
}

#[test]
fn a_task_that_waits_for_notices_holds_no_slot_and_begins_with_the_last_of_them() {
    let mut desk = Desk::new(1);
    let (near, full) = (task(2, 0, 0), |n| tells(task(1, 0, n), OTHER));
    assert_eq!(desk.on(order(vec![reader(1, 3)], vec![])), []);
    assert_eq!(desk.on(run(&[(near, ME)])), [start(0, near, ME)], "the slot is free for a later batch");
    assert_eq!(desk.on(full(2)), []);
    assert_eq!(desk.on(full(2)), [], "told twice");
    assert_eq!(desk.on(Event::Noticed(notice(task(1, 0, 1), THIRD, false, false))), []);
    // In the order of the writers, without the empty one, whoever came first.
    let spec = named(1, &[(0, &[THIRD]), (2, &[OTHER])]);
    assert_eq!(desk.on(tells(task(1, 0, 0), THIRD)), [Action::Fetch { spec: spec.clone() }]);
    assert_eq!(desk.on(free(0, near, done())), tell_done(near));
    assert_eq!(desk.on(Event::InputsReady { task: spec.task }), [start_of(0, &spec)]);
    let TaskEnd::Done { outputs, rows_in, run_ns, prepared } = done() else { unreachable!("done is Done") };
    let read = vec![output(task(1, 9, 4), 0)];
    let read_stages = vec![StageRead { stage: StageId(0), attempt: Attempt(0) }];
    let outcome =
        TaskOutcome { task: spec.task, holder: ME, outputs, rows_in, run_ns, read, read_stages, prepared };
    let told = Action::TellDriver(ToDriver::TaskDone(Arc::new(outcome)));
    assert_eq!(desk.on(free(0, spec.task, done())), [Action::Count(Counted::Done { run_ns: 900 }), told]);
}

#[test]
fn what_came_with_its_notice_needs_no_fetch_and_is_looked_for_here_first() {
    let mut desk = Desk::new(1);
    desk.on(order(vec![reader(1, 2)], vec![]));
    desk.on(Event::Noticed(notice(task(1, 0, 0), OTHER, true, true)));
    let spec = named(1, &[(0, &[ME, OTHER]), (1, &[ME, THIRD])]);
    let last = Event::Noticed(notice(task(1, 0, 1), THIRD, true, true));
    assert_eq!(desk.on(last), [start_of(0, &spec)]);
}

#[test]
fn notices_may_overtake_their_run_and_other_attempts_and_batches_are_not_meant() {
    let mut desk = Desk::new(1);
    let mut copy = task(1, 0, 0);
    copy.attempt = Attempt(1);
    for other in [copy, task(2, 0, 0), task(1, 2, 0)] {
        desk.on(tells(other, OTHER));
    }
    assert_eq!(desk.on(tells(task(1, 0, 1), THIRD)), []);
    assert_eq!(desk.on(order(vec![reader(1, 2)], vec![])), []);
    let spec = named(1, &[(0, &[OTHER]), (1, &[THIRD])]);
    assert_eq!(desk.on(tells(task(1, 0, 0), OTHER)), [Action::Fetch { spec }]);
    let spec = named(2, &[(0, &[OTHER])]);
    assert_eq!(desk.on(order(vec![reader(2, 1)], vec![])), [Action::Fetch { spec }], "all was told before");
}

#[test]
fn a_notice_of_an_earlier_driver_or_for_another_life_is_refused() {
    let mut desk = Desk::new(1);
    desk.on(order(vec![reader(1, 1)], vec![]));
    let mut noticed = notice(task(1, 0, 0), OTHER, true, false);
    noticed.notice.to.incarnation = Incarnation(9);
    assert_eq!(desk.on(Event::Noticed(noticed.clone())), [Action::Count(Counted::Refused)]);
    noticed.notice.to = ME;
    noticed.notice.epoch = Epoch(0);
    assert_eq!(desk.on(Event::Noticed(noticed.clone())), [Action::Count(Counted::Refused)]);
    // One of a later driver is kept for that driver's tasks.
    noticed.notice.epoch = Epoch(2);
    assert_eq!(desk.on(Event::Noticed(noticed)), []);
    let forgotten = [Action::Forget { task: task(1, 1, 4) }, Action::Count(Counted::Cancelled)];
    assert_eq!(desk.on(Event::Welcome { epoch: Epoch(2) }), forgotten);
    let Event::Run { mut facts, tasks, routes } = order(vec![reader(1, 1)], vec![]) else { unreachable!() };
    facts.epoch = Epoch(2);
    let spec = named(1, &[(0, &[OTHER])]);
    assert_eq!(desk.on(Event::Run { facts, tasks, routes }), [Action::Fetch { spec }]);
}

#[test]
fn names_from_the_driver_end_the_waiting_and_mean_nothing_to_others() {
    let mut desk = Desk::new(1);
    let spec = named(1, &[(0, &[OTHER]), (1, &[THIRD])]);
    let names = || Event::NameInputs { tasks: vec![spec.clone()] };
    assert_eq!(desk.on(names()), [], "it is not here");
    desk.on(order(vec![reader(1, 2)], vec![]));
    desk.on(tells(task(1, 0, 0), OTHER));
    assert_eq!(desk.on(names()), [Action::Fetch { spec: spec.clone() }]);
    assert_eq!(desk.on(names()), [], "it has begun");
    assert_eq!(desk.on(tells(task(1, 0, 1), THIRD)), [], "it waits no more");
    desk.on(Event::InputsReady { task: spec.task });
    let ended = desk.on(free(0, spec.task, done()));
    let Some(Action::TellDriver(ToDriver::TaskDone(outcome))) = ended.last() else { panic!("{ended:?}") };
    assert_eq!(outcome.read.len(), 3, "what was named is named in the outcome");
    assert!(outcome.read_stages.is_empty());
}

#[test]
fn a_task_that_waits_is_cancelled_without_a_trace_and_an_executor_that_leaves_waits_for_none() {
    let mut desk = Desk::new(1);
    let id = reader(1, 1).task;
    desk.on(order(vec![reader(1, 1)], vec![]));
    let gone = [Action::Forget { task: id }, Action::Count(Counted::Cancelled)];
    assert_eq!(desk.on(Event::Cancel { tasks: vec![id] }), gone);
    assert_eq!(desk.on(tells(task(1, 0, 0), OTHER)), []);
    assert_eq!(desk.on(order(vec![reader(1, 1)], vec![])), [], "it was cancelled");
    desk.on(order(vec![reader(2, 1)], vec![]));
    let left = desk.on(Event::Shutdown);
    assert_eq!(left.last(), Some(&Action::Leave), "{left:?}");
    assert_eq!(desk.on(tells(task(2, 0, 0), OTHER)), [Action::Count(Counted::Refused)]);
}

#[test]
fn a_task_that_ends_is_told_to_its_readers_each_of_its_own_partitions_and_small_ones_are_brought() {
    let config = ExecutorConfig { notice_bytes_max: 100, ..ExecutorConfig::new(ME, ProgramId(7), 2) };
    let mut desk = Desk::with(config);
    let lives = |members: &[Member]| members.iter().map(|m| (m.node, m.incarnation)).collect();
    let partitions =
        [(0, 0), (1, 1), (2, 0), (3, 2), (4, 1), (4, 0)].map(|(p, reader)| (PartitionId(p), reader));
    let route = Arc::new(Route {
        stage: StageId(0),
        attempt: Attempt(0),
        readers: lives(&[OTHER, ME, THIRD]),
        partitions: partitions.to_vec(),
    });
    let mut copy = spec(task(1, 0, 1), ME).as_ref().clone();
    copy.task.attempt = Attempt(1);
    let copy = Arc::new(copy);
    let writer = spec(task(1, 0, 0), ME);
    desk.on(order(vec![writer.clone(), copy.clone(), reader(1, 1)], vec![route]));
    let outputs = vec![info(4, 40), info(0, 50), info(1, 60), info(2, 30), info(3, 0)];
    let end = || TaskEnd::Done { outputs: outputs.clone(), rows_in: 5, run_ns: 900, prepared: Vec::new() };
    let told = desk.on(free(0, writer.task, end()));
    let tell = |to, outputs, bring: &[u32]| Action::Notify {
        notice: Notice { epoch: Epoch(1), from: ME, to, task: writer.task, outputs, brought: vec![] },
        bring: bring.iter().map(|p| PartitionId(*p)).collect(),
    };
    let reads = [tell(OTHER, vec![info(0, 50), info(2, 30), info(4, 40)], &[0, 2]), tell(THIRD, vec![], &[])];
    assert_eq!([&told[1], &told[2]], [&reads[0], &reads[1]]);
    // The reader here was told without a message.
    assert_eq!(told.last(), Some(&start_of(0, &named(1, &[(0, &[ME])]))), "{told:?}");
    let copied = desk.on(free(1, copy.task, end()));
    assert!(!copied.iter().any(|action| matches!(action, Action::Notify { .. })), "{copied:?}");
}

#[test]
fn with_a_transport_by_reference_nothing_is_brought() {
    let config = ExecutorConfig { inputs_immediate: true, ..ExecutorConfig::new(ME, ProgramId(7), 1) };
    let mut desk = Desk::with(config);
    let readers = vec![(OTHER.node, OTHER.incarnation)];
    let partitions = vec![(PartitionId(4), 0)];
    let route = Arc::new(Route { stage: StageId(0), attempt: Attempt(0), readers, partitions });
    let writer = spec(task(1, 0, 0), ME);
    desk.on(order(vec![writer.clone()], vec![route]));
    let told = desk.on(free(0, writer.task, done()));
    assert!(matches!(&told[1], Action::Notify { bring, .. } if bring.is_empty()), "{told:?}");
    let spec = named(2, &[(0, &[OTHER])]);
    let run = order(vec![reader(2, 1)], vec![]);
    desk.on(run);
    assert_eq!(desk.on(tells(task(2, 0, 0), OTHER)), [start_of(0, &spec)]);
}

#[test]
fn what_cannot_be_told_or_kept_is_told_to_the_driver_until_its_batch_is_released() {
    let config = ExecutorConfig { notices_max: 3, ..ExecutorConfig::new(ME, ProgramId(7), 1) };
    let mut desk = Desk::with(config);
    let undelivered = Event::NoticeUndelivered { batch: BatchNumber(1), to: OTHER };
    assert_eq!(desk.on(undelivered), lost(1, OTHER));
    assert_eq!(desk.on(tells(task(1, 0, 0), OTHER)), []);
    assert_eq!(desk.on(tells(task(1, 0, 1), OTHER)), lost(1, ME), "two and two are more than three");
    assert_eq!(desk.on(Event::Noticed(notice(task(2, 0, 0), OTHER, false, false))), []);
    let released = Event::ReleaseOutputs { up_to: BatchNumber(1) };
    assert_eq!(desk.on(released), [Action::ReleaseOutputs { up_to: BatchNumber(1) }]);
    assert_eq!(desk.on(tells(task(1, 0, 2), OTHER)), [], "of a released batch nothing is kept");
    assert_eq!(desk.on(tells(task(2, 0, 1), OTHER)), [], "there is room again");
    assert_eq!(desk.on(tells(task(2, 0, 2), OTHER)), lost(2, ME));
}

#[test]
fn a_notice_of_a_writer_that_does_not_exist_completes_nothing() {
    let mut desk = Desk::new(1);
    assert_eq!(desk.on(order(vec![reader(1, 2)], vec![])), []);
    assert_eq!(desk.on(tells(task(1, 0, 0), OTHER)), []);
    assert_eq!(desk.on(tells(task(1, 0, 2), OTHER)), [], "the writers are 0 and 1");
    let spec = named(1, &[(0, &[OTHER]), (1, &[THIRD])]);
    assert_eq!(desk.on(tells(task(1, 0, 1), THIRD)), [Action::Fetch { spec }]);
}
