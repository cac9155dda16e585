//! The performer against fakes: which word goes to whom, and how publication ends.

use super::super::{
    BatchTimings, FetchPrepared, Followers, Misconduct, Outbox, PreparedPart, SchedulerPerformer,
    TellExecutors, messages::TellScheduler,
};
use super::*;
use crate::{
    core::Perform,
    seam::{Held, PublishError, Published, SinkHost},
    transport::FetchError,
};
use futures_util::{FutureExt, future::BoxFuture};
use std::sync::Mutex;
use tidemill_protocol::{
    message::ToExecutor,
    world::{Spawner, SpawnerSource},
};

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, text: String) {
        self.0.lock().expect("no test panics while it holds the notes").push(text);
    }
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no test panics while it holds the notes"))
    }
}

impl TellExecutors for Notes {
    fn tell(&self, to: Member, message: ToExecutor) {
        self.note(format!("{} {message:?}", to.node.0));
    }
}

impl Followers for Notes {
    fn decided(&self, batch: BatchNumber) {
        self.note(format!("decided {}", batch.0));
    }
    fn completed(&self, timings: &BatchTimings) {
        self.note(format!("completed {}", timings.batch.0));
    }
    fn released(&self, batch: BatchNumber) {
        self.note(format!("released {}", batch.0));
    }
    fn tasks_lost(&self, batch: BatchNumber, member: Member, tasks: &[TaskKey]) {
        self.note(format!("lost {} {} {}", batch.0, member.node.0, tasks.len()));
    }
    fn attempt_failed(&self, task: TaskId, on: Member, message: String) {
        self.note(format!("{} failed on {}: {message}", show(task), on.node.0));
    }
    fn copied(&self, task: TaskId, slow: Member) {
        self.note(format!("copied {} from {}", show(task), slow.node.0));
    }
    fn excluded(&self, member: Member, time: Duration, why: Misconduct) {
        self.note(format!("excluded {} {time:?} {why:?}", member.node.0));
    }
    fn failed(&self, batch: BatchNumber, text: &str) {
        self.note(format!("failed {} {text}", batch.0));
    }
    fn drained(&self, member: Member) {
        self.note(format!("drained {}", member.node.0));
    }
    fn stopped(&self) {
        self.note("stopped".to_owned());
    }
}

impl FetchPrepared for Notes {
    fn fetch(&self, key: DataKey, holder: Member) -> BoxFuture<'static, Result<Held, FetchError>> {
        self.note(format!("fetch {} from {}", show_key(&key), holder.node.0));
        let held = match holder.node.0 {
            9 => Err(FetchError::NotHere { from: holder, key }),
            7 => return async { panic!("no such month") }.boxed(),
            8 => Err(FetchError::Unsendable { from: holder, key, reason: "too long".to_owned() }),
            _ => Ok(Held::default()),
        };
        async move { held }.boxed()
    }
}

impl SinkHost for Notes {
    fn publish(&self, published: Published) -> BoxFuture<'static, Result<(), PublishError>> {
        let tasks: Vec<String> = published.partitions.iter().map(|(task, _)| show(*task)).collect();
        self.note(format!("publish {} to {}: {}", published.batch.0, published.sink.0, tasks.join(" ")));
        let answer = if published.sink.0 == 5 { Err(PublishError("full".into())) } else { Ok(()) };
        async move { answer }.boxed()
    }
    fn discard(&self, run: RunId, sink: SinkId, task: TaskId) {
        assert_eq!(run, RunId(4));
        self.note(format!("discard {} {}", sink.0, show(task)));
    }
}

impl TellScheduler for Notes {
    fn tell(&self, event: Event) {
        self.note(format!("{event:?}"));
    }
}

/// Runs work to its end at once: nothing here waits.
struct AtOnce;

impl SpawnerSource for AtOnce {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        work.now_or_never().expect("the fakes never wait");
    }
    fn blocking(&self, work: tidemill_protocol::world::Job) -> BoxFuture<'static, ()> {
        work();
        async {}.boxed()
    }
    fn slot(&self, name: String) -> Box<dyn tidemill_protocol::world::SlotThread> {
        panic!("the scheduler needs no slot {name}")
    }
}

