//! The shell around a core: timer, order of actions, flight recorder, restarts.

mod support;

use std::sync::{Arc, Mutex};
use support::{PLENTY, in_virtual_time, ms, steady};
use tidemill_actors::{
    core::{Core, Perform},
    shell::{EVENTS_CAPACITY, FLIGHT_RECORDS, Shell, ShellAddress, ShellInbox, replay},
    supervision::{Exit, Strategy, Supervisor, SupervisorHandle, SupervisorSpec},
};
use tidemill_protocol::{
    time::Time,
    world::{SeededRng, World},
};

/// Counts what it hears and rings `period_ms` after the last word; `0` is a bomb.
struct Echo {
    heard: u64,
    ring_at: Option<Time>,
    rng: SeededRng,
    obeys: bool,
}

#[derive(Clone, Debug)]
enum Event {
    Word(u64),
    Wake,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Say { word: u64, heard: u64, draw: u64 },
    Ring(Time),
}

impl Core for Echo {
    type Event = Event;
    type Action = Action;
    const NAME: &'static str = "echo";

    fn on_event(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Word(0) => panic!("a bomb after {} words", self.heard),
            Event::Word(word) => {
                self.heard += 1;
                let draw = self.rng.range(0, 1_000);
                out.extend([1, 2].map(|_| Action::Say { word, heard: self.heard, draw }));
                self.ring_at = Some(now + ms(word));
            }
            Event::Wake if self.ring_at.is_some_and(|at| at <= now) => {
                if self.obeys {
                    self.ring_at = None;
                }
                out.push(Action::Ring(now));
            }
            Event::Wake => {}
        }
    }
    fn wake() -> Event {
        Event::Wake
    }
    fn next_deadline(&self) -> Option<Time> {
        self.ring_at
    }
}

fn echo() -> Echo {
    Echo { heard: 0, ring_at: None, rng: SeededRng::new(5), obeys: true }
}

#[derive(Clone, Default)]
struct Performed(Arc<Mutex<Vec<Action>>>);

impl Perform<Echo> for Performed {
    fn perform(&mut self, action: Action, _: &ShellAddress<Echo>) {
        self.0.lock().unwrap().push(action);
    }
}

impl Performed {
    fn rings(&self) -> Vec<u64> {
        let ring = |action: &Action| {
            if let Action::Ring(at) = action { Some(at.0 / 1_000_000) } else { None }
        };
        self.0.lock().unwrap().iter().filter_map(ring).collect()
    }
}

fn start(world: &World, inbox: ShellInbox<Echo>, performed: &Performed, obeys: bool) -> SupervisorHandle {
    let performed = performed.clone();
    let core = move |_: &_| Echo { obeys, ..echo() };
    let child = Shell::child_spec("echo", inbox, core, move |_| performed.clone());
    let spec = SupervisorSpec::new("root", Strategy::OneForOne).intensity(PLENTY).backoff(steady(ms(10)));
    Supervisor::start(spec.child(child), world)
}

#[test]
fn actions_are_performed_in_order_and_seen_by_the_observer() {
    in_virtual_time(1, |world| async move {
        let (address, inbox) = ShellAddress::<Echo>::new_pair();
        address.tell(Event::Word(7_000));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let trace = seen.clone();
        let observer = Arc::new(move |name: &'static str, action: &str| {
            trace.lock().unwrap().push(format!("{name} {action}"));
        });
        let performed = Performed::default();
        let _root = start(&world, inbox.observed_by(observer), &performed, true);
        address.tell(Event::Word(8_000));
        world.clock.sleep(ms(1)).await;
        let actions = performed.0.lock().unwrap().clone();
        let heard: Vec<u64> =
            actions.iter().map(|a| if let Action::Say { heard, .. } = a { *heard } else { 0 }).collect();
        assert_eq!(heard, [1, 1, 2, 2]);
        let expected: Vec<String> = actions.iter().map(|action| format!("echo {action:?}")).collect();
        assert_eq!(*seen.lock().unwrap(), expected);
    });
}

/// How many actions each turn had.
#[derive(Clone, Default)]
struct Turns(Arc<Mutex<Vec<u64>>>, u64);

impl Perform<Echo> for Turns {
    fn perform(&mut self, _: Action, _: &ShellAddress<Echo>) {
        self.1 += 1;
    }

    fn end_turn(&mut self) {
        self.0.lock().unwrap().push(std::mem::take(&mut self.1));
    }
}

#[test]
fn a_turn_ends_when_no_event_waits_or_after_64_of_them() {
    in_virtual_time(1, |world| async move {
        let (address, inbox) = ShellAddress::<Echo>::new_pair();
        // Two actions for each word.
        (0..150).for_each(|_| _ = address.tell(Event::Word(9_000)));
        let turns = Turns::default();
        let hands = turns.clone();
        let child = Shell::child_spec("echo", inbox, |_| echo(), move |_| hands.clone());
        let _root = Supervisor::start(SupervisorSpec::new("root", Strategy::OneForOne).child(child), &world);
        world.clock.sleep(ms(1)).await;
        address.tell(Event::Word(9_000));
        world.clock.sleep(ms(1)).await;
        assert_eq!(*turns.0.lock().unwrap(), [128, 128, 44, 2]);
    });
}

#[test]
fn the_timer_follows_the_deadline_both_ways() {
    in_virtual_time(1, |world| async move {
        let (address, inbox) = ShellAddress::<Echo>::new_pair();
        let performed = Performed::default();
        let _root = start(&world, inbox, &performed, true);
        address.tell(Event::Word(100)); // due at 100
        world.clock.sleep(ms(50)).await;
        address.tell(Event::Word(400)); // moved away, to 450
        world.clock.sleep(ms(150)).await;
        assert!(performed.rings().is_empty(), "{:?}", performed.rings());
        address.tell(Event::Word(30)); // moved nearer, to 230
        world.clock.sleep(ms(1_000)).await;
        address.tell(Event::Word(5)); // armed anew, for 1,205
        world.clock.sleep(ms(1_000)).await;
        assert_eq!(performed.rings(), [230, 1_205]);
    });
}

