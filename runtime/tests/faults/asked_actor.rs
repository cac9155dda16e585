//! Users' supervised actors, asked by tasks with a deadline.

use super::support::{DEADLINE, Log, available_now, config, end, events, failures, published, stop};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};
use tidemill::{
    StreamContext,
    actor::{
        Actor, ActorError, Address, AskError, ChildSpec, ChildState, Context, Handler, Mailbox, Message,
        Shutdown, Start,
    },
    sources::Generator,
};

/// What is the square of this number?
struct Square(u64);

impl Message for Square {
    type Reply = u64;
}

/// Panics on 13 in its first life.
struct Squares {
    lucky: bool,
}

impl Actor for Squares {}

impl Handler<Square> for Squares {
    fn handle(&mut self, Square(n): Square, _ctx: &mut Context<Self>) -> u64 {
        assert!(self.lucky || n != 13, "13 is too much for a first life");
        n * n
    }
}

/// Supervises the actor; says how it is asked, and how often it was started.
fn supervise(context: &StreamContext) -> (Address<Square>, Arc<AtomicU32>) {
    let (mailbox, lives) = (Mailbox::new(), Arc::new(AtomicU32::new(0)));
    let (address, started) = (mailbox.address::<Square>(), lives.clone());
    context.supervise(ChildSpec::with_mailbox("squares", mailbox, move |_: &Start| Squares {
        lucky: started.fetch_add(1, Ordering::SeqCst) > 0,
    }));
    (address, lives)
}

#[test]
fn a_supervised_actor_answers_tasks() {
    let context = StreamContext::with_config(available_now());
    let (squares, lives) = supervise(&context);
    let numbers =
        Generator::new(2, |partition, n| n * 2 + u64::from(partition)).records_per_batch(4).records_total(12);
    let answers = published(&context.generator("numbers", numbers).map_partitions(move |numbers| {
        let squares = squares.clone();
        numbers.map(move |n| squares.ask_blocking(Square(n), DEADLINE).unwrap())
    }));
    end(context.start().unwrap()).unwrap();
    let mut answers = answers.all();
    answers.sort_unstable();
    assert_eq!(answers, (0..12).map(|n| n * n).collect::<Vec<u64>>());
    assert_eq!(lives.load(Ordering::SeqCst), 1);
}

#[test]
fn an_actor_that_panics_is_started_again_and_later_questions_succeed() {
    let context = StreamContext::with_config(available_now());
    let (squares, lives) = supervise(&context);
    let numbers = Generator::new(1, |_, n| n + 10).records_per_batch(1).records_total(6);
    let numbers = context.generator("numbers", numbers);
    numbers.foreach_partition(move |mut numbers, task| {
        numbers
            .try_for_each(|n| task.ask(&squares, Square(n), DEADLINE).map(drop))
            .map_err(|error| error.to_string())
    });
    let (numbers, events) = (published(&numbers), events(&context));
    end(context.start().unwrap()).unwrap();
    assert_eq!(numbers.all(), [10, 11, 12, 13, 14, 15]);
    assert_eq!(lives.load(Ordering::SeqCst), 2);
    let failures = failures(&events.all());
    assert_eq!(
        failures,
        [AskError::Lost.to_string()],
        "the question on which it panicked failed one attempt"
    );
}

/// Has something else to do first, for ever.
struct Busy;

impl Actor for Busy {
    fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), ActorError> {
        ctx.wait(std::future::pending());
        Ok(())
    }
}

impl Handler<Square> for Busy {
    fn handle(&mut self, Square(n): Square, _ctx: &mut Context<Self>) -> u64 {
        n * n
    }
}

