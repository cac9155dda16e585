//! From a [`StreamContext`] to a cluster that runs: a driver and its executors in this process, on one control thread.
//!
//! ```text
//!   thread            runs
//!   tidemill-control  the supervision tree: roles, agents, timers (an actix System)
//!   tidemill-actors   the user's own actors, if there are any
//!   tidemill-user     receivers, publication, asynchronous code of sources and sinks
//!   slots             tasks, one thread each
//! ```

use super::{
    driver::{self, DriverParts, Roles},
    executor::{ExecutorParts, executor_that_leaves},
    figures,
    inbox::DriverInbox,
    lane::BulkThread,
    local::LocalPlumbing,
    plumbing::Die,
    process::Origin,
    progress::{ClusterEvent, Progress},
    role_configs::inputs_by_name,
    running::Running,
    users,
};
use crate::{
    config::{BatchInterval, Checked, ConfigError},
    context::StreamContext,
    graph::{BuildOptions, GraphError, Pipeline},
    params::ParamsError,
};
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::Duration,
};
use tidemill_actors::{
    seam::{PayloadCodec, Program, StorageLevel, StreamInfo, StreamKind},
    supervision::{
        Address, ChildSpec, NotUnwinding, Restart, Strategy, Supervisor, SupervisorHandle, SupervisorSpec,
    },
    transport::LocalTransport,
};
use tidemill_protocol::{
    endpoint::{CloseCode, EndpointError},
    id::{Incarnation, NodeId},
    identity::AuthorityError,
    world::World,
};
use tokio::sync::Notify;

/// How long the actors may take to stop once the pipeline has ended.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long peers may take to hear that this process ends.
const GOODBYE: Duration = Duration::from_millis(500);

/// Why a pipeline was not started; nothing was read. Not retryable, except for [`Thread`](StartError::Thread).
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The graph cannot be run.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Panics cannot be caught in this build.
    #[error(transparent)]
    Unwinding(#[from] NotUnwinding),
    /// A source or sink says that it could not work.
    #[error("{0}")]
    Unusable(String),
    /// A received stream never ends by itself.
    #[error(
        "`{stream}` is received, but the batch interval is AvailableNow, which ends with the data; use Every(…)"
    )]
    NeverAvailable {
        /// The stream.
        stream: String,
    },
    /// Its blocks would be held by two executors, and there is one.
    #[error(
        "`{stream}` wants two executors to hold each block, but `executors` is 1; set it to 2 or more, or give the stream \
         StorageLevel::ReplicatedAllowDegraded"
    )]
    NeverSafe {
        /// The stream.
        stream: String,
    },
    /// A context is one pipeline's life: its events and its outcome are kept in it.
    #[error("this context was started before: declare the pipeline on a new StreamContext and start that")]
    StartedBefore,
    /// The running program's file cannot be read, so nobody could tell it from another build.
    #[error("cannot read the running program: {0}; keep its file readable while it runs")]
    Executable(#[source] io::Error),
    /// The operating system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// A parameter that is none, or that nobody asks for.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// The cluster's authority cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The driver cannot listen.
    #[error("the driver cannot listen: {0}")]
    Endpoint(#[from] EndpointError),
}

impl StreamContext {
    /// Starts the pipeline in this process: a driver and executors, as the configuration says. The graph is closed: a
    /// stream, operator or output that is added later fails the pipeline with the text of
    /// [`GraphError::AddedAfterStart`], because it would never compute anything.
    ///
    /// # Errors
    /// [`StartError`], with the remedy; nothing was read.
    pub fn start(&self) -> Result<Running, StartError> {
        let checked = self.check()?;
        check_safe(&checked)?;
        preflight_receivers(&checked)?;
        let parts = self.take(checked)?;
        self.launch(parts, |parts| Ok(assemble(parts)))
    }

    /// Checks everything that can be checked before anything runs, where executors may be elsewhere.
    pub(super) fn prepare(&self) -> Result<Parts, StartError> {
        self.take(self.check()?)
    }

    /// Checks configuration and graph, and touches nothing outside.
    pub(crate) fn check(&self) -> Result<Sound, StartError> {
        tidemill_actors::supervision::assert_unwinding()?;
        let config = self.config().check()?;
        let world = config.seed.map_or_else(World::real, World::real_seeded);
        let options = BuildOptions {
            default_partitions: config.default_partitions(),
            executable: executable_hash()?,
            parameters: self.params().canonical(),
            ..BuildOptions::default()
        };
        let pipeline = Arc::new(self.build(options, world.files.clone())?);
        self.params().check_asked()?;
        pipeline.attach(world.clone());
        check_interval(&config, &pipeline)?;
        Ok(Sound { config, pipeline, world })
    }

    /// Takes the one start that this context has.
    fn take(&self, Sound { config, pipeline, world }: Sound) -> Result<Parts, StartError> {
        pipeline.preflight().map_err(StartError::Unusable)?;
        if !self.begin() {
            return Err(StartError::StartedBefore);
        }
        let progress = self.progress().clone();
        let late = progress.clone();
        self.when_added_late(move |error| late.tell(ClusterEvent::Failed(error.to_string())));
        figures::declare();
        Ok(Parts { config, pipeline, world, progress, users: self.take_actors() })
    }

    /// Has `assemble` put the tree together on a control thread of its own.
    pub(super) fn launch(
        &self,
        parts: Parts,
        assemble: impl FnOnce(Parts) -> Result<Assembled, StartError> + Send + 'static,
    ) -> Result<Running, StartError> {
        let (progress, inputs) = (parts.progress.clone(), inputs_by_name(&parts.config, &parts.pipeline));
        let (tell, told) = mpsc::sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StartError::Thread)?;
        let control = std::thread::Builder::new()
            .name("tidemill-control".into())
            .spawn(move || control(runtime, parts, assemble, &tell))
            .map_err(StartError::Thread)?;
        match told.recv() {
            Ok(Ok(Handles { roles, root, executors, address })) => {
                Ok(Running { progress, roles, root, executors, address, inputs, control: Some(control) })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StartError::Thread(io::Error::other("the control thread ended before it began"))),
        }
    }
}