#[test]
fn a_core_that_never_moves_its_deadline_is_found_out() {
    in_virtual_time(1, |world| async move {
        let (address, inbox) = ShellAddress::<Echo>::new_pair();
        let root = start(&world, inbox, &Performed::default(), false);
        let mut exits = root.watch("echo");
        address.tell(Event::Word(1));
        let Some(Exit::Panicked(text)) = exits.recv().await else { panic!("it went on") };
        assert!(text.starts_with("echo was woken in vain"), "{text}");
    });
}

#[test]
fn the_flight_recorder_replays_a_life() {
    in_virtual_time(1, |world| async move {
        let (address, inbox) = ShellAddress::<Echo>::new_pair();
        let performed = Performed::default();
        let _root = start(&world, inbox, &performed, true);
        for word in [3, 50, 4, 20, 1, 9] {
            address.tell(Event::Word(word));
            world.clock.sleep(ms(10)).await;
        }
        let flight = address.flight_recorder();
        let recorded: Vec<Vec<Action>> = flight.iter().map(|record| record.actions.clone()).collect();
        assert_eq!(recorded.concat(), *performed.0.lock().unwrap());
        assert!(
            recorded.concat().iter().any(|action| matches!(action, Action::Ring(_))),
            "wakes are recorded too"
        );
        assert_eq!(replay(&mut echo(), &flight), recorded);
    });
}

#[test]
fn a_core_that_panics_leaves_its_last_flight_behind() {
    in_virtual_time(1, |world| async move {
        let (address, inbox) = ShellAddress::<Echo>::new_pair();
        let root = start(&world, inbox, &Performed::default(), true);
        let mut exits = root.watch("echo");
        for word in [1_000, 2_000, 0, 3_000] {
            address.tell(Event::Word(word));
        }
        let Some(Exit::Panicked(text)) = exits.recv().await else { panic!("no panic") };
        assert!(text.starts_with("a bomb after 2 words at ") && text.contains("shell.rs:"), "{text}");
        world.clock.sleep(ms(100)).await;
        let last = address.last_flight();
        assert!(matches!(last.last().unwrap().event, Event::Word(0)), "{last:?}");
        assert_eq!((last.len(), last[2].actions.len()), (3, 0));
        let now = address.flight_recorder();
        assert!(
            matches!(now[0].actions[0], Action::Say { word: 3_000, heard: 1, .. }),
            "a fresh core: {now:?}"
        );
        assert!(address.alive());
        address.stop();
        assert_eq!(exits.recv().await, Some(Exit::Normal));
        root.shutdown();
        root.ended().await;
        assert!(!address.alive() && !address.tell(Event::Word(1)));
    });
}

#[test]
fn the_flight_recorder_is_bounded() {
    in_virtual_time(1, |world| async move {
        let (address, inbox) = ShellAddress::<Echo>::new_pair();
        let _root = start(&world, inbox, &Performed::default(), true);
        for word in 1..=1_000 {
            address.tell(Event::Word(10_000 + word));
        }
        world.clock.sleep(ms(1)).await;
        let flight = address.flight_recorder();
        assert_eq!(flight.len(), FLIGHT_RECORDS);
        assert!(matches!(flight.last().unwrap().event, Event::Word(11_000)));
        assert_eq!(flight.last().unwrap().actions.len(), 2);
    });
}

#[test]
fn a_performer_can_be_tested_without_a_shell() {
    let (address, inbox) = ShellAddress::<Echo>::new_pair();
    address.tell(Event::Word(4));
    address.tell(Event::Word(5));
    let words: Vec<u64> = inbox
        .take_events()
        .into_iter()
        .map(|event| if let Event::Word(word) = event { word } else { 0 })
        .collect();
    assert_eq!(words, [4, 5]);
    drop(inbox);
    assert!(!address.alive());
}

#[test]
fn a_full_lane_refuses_and_does_not_block() {
    let (address, inbox) = ShellAddress::<Echo>::new_pair();
    for word in 0..EVENTS_CAPACITY as u64 {
        assert!(address.tell(Event::Word(word)));
    }
    assert!(!address.tell(Event::Word(1)));
    assert_eq!(address.depth(), EVENTS_CAPACITY);
    assert_eq!(inbox.take_events().len(), EVENTS_CAPACITY);
    assert!(address.tell(Event::Word(1)));
}

#[test]
fn the_first_refusal_is_told_with_the_name_of_the_role_and_later_ones_are_not() {
    let (address, _inbox) = ShellAddress::<Echo>::new_pair();
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = told.clone();
    address.when_refused(move |text| sink.lock().unwrap().push(text));
    for word in 0..EVENTS_CAPACITY as u64 {
        address.tell(Event::Word(word));
    }
    assert!(told.lock().unwrap().is_empty(), "none was refused yet");
    assert!(!address.tell(Event::Word(1)) && !address.tell(Event::Word(2)));
    assert_eq!(*told.lock().unwrap(), ["an event was refused by the echo, for which 65536 wait already"]);
}

#[test]
fn a_shell_that_is_gone_refuses_nothing() {
    let (address, inbox) = ShellAddress::<Echo>::new_pair();
    address.when_refused(|text| panic!("{text}"));
    drop(inbox);
    assert!(!address.tell(Event::Word(1)));
}
