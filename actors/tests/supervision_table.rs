//! Strategy × exit × restart type, against the real supervisor with real actors: one hand-written table.
//!
//! The children are, in start order, `a` (permanent), `b` (of the row's type), `c` (transient) and `d` (temporary); `b` ends
//! as the row says. `-x` is a child that was asked to stop, `+x` one that was started.

mod support;

use support::{Do, Log, PLENTY, in_virtual_time, ms, probe, steady};
use tidemill_actors::supervision::{
    ChildSpec, Exit, Mailbox,
    Restart::{self, Permanent, Temporary, Transient},
    Strategy::{self, OneForAll, OneForOne, RestForOne},
    Supervisor, SupervisorSpec,
};

/// How `b` ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Normal,
    Shutdown,
    Failed,
    Panicked,
}
use End::{Failed, Normal, Panicked, Shutdown};

#[rustfmt::skip]
const TABLE: [(Strategy, End, Restart, &str); 36] = [
    (OneForOne,  Normal,   Permanent, "+b"),
    (OneForOne,  Normal,   Transient, ""),
    (OneForOne,  Normal,   Temporary, ""),
    (OneForOne,  Shutdown, Permanent, "+b"),
    (OneForOne,  Shutdown, Transient, ""),
    (OneForOne,  Shutdown, Temporary, ""),
    (OneForOne,  Failed,   Permanent, "+b"),
    (OneForOne,  Failed,   Transient, "+b"),
    (OneForOne,  Failed,   Temporary, ""),
    (OneForOne,  Panicked, Permanent, "+b"),
    (OneForOne,  Panicked, Transient, "+b"),
    (OneForOne,  Panicked, Temporary, ""),

    (OneForAll,  Normal,   Permanent, "-d -c -a +a +b +c"),
    (OneForAll,  Normal,   Transient, ""),
    (OneForAll,  Normal,   Temporary, ""),
    (OneForAll,  Shutdown, Permanent, "-d -c -a +a +b +c"),
    (OneForAll,  Shutdown, Transient, ""),
    (OneForAll,  Shutdown, Temporary, ""),
    (OneForAll,  Failed,   Permanent, "-d -c -a +a +b +c"),
    (OneForAll,  Failed,   Transient, "-d -c -a +a +b +c"),
    (OneForAll,  Failed,   Temporary, ""),
    (OneForAll,  Panicked, Permanent, "-d -c -a +a +b +c"),
    (OneForAll,  Panicked, Transient, "-d -c -a +a +b +c"),
    (OneForAll,  Panicked, Temporary, ""),

    (RestForOne, Normal,   Permanent, "-d -c +b +c"),
    (RestForOne, Normal,   Transient, ""),
    (RestForOne, Normal,   Temporary, ""),
    (RestForOne, Shutdown, Permanent, "-d -c +b +c"),
    (RestForOne, Shutdown, Transient, ""),
    (RestForOne, Shutdown, Temporary, ""),
    (RestForOne, Failed,   Permanent, "-d -c +b +c"),
    (RestForOne, Failed,   Transient, "-d -c +b +c"),
    (RestForOne, Failed,   Temporary, ""),
    (RestForOne, Panicked, Permanent, "-d -c +b +c"),
    (RestForOne, Panicked, Transient, "-d -c +b +c"),
    (RestForOne, Panicked, Temporary, ""),
];

#[test]
fn each_row_restarts_whom_it_says_in_the_order_it_says() {
    for (strategy, end, restart, expected) in TABLE {
        in_virtual_time(1, |world| async move {
            let log = Log::default();
            let mailbox = Mailbox::new();
            let address = mailbox.address::<Do>();
            let actor = probe("b", &log, mailbox);
            // Only a supervisor can end with `Shutdown` without having been asked to by its own.
            let nested = SupervisorSpec::new("b", OneForOne);
            let inner = nested.handle();
            let b = match end {
                Shutdown => ChildSpec::supervisor(nested.child(actor)),
                _ => actor,
            };
            let plain = |name| probe(name, &log, Mailbox::new());
            let spec = SupervisorSpec::new("root", strategy)
                .intensity(PLENTY)
                .backoff(steady(ms(10)))
                .child(plain("a"))
                .child(b.restart(restart))
                .child(plain("c").restart(Transient))
                .child(plain("d").restart(Temporary));
            let root = Supervisor::start(spec, &world);
            world.clock.sleep(ms(1)).await;
            assert_eq!(log.line(), "+a +b +c +d");

            match end {
                Normal => address.try_send(Do(Exit::Normal)).unwrap(),
                Failed => address.try_send(Do(Exit::Failed("no".into()))).unwrap(),
                Panicked => address.try_send(Do(Exit::Panicked("oh".into()))).unwrap(),
                Shutdown => inner.shutdown(),
            }
            world.clock.sleep(ms(1_000)).await;
            let mut all = log.line();
            if end == Shutdown {
                // The actor inside of `b`, which its own supervisor stops.
                all = all.strip_prefix("-b").expect("it goes first").to_string();
            }
            assert_eq!(all.trim(), expected, "{strategy:?}, {end:?}, {restart:?}");
            root.shutdown();
            assert_eq!(root.ended().await, Exit::Shutdown);
        });
    }
}
