//! Supervisors and actors in virtual time: limits, waits, escalation, shutdown, panics, stuck actors, children that come and
//! go.

mod support;

use std::time::Duration;
use support::{Count, Do, Hang, Log, PLENTY, in_virtual_time, ms, probe, steady};
use tidemill_actors::supervision::{
    AskError, Backoff, ChildSpec, ChildState, Exit, Intensity, Mailbox, Restart, SendError, Shutdown,
    StartChildError, Strategy, Supervisor, SupervisorSpec, TerminateChildError, assert_unwinding,
};
use tidemill_protocol::{time::Time, world::Entropy};

fn failure() -> Do {
    Do(Exit::Failed("enough".into()))
}

#[test]
fn this_build_unwinds() {
    assert_eq!(assert_unwinding(), Ok(()));
}

#[test]
fn n_restarts_are_granted_and_the_next_one_ends_the_supervisor() {
    in_virtual_time(1, |world| async move {
        let log = Log::default();
        let mailbox = Mailbox::new();
        let b = mailbox.address::<Do>();
        let spec = SupervisorSpec::new("root", Strategy::OneForOne)
            .intensity(Intensity { restarts_max: 3, period: Duration::from_secs(10) })
            .backoff(steady(Duration::ZERO))
            .child(probe("a", &log, Mailbox::new()))
            .child(probe("b", &log, mailbox));
        let root = Supervisor::start(spec, &world);
        for _ in 0..3 {
            b.try_send(failure()).unwrap();
            world.clock.sleep(ms(1)).await;
        }
        assert_eq!(log.line(), "+a +b +b +b +b");
        assert_eq!(root.tree().get("root/b").unwrap().restarts, 3);
        b.try_send(failure()).unwrap();
        let Exit::Failed(text) = root.ended().await else { panic!("it ended well") };
        assert_eq!(text, "more than 3 restarts in 10s; the last, b, ended: failed: enough");
        assert_eq!(log.line(), "-a");
        assert!(matches!(b.try_send(failure()), Err(SendError::Gone(_))));
    });
}

