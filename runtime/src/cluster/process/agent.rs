//! The agent of a node: one supervised actor for each executor's process.
//!
//! ```text
//!   agent                   (one_for_one; too many restarts end the agent)
//!   ├─ executor-1           one life = one process = one incarnation
//!   └─ executor-2
//! ```
//!
//! A process that ends by itself fails its actor, and the supervisor starts the next after a while that doubles. One that
//! the driver refuses for good ends the agent: the next would be refused as well. So do many in a row that it refuses for now.

use super::{
    executor::EXIT_NOT_NOW,
    launch::Launch,
    lives::{Origin, PROCESSES_MAX, PastLives, incarnation},
    refusals::Refusals,
    serial,
};
use crate::{app::EXIT_REFUSED, cluster::drain};
use std::{
    collections::BTreeMap,
    fs::File,
    process::ExitStatus,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tidemill_actors::supervision::{
    Actor, ActorError, Address, Backoff, ChildSpec, Context, Exit, Handler, Intensity, Mailbox, Message,
    Restart, Strategy, Supervisor, SupervisorHandle, SupervisorSpec,
};
use tidemill_protocol::{
    endpoint::{
        Identity,
        join::{JoinError, Joined, Renewal, renew_when_due},
    },
    id::{Member, NodeId},
    identity::save_identity,
    world::World,
};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin},
    sync::{Notify, mpsc, watch},
};

/// How long executors may take to leave beyond what they take themselves, before they are killed.
const LEAVE_RESERVE: Duration = Duration::from_secs(5);
/// More restarts than this within the period are no accident: a program that ends as soon as it is started reaches it within
/// a minute.
const INTENSITY: Intensity = Intensity { restarts_max: 30, period: Duration::from_secs(60) };

/// Between restarts. The first one waits for nobody; only those that follow each other do.
fn backoff() -> Backoff {
    Backoff { initial: Duration::from_millis(10), max: Duration::from_secs(2), ..Backoff::default() }
}

/// Lines that may wait until an executor reads them.
const LINES_MAX: usize = 8;

/// What an agent is made from.
#[derive(Clone, Debug)]
pub(crate) struct AgentSpec {
    pub(crate) launch: Launch,
    /// The executors of this node.
    pub(crate) executors: Vec<NodeId>,
    /// Which start of the node this is.
    pub(crate) life: u32,
    /// How the certificate is renewed; none: it lasts longer than the agent.
    pub(crate) renewal: Option<Renewing>,
    /// The lock on its folder; none where nobody else can know of that.
    pub(crate) _lock: Option<Arc<File>>,
}

/// A certificate that is renewed as long as the agent runs.
#[derive(Clone, Debug)]
pub(crate) struct Renewing {
    pub(crate) identity: Identity,
    pub(crate) at: Renewal,
}

/// What an agent and its executors share.
struct Desk {
    spec: AgentSpec,
    /// Which start of an agent this is, for all who may have the same numbers.
    nonce: u64,
    is_leaving: AtomicBool,
    /// The processes that run, by node.
    running: watch::Sender<BTreeMap<NodeId, u32>>,
    /// The last processes of each node that were waited for, one after the other: nothing of them is left.
    ended: Mutex<BTreeMap<NodeId, PastLives>>,
    /// An executor was refused for good, or for now so often that the next would be as well.
    refused: Notify,
    refusals: Mutex<Refusals>,
}

impl Desk {
    fn ended(&self) -> MutexGuard<'_, BTreeMap<NodeId, PastLives>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node's agent; its executors die with it.
pub(crate) struct Agent {
    desk: Arc<Desk>,
    world: World,
    root: SupervisorHandle,
    processes: BTreeMap<NodeId, Address<Command>>,
}

/// How an agent's work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AgentEnd {
    /// It was told to stop.
    Stopped,
    /// The cluster will not have its executors.
    Refused,
    /// Its executors end again and again.
    Failed(String),
}

