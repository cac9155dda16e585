//! The pure half of a supervisor under random histories: whatever happens, its order holds and it comes to rest.

use super::{
    backoff::Backoff,
    children::Children,
    exit::Exit,
    intensity::Intensity,
    orders::{Action, ChildKey, Event, Patience, Rules},
    strategy::{Restart, Strategy},
};
use crate::core::Core;
use std::{collections::BTreeSet, time::Duration};
use tidemill_protocol::{time::Time, world::SeededRng};

/// A world of children that obey, hang, or end by themselves, as the seed says.
struct Model {
    core: Children,
    rng: SeededRng,
    now: Time,
    /// Started and not ended.
    alive: BTreeSet<ChildKey>,
    /// Asked to stop and not ended: at most one.
    stopping: BTreeSet<ChildKey>,
    /// Started and not reported as up.
    starting: BTreeSet<ChildKey>,
    killed: Vec<ChildKey>,
    ended: Option<Exit>,
    log: String,
}

const TYPES: [Restart; 3] = [Restart::Permanent, Restart::Transient, Restart::Temporary];

impl Model {
    fn new(seed: u64, strategy: Strategy) -> Self {
        let limit = Intensity { restarts_max: 3, period: Duration::from_secs(1) };
        let backoff = Backoff { initial: Duration::from_millis(5), ..Backoff::default() };
        let mut model = Model {
            core: Children::new(strategy, limit, backoff, seed),
            rng: SeededRng::new(seed),
            now: Time::ZERO,
            alive: BTreeSet::new(),
            stopping: BTreeSet::new(),
            starting: BTreeSet::new(),
            killed: Vec::new(),
            ended: None,
            log: String::new(),
        };
        for key in 0..5 {
            let shutdown = match model.rng.range(0, 3) {
                0 => Patience::Brutal,
                _ => Patience::For(Duration::from_millis(30)),
            };
            let restart = TYPES[model.rng.range(0, 3) as usize];
            let rules = Rules { id: key.to_string(), restart, shutdown, stuck_after: None };
            model.tell(Event::Add { key, rules });
        }
        model
    }

    fn tell(&mut self, event: Event) {
        self.log += &format!("{} {event:?}", self.now);
        let mut out = Vec::new();
        self.core.on_event(self.now, event, &mut out);
        self.core.assert_invariants();
        self.log += &format!(" -> {out:?}\n");
        for action in out {
            assert!(self.ended.is_none(), "{action:?} after the end\n{}", self.log);
            match action {
                Action::Start { key, .. } => {
                    assert!(self.stopping.is_empty() && self.starting.is_empty(), "{}", self.log);
                    assert!(self.alive.insert(key), "started twice\n{}", self.log);
                    self.starting.insert(key);
                }
                Action::Stop { key } => {
                    assert!(self.alive.contains(&key) && self.stopping.is_empty(), "{}", self.log);
                    self.stopping.insert(key);
                }
                Action::Kill { key } => {
                    assert!(self.alive.contains(&key), "{}", self.log);
                    self.stopping.insert(key);
                    self.killed.push(key);
                }
                Action::Rest { key } | Action::Remove { key } => {
                    assert!(!self.alive.contains(&key), "{}", self.log);
                }
                Action::End { exit } => {
                    assert!(self.alive.is_empty(), "ended with children alive\n{}", self.log);
                    self.ended = Some(exit);
                }
                Action::Sample { .. } | Action::Report { .. } | Action::Up => {}
            }
        }
    }

    fn exit(&mut self, key: ChildKey, exit: Exit) {
        self.alive.remove(&key);
        self.stopping.remove(&key);
        self.starting.remove(&key);
        self.tell(Event::Exited { key, exit });
    }

    fn any(&mut self, of: fn(&Self) -> &BTreeSet<ChildKey>) -> Option<ChildKey> {
        let count = of(self).len() as u64;
        let place = self.rng.range(0, count) as usize;
        of(self).iter().nth(place).copied()
    }