#[track_caller]
fn check(action: Action, expected: &[&str]) {
    check_turn(vec![action], expected);
}

/// What comes of these actions of one turn.
#[track_caller]
fn check_turn(actions: Vec<Action>, expected: &[&str]) {
    let notes = Notes::default();
    let mut performer = performer(&notes);
    actions.into_iter().for_each(|action| performer.carry_out(action, &notes));
    Perform::<Scheduler>::end_turn(&mut performer);
    assert_eq!(notes.take(), expected);
}

fn performer(notes: &Notes) -> SchedulerPerformer<Notes, Notes> {
    SchedulerPerformer {
        executors: notes.clone(),
        followers: notes.clone(),
        prepared: Arc::new(notes.clone()),
        sinks: Arc::new(notes.clone()),
        run: RunId(4),
        spawner: Spawner::new(AtOnce),
        outbox: Outbox::default(),
    }
}

fn publish(sink: u16, parts: Vec<PreparedPart>) -> Action {
    Action::Publish { batch: BatchNumber(3), time: BatchTime(1), sink: SinkId(sink), parts }
}

fn part(task: &str, on: u16, has_rows: bool) -> PreparedPart {
    PreparedPart { task: id(task), holder: node(on), has_rows }
}

#[test]
fn what_has_rows_is_fetched_and_all_is_published_in_order() {
    let parts = vec![part("3/0/0.0", 1, true), part("3/0/1.0", 2, false)];
    let answer = "Published { batch: BatchNumber(3), sink: SinkId(0), result: Ok(()) }";
    check(publish(0, parts), &["fetch 3/0/0.0>0 from 1", "publish 3 to 0: 3/0/0.0 3/0/1.0", answer]);
}

#[test]
fn what_cannot_be_fetched_is_reported_and_nothing_is_published() {
    let answer = format!("{:?}", not_published(3, 0, PublishFailure::Missing(output("3/0/0.0", 0))));
    check(publish(0, vec![part("3/0/0.0", 9, true)]), &["fetch 3/0/0.0>0 from 9", &answer]);
}

#[test]
fn what_cannot_be_sent_is_reported_with_its_words_and_not_made_again() {
    let text = "output batch-3/stage-0/p0/a0→p0 cannot be sent by node-8.i1: too long".to_owned();
    let answer = format!("{:?}", not_published(3, 0, PublishFailure::Unreadable(text)));
    check(publish(0, vec![part("3/0/0.0", 8, true)]), &["fetch 3/0/0.0>0 from 8", &answer]);
}

#[test]
fn a_record_that_panics_where_it_is_read_is_reported_with_its_words() {
    let notes = Notes::default();
    performer(&notes).carry_out(publish(0, vec![part("3/0/0.0", 7, true)]), &notes);
    let said = notes.take();
    assert_eq!(said[0], "fetch 3/0/0.0>0 from 7");
    assert!(said[1].contains("Unreadable(\"a record that was read panicked: no such month"), "{said:?}");
    assert_eq!(said.len(), 2, "the batch is told of, and no sink is given anything");
}

#[test]
fn a_refusal_is_reported_with_its_words() {
    let answer = format!("{:?}", not_published(3, 5, PublishFailure::Refused("full".into())));
    check(publish(5, vec![]), &["publish 3 to 5: ", &answer]);
}

#[test]
fn a_release_goes_to_every_executor_and_to_the_followers() {
    let release = Action::Release { batch: BatchNumber(3), members: vec![node(1), node(2)] };
    let word = "ReleaseOutputs { up_to: BatchNumber(3) }";
    check(release, &["released 3", &format!("1 {word}"), &format!("2 {word}")]);
}