impl Agent {
    /// Starts the executors; on a thread with an actix System whose runtime has I/O.
    pub(crate) fn start(spec: AgentSpec, world: World) -> Self {
        let executors = spec.executors.clone();
        drain::forget(&spec.launch.data, &executors);
        let desk = Arc::new(Desk {
            spec,
            nonce: world.entropy.seed("agent"),
            is_leaving: AtomicBool::new(false),
            running: watch::Sender::default(),
            ended: Mutex::default(),
            refused: Notify::new(),
            refusals: Mutex::default(),
        });
        let mut root =
            SupervisorSpec::new("agent", Strategy::OneForOne).intensity(INTENSITY).backoff(backoff());
        let mut processes = BTreeMap::new();
        for node in executors {
            let mailbox = Mailbox::<Process>::new();
            processes.insert(node, mailbox.address::<Command>());
            let (desk, started) = (desk.clone(), AtomicU64::new(0));
            let make = move |_: &_| Process {
                desk: desk.clone(),
                node,
                number: started.fetch_add(1, Ordering::Relaxed),
                lines: None,
                kill: Arc::new(Notify::new()),
            };
            root = root.child(
                ChildSpec::with_mailbox(format!("executor-{}", node.0), mailbox, make)
                    .restart(Restart::Transient),
            );
        }
        Agent { desk, root: Supervisor::start(root, &world), world, processes }
    }

    /// Runs until `stop` is told or there is no sense in going on; then ends the executors in good order.
    pub(crate) async fn run(self, stop: &Notify) -> AgentEnd {
        let end = tokio::select! {
            biased;
            () = self.renew() => AgentEnd::Failed("the certificate cannot be read".to_owned()),
            () = stop.notified() => AgentEnd::Stopped,
            () = self.desk.refused.notified() => AgentEnd::Refused,
            // Several executors that are refused use up the supervisor's restarts together.
            exit = self.root.ended() => match self.desk.refusals().are_of_all(self.processes.len()) {
                true => AgentEnd::Refused,
                false => AgentEnd::Failed(exit.to_string()),
            },
        };
        self.leave().await;
        self.root.shutdown();
        self.root.ended().await;
        end
    }

    /// Renews the certificate when it is due, saves it, and has the executors take it.
    async fn renew(&self) {
        let Some(Renewing { identity, at }) = &self.desk.spec.renewal else {
            return std::future::pending().await;
        };
        let data = &self.desk.spec.launch.data;
        let save = |joined: &Joined| save_identity(data, "node", &joined.identity).map_err(|e| e.to_string());
        let told = |renewed: Result<&Joined, &JoinError>| match renewed {
            Err(error) => tracing::warn!(%error, "the certificate is due, and cannot be renewed yet"),
            Ok(_) => {
                tracing::info!(serial = serial(identity), "the certificate has been renewed");
                for process in self.processes.values() {
                    // One that is not there reads the file when it starts.
                    let _ = process.try_send(Command::Renewed);
                }
            }
        };
        renew_when_due(&self.world, at, identity, save, told).await;
    }

    async fn leave(&self) {
        tracing::info!("the executors are told to leave; a second signal ends them at once");
        self.desk.is_leaving.store(true, Ordering::SeqCst);
        for process in self.processes.values() {
            // One that is not there need not leave.
            let _ = process.try_send(Command::Leave);
        }
        let spec = &self.desk.spec;
        let limit = drain::longest(&spec.launch.data, &spec.executors).saturating_add(LEAVE_RESERVE);
        let mut running = self.desk.running.subscribe();
        tokio::select! {
            biased;
            _ = running.wait_for(BTreeMap::is_empty) => {}
            () = self.world.clock.sleep(limit) => {
                tracing::warn!(running = ?*self.desk.running.borrow(), "executors do not leave: they are killed");
            }
        }
    }
}

