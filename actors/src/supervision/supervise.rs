//! The loop of one life of a supervisor: it carries out what [`Children`] decides, and tells it what has happened.

use super::{
    child::{ChildSpec, Start, Starter},
    children::{Children, Phase},
    exit::Exit,
    host::{Incarnation, Lever, Seat},
    office::{Command, Office, Row, StartChildError, TerminateChildError, Told},
    orders::{Action, ChildKey, Event, Patience},
    panic,
    supervisor::{Rule, SupervisorSpec},
    tree::ChildState,
};
use crate::core::Core;
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};
use tidemill_protocol::world::{World, meter};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinError, JoinSet};

/// Makes the lives of a supervisor. Its first children come back in each life; those started later do not (as in OTP).
pub(crate) struct SupervisorStarter {
    rule: Rule,
    children: Vec<ChildSpec>,
    office: Arc<Office>,
}

impl SupervisorStarter {
    pub(crate) fn new(spec: SupervisorSpec) -> Self {
        SupervisorStarter { rule: spec.rule, children: spec.children, office: spec.office }
    }
}

impl Drop for SupervisorStarter {
    fn drop(&mut self) {
        self.office.close(&Exit::Shutdown);
    }
}

impl Starter for SupervisorStarter {
    fn start(&mut self, _: &Start, seat: Seat) -> Incarnation {
        self.office.begin();
        let seed = seat.world.entropy.seed(&format!("supervisor/{}", seat.path));
        let core = Children::new(self.rule.strategy, self.rule.intensity, self.rule.backoff, seed);
        let mut life = SupervisorLife {
            path: seat.path,
            world: seat.world,
            office: self.office.clone(),
            core,
            next_key: 0,
            residents: BTreeMap::new(),
            tasks: JoinSet::new(),
            started: Rc::default(),
            up: Some(seat.up),
        };
        let first: Vec<ChildSpec> = self.children.iter().map(ChildSpec::share).collect();
        let office = self.office.clone();
        let run = async move {
            let exit = panic::catch_future(async move { life.run(first).await }).await;
            let exit = exit.unwrap_or_else(|text| Exit::Panicked(text.to_string()));
            office.left(&exit);
            exit
        };
        Incarnation { run: Box::pin(run), lever: Rc::new(SupervisorLever(self.office.clone())) }
    }

    fn rest(&mut self) {
        self.office.rest();
    }
}

pub(super) struct SupervisorLever(pub(super) Arc<Office>);

impl Lever for SupervisorLever {
    fn stop(&self) {
        // Refused only if it is gone already.
        let _ = self.0.command(Command::Shutdown);
    }

    fn progress(&self) -> u64 {
        0
    }
}

/// A child, its running task, and who waits for it to be gone.
struct Resident {
    spec: ChildSpec,
    running: Option<(AbortHandle, Rc<dyn Lever>)>,
    /// It was aborted as its child spec says ([`Patience::Brutal`]), which is no news; a child that is late with its end is.
    aborted_by_rule: bool,
    removed: Vec<tokio::sync::oneshot::Sender<Result<(), TerminateChildError>>>,
}

struct SupervisorLife {
    path: Arc<str>,
    world: World,
    office: Arc<Office>,
    core: Children,
    next_key: ChildKey,
    residents: BTreeMap<ChildKey, Resident>,
    tasks: JoinSet<(ChildKey, Exit)>,
    started: Rc<Started>,
    up: Option<Box<dyn FnOnce()>>,
}

/// Children that have come up since the loop looked last; at most each of them once.
#[derive(Default)]
struct Started {
    keys: RefCell<Vec<ChildKey>>,
    some: Notify,
}