#[test]
fn each_word_goes_to_its_addressee() {
    check(Action::Cancel { member: node(2), tasks: vec![] }, &["2 Cancel { tasks: [] }"]);
    check(Action::Drop { member: node(2), keys: vec![] }, &["2 Drop { keys: [] }"]);
    check(Action::Decided { batch: BatchNumber(3) }, &["decided 3"]);
    check(Action::Discard { sink: SinkId(1), task: id("3/0/0.0") }, &["discard 1 3/0/0.0"]);
    check(Action::PipelineFailed { batch: BatchNumber(3), text: "so".into() }, &["failed 3 so"]);
    check(Action::TasksLost { batch: BatchNumber(3), member: node(1), tasks: vec![] }, &["lost 3 1 0"]);
    let (task, message) = (id("3/0/0.0"), "so".into());
    check(Action::AttemptFailed { task, on: node(1), message }, &["3/0/0.0 failed on 1: so"]);
    check(Action::Stopped, &["stopped"]);
}

/// The messages of a turn in which the scheduler is told this: for each its addressee, and the orders in it.
fn turn(scheduler: &mut Scheduler, events: Vec<Event>) -> Vec<String> {
    let (notes, mut actions) = (Notes::default(), Vec::new());
    let mut performer = performer(&notes);
    for event in events {
        scheduler.on_event(Time(1), event, &mut actions);
        actions.drain(..).for_each(|action| performer.carry_out(action, &notes));
    }
    assert_eq!(notes.take(), [""; 0], "nothing is sent before the end of the turn");
    let words = |order: &ToExecutor| match order {
        ToExecutor::Run { facts, tasks, .. } => {
            let tasks: Vec<String> = tasks.iter().map(|spec| show(spec.task)).collect();
            format!("run {}: {}", facts.batch.0, tasks.join(" "))
        }
        ToExecutor::ReleaseOutputs { up_to } => format!("release {}", up_to.0),
        other => format!("{other:?}"),
    };
    let message = |(member, message): (Member, ToExecutor)| {
        let orders = match &message {
            ToExecutor::Group { orders } => orders.iter().map(words).collect::<Vec<_>>().join(", "),
            order => words(order),
        };
        format!("{}: {orders}", member.node.0)
    };
    performer.outbox.take().map(message).collect()
}

#[test]
fn batches_that_are_handed_over_in_one_turn_share_one_message_for_each_executor() {
    let config = SchedulerConfig { queue_per_slot: 0, ..SchedulerConfig::default() };
    let mut scheduler = Scheduler::new(config);
    let up = |n: u16, slots: u16| Event::ExecutorUp { member: node(n), slots };
    turn(&mut scheduler, vec![up(1, 2), up(2, 1)]);
    let places = || vec![place(0, &[1]), place(1, &[1])];
    let plans =
        vec![plan(0, map_reduce(2, 2), places()), safe(0), plan(1, map_reduce(1, 2), vec![place(0, &[2])])];
    let told = turn(&mut scheduler, plans);
    let expected =
        ["1: run 0: 0/0/0.0 0/0/1.0 0/1/0.0, run 1: 1/1/1.0", "2: run 0: 0/1/1.0, run 1: 1/0/0.0 1/1/0.0"];
    assert_eq!(told, expected);
    // Batches that waited for an executor travel together as well, though one event sends them.
    let mut scheduler = Scheduler::new(config);
    turn(&mut scheduler, (0..3).map(|n| plan(n, maps_only(1), vec![place(0, &[1])])).collect());
    let told = turn(&mut scheduler, vec![up(1, 3)]);
    assert_eq!(told, ["1: run 0: 0/0/0.0, run 1: 1/0/0.0, run 2: 2/0/0.0"]);
    // What it is told of earlier batches goes before the tasks of later ones.
    let mut end: Vec<Event> = (0..3).map(safe).collect();
    end.extend((0..3).map(|n| done(&format!("{n}/0/0.0"), 1, &[])));
    let (notes, mut actions) = (Notes::default(), Vec::new());
    for event in end.into_iter().chain((0..3).map(|n| published(n, 0))) {
        scheduler.on_event(Time(2), event, &mut actions);
    }
    let mut silent = performer(&notes);
    actions.into_iter().for_each(|action| silent.carry_out(action, &notes));
    assert_eq!(silent.outbox.take().count(), 0, "what is small waits for the next tasks");
    let told = turn(&mut scheduler, vec![plan(3, maps_only(1), vec![place(0, &[1])])]);
    assert_eq!(told, ["1: release 2, run 3: 3/0/0.0"]);
}