/// What an executor's process is to suffer.
#[derive(Debug)]
pub(crate) enum Command {
    /// To end in good order.
    Leave,
    /// To read the node's certificate again.
    Renewed,
    /// SIGKILL.
    Kill,
}

impl Message for Command {
    type Reply = ();
}

#[derive(Debug)]
struct Ended(Result<ExitStatus, String>);

impl Message for Ended {
    type Reply = ();
}

/// One process of one executor.
struct Process {
    desk: Arc<Desk>,
    node: NodeId,
    number: u64,
    /// Lines for its standard input, which is open as long as this is.
    lines: Option<mpsc::Sender<&'static str>>,
    kill: Arc<Notify>,
}

impl Actor for Process {
    fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), ActorError> {
        if self.desk.is_leaving.load(Ordering::SeqCst) {
            ctx.stop();
            return Ok(());
        }
        let incarnation = incarnation(self.desk.spec.life, self.number).ok_or_else(|| {
            ActorError::new(format!("{PROCESSES_MAX} processes have ended: start the node again"))
        })?;
        let member = Member { node: self.node, incarnation };
        let ended = self.desk.ended().get(&self.node).copied();
        let origin = Origin { agent: Some(self.desk.nonce), ended };
        let mut child = self
            .desk
            .spec
            .launch
            .start(member, origin)
            .map_err(|error| ActorError::new(format!("cannot start a process: {error}")))?;
        let pid = child.id().unwrap_or(0);
        tracing::info!(executor = %member, pid, "an executor's process has started");
        if let Some(stdin) = child.stdin.take() {
            let (lines, to_write) = mpsc::channel(LINES_MAX);
            self.lines = Some(lines);
            ctx.spawn_local(write_lines(stdin, to_write));
        }
        self.desk.running.send_modify(|running| {
            running.insert(self.node, pid);
        });
        let (me, kill) = (ctx.address::<Ended>(), self.kill.clone());
        ctx.spawn_local(async move {
            let ended = Ended(watch(child, &kill).await.map_err(|error| error.to_string()));
            // Without a reader the agent itself is ending.
            let _ = me.try_send(ended);
        });
        Ok(())
    }

    fn stopped(&mut self, _exit: &Exit) {
        self.forget();
    }
}

/// Writes lines for as long as there may be more of them: the end of its input ends the process.
async fn write_lines(mut stdin: ChildStdin, mut lines: mpsc::Receiver<&'static str>) {
    while let Some(line) = lines.recv().await {
        if stdin.write_all(line.as_bytes()).await.is_err() {
            // Whoever reads nothing any more has ended, or is about to.
            return;
        }
    }
}

/// Waits for the end of a process, and brings it about when told.
async fn watch(mut child: Child, kill: &Notify) -> std::io::Result<ExitStatus> {
    tokio::select! {
        biased;
        status = child.wait() => return status,
        () = kill.notified() => {}
    }
    child.start_kill()?;
    child.wait().await
}

impl Process {
    fn forget(&mut self) {
        self.desk.running.send_modify(|running| {
            running.remove(&self.node);
        });
    }
}

impl Handler<Command> for Process {
    fn handle(&mut self, command: Command, _ctx: &mut Context<Self>) {
        match command {
            Command::Kill => self.kill.notify_one(),
            Command::Leave => {
                let told = self.lines.as_ref().is_some_and(|lines| lines.try_send("leave\n").is_ok());
                if !told {
                    // It reads nothing any more.
                    self.kill.notify_one();
                }
            }
            Command::Renewed => {
                let told = self.lines.as_ref().is_some_and(|lines| lines.try_send("renewed\n").is_ok());
                if !told {
                    tracing::warn!(executor = %self.node, "an executor does not take the new certificate");
                }
            }
        }
    }
}