#[test]
fn restarts_count_for_the_period_and_not_longer() {
    in_virtual_time(1, |world| async move {
        let log = Log::default();
        let mailbox = Mailbox::new();
        let b = mailbox.address::<Do>();
        let spec = SupervisorSpec::new("root", Strategy::OneForOne)
            .intensity(Intensity { restarts_max: 1, period: Duration::from_secs(10) })
            .backoff(steady(Duration::ZERO))
            .child(probe("b", &log, mailbox));
        let root = Supervisor::start(spec, &world);
        for _ in 0..5 {
            b.try_send(failure()).unwrap();
            world.clock.sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(log.line(), "+b +b +b +b +b +b");
        b.try_send(failure()).unwrap();
        world.clock.sleep(Duration::from_millis(9_990)).await;
        b.try_send(failure()).unwrap();
        assert!(matches!(root.ended().await, Exit::Failed(_)));
    });
}

/// The virtual milliseconds at which a child that fails at once was started.
fn starts(seed: u64, backoff: Backoff) -> Vec<u64> {
    let log = Log::default();
    let seen = log.clone();
    in_virtual_time(seed, |world| async move {
        let mailbox = Mailbox::new();
        let b = mailbox.address::<Do>();
        for _ in 0..5 {
            b.try_send(failure()).unwrap();
        }
        let spec = SupervisorSpec::new("root", Strategy::OneForOne).intensity(PLENTY).backoff(backoff);
        let _root = Supervisor::start(spec.child(probe("b", &log, mailbox)), &world);
        world.clock.sleep(Duration::from_secs(60)).await;
    });
    seen.take().into_iter().map(|(at, _)| at).collect()
}

#[test]
fn waits_grow_and_follow_the_seed() {
    let plain = Backoff { jitter: 0.0, max: ms(200), ..Backoff::default() };
    assert_eq!(starts(1, plain), [0, 20, 60, 140, 300, 500]);

    let spread = Backoff { initial: ms(100), jitter: 0.5, ..Backoff::default() };
    let by_seed = |seed| {
        let mut rng = Entropy::seeded(seed).rng("supervisor/root");
        let mut at = Duration::ZERO;
        let mut starts = vec![0];
        for failures in 1..=5 {
            at += spread.delay(failures, &mut rng);
            starts.push(at.as_millis() as u64);
        }
        starts
    };
    // A timer of tokio's is at most a millisecond late.
    for (seen, expected) in starts(7, spread).into_iter().zip(by_seed(7)) {
        assert!((expected..=expected + 5).contains(&seen), "started at {seen} instead of {expected} ms");
    }
    assert_eq!(starts(7, spread), starts(7, spread));
    assert_ne!(starts(7, spread), starts(8, spread));
}

#[test]
fn a_healthy_period_makes_waits_short_again() {
    in_virtual_time(1, |world| async move {
        let log = Log::default();
        let mailbox = Mailbox::new();
        let b = mailbox.address::<Do>();
        let backoff =
            Backoff { initial: ms(100), jitter: 0.0, healthy_after: ms(1_000), ..Backoff::default() };
        let spec = SupervisorSpec::new("root", Strategy::OneForOne).intensity(PLENTY).backoff(backoff);
        let _root = Supervisor::start(spec.child(probe("b", &log, mailbox)), &world);
        for at in [0, 500, 1_499, 3_000, 3_200] {
            world.clock.sleep_until(tidemill_protocol::time::Time(at * 1_000_000)).await;
            b.try_send(failure()).unwrap();
        }
        world.clock.sleep(ms(5_000)).await;
        let starts: Vec<u64> = log.take().into_iter().map(|(at, _)| at).collect();
        assert_eq!(starts, [0, 100, 700, 1_899, 3_100, 3_400]);
    });
}

#[test]
fn escalation_climbs_two_levels() {
    in_virtual_time(1, |world| async move {
        let log = Log::default();
        let (leaf, top) = (Mailbox::new(), Mailbox::new());
        let (leaf_address, counts) = (leaf.address::<Do>(), leaf.address::<Count>());
        let once = Intensity { restarts_max: 1, period: Duration::from_secs(60) };
        let make =
            |id: &str| SupervisorSpec::new(id, Strategy::OneForOne).intensity(once).backoff(steady(ms(1)));
        let inner = make("inner").child(probe("leaf", &log, leaf));
        let middle =
            make("middle").child(probe("beside", &log, Mailbox::new())).child(ChildSpec::supervisor(inner));
        let root = Supervisor::start(
            make("root").child(probe("top", &log, top)).child(ChildSpec::supervisor(middle)),
            &world,
        );
        let mut middle_exits = root.watch("middle");
        world.clock.sleep(ms(5)).await;
        assert_eq!(log.line(), "+top +beside +leaf");
        let mut lines = Vec::new();
        for _ in 0..7 {
            leaf_address.try_send(failure()).unwrap();
            world.clock.sleep(ms(20)).await;
            lines.push(log.line());
        }
        assert_eq!(
            lines,
            [
                "+leaf",                 // inner grants one
                "+leaf",                 // inner has ended; middle grants it one
                "+leaf",                 // a new inner grants one
                "-beside +beside +leaf", // inner and middle have ended; root grants middle one
                "+leaf",
                "+leaf",
                "+leaf",
            ]
        );
        assert!(matches!(middle_exits.recv().await, Some(Exit::Failed(_))));
        assert_eq!(counts.ask(Count).await, Ok(1), "the address is good over restarts of its supervisors");
        leaf_address.try_send(failure()).unwrap();
        let Exit::Failed(text) = root.ended().await else { panic!("it ended well") };
        assert_eq!(text.matches("more than 1 restarts").count(), 3, "each level says its own: {text}");
        assert_eq!(log.line(), "-beside -top");
    });
}

#[test]
fn shutdown_goes_backwards_and_aborts_who_does_not_stop() {
    in_virtual_time(1, |world| async move {
        let log = Log::default();
        let hanging = Mailbox::new();
        hanging.address::<Hang>().try_send(Hang).unwrap();
        let spec = SupervisorSpec::new("root", Strategy::OneForOne)
            .child(probe("a", &log, Mailbox::new()))
            .child(probe("b", &log, hanging).shutdown(Shutdown::After(ms(300))))
            .child(probe("c", &log, Mailbox::new()));
        let root = Supervisor::start(spec, &world);
        let (mut b, mut c) = (root.watch("b"), root.watch("c"));
        world.clock.sleep(ms(50)).await;
        root.shutdown();
        assert_eq!(root.ended().await, Exit::Shutdown);
        let seen = log.take();
        let expected = [(0, "+a"), (0, "+b"), (0, "+c"), (50, "-c"), (350, "-a")];
        assert_eq!(seen, expected.map(|(at, what)| (at, what.to_string())));
        assert_eq!(b.recv().await, Some(Exit::Killed));
        assert_eq!(c.recv().await, Some(Exit::Shutdown));
        assert_eq!(b.recv().await, None, "no more exits can come");
    });
}

#[test]
fn a_brutal_child_is_not_asked() {
    in_virtual_time(1, |world| async move {
        let log = Log::default();
        let child = probe("a", &log, Mailbox::new()).shutdown(Shutdown::Brutal);
        let root = Supervisor::start(SupervisorSpec::new("root", Strategy::OneForOne).child(child), &world);
        let mut exits = root.watch("a");
        world.clock.sleep(ms(1)).await;
        root.shutdown();
        assert_eq!(root.ended().await, Exit::Shutdown);
        assert_eq!(exits.recv().await, Some(Exit::Killed));
        assert_eq!(log.line(), "+a", "an aborted actor's `stopped` is not called");
    });
}

#[test]
fn a_panic_loses_one_message_and_its_state_and_nothing_else() {
    in_virtual_time(1, |world| async move {
        let log = Log::default();
        let mailbox = Mailbox::new();
        let (orders, counts) = (mailbox.address::<Do>(), mailbox.address::<Count>());
        let spec = SupervisorSpec::new("root", Strategy::OneForOne).backoff(steady(ms(10)));
        let root = Supervisor::start(spec.child(probe("a", &log, mailbox)), &world);
        let mut exits = root.watch("a");
        assert_eq!(counts.ask(Count).await, Ok(1));
        assert_eq!(counts.ask(Count).await, Ok(2));
        let (in_flight, first, second) = tokio::join!(
            orders.ask(Do(Exit::Panicked("the glass fell".into()))),
            counts.ask(Count),
            counts.ask(Count),
        );
        assert_eq!(in_flight, Err(AskError::Lost));
        assert_eq!((first, second), (Ok(1), Ok(2)), "waiting messages are read by a fresh actor");
        let Some(Exit::Panicked(text)) = exits.recv().await else { panic!("no panic was told") };
        assert!(text.starts_with("the glass fell at ") && text.contains("support/mod.rs:"), "{text}");
        let entry = root.tree().get("root/a").cloned().unwrap();
        assert_eq!(
            (entry.restarts, entry.last_exit, entry.state),
            (1, Some(Exit::Panicked(text)), ChildState::Running)
        );
    });
}

#[test]
fn an_actor_that_hangs_with_messages_waiting_is_started_again() {
    in_virtual_time(1, |world| async move {
        let log = Log::default();
        let (mailbox, idle) = (Mailbox::new(), Mailbox::new());
        let (hang, counts) = (mailbox.address::<Hang>(), mailbox.address::<Count>());
        idle.address::<Hang>().try_send(Hang).unwrap();
        let spec = SupervisorSpec::new("root", Strategy::OneForOne)
            .backoff(steady(ms(10)))
            .child(probe("a", &log, mailbox).stuck_after(ms(400)))
            .child(probe("idle", &log, idle).stuck_after(ms(400)));
        let root = Supervisor::start(spec, &world);
        let mut exits = root.watch("a");
        hang.try_send(Hang).unwrap();
        world.clock.sleep(ms(5_000)).await;
        assert_eq!(log.line(), "+a +idle", "who has nothing to read is not stuck");
        assert_eq!(counts.ask(Count).await, Ok(1));
        let text = "stuck: no progress for 400ms with messages waiting".to_string();
        assert_eq!(exits.recv().await, Some(Exit::Failed(text)));
        let seen = log.take();
        assert_eq!((seen.len(), &*seen[0].1), (1, "+a"));
        assert!((5_400..=5_520).contains(&seen[0].0), "found within the limit and a quarter: {seen:?}");
    });
}

#[test]
fn children_come_and_go() {
    in_virtual_time(1, |world| async move {
        let log = Log::default();
        let root = Supervisor::start(SupervisorSpec::new("root", Strategy::OneForOne), &world);
        let mailbox = Mailbox::new();
        let counts = mailbox.address::<Count>();
        root.start_child(probe("a", &log, mailbox)).await.unwrap();
        let again = root.start_child(probe("a", &log, Mailbox::new())).await;
        assert_eq!(again, Err(StartChildError::Duplicate("a".into())));
        assert_eq!(counts.ask(Count).await, Ok(1));
        root.terminate_child("a").await.unwrap();
        assert_eq!(counts.ask(Count).await, Err(AskError::Gone));
        assert!(root.tree().get("root/a").is_none());
        assert_eq!(root.terminate_child("a").await, Err(TerminateChildError::Unknown("a".into())));
        root.start_child(probe("a", &log, Mailbox::new()).restart(Restart::Temporary)).await.unwrap();
        root.shutdown();
        assert_eq!(root.ended().await, Exit::Shutdown);
        assert_eq!(log.line(), "+a -a +a -a");
        assert_eq!(root.start_child(probe("b", &log, Mailbox::new())).await, Err(StartChildError::Gone));
    });
}

#[test]
fn a_factory_that_panics_is_a_failure_like_any_other() {
    in_virtual_time(1, |world| async move {
        let log = Log::default();
        let (seen, mut calls) = (log.clone(), 0);
        let child = ChildSpec::new("a", move || {
            calls += 1;
            assert!(calls > 2, "not yet");
            support::Probe { name: "a", log: seen.clone(), counted: 0, clock: None }
        });
        let spec = SupervisorSpec::new("root", Strategy::OneForOne).backoff(steady(ms(10)));
        let root = Supervisor::start(spec.child(child), &world);
        world.clock.sleep(ms(100)).await;
        assert_eq!(log.line(), "+a");
        assert_eq!(root.tree().get("root/a").unwrap().restarts, 2);
    });
}

#[test]
fn a_tree_can_be_listed() {
    in_virtual_time(1, |world| async move {
        let log = Log::default();
        let hanging = Mailbox::new();
        let (hang, counts) = (hanging.address::<Hang>(), hanging.address::<Count>());
        let inner =
            SupervisorSpec::new("driver", Strategy::OneForAll).child(probe("scheduler", &log, hanging));
        let spec = SupervisorSpec::new("node", Strategy::RestForOne)
            .child(ChildSpec::supervisor(inner))
            .child(probe("receiver", &log, Mailbox::new()).restart(Restart::Transient));
        let root = Supervisor::start(spec, &world);
        hang.try_send(Hang).unwrap();
        for _ in 0..3 {
            counts.try_send(Count).unwrap();
        }
        world.clock.sleep(ms(1)).await;
        let expected = [
            "node: Running, 0 restarts, RestForOne",
            "  driver: Running, 0 restarts, OneForAll",
            "    scheduler: Running, 0 restarts, 3 waiting",
            "  receiver: Running, 0 restarts, 0 waiting",
        ];
        assert_eq!(root.tree().to_string().lines().collect::<Vec<_>>(), expected);
        let paths: Vec<String> = root.tree().entries.into_iter().map(|entry| entry.path).collect();
        assert_eq!(paths, ["node", "node/driver", "node/driver/scheduler", "node/receiver"]);
    });
}

#[test]
fn whoever_waits_for_a_nested_supervisor_that_rests_is_told_at_once_and_a_sibling_can_bring_it_back() {
    in_virtual_time(1, |world| async move {
        let log = Log::default();
        let (first, inside) = (Mailbox::new(), Mailbox::new());
        let (end_first, count) = (first.address::<Do>(), inside.address::<Count>());
        let nested = SupervisorSpec::new("nested", Strategy::OneForOne).child(probe("inside", &log, inside));
        let inner = nested.handle();
        let spec = SupervisorSpec::new("root", Strategy::OneForAll)
            .backoff(steady(ms(10)))
            .child(probe("first", &log, first))
            .child(ChildSpec::supervisor(nested).restart(Restart::Transient));
        let root = Supervisor::start(spec, &world);
        world.clock.sleep(ms(1)).await;
        inner.shutdown();
        assert_eq!(inner.ended().await, Exit::Shutdown);
        let another = || probe("another", &log, Mailbox::new());
        assert_eq!(inner.start_child(another()).await, Err(StartChildError::Gone));
        assert_eq!(inner.terminate_child("inside").await, Err(TerminateChildError::Gone));
        assert!(world.clock.now() < Time::ZERO + ms(10), "nobody had to wait");
        assert_eq!(log.line(), "+first +inside -inside");

        end_first.try_send(Do(Exit::Normal)).unwrap();
        world.clock.sleep(ms(100)).await;
        assert_eq!(log.line(), "+first +inside");
        assert_eq!(count.ask(Count).await, Ok(1));
        inner.start_child(another()).await.unwrap();
        root.shutdown();
        assert_eq!((inner.ended().await, root.ended().await), (Exit::Shutdown, Exit::Shutdown));
    });
}
