//! The pure half of a supervisor: which child is started, stopped, aborted and removed, and when. It decides; the loop in
//! `supervise.rs` carries it out, and tells it what happened.
//!
//! ```text
//!                 Start                      Exited (not asked to) and wanted again
//!   Waiting{at} ─────────> Running ────────────────────────────────────────┐
//!        ^                   │ leave set, its turn: Stop                   │
//!        │                   v                                             │
//!        │                Stopping ──(time is up: Kill)──> Stopping        │
//!        │ leave=Restart     │ Exited                                      │
//!        └───────────────────┼─────────────────────────────────────────────┘
//!                            ├─ leave=Remove ─> (removed)
//!                            └─ leave=Rest, or not wanted again ─> Down
//! ```
//!
//! Two rules give all the order there is: at most one child is being stopped at any time, the last started first; and no
//! child is started while another is being, or has yet to be, stopped, or has been started and is not `Up`. Hence a group
//! comes back only when all of it is down, and each child finds those before it at work (a supervisor is up when each of
//! its first children has been started).

use super::{
    backoff::Backoff,
    exit::Exit,
    intensity::{Intensity, RestartWindow},
    orders::{Action, ChildKey, Event, Patience, Rules},
    strategy::{Restart, Strategy, consequence},
    stuck::StuckWatch,
};
use crate::core::Core;
use tidemill_protocol::{time::Time, world::SeededRng};

/// Where a child stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It will be started, not before `at`.
    Waiting { at: Time, reason: Option<Exit> },
    /// It runs.
    Running,
    /// It was asked to stop (or is being aborted) and has not ended yet; aborted at `until`.
    Stopping { until: Option<Time> },
    /// It has finished, or its supervisor is ending.
    Down,
}

/// What becomes of a child that has been told to leave.
#[derive(Clone, Debug)]
enum Leave {
    Restart { at: Time },
    Remove,
    Rest,
}

/// A child and its history.
#[derive(Clone, Debug)]
pub struct Child {
    /// Its name within this life of the supervisor.
    pub key: ChildKey,
    /// Where it stands.
    pub phase: Phase,
    /// How often it was started again.
    pub restarts: u64,
    /// How its last life ended.
    pub last_exit: Option<Exit>,
    rules: Rules,
    starting: bool,
    leave: Option<Leave>,
    running_since: Time,
    failures_in_a_row: u32,
    stuck: Option<StuckWatch>,
    verdict: Option<Exit>,
}

/// The children of one life of a supervisor, in start order.
pub struct Children {
    strategy: Strategy,
    backoff: Backoff,
    limit: Intensity,
    window: RestartWindow,
    rng: SeededRng,
    children: Vec<Child>,
    up: bool,
    ending: Option<Exit>,
    ended: bool,
}

impl Children {
    /// No children yet. `seed` decides the jitter of restarts.
    pub fn new(strategy: Strategy, limit: Intensity, backoff: Backoff, seed: u64) -> Self {
        Children {
            strategy,
            backoff,
            limit,
            window: RestartWindow::new(limit),
            rng: SeededRng::new(seed),
            children: Vec::new(),
            up: false,
            ending: None,
            ended: false,
        }
    }

    /// The children, in start order.
    pub fn iter(&self) -> impl Iterator<Item = &Child> {
        self.children.iter()
    }

    fn place(&self, key: ChildKey) -> Option<usize> {
        self.children.iter().position(|child| child.key == key)
    }

    fn add(&mut self, now: Time, key: ChildKey, rules: Rules, out: &mut Vec<Action>) {
        if self.ending.is_some() {
            out.push(Action::Remove { key });
            return;
        }
        self.children.push(Child {
            key,
            phase: Phase::Waiting { at: now, reason: None },
            restarts: 0,
            last_exit: None,
            rules,
            starting: false,
            leave: None,
            running_since: now,
            failures_in_a_row: 0,
            stuck: None,
            verdict: None,
        });
    }