impl Handler<Ended> for Process {
    fn handle(&mut self, Ended(status): Ended, ctx: &mut Context<Self>) {
        let pid = self.desk.running.borrow().get(&self.node).copied().unwrap_or(0);
        self.forget();
        let how = match &status {
            Ok(status) => {
                if let Some(incarnation) = incarnation(self.desk.spec.life, self.number) {
                    let mut ended = self.desk.ended();
                    let lives = PastLives::and(ended.get(&self.node).copied(), incarnation);
                    ended.insert(self.node, lives);
                }
                status.to_string()
            }
            Err(error) => format!("cannot be waited for: {error}"),
        };
        if self.desk.is_leaving.load(Ordering::SeqCst) {
            tracing::info!(executor = %self.node, pid, how, "an executor's process has left");
            return ctx.stop();
        }
        let code = status.ok().and_then(|status| status.code());
        let may_go_on = self.desk.refusals().ended(self.node, code == Some(i32::from(EXIT_NOT_NOW)));
        if code == Some(i32::from(EXIT_REFUSED)) || !may_go_on {
            self.desk.refused.notify_one();
            return ctx.stop();
        }
        tracing::warn!(executor = %self.node, pid, how, restarts = self.number, "an executor's process has ended");
        ctx.fail(ActorError::new(format!("process {pid} has ended: {how}")));
    }
}

/// An agent on a thread of its own, beside a driver in the same process: the demo.
pub(crate) struct AgentThread {
    stop: Arc<Notify>,
    processes: BTreeMap<NodeId, Address<Command>>,
    running: watch::Receiver<BTreeMap<NodeId, u32>>,
    thread: Option<JoinHandle<AgentEnd>>,
}

impl AgentThread {
    /// Starts it.
    ///
    /// # Errors
    /// What the system says when it gives no thread.
    pub(crate) fn start(spec: AgentSpec) -> Result<Self, String> {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let work = move || {
            actix_rt::System::new().block_on(async move {
                let agent = Agent::start(spec, World::real());
                // Whoever asked waits.
                let _ = tell.send((agent.processes.clone(), agent.desk.running.subscribe()));
                agent.run(&stopped).await
            })
        };
        let thread = std::thread::Builder::new().name("tidemill-agent".into()).spawn(work);
        let thread = thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        let (processes, running) = told.recv().map_err(|_| "the agent did not start".to_owned())?;
        Ok(AgentThread { stop, processes, running, thread: Some(thread) })
    }

    /// The process of an executor, if one runs.
    pub(crate) fn pid(&self, node: NodeId) -> Option<u32> {
        self.running.borrow().get(&node).copied()
    }

    /// Kills an executor's process, with SIGKILL. False if there is none.
    pub(crate) fn kill(&self, node: NodeId) -> bool {
        self.processes.get(&node).is_some_and(|process| process.try_send(Command::Kill).is_ok())
    }
}

impl Drop for AgentThread {
    /// Ends the executors.
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of it has been reported, and its processes have ended with it.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_actors::supervision::RestartWindow;
    use tidemill_protocol::{time::Time, world::SeededRng};

    /// How long a node holds out whose executor ends so long after each start; none if for ever.
    fn holds_out(lives: Duration) -> Option<Duration> {
        let (mut window, mut rng, mut now) = (RestartWindow::new(INTENSITY), SeededRng::new(1), Time::ZERO);
        for failures in 1..1_000 {
            now = now + lives;
            if !window.grant(now) {
                return Some(now.since(Time::ZERO));
            }
            let in_a_row = if lives >= backoff().healthy_after { 1 } else { failures };
            now = now + backoff().delay(in_a_row, &mut rng);
        }
        None
    }

    #[test]
    fn a_program_that_ends_at_once_ends_its_node_within_a_minute_and_one_that_is_killed_now_and_then_does_not()
     {
        assert!(holds_out(Duration::from_millis(50)).is_some_and(|time| time < Duration::from_secs(62)));
        assert_eq!(holds_out(Duration::from_secs(4)), None);
        assert_eq!(holds_out(Duration::from_secs(15)), None);
    }
}
