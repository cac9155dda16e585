//! Panics in awkward places: while stopping, while being dropped, beside the messages, and while the mailbox waits. Each
//! ends one life of one actor, and none the process.

mod support;

use support::{PLENTY, in_virtual_time, ms, steady};
use tidemill_actors::supervision::{
    Actor, ActorError, Address, ChildSpec, ChildState, Context, Exit, Handler, Mailbox, Message, Start,
    Strategy, Supervisor, SupervisorSpec,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    Started,
    StartedWithError,
    Handler,
    Spawned,
    Waiting,
}

struct Strike(Where);
impl Message for Strike {
    type Reply = ();
}

/// Panics where it is told to in its first life, and also when it is stopped and when it is dropped.
struct Fragile {
    first_life: bool,
    at_start: Option<Where>,
}

impl Actor for Fragile {
    fn started(&mut self, _: &mut Context<Self>) -> Result<(), ActorError> {
        match self.at_start.filter(|_| self.first_life) {
            Some(Where::Started) => panic!("struck"),
            Some(Where::StartedWithError) => Err(ActorError::new("struck")),
            _ => Ok(()),
        }
    }
    fn stopped(&mut self, _: &Exit) {
        assert!(!self.first_life, "a second panic, while stopping");
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.first_life || std::thread::panicking(), "a third panic, while being dropped");
    }
}

impl Handler<Strike> for Fragile {
    fn handle(&mut self, Strike(place): Strike, ctx: &mut Context<Self>) {
        let strike = async {
            tokio::task::yield_now().await;
            panic!("struck")
        };
        match place {
            Where::Handler => panic!("struck"),
            Where::Spawned => ctx.spawn_local(strike),
            Where::Waiting => ctx.wait(strike),
            Where::Started | Where::StartedWithError => {}
        }
    }
}

#[test]
fn a_panic_anywhere_ends_one_life_and_nothing_else() {
    for place in [Where::Started, Where::StartedWithError, Where::Handler, Where::Spawned, Where::Waiting] {
        in_virtual_time(1, |world| async move {
            let mailbox = Mailbox::<Fragile>::new();
            let strike: Address<Strike> = mailbox.address();
            let make = move |start: &Start| Fragile { first_life: start.count == 0, at_start: Some(place) };
            let child = ChildSpec::with_mailbox("fragile", mailbox, make);
            let spec =
                SupervisorSpec::new("root", Strategy::OneForOne).intensity(PLENTY).backoff(steady(ms(10)));
            let root = Supervisor::start(spec.child(child), &world);
            let mut exits = root.watch("fragile");
            if !matches!(place, Where::Started | Where::StartedWithError) {
                strike.try_send(Strike(place)).unwrap();
            }
            let exit = exits.recv().await.unwrap();
            match place {
                Where::StartedWithError => assert_eq!(exit, Exit::Failed("struck".into())),
                _ => assert!(
                    matches!(&exit, Exit::Panicked(text) if text.starts_with("struck at ")),
                    "{place:?}: {exit}"
                ),
            }
            world.clock.sleep(ms(50)).await;
            let entry = root.tree().get("root/fragile").cloned().unwrap();
            assert_eq!((entry.restarts, entry.state), (1, ChildState::Running), "{place:?}");
            root.shutdown();
            assert_eq!(root.ended().await, Exit::Shutdown);
        });
    }
}

#[test]
fn an_actor_that_panics_while_it_stops_has_stopped() {
    in_virtual_time(1, |world| async move {
        let child = ChildSpec::new("fragile", || Fragile { first_life: true, at_start: None });
        let root = Supervisor::start(SupervisorSpec::new("root", Strategy::OneForOne).child(child), &world);
        let mut exits = root.watch("fragile");
        world.clock.sleep(ms(1)).await;
        root.shutdown();
        assert_eq!(root.ended().await, Exit::Shutdown);
        assert_eq!(exits.recv().await, Some(Exit::Shutdown));
    });
}