    fn exited(&mut self, now: Time, key: ChildKey, exit: Exit, out: &mut Vec<Action>) {
        let Some(place) = self.place(key) else { return };
        let child = &mut self.children[place];
        let exit = child.verdict.take().unwrap_or(exit);
        child.stuck = None;
        child.starting = false;
        child.last_exit = Some(exit.clone());
        out.push(Action::Report { key, exit: exit.clone() });
        match child.leave.take() {
            Some(Leave::Restart { at }) => child.phase = Phase::Waiting { at, reason: Some(exit) },
            Some(Leave::Rest) => child.phase = Phase::Down,
            Some(Leave::Remove) => self.remove(place, out),
            None => self.failed(now, place, exit, out),
        }
    }

    fn remove(&mut self, place: usize, out: &mut Vec<Action>) {
        let child = self.children.remove(place);
        out.push(Action::Remove { key: child.key });
    }

    /// A child has ended without having been asked to.
    fn failed(&mut self, now: Time, place: usize, exit: Exit, out: &mut Vec<Action>) {
        let types: Vec<Restart> = self.children.iter().map(|child| child.rules.restart).collect();
        let follows = consequence(self.strategy, &types, place, &exit);
        let child = &mut self.children[place];
        child.phase = Phase::Down;
        if follows.restart.is_empty() {
            if child.rules.restart == Restart::Temporary {
                return self.remove(place, out);
            }
            return out.push(Action::Rest { key: child.key });
        }
        if now.since(child.running_since) >= self.backoff.healthy_after {
            child.failures_in_a_row = 0;
        }
        child.failures_in_a_row += 1;
        let wait = self.backoff.delay(child.failures_in_a_row, &mut self.rng);
        if !self.window.grant(now) {
            let Intensity { restarts_max, period } = self.limit;
            let id = &child.rules.id;
            let text =
                format!("more than {restarts_max} restarts in {period:?}; the last, {id}, ended: {exit}");
            return self.end(Exit::Failed(text));
        }
        let at = now + wait;
        for place in follows.stop {
            let child = &mut self.children[place];
            if !matches!(child.phase, Phase::Running | Phase::Stopping { .. }) {
                continue;
            }
            match &mut child.leave {
                None if child.rules.restart == Restart::Temporary => child.leave = Some(Leave::Remove),
                None => child.leave = Some(Leave::Restart { at }),
                // Already on its way down with a smaller group; it must not be back before the larger one.
                Some(Leave::Restart { at: earlier }) => *earlier = at.max(*earlier),
                Some(Leave::Remove | Leave::Rest) => {}
            }
        }
        for place in follows.restart {
            let child = &mut self.children[place];
            match &mut child.phase {
                Phase::Down => child.phase = Phase::Waiting { at, reason: child.last_exit.clone() },
                Phase::Waiting { at: earlier, .. } => *earlier = at.max(*earlier),
                Phase::Running | Phase::Stopping { .. } => {}
            }
        }
    }

    fn terminate(&mut self, key: ChildKey, out: &mut Vec<Action>) {
        let Some(place) = self.place(key) else { return };
        match self.children[place].phase {
            Phase::Running | Phase::Stopping { .. } => self.children[place].leave = Some(Leave::Remove),
            Phase::Waiting { .. } | Phase::Down => self.remove(place, out),
        }
    }