impl SupervisorLife {
    async fn run(&mut self, first: Vec<ChildSpec>) -> Exit {
        for spec in first {
            if let Err(error) = self.add(spec) {
                return Exit::Failed(error.to_string());
            }
        }
        let mut ended = self.tell(Event::Wake);
        let clock = self.world.clock.clone();
        let (office, started) = (self.office.clone(), self.started.clone());
        loop {
            if let Some(exit) = ended {
                return exit;
            }
            let deadline = self.core.next_deadline();
            let timer = async {
                match deadline {
                    Some(deadline) => clock.sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            // A child comes up before it ends, and is heard in this order.
            ended = tokio::select! { biased;
                () = started.some.notified() => self.came_up(),
                Some(joined) = self.tasks.join_next() => self.joined(joined),
                () = office.commanded.notified() => self.commands(),
                () = timer => self.tell(Event::Wake),
            };
        }
    }

    fn came_up(&mut self) -> Option<Exit> {
        let keys = self.started.keys.take();
        keys.into_iter().fold(None, |ended, key| ended.or(self.tell(Event::Up { key })))
    }

    fn joined(&mut self, joined: Result<(ChildKey, Exit), JoinError>) -> Option<Exit> {
        let (key, exit) = match joined {
            Ok(ended) => ended,
            Err(error) => {
                let of = |resident: &Resident| {
                    resident.running.as_ref().is_some_and(|(task, _)| task.id() == error.id())
                };
                let key = self.residents.iter().find(|(_, resident)| of(resident)).map(|(key, _)| *key)?;
                (key, Exit::Killed)
            }
        };
        self.residents.get_mut(&key)?.running = None;
        self.tell(Event::Exited { key, exit })
    }

    fn commands(&mut self) -> Option<Exit> {
        let mut ended = None;
        for command in self.office.take_commands() {
            let answer = match command {
                Command::Shutdown => self.tell(Event::Shutdown),
                Command::Start(spec, told) => {
                    let added = self.add(spec);
                    answer(told, added);
                    self.tell(Event::Wake)
                }
                Command::Terminate(id, told) => self.terminate(&id, told),
            };
            ended = ended.or(answer);
        }
        ended
    }

    fn add(&mut self, spec: ChildSpec) -> Result<(), StartChildError> {
        if self.residents.values().any(|resident| resident.spec.id == spec.id) {
            return Err(StartChildError::Duplicate(spec.id.to_string()));
        }
        let key = self.next_key;
        self.next_key += 1;
        let rules = spec.rules();
        self.residents
            .insert(key, Resident { spec, running: None, aborted_by_rule: false, removed: Vec::new() });
        let ended = self.tell(Event::Add { key, rules });
        debug_assert!(ended.is_none(), "a supervisor does not end because a child joins");
        // A supervisor that is ending has taken it out again.
        if self.residents.contains_key(&key) { Ok(()) } else { Err(StartChildError::Gone) }
    }

    fn terminate(&mut self, id: &str, told: Told<TerminateChildError>) -> Option<Exit> {
        let found = self.residents.iter_mut().find(|(_, resident)| &*resident.spec.id == id);
        let Some((&key, resident)) = found else {
            answer(told, Err(TerminateChildError::Unknown(id.to_string())));
            return None;
        };
        resident.removed.extend(told);
        self.tell(Event::Terminate { key })
    }

    /// Tells the core, does what it says, and gives the supervisor's exit once it has come.
    fn tell(&mut self, event: Event) -> Option<Exit> {
        let mut ended = None;
        let mut out = Vec::new();
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            self.core.on_event(self.world.clock.now(), event, &mut out);
            if cfg!(debug_assertions) {
                self.core.assert_invariants();
            }
            for action in out.drain(..) {
                match action {
                    Action::End { exit } => ended = Some(exit),
                    Action::Sample { key } => events.extend(self.sample(key)),
                    Action::Up => self.up.take().into_iter().for_each(|up| up()),
                    action => self.perform(action),
                }
            }
        }
        self.show();
        ended
    }

    fn sample(&self, key: ChildKey) -> Option<Event> {
        let resident = self.residents.get(&key)?;
        let (_, lever) = resident.running.as_ref()?;
        let waiting = resident.spec.depth() > 0;
        Some(Event::Sampled { key, progress: lever.progress(), waiting })
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { key, count, reason } => self.start(key, Start { count, reason }),
            Action::Stop { key } => self.with_running(key, |_, lever| lever.stop()),
            Action::Kill { key } => {
                if let Some(resident) = self.residents.get_mut(&key) {
                    resident.aborted_by_rule = resident.spec.rules().shutdown == Patience::Brutal;
                }
                self.with_running(key, |task, _| task.abort());
            }
            Action::Report { key, exit } => self.report(key, &exit),
            Action::Rest { key } => {
                if let Some(resident) = self.residents.get(&key) {
                    resident.spec.rest();
                }
            }
            Action::Remove { key } => {
                let Some(resident) = self.residents.remove(&key) else {
                    return;
                };
                resident.removed.into_iter().for_each(|told| answer(Some(told), Ok(())));
                // A first child comes back in the supervisor's next life; until then nobody reads its mailbox.
                resident.spec.rest();
            }
            Action::Up | Action::End { .. } | Action::Sample { .. } => unreachable!("handled by `tell`"),
        }
    }

