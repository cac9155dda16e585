//! Whatever the order of events: every task that nobody cancelled is answered once, no slot is lost, and nothing that an
//! unwanted attempt has kept stays behind.

use crate::desk::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidemill_actors::executor::{Action, Event, ExecutorConfig, SlotIndex, TaskEnd};
use tidemill_protocol::{
    id::{Attempt, ProgramId, TaskId},
    message::{InputPart, ToDriver},
    world::SeededRng,
};

const SLOTS: u16 = 3;

/// A world around the core that does what it is asked in any order, and keeps count.
struct Around {
    desk: Desk,
    now_ms: u64,
    fetching: BTreeSet<TaskId>,
    running: BTreeMap<SlotIndex, (TaskId, bool)>,
    lost: BTreeMap<TaskId, SlotIndex>,
    sent: BTreeSet<TaskId>,
    unwanted: BTreeSet<TaskId>,
    answered: BTreeSet<TaskId>,
    kept: BTreeSet<TaskId>,
    /// Whose files for a sink are there.
    staged: BTreeSet<TaskId>,
    leaks: usize,
}

impl Around {
    fn new() -> Self {
        Around {
            desk: Desk::with(ExecutorConfig {
                task_stuck_after: Duration::from_secs(4),
                cancel_ignored_after: Duration::from_secs(1),
                ..ExecutorConfig::new(ME, ProgramId(7), SLOTS)
            }),
            now_ms: 0,
            fetching: BTreeSet::new(),
            running: BTreeMap::new(),
            lost: BTreeMap::new(),
            sent: BTreeSet::new(),
            unwanted: BTreeSet::new(),
            answered: BTreeSet::new(),
            kept: BTreeSet::new(),
            staged: BTreeSet::new(),
            leaks: 0,
        }
    }

    fn on(&mut self, event: Event) {
        let mut asked = self.desk.at(self.now_ms, event);
        while !asked.is_empty() {
            asked = asked.into_iter().flat_map(|action| self.carry_out(action)).collect();
        }
    }

    fn carry_out(&mut self, action: Action) -> Vec<Action> {
        match action {
            Action::Fetch { spec } => assert!(self.fetching.insert(spec.task), "fetched twice at once"),
            Action::Forget { task } => {
                self.fetching.remove(&task);
            }
            Action::Start { slot, spec, .. } => {
                assert!(self.running.insert(slot, (spec.task, false)).is_none(), "{slot} is taken");
            }
            Action::SetCancel { task } => {
                for (_, cancelled) in self.running.values_mut().filter(|(id, _)| *id == task) {
                    *cancelled = true;
                }
            }
            // Nobody makes progress but by ending, which is what makes tasks leak here.
            Action::ReadProgress => {
                let counters = self.running.values().map(|(task, _)| (*task, 0)).collect();
                return self.desk.at(self.now_ms, Event::Progress { counters });
            }
            Action::ReplaceSlot { slot, task } => {
                assert_eq!(self.running.remove(&slot).map(|(id, _)| id), Some(task));
                self.lost.insert(task, slot);
                self.leaks += 1;
            }
            Action::DropData { keys } => {
                assert_eq!(keys.len(), 1);
                self.kept.retain(|task| output(*task, 4) != keys[0]);
            }
            Action::Discard { task, .. } => assert!(self.staged.remove(&task), "{task} ended well once"),
            Action::TellDriver(ToDriver::TaskDone(outcome)) => self.answer(outcome.task),
            Action::TellDriver(ToDriver::TaskFailed(failure)) => self.answer(failure.task),
            Action::TellDriver(ToDriver::SlotLeaked { .. })
            | Action::Count(_)
            | Action::EndProcess { .. } => {}
            other => panic!("{other:?} was not to be expected"),
        }
        Vec::new()
    }

    fn answer(&mut self, task: TaskId) {
        assert!(
            self.sent.contains(&task) && !self.unwanted.contains(&task),
            "{task}: nobody wants an answer"
        );
        assert!(self.answered.insert(task), "{task} is answered twice");
    }

    fn step(&mut self, rng: &mut SeededRng) {
        self.now_ms += rng.range(0, 400);
        match rng.range(0, 12) {
            0..3 => self.send(rng),
            3 => self.cancel(rng),
            4..6 => self.arrive(rng),
            6..10 => self.end(rng),
            10 => self.come_back(rng),
            _ => self.on(Event::Wake),
        }
    }

