//! The watchdog of the control thread: who holds it for too long is counted under its role, and named with its event.

mod support;

use metrics_exporter_prometheus::PrometheusBuilder;
use std::{
    fmt::{self, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use support::{in_virtual_time, ms};
use tidemill_actors::{
    core::{Core, Perform},
    shell::{CONTROL_HELD_MAX, Shell, ShellAddress},
    supervision::{Strategy, Supervisor, SupervisorSpec},
};
use tidemill_protocol::{
    time::Time,
    world::{Clock, ClockSource, World},
};
use tracing::field::{Field, Visit};

/// A clock that goes on when its test says so; until then work takes no time.
#[derive(Clone, Default)]
struct ByHand(Arc<AtomicU64>);

impl ClockSource for ByHand {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
    fn wall(&self) -> std::time::Duration {
        self.now().since(Time::ZERO)
    }
    fn sleep_until(&self, _: Time) -> futures_util::future::BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// Hands on what it is told to take, in nanoseconds.
struct Worker;

#[derive(Clone, Debug)]
enum Event {
    Work { nanos: u64 },
    Wake,
}

impl Core for Worker {
    type Event = Event;
    type Action = u64;
    const NAME: &'static str = "worker";

    fn on_event(&mut self, _: Time, event: Event, out: &mut Vec<u64>) {
        if let Event::Work { nanos } = event {
            out.push(nanos);
        }
    }
    fn wake() -> Event {
        Event::Wake
    }
    fn next_deadline(&self) -> Option<Time> {
        None
    }
}

/// Holds the thread as long as it is told to.
struct Hold(ByHand);

impl Perform<Worker> for Hold {
    fn perform(&mut self, nanos: u64, _: &ShellAddress<Worker>) {
        self.0.0.fetch_add(nanos, Ordering::SeqCst);
    }
}

/// Keeps what is logged, fields and all.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Said {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                write!(self.0, "{field}={value:?} ").unwrap();
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// What is logged about held threads, and what Prometheus would read, after a worker has done `events`.
fn watch(events: &[Event]) -> (Vec<String>, String) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let (scrape, said, hand) = (recorder.handle(), Said::default(), ByHand::default());
    let run = || {
        in_virtual_time(1, |outer| async move {
            let world = World { clock: Clock::new(hand.clone()), ..outer.clone() };
            let (address, inbox) = ShellAddress::<Worker>::new_pair();
            for event in events {
                address.tell(event.clone());
            }
            let child = Shell::child_spec("worker-7", inbox, |_| Worker, move |_| Hold(hand.clone()));
            let spec = SupervisorSpec::new("root", Strategy::OneForOne).child(child);
            let _root = Supervisor::start(spec, &world);
            outer.clock.sleep(ms(1)).await;
            assert_eq!(address.depth(), 0, "all is handled");
        });
    };
    tracing::subscriber::with_default(said.clone(), || metrics::with_local_recorder(&recorder, run));
    let mut said = said.0.lock().unwrap().clone();
    said.retain(|line| line.contains("held the control thread"));
    (said, scrape.render())
}

#[test]
fn whoever_holds_the_control_thread_is_named_with_its_event_and_counted_under_its_role() {
    let limit = CONTROL_HELD_MAX.as_nanos() as u64;
    let (said, scrape) = watch(&[1, limit, limit + 1, 0, 3 * limit].map(|nanos| Event::Work { nanos }));
    assert_eq!(said.len(), 2, "{said:?}");
    for (line, nanos) in said.iter().zip([limit + 1, 3 * limit]) {
        assert!(line.contains("core=\"worker\""), "{line}");
        assert!(line.contains(&format!("event=\"Work {{ nanos: {nanos} }}\"")), "{line}");
    }
    assert!(scrape.contains("tidemill_control_held_total{role=\"worker\"} 2"), "{scrape}");
}

#[test]
fn whoever_gives_the_thread_back_in_time_is_not_named() {
    let limit = CONTROL_HELD_MAX.as_nanos() as u64;
    let (said, scrape) = watch(&[Event::Work { nanos: limit }, Event::Wake]);
    assert!(said.is_empty(), "{said:?}");
    assert!(!scrape.contains("tidemill_control_held_total"), "{scrape}");
}