    fn end(&mut self, exit: Exit) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(exit);
        for child in &mut self.children {
            match child.phase {
                Phase::Running | Phase::Stopping { .. } => {
                    if !matches!(child.leave, Some(Leave::Remove)) {
                        child.leave = Some(Leave::Rest);
                    }
                }
                Phase::Waiting { .. } | Phase::Down => child.phase = Phase::Down,
            }
        }
    }

    fn sampled(&mut self, now: Time, key: ChildKey, progress: u64, waiting: bool, out: &mut Vec<Action>) {
        let Some(place) = self.place(key) else { return };
        let child = &mut self.children[place];
        let (Phase::Running, Some(watch), None) = (&child.phase, &mut child.stuck, &child.leave) else {
            return;
        };
        if watch.sample(now, progress, waiting) {
            let limit = child.rules.stuck_after.unwrap_or_default();
            child.verdict =
                Some(Exit::Failed(format!("stuck: no progress for {limit:?} with messages waiting")));
            child.phase = Phase::Stopping { until: None };
            out.push(Action::Kill { key });
        }
    }

    /// Does what is due: stops (one at a time), aborts, starts, samples, and the end.
    fn drive(&mut self, now: Time, out: &mut Vec<Action>) {
        for child in &mut self.children {
            if let Phase::Stopping { until: Some(until) } = child.phase
                && until <= now
            {
                child.phase = Phase::Stopping { until: None };
                out.push(Action::Kill { key: child.key });
            }
        }
        self.stop_next(now, out);
        self.start_next(now, out);
        for child in &mut self.children {
            if let (Phase::Running, Some(watch)) = (&child.phase, &mut child.stuck)
                && watch.next_sample() <= now
            {
                watch.asked(now);
                out.push(Action::Sample { key: child.key });
            }
        }
        let unborn =
            |child: &Child| child.starting || matches!(child.phase, Phase::Waiting { reason: None, .. });
        if !self.up && self.ending.is_none() && !self.children.iter().any(unborn) {
            self.up = true;
            out.push(Action::Up);
        }
        let down = self.children.iter().all(|child| child.phase == Phase::Down);
        if let (Some(exit), true, false) = (&self.ending, down, self.ended) {
            self.ended = true;
            out.push(Action::End { exit: exit.clone() });
        }
    }

    /// Whether something has to happen before any child may be started.
    fn must_not_start(&self) -> bool {
        self.children.iter().any(|child| child.leave.is_some() || child.starting)
    }

    fn start_next(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.must_not_start() {
            return;
        }
        for child in &mut self.children {
            let Phase::Waiting { at, reason } = &child.phase else {
                continue;
            };
            if *at > now {
                continue;
            }
            let reason = reason.clone();
            child.restarts += u64::from(reason.is_some());
            out.push(Action::Start { key: child.key, count: child.restarts, reason });
            child.phase = Phase::Running;
            child.starting = true;
            child.running_since = now;
            child.stuck = child.rules.stuck_after.map(|limit| StuckWatch::new(limit, now));
            return;
        }
    }

    fn stop_next(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.children.iter().any(|child| matches!(child.phase, Phase::Stopping { .. })) {
            return;
        }
        let leaving = |child: &&mut Child| child.phase == Phase::Running && child.leave.is_some();
        let Some(child) = self.children.iter_mut().rev().find(leaving) else {
            return;
        };
        let key = child.key;
        let (until, action) = match child.rules.shutdown {
            Patience::For(time) => (Some(now + time), Action::Stop { key }),
            Patience::Infinity => (None, Action::Stop { key }),
            Patience::Brutal => (None, Action::Kill { key }),
        };
        child.phase = Phase::Stopping { until };
        out.push(action);
    }
}

impl Core for Children {
    type Event = Event;
    type Action = Action;
    const NAME: &'static str = "supervisor";

    fn on_event(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Add { key, rules } => self.add(now, key, rules, out),
            Event::Up { key } => {
                if let Some(place) = self.place(key) {
                    self.children[place].starting = false;
                }
            }
            Event::Exited { key, exit } => self.exited(now, key, exit, out),
            Event::Sampled { key, progress, waiting } => self.sampled(now, key, progress, waiting, out),
            Event::Terminate { key } => self.terminate(key, out),
            Event::Shutdown => self.end(Exit::Shutdown),
            Event::Wake => {}
        }
        self.drive(now, out);
    }

    fn wake() -> Event {
        Event::Wake
    }

    fn next_deadline(&self) -> Option<Time> {
        let blocked = self.must_not_start();
        let due = |child: &Child| match child.phase {
            // It waits for another child then, not for the time.
            Phase::Waiting { at, .. } => (!blocked).then_some(at),
            Phase::Running => child.stuck.as_ref().map(StuckWatch::next_sample),
            Phase::Stopping { until } => until,
            Phase::Down => None,
        };
        self.children.iter().filter_map(due).min()
    }

    fn assert_invariants(&self) {
        let waited_for = |child: &&Child| matches!(child.phase, Phase::Stopping { until: Some(_) });
        assert!(
            self.children.iter().filter(waited_for).count() <= 1,
            "two children are being stopped at once"
        );
        assert!(self.children.is_sorted_by_key(|child| child.key), "children are not in start order");
        for child in &self.children {
            let alive = matches!(child.phase, Phase::Running | Phase::Stopping { .. });
            assert!(alive || child.leave.is_none(), "{} is to leave and is not there", child.rules.id);
        }
    }
}