    fn send(&mut self, rng: &mut SeededRng) {
        let mut orders = BTreeMap::new();
        for _ in 0..rng.range(1, 6) {
            let mut id = task(4, 0, u32::try_from(rng.range(0, 12)).expect("small"));
            id.attempt = Attempt(u16::try_from(rng.range(0, 8)).expect("small"));
            if self.sent.insert(id) {
                orders.insert(id, if rng.chance(0.5) { ME } else { OTHER });
            }
        }
        if !orders.is_empty() {
            self.on(run(&orders.into_iter().collect::<Vec<_>>()));
        }
    }

    fn cancel(&mut self, rng: &mut SeededRng) {
        let mut id = task(4, 0, u32::try_from(rng.range(0, 12)).expect("small"));
        id.attempt = Attempt(u16::try_from(rng.range(0, 8)).expect("small"));
        if !self.answered.contains(&id) {
            self.unwanted.insert(id);
        }
        self.on(Event::Cancel { tasks: vec![id] });
    }

    fn arrive(&mut self, rng: &mut SeededRng) {
        let Some(task) = pick(rng, &self.fetching.iter().copied().collect::<Vec<_>>()) else {
            return;
        };
        self.fetching.remove(&task);
        let event = match rng.chance(0.8) {
            true => Event::InputsReady { task },
            false => Event::InputsFailed {
                task,
                missing: None,
                exhausted: None,
                unreached: vec![],
                message: "lost".into(),
            },
        };
        self.on(event);
    }

    fn end(&mut self, rng: &mut SeededRng) {
        let running: Vec<_> =
            self.running.iter().map(|(slot, (task, cancelled))| (*slot, *task, *cancelled)).collect();
        let Some((slot, task, cancelled)) = pick(rng, &running) else {
            return;
        };
        self.running.remove(&slot);
        let end = match rng.range(0, 4) {
            0 if cancelled => TaskEnd::Cancelled,
            1 => failed("no luck"),
            2 => {
                let spec = spec(task, ME);
                let InputPart::Held { key, .. } = spec.inputs[0][0] else { panic!("it is held") };
                TaskEnd::Missing { key, message: "gone".into() }
            }
            _ => {
                self.kept.insert(task);
                self.staged.insert(task);
                done()
            }
        };
        self.on(Event::SlotFree { slot, task, end });
    }

    /// A thread that was given up comes back.
    fn come_back(&mut self, rng: &mut SeededRng) {
        let lost: Vec<_> = self.lost.iter().map(|(task, slot)| (*task, *slot)).collect();
        let Some((task, slot)) = pick(rng, &lost) else {
            return;
        };
        self.lost.remove(&task);
        self.kept.insert(task);
        self.staged.insert(task);
        self.on(Event::SlotFree { slot, task, end: done() });
        let stays = [&self.kept, &self.staged].map(|tasks| tasks.contains(&task));
        assert_eq!(stays, [false, false], "what {task} brought late is kept, or staged");
    }

    /// Ends everything that still stands.
    fn finish(&mut self, rng: &mut SeededRng) {
        while !self.fetching.is_empty() || !self.running.is_empty() {
            self.arrive(rng);
            self.end(rng);
        }
    }
}

fn pick<T: Clone>(rng: &mut SeededRng, from: &[T]) -> Option<T> {
    let place = usize::try_from(rng.range(0, from.len() as u64)).expect("small");
    from.get(place).cloned()
}

#[test]
fn every_wanted_task_is_answered_once() {
    let mut leaks = 0;
    for seed in 0..300 {
        let (mut around, mut rng) = (Around::new(), SeededRng::new(seed));
        for _ in 0..300 {
            around.step(&mut rng);
        }
        leaks += around.leaks;
        around.finish(&mut rng);
        for task in around.sent.difference(&around.unwanted) {
            assert!(around.answered.contains(task), "seed {seed}: {task} is never answered");
        }
        let stray: Vec<_> = around.kept.difference(&around.answered).collect();
        assert_eq!(around.kept, around.staged, "seed {seed}: what nobody asks for nobody publishes");
        assert!(stray.is_empty(), "seed {seed}: nobody will ask for what {stray:?} have kept");
    }
    assert!(leaks > 300, "only {leaks} tasks were given up: the test does not test it");
}
