//! The failure detector: tables by hand, and random delays, stalls and deaths.

use super::*;
use std::time::Duration;
use tidemill_protocol::world::SeededRng;

const TICK: u64 = 250;

/// Node 1 registers at 0; signs of life at these milliseconds, ticks at the multiples of 250 until `until`. What is told of its
/// standing, with the time.
fn told(signs: impl IntoIterator<Item = u64>, until: u64) -> Vec<String> {
    let ticks = (1..=until / TICK).map(|n| (n * TICK, 0));
    let mut events: Vec<(u64, u8)> = signs.into_iter().map(|ms| (ms, 1)).chain(ticks).collect();
    events.sort_unstable();
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    let mut told = Vec::new();
    for (ms, kind) in events {
        t.last.clear();
        let event = if kind == 0 { Event::Wake } else { alive(1, life(1, 1)) };
        t.membership.on_event(Time(ms * 1_000_000), event, &mut t.last);
        t.membership.assert_invariants();
        let news = t.last.iter().filter(|a| !matches!(a, Action::Ping { .. })).filter_map(line);
        told.extend(news.map(|line| format!("{ms} {line}")));
    }
    told
}

/// Answers to the pings of these ticks, each so late.
fn answers(ticks: std::ops::RangeInclusive<u64>, delay: u64) -> impl Iterator<Item = u64> {
    ticks.map(move |n| n * TICK + delay)
}

#[test]
fn silence_makes_it_yellow_and_regular_signs_green_again() {
    // Yellow after 626 ms: mean 250 and four times a deviation of 94.
    let signs = answers(1..=1, 1).chain([1_100]).chain(answers(5..=20, 1));
    assert_eq!(told(signs, 5_000), ["1000 node-1.i1 Suspected", "2250 node-1.i1 Trusted"]);
}

#[test]
fn silence_that_goes_on_makes_it_red_within_two_seconds() {
    let expected = ["1000 node-1.i1 Suspected", "2000 down node-1.i1: Silent(1.749s)", "2000 close 1"];
    assert_eq!(told([251], 5_000), expected);
}

#[test]
fn jitter_does_not_flap() {
    let delays = [1, 450, 20, 300, 5, 5, 440, 120];
    let signs = (1..200).map(|n: u64| n * TICK + delays[n as usize % delays.len()]);
    assert_eq!(told(signs, 49_000), [""; 0]);
    // Nor does one that speaks all the time, and is quiet between two ticks after that.
    let busy = (1..2_000).chain(answers(9..=40, 1));
    assert_eq!(told(busy, 10_000), [""; 0]);
}

#[test]
fn one_that_stops_for_ten_seconds_is_dead_and_comes_back_as_another() {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    for tick in 1..=5 {
        t.membership.on_event(Time(tick * TICK * 1_000_000), Event::Wake, &mut Vec::new());
    }
    t.gives(1_500, Event::Wake, &["down node-1.i1: Silent(1.5s)", "close 1"]);
    let text =
        "refuse 1: node-1.i1 is not registered: it was declared dead, or has not registered; start it again";
    t.gives(10_000, says(1, life(1, 1), leaked()), &[text]);
    t.gives(10_001, lost(1), &[]);
    let up = ["welcome node-1.i2 on 2", "up node-1.i2", "peers to node-1.i2: node-1.i2"];
    t.gives(10_100, register(2, life(1, 2)), &up);
}

#[test]
fn after_a_minute_of_the_drivers_sleep_the_dead_are_asked_before_they_are_declared_dead() {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    t.gives(60_000, Event::Wake, &["ping node-1.i1 1"]);
    t.gives(60_250, Event::Wake, &["ping node-1.i1 2"]);
    t.gives(60_500, Event::Wake, &["node-1.i1 Suspected", "ping node-1.i1 3"]);
    t.gives(60_750, Event::Wake, &["ping node-1.i1 4"]);
    t.gives(61_000, Event::Wake, &["ping node-1.i1 5"]);
    t.gives(61_250, Event::Wake, &["down node-1.i1: Silent(1.55s)", "close 1"]);
}