/// A configuration and a graph that go together.
pub(crate) struct Sound {
    pub(crate) config: Checked,
    pub(crate) pipeline: Arc<Pipeline>,
    world: World,
}

/// What the control thread is given.
pub(super) struct Parts {
    pub(super) config: Checked,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) world: World,
    pub(super) progress: Progress,
    pub(super) users: Vec<ChildSpec>,
}

/// What the control thread gives back.
pub(super) struct Handles {
    pub(super) roles: Roles,
    pub(super) root: SupervisorHandle,
    pub(super) executors: BTreeMap<NodeId, Address<Die>>,
    /// Where the driver listens for executors, if it does.
    pub(super) address: Option<SocketAddr>,
}

/// A tree that runs, and what must outlive it.
pub(super) struct Assembled {
    pub(super) handles: Handles,
    /// To be closed after the tree, with a goodbye.
    pub(super) endpoints: Vec<quinn::Endpoint>,
    pub(super) bulk: Option<BulkThread>,
}

fn control(
    runtime: tokio::runtime::Runtime,
    parts: Parts,
    assemble: impl FnOnce(Parts) -> Result<Assembled, StartError>,
    tell: &mpsc::SyncSender<Result<Handles, StartError>>,
) {
    let guard = Outcome(parts.progress.clone());
    // Asked for one runtime, once.
    let mut runtime = Some(runtime);
    let system = actix_rt::System::with_tokio_rt(move || runtime.take().expect("a System has one runtime"));
    system.block_on(async {
        let ended = Arc::new(Notify::new());
        let (progress, world, notify) = (parts.progress.clone(), parts.world.clone(), ended.clone());
        progress.listen(move |event| {
            if matches!(event, ClusterEvent::Ended | ClusterEvent::Failed(_)) {
                notify.notify_one();
            }
        });
        let Assembled { handles, endpoints, bulk } = match assemble(parts) {
            Ok(assembled) => assembled,
            Err(error) => {
                // Who asked is told; there is nobody else.
                let _ = tell.send(Err(error));
                return;
            }
        };
        let (roles, root) = (handles.roles.clone(), handles.root.clone());
        if tell.send(Ok(handles)).is_err() {
            return;
        }
        roles.start(&world);
        tokio::select! {
            biased;
            () = ended.notified() => root.shutdown(),
            exit = root.ended() => progress.tell(ClusterEvent::Failed(format!("the cluster has ended: {exit}"))),
        }
        tokio::select! {
            biased;
            _ = root.ended() => {}
            () = world.clock.sleep(FAREWELL) => tracing::error!("the actors did not stop in {FAREWELL:?}"),
        }
        say_goodbye(&endpoints, &world).await;
        drop(bulk);
    });
    drop(guard);
}

/// Closes endpoints so that their peers hear of it at once.
pub(super) async fn say_goodbye(endpoints: &[quinn::Endpoint], world: &World) {
    for endpoint in endpoints {
        endpoint.close(CloseCode::Done.into(), b"the process ends");
    }
    let all = async {
        for endpoint in endpoints {
            endpoint.wait_idle().await;
        }
    };
    tokio::select! {
        biased;
        () = all => {}
        // Whoever does not answer finds out by itself.
        () = world.clock.sleep(GOODBYE) => {}
    }
}

/// Whatever ends the control thread, nobody waits for ever.
struct Outcome(Progress);

impl Drop for Outcome {
    fn drop(&mut self) {
        if self.0.outcome().is_none() {
            self.0.tell(ClusterEvent::Failed("the control thread has ended".to_owned()));
        }
    }
}

