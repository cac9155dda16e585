//! The failure detector: tables by hand, and random delays, stalls and deaths.

use super::*;
use std::time::Duration;
use tidemill_protocol::world::SeededRng;

const LOOK: u64 = 125;

/// Node 1 registers at 0; signs of life at these milliseconds, looks at the multiples of 125 until `until`. What is told of its
/// standing, with the time.
fn told(signs: impl IntoIterator<Item = u64>, until: u64) -> Vec<String> {
    let looks = (1..=until / LOOK).map(|n| (n * LOOK, 0));
    let mut events: Vec<(u64, u8)> = signs.into_iter().map(|ms| (ms, 1)).chain(looks).collect();
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

#[test]
fn silence_makes_it_yellow_and_regular_signs_green_again() {
    // Asked at 625. Yellow once waited for 500 ms: mean 250 and four times a deviation of 62.5. One that is suspected is asked at
    // each look, and trusted after eight that were answered.
    let signs = [1, 1_200].into_iter().chain((1_251..5_000).step_by(125));
    assert_eq!(told(signs, 5_000), ["1125 node-1.i1 Suspected", "2125 node-1.i1 Trusted"]);
}

#[test]
fn silence_that_goes_on_makes_it_red_within_two_seconds() {
    // Asked at 875, and at each look after that: eight times before 1,875.
    let expected = ["1375 node-1.i1 Suspected", "1875 down node-1.i1: Silent(1.624s)", "1875 close 1"];
    assert_eq!(told([251], 5_000), expected);
}

#[test]
fn jitter_does_not_flap() {
    let mut model = Model::new(0, 0);
    model.delays = &[1, 450, 20, 300, 5, 5, 440, 120];
    (0..60_000).for_each(|ms| model.step(ms));
    assert_eq!((model.suspected, model.down_at), (0, None));
    assert!(model.pings >= 100, "it was asked {} times", model.pings);
    // Nor does one that speaks all the time, and after that only when it is asked.
    let busy = (1..2_000).chain((2_626..20_000).step_by(625));
    assert_eq!(told(busy, 20_000), [""; 0]);
}

#[test]
fn one_that_reports_every_half_second_is_never_asked() {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    for n in 1..=200 {
        t.gives(n * LOOK, Event::Wake, &[]);
        // A batch every 500 ms, whose report comes 3 to 93 ms after its beginning.
        if n % 4 == 0 {
            let late = 3 + n % 3 * 45;
            t.gives(n * LOOK + late, says(1, life(1, 1), leaked()), &["deliver node-1.i1 to Scheduler"]);
        }
    }
}

#[test]
fn one_that_stops_for_ten_seconds_is_dead_and_comes_back_as_another() {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    for look in 1..=12 {
        t.membership.on_event(Time(look * LOOK * 1_000_000), Event::Wake, &mut Vec::new());
    }
    t.gives(1_625, Event::Wake, &["down node-1.i1: Silent(1.625s)", "close 1"]);
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
    // The minute counts 175 ms.
    for at in [60_000, 60_125, 60_250, 60_375] {
        t.gives(at, Event::Wake, &[]);
    }
    t.gives(60_500, Event::Wake, &["ping node-1.i1 1"]);
    t.gives(60_625, Event::Wake, &["ping node-1.i1 2"]);
    // Another one, while it is waited for.
    t.gives(120_000, Event::Wake, &["ping node-1.i1 3"]);
    t.gives(120_125, Event::Wake, &["ping node-1.i1 4"]);
    t.gives(120_250, Event::Wake, &["node-1.i1 Suspected", "ping node-1.i1 5"]);
    t.gives(120_375, Event::Wake, &["ping node-1.i1 6"]);
    t.gives(120_500, Event::Wake, &["ping node-1.i1 7"]);
    t.gives(120_625, Event::Wake, &["ping node-1.i1 8"]);
    t.gives(120_750, Event::Wake, &["down node-1.i1: Silent(1.725s)", "close 1"]);
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
    for look in 1..=13 {
        tell(&mut t, look * LOOK, Event::Wake);
        tell(&mut t, look * LOOK + 1, alive(2, life(2, 1)));
    }
    assert_eq!(seen, [(0, 1, 0), (0, 2, 0), (1_125, 2, 1), (1_625, 1, 0)]);
}

/// One executor and a driver, in time steps of a millisecond. Whatever arrives while the driver stalls is read after the
/// overdue look, which is the worst case.
struct Model {
    t: Table,
    rng: SeededRng,
    delay_max: u64,
    /// How late the answers are, in turn; at random if empty.
    delays: &'static [u64],
    /// When answers arrive, in order.
    wire: std::collections::VecDeque<u64>,
    stalls_until: u64,
    is_dead: bool,
    down_at: Option<u64>,
    pings: u64,
    suspected: u64,
}

impl Model {
    fn new(seed: u64, delay_max: u64) -> Model {
        let mut t = Table::new();
        t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
        let (wire, rng) = (Default::default(), SeededRng::new(seed));
        let (stalls_until, is_dead, down_at, pings, suspected) = (0, false, None, 0, 0);
        let delays = &[];
        Model { t, rng, delay_max, delays, wire, stalls_until, is_dead, down_at, pings, suspected }
    }

    fn tell(&mut self, ms: u64, event: Event) {
        self.t.last.clear();
        self.t.membership.on_event(Time(ms * 1_000_000), event, &mut self.t.last);
        self.t.membership.assert_invariants();
        for action in std::mem::take(&mut self.t.last) {
            match action {
                Action::Ping { .. } => {
                    self.pings += 1;
                    let random = 1 + self.rng.range(0, self.delay_max);
                    let in_turn = self.delays.iter().cycle().nth(self.pings as usize);
                    let arrives = ms + in_turn.copied().unwrap_or(random);
                    let arrives = self.wire.back().map_or(arrives, |last| arrives.max(*last));
                    if !self.is_dead {
                        self.wire.push_back(arrives);
                    }
                }
                Action::ExecutorDown { .. } => self.down_at = Some(ms),
                Action::Standing { standing: Standing::Suspected, .. } => self.suspected += 1,
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
    assert!(pings >= 3_000, "it was asked {pings} times");
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