#[test]
fn the_numbers_are_told_when_they_change() {
    let mut t = Table::new();
    let mut seen = Vec::new();
    let mut tell = |t: &mut Table, ms: u64, event: Event| {
        t.last.clear();
        t.membership.on_event(Time(ms * 1_000_000), event, &mut t.last);
        let numbers = t.last.iter().filter_map(|action| match action {
            Action::Alive { live, suspected } => Some((ms, *live, *suspected)),
            _ => None,
        });
        seen.extend(numbers);
    };
    tell(&mut t, 0, register(1, life(1, 1)));
    tell(&mut t, 0, register(2, life(2, 1)));
    for tick in 1..=6 {
        tell(&mut t, tick * TICK, Event::Wake);
        tell(&mut t, tick * TICK + 1, alive(2, life(2, 1)));
    }
    assert_eq!(seen, [(0, 1, 0), (0, 2, 0), (750, 2, 1), (1_500, 1, 0)]);
}

/// One executor and a driver, in time steps of a millisecond. Whatever arrives while the driver stalls is read after the
/// overdue tick, which is the worst case.
struct Model {
    t: Table,
    rng: SeededRng,
    delay_max: u64,
    /// When answers arrive, in order.
    wire: std::collections::VecDeque<u64>,
    stalls_until: u64,
    is_dead: bool,
    down_at: Option<u64>,
    pings: u64,
}

impl Model {
    fn new(seed: u64, delay_max: u64) -> Model {
        let mut t = Table::new();
        t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
        let (wire, rng) = (Default::default(), SeededRng::new(seed));
        Model { t, rng, delay_max, wire, stalls_until: 0, is_dead: false, down_at: None, pings: 0 }
    }

    fn tell(&mut self, ms: u64, event: Event) {
        self.t.last.clear();
        self.t.membership.on_event(Time(ms * 1_000_000), event, &mut self.t.last);
        self.t.membership.assert_invariants();
        for action in std::mem::take(&mut self.t.last) {
            match action {
                Action::Ping { .. } => {
                    self.pings += 1;
                    let arrives = ms + 1 + self.rng.range(0, self.delay_max);
                    let arrives = self.wire.back().map_or(arrives, |last| arrives.max(*last));
                    if !self.is_dead {
                        self.wire.push_back(arrives);
                    }
                }
                Action::ExecutorDown { .. } => self.down_at = Some(ms),
                _ => {}
            }
        }
    }

    fn step(&mut self, ms: u64) {
        if ms < self.stalls_until {
            return;
        }
        if self.t.next_ms().is_some_and(|at| at <= ms) {
            self.tell(ms, Event::Wake);
        }
        while self.wire.front().is_some_and(|at| *at <= ms) {
            self.wire.pop_front();
            self.tell(ms, alive(1, life(1, 1)));
        }
    }
}

#[test]
fn a_live_executor_with_bounded_delay_is_never_red_however_the_driver_stalls() {
    let (mut stalls, mut pings) = (0, 0);
    for seed in 0..100 {
        let mut model = Model::new(seed, 800);
        for ms in 0..60_000 {
            if model.stalls_until <= ms && model.rng.range(0, 2_000) < seed % 10 {
                let long = if model.rng.range(0, 10) == 0 { 30_000 } else { 900 };
                model.stalls_until = ms + model.rng.range(0, long);
                stalls += 1;
            }
            model.step(ms);
            assert_eq!(model.down_at, None, "seed {seed}");
        }
        pings += model.pings;
    }
    assert!(pings >= 5_000, "it was asked {pings} times");
    assert!(stalls >= 1_000, "{stalls} stalls");
}

#[test]
fn a_silent_executor_is_red_within_two_seconds() {
    for seed in 0..300 {
        let mut model = Model::new(seed, 1 + seed * 2);
        let dies = 1_000 + model.rng.range(0, 10_000);
        let mut heard = 0;
        for ms in 0..dies + 3_000 {
            if ms == dies {
                model.is_dead = true;
                model.wire.clear();
            }
            if model.wire.front().is_some_and(|at| *at <= ms) {
                heard = ms;
            }
            model.step(ms);
        }
        let down = model.down_at.unwrap_or_else(|| panic!("seed {seed}: it lives"));
        let silence = Duration::from_millis(down - heard);
        assert!(down >= dies && silence <= Duration::from_secs(2), "seed {seed}: {silence:?}");
    }
}
