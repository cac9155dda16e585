//! A supervisor on a thread of its own, as a child of one elsewhere: an actor that holds its thread holds up its siblings there,
//! and nobody else. Restarts, escalation and an ordered end are as for any nested supervisor.
//!
//! ```text
//!   the parent's thread                        a thread of its own (a current-thread runtime, an actix System)
//!   a task ─── waits for "up", "ended" <────── the life of the supervisor, its actors
//!     └─────── dropped: all is dropped ──────>
//! ```
//!
//! Whoever never gives that thread back cannot be ended; then the thread is left behind, as that of a task is.

use super::{
    child::{Start, Starter},
    exit::Exit,
    host::{Incarnation, Seat},
    office::Office,
    supervise::{SupervisorLever, SupervisorStarter},
};
use std::{
    io,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::oneshot;

/// Makes the lives of a supervisor, each on a fresh thread.
pub(crate) struct ApartStarter {
    inner: Arc<Mutex<SupervisorStarter>>,
    office: Arc<Office>,
}

impl ApartStarter {
    pub(crate) fn new(inner: SupervisorStarter, office: Arc<Office>) -> Self {
        ApartStarter { inner: Arc::new(Mutex::new(inner)), office }
    }
}

impl Starter for ApartStarter {
    fn start(&mut self, start: &Start, seat: Seat) -> Incarnation {
        let Seat { world, path, role, up } = seat;
        let (tell_up, told_up) = oneshot::channel();
        let (tell_exit, told_exit) = oneshot::channel();
        let (hold, let_go) = oneshot::channel();
        let (inner, start) = (self.inner.clone(), start.clone());
        let begin = move || {
            let tell_up = Box::new(move || {
                // Whoever started it may be gone.
                let _ = tell_up.send(());
            });
            let seat = Seat { world, path, role, up: tell_up };
            inner.lock().unwrap_or_else(PoisonError::into_inner).start(&start, seat)
        };
        let spawned = spawn(begin, tell_exit, let_go);
        let run = async move {
            if let Err(error) = spawned {
                return Exit::Failed(format!("cannot start a thread: {error}"));
            }
            // Held for as long as anybody waits for the end.
            let _hold: oneshot::Sender<()> = hold;
            if told_up.await.is_ok() {
                up();
            }
            told_exit.await.unwrap_or_else(|_| Exit::Failed("its thread has ended without a word".into()))
        };
        Incarnation { run: Box::pin(run), lever: Rc::new(SupervisorLever(self.office.clone())) }
    }

    fn rest(&mut self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).rest();
    }
}

/// Runs what `begin` gives on a thread of its own, until it ends or nobody waits for it.
fn spawn(
    begin: impl FnOnce() -> Incarnation + Send + 'static,
    tell_exit: oneshot::Sender<Exit>,
    let_go: oneshot::Receiver<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let live = move || {
        // Asked for one runtime, once.
        let mut runtime = Some(runtime);
        let system =
            actix_rt::System::with_tokio_rt(move || runtime.take().expect("a System has one runtime"));
        let exit = system.block_on(async {
            tokio::select! {
                biased;
                exit = begin().run => Some(exit),
                _ = let_go => None,
            }
        });
        if let Some(exit) = exit {
            // Who does not wait any more does not want it.
            let _ = tell_exit.send(exit);
        }
    };
    std::thread::Builder::new().name("tidemill-actors".into()).spawn(live).map(drop)
}