    fn with_running(&self, key: ChildKey, act: impl FnOnce(&AbortHandle, &Rc<dyn Lever>)) {
        if let Some((task, lever)) = self.residents.get(&key).and_then(|resident| resident.running.as_ref()) {
            act(task, lever);
        }
    }

    fn start(&mut self, key: ChildKey, start: Start) {
        let Some(resident) = self.residents.get_mut(&key) else {
            return;
        };
        let role = resident.spec.role;
        let path: Arc<str> = format!("{}/{}", self.path, resident.spec.id).into();
        if let Some(reason) = &start.reason {
            metrics::counter!("tidemill_restarts_total", "role" => role).increment(1);
            tracing::info!(child = &*path, restarts = start.count, last_exit = %reason, "starting a child again");
        }
        let started = self.started.clone();
        let up = Box::new(move || {
            started.keys.borrow_mut().push(key);
            started.some.notify_one();
        });
        let seat = Seat { world: self.world.clone(), path, role, up };
        let Incarnation { run, lever } = resident.spec.start(&start, seat);
        let task = self.tasks.spawn_local(meter::inherit(async move { (key, run.await) }));
        resident.running = Some((task, lever));
        resident.aborted_by_rule = false;
    }

    fn report(&self, key: ChildKey, exit: &Exit) {
        let Some(resident) = self.residents.get(&key) else {
            return;
        };
        let (supervisor, child) = (&*self.path, &*resident.spec.id);
        if exit.is_orderly() || (resident.aborted_by_rule && *exit == Exit::Killed) {
            tracing::debug!(supervisor, child, %exit, "a child has ended");
        } else {
            tracing::warn!(supervisor, child, %exit, "a child has ended");
        }
        self.office.tell_watchers(child, exit);
    }

    fn show(&self) {
        let row = |child: &super::children::Child| {
            let spec = &self.residents.get(&child.key)?.spec;
            Some(Row {
                id: spec.id.clone(),
                restarts: child.restarts,
                last_exit: child.last_exit.clone(),
                state: match child.phase {
                    Phase::Waiting { .. } => ChildState::Waiting,
                    Phase::Running => ChildState::Running,
                    Phase::Stopping { .. } => ChildState::Stopping,
                    Phase::Down => ChildState::Down,
                },
                depth: spec.depth.clone(),
                nested: spec.nested.clone(),
            })
        };
        self.office.show(self.core.iter().filter_map(row).collect());
    }
}

fn answer<E>(told: Told<E>, result: Result<(), E>) {
    if let Some(told) = told {
        // Who does not wait for the answer does not want it.
        let _ = told.send(result);
    }
}