/// The whole tree of a process: driver, user actors, executors.
fn assemble(parts: Parts) -> Assembled {
    let Parts { config, pipeline, world, progress, users } = parts;
    let (roles, inboxes) = Roles::new(None);
    let inbox = Arc::new(DriverInbox::new(roles.clone()));
    let codec: Arc<dyn PayloadCodec> = pipeline.clone();
    let transport = LocalTransport::new(codec);
    let links = LocalPlumbing::new(transport.clone(), inbox);
    let driver_parts = DriverParts {
        config: config.clone(),
        pipeline: pipeline.clone(),
        world: world.clone(),
        progress: progress.clone(),
        links: links.clone(),
        transport: Arc::new(transport),
        peers: None,
    };
    let mut root = SupervisorSpec::new("node-0", Strategy::OneForOne);
    for child in driver::children(driver_parts, &roles, inboxes) {
        root = root.child(child);
    }
    root = root.child(users::on_their_own_thread(users));
    let mut executors = BTreeMap::new();
    for number in 1..=config.executors {
        let node = NodeId(number);
        let (child, die, _) = executor_that_leaves(Arc::new(ExecutorParts {
            node,
            config: config.clone(),
            pipeline: pipeline.clone(),
            world: world.clone(),
            plumbing: Arc::new(links.clone()),
            progress: progress.clone(),
            cost: None,
            first: Incarnation(1),
            origin: Origin::default(),
            observer: None,
            intensity: None,
        }));
        root = root.child(child.restart(Restart::Permanent));
        executors.insert(node, die);
    }
    let handles = Handles { roles, root: Supervisor::start(root, &world), executors, address: None };
    Assembled { handles, endpoints: Vec::new(), bulk: None }
}

/// The streams that receivers read.
fn received(pipeline: &Pipeline) -> impl Iterator<Item = &StreamInfo> {
    let is_received = |kind| matches!(kind, StreamKind::Acknowledged | StreamKind::Unacknowledged);
    Program::streams(pipeline).iter().filter(move |stream| is_received(stream.kind))
}

/// Refuses what would wait for ever: here no second executor comes to hold a copy.
fn check_safe(Sound { config, pipeline, .. }: &Sound) -> Result<(), StartError> {
    let wants_two = received(pipeline).find(|stream| stream.storage == StorageLevel::Replicated);
    match wants_two {
        Some(stream) if config.executors == 1 => Err(StartError::NeverSafe { stream: stream.name.clone() }),
        _ => Ok(()),
    }
}

/// Asks the received sources whether they can work here. On a thread of its own: who starts a pipeline may be inside a
/// runtime, where nobody may wait for another.
fn preflight_receivers(Sound { pipeline, world, .. }: &Sound) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(StartError::Thread)?;
    let asked = std::thread::scope(|scope| {
        let ask = move || runtime.block_on(pipeline.preflight_receivers(world));
        std::thread::Builder::new().spawn_scoped(scope, ask).map(std::thread::ScopedJoinHandle::join)
    });
    let asked = asked.map_err(StartError::Thread)?;
    let panicked = |_| StartError::Unusable("a source panicked when it was asked whether it can work".into());
    asked.map_err(panicked)?.map_err(StartError::Unusable)
}

pub(super) fn check_interval(config: &Checked, pipeline: &Pipeline) -> Result<(), StartError> {
    match (config.batch_interval, received(pipeline).next()) {
        (BatchInterval::AvailableNow, Some(stream)) => {
            Err(StartError::NeverAvailable { stream: stream.name.clone() })
        }
        _ => Ok(()),
    }
}

/// The hash of the running program's file: other builds are other programs.
pub(super) fn executable_hash() -> Result<u64, StartError> {
    // Where there is a /proc, this is the file that runs, even when another has taken its name meanwhile.
    let running = std::path::Path::new("/proc/self/exe");
    let bytes = std::fs::read(running).or_else(|_| std::fs::read(std::env::current_exe()?));
    bytes.map(|bytes| xxhash_rust::xxh3::xxh3_64(&bytes)).map_err(StartError::Executable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn listening_on(address: &str) -> StreamContext {
        let context = StreamContext::new();
        context.tcp_listen(address).count().print();
        context
    }

    #[test]
    fn only_the_process_that_will_listen_asks_for_the_port() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap().to_string();
        // As a driver of other processes does, and an executor beside the one that listens.
        assert!(listening_on(&address).prepare().is_ok());
        assert!(listening_on("192.0.2.1:9").prepare().is_ok(), "another machine's address");
        let context = listening_on(&address);
        let refused = context.start().err().expect("the receiver would run here").to_string();
        assert!(refused.starts_with(&format!("cannot listen on {address}: ")), "{refused}");
        drop(held);
        context.start().expect("the same context, once the port is free").stop_now().expect("it is told to");
    }

    #[tokio::test]
    async fn a_context_starts_and_ends_inside_of_a_users_runtime() {
        let context = listening_on("127.0.0.1:0");
        let running = context.start().expect("it makes its own threads");
        tokio::task::spawn_blocking(|| running.stop_gracefully())
            .await
            .expect("no panic")
            .expect("it is told to");
    }
}