    fn step(&mut self) {
        if let Some(key) = self.killed.pop() {
            return self.exit(key, Exit::Killed);
        }
        match self.rng.range(0, 10) {
            0..3 => {
                if let Some(key) = self.any(|model| &model.starting) {
                    self.starting.remove(&key);
                    self.tell(Event::Up { key });
                }
            }
            3..5 => {
                if let Some(key) = self.any(|model| &model.stopping) {
                    self.exit(key, Exit::Shutdown);
                }
            }
            5 => {
                if let Some(key) = self.any(|model| &model.alive) {
                    let exit = [Exit::Normal, Exit::Failed("no".into()), Exit::Panicked("oh".into())];
                    let exit = exit[self.rng.range(0, 3) as usize].clone();
                    self.exit(key, exit);
                }
            }
            6 if self.rng.chance(0.1) => {
                let key = self.rng.range(0, 5);
                self.tell(Event::Terminate { key });
            }
            _ => {
                self.now = self.now + Duration::from_millis(self.rng.range(1, 40));
                self.tell(Event::Wake);
            }
        }
    }

    /// Nothing more goes wrong: children come up and obey.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            if let Some(key) = self.killed.pop() {
                self.exit(key, Exit::Killed);
            } else if let Some(key) = self.stopping.first().copied() {
                self.exit(key, Exit::Shutdown);
            } else if let Some(key) = self.starting.pop_first() {
                self.tell(Event::Up { key });
            } else if let Some(at) = self.core.next_deadline() {
                self.now = self.now.max(at);
                self.tell(Event::Wake);
            } else {
                return;
            }
        }
        panic!("it never comes to rest\n{}", self.log);
    }
}

#[test]
fn whatever_happens_the_order_holds_and_it_comes_to_rest() {
    let mut ended_by_itself = 0;
    for seed in 0..600 {
        let strategy = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne][seed as usize % 3];
        let mut model = Model::new(seed, strategy);
        for _ in 0..200 {
            if model.ended.is_none() {
                model.step();
            }
        }
        model.settle();
        ended_by_itself += usize::from(model.ended.is_some());
        if model.ended.is_none() {
            let idle = model.core.iter().filter(|child| !model.alive.contains(&child.key));
            for child in idle {
                assert!(
                    matches!(&child.last_exit, Some(exit) if exit.is_orderly()),
                    "{child:?}\n{}",
                    model.log
                );
            }
            model.tell(Event::Shutdown);
            model.settle();
            assert_eq!(model.ended, Some(Exit::Shutdown), "{}", model.log);
        }
    }
    assert!((50..550).contains(&ended_by_itself), "both kinds of history are seen: {ended_by_itself} of 600");
}

#[test]
fn a_smaller_group_on_its_way_down_waits_for_the_larger_one() {
    let plain = |id: u64| Rules {
        id: id.to_string(),
        restart: Restart::Permanent,
        shutdown: Patience::Infinity,
        stuck_after: None,
    };
    let backoff = Backoff { initial: Duration::from_millis(10), jitter: 0.0, ..Backoff::default() };
    let mut core = Children::new(Strategy::RestForOne, Intensity::default(), backoff, 1);
    let mut tell = |ms: u64, event: Event| {
        let mut out = Vec::new();
        core.on_event(Time(ms * 1_000_000), event, &mut out);
        out.retain(|action| !matches!(action, Action::Report { .. } | Action::Up));
        out
    };
    let failed = || Exit::Failed("no".into());
    for key in 0..3 {
        tell(0, Event::Add { key, rules: plain(key) });
        tell(0, Event::Up { key });
    }
    assert_eq!(tell(1, Event::Exited { key: 1, exit: failed() }), [Action::Stop { key: 2 }]);
    assert_eq!(tell(30, Event::Exited { key: 0, exit: failed() }), [], "2 is still on its way down");
    assert_eq!(tell(31, Event::Exited { key: 2, exit: Exit::Shutdown }), [], "0 waits until 40");
    let start = |key, reason| Action::Start { key, count: 1, reason: Some(reason) };
    assert_eq!(tell(40, Event::Wake), [start(0, failed())]);
    assert_eq!(tell(40, Event::Up { key: 0 }), [start(1, failed())]);
    assert_eq!(tell(41, Event::Up { key: 1 }), [start(2, Exit::Shutdown)]);
}