#[test]
fn an_actor_that_is_too_slow_gives_timed_out_and_fails_the_task() {
    let context = StreamContext::with_config(available_now());
    let mailbox = Mailbox::new();
    let squares = mailbox.address::<Square>();
    context.supervise(ChildSpec::with_mailbox("busy", mailbox, |_: &Start| Busy).shutdown(Shutdown::Brutal));
    let numbers = Generator::new(1, |_, n| n).records_per_batch(1).records_total(1);
    context.generator("numbers", numbers).foreach_partition(move |mut numbers, task| {
        let patience = Duration::from_millis(50);
        numbers
            .try_for_each(|n| task.ask(&squares, Square(n), patience).map(drop))
            .map_err(|error| error.to_string())
    });
    let events = events(&context);
    let error = end(context.start().unwrap()).expect_err("the pipeline stops").to_string();
    assert!(error.starts_with("batch-0/stage-0/p0 failed 4 times"), "{error}");
    assert!(error.ends_with(&AskError::TimedOut.to_string()), "{error}");
    assert_eq!(failures(&events.all()), vec![AskError::TimedOut.to_string(); 4]);
}

/// Holds its thread until the test lets it go.
struct Holder {
    held: mpsc::SyncSender<()>,
    let_go: mpsc::Receiver<()>,
}

impl Actor for Holder {}

impl Handler<Square> for Holder {
    fn handle(&mut self, Square(n): Square, _ctx: &mut Context<Self>) -> u64 {
        self.held.send(()).unwrap();
        self.let_go.recv_timeout(DEADLINE).unwrap();
        n * n
    }
}

#[test]
fn an_actor_that_holds_its_thread_holds_up_no_batch() {
    let context = StreamContext::with_config(config());
    let (held, is_held) = mpsc::sync_channel(1);
    let (let_go, told) = mpsc::sync_channel(1);
    let (mailbox, mut parts) = (Mailbox::new(), Some((held, told)));
    let squares = mailbox.address::<Square>();
    context.supervise(ChildSpec::with_mailbox("holder", mailbox, move |_: &Start| {
        let (held, let_go) = parts.take().expect("it is not started again");
        Holder { held, let_go }
    }));
    let numbers = published(&context.generator("numbers", Generator::new(1, |_, n| n).records_per_batch(1)));
    let running = context.start().unwrap();
    numbers.wait_until("the first batch", |numbers| !numbers.is_empty());
    let asked = std::thread::spawn(move || squares.ask_blocking(Square(7), DEADLINE));
    is_held.recv_timeout(DEADLINE).unwrap();
    let so_far = numbers.all().len();
    numbers.wait_until("ten more batches", |numbers| numbers.len() >= so_far + 10);
    let tree = running.tree();
    let entry = tree.get("node-0/actors/holder").expect("it is in the tree");
    assert_eq!((entry.state, entry.restarts), (ChildState::Running, 0));
    let_go.send(()).unwrap();
    assert_eq!(asked.join().unwrap(), Ok(49));
    stop(running).unwrap();
}

#[test]
fn actors_that_fail_too_often_take_their_supervisor_along_and_it_is_started_again() {
    let context = StreamContext::with_config(config());
    let (mailbox, lives) = (Mailbox::new(), Log::new());
    let (squares, started) = (mailbox.address::<Square>(), lives.clone());
    context.supervise(ChildSpec::with_mailbox("squares", mailbox, move |_: &Start| {
        started.extend([()]);
        assert!(started.all().len() > 11, "eleven lives are over before they begin");
        Squares { lucky: true }
    }));
    published(&context.generator("numbers", Generator::new(1, |_, n| n).records_per_batch(1)));
    let running = context.start().unwrap();
    // Between two lives of its supervisor nobody reads the mailbox, and questions are refused.
    lives.wait_until("the twelfth life", |lives| lives.len() == 12);
    assert_eq!(squares.ask_blocking(Square(9), DEADLINE), Ok(81));
    let restarts = running.tree().get("node-0/actors").expect("it is in the tree").restarts;
    assert!(restarts >= 1, "its supervisor was started again");
    stop(running).unwrap();
}
