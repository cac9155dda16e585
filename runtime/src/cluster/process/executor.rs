//! The process of an executor: it asks the driver what to run, builds the same graph, and is one incarnation.

use super::{Origin, serial};
use crate::{
    Config, GraphError, Params, StreamContext,
    app::{EXIT_DONE, EXIT_FAILED, EXIT_REFUSED, complain},
    cluster::{
        drain, figures,
        lane::{BulkThread, Lanes},
        over_quic::{ExecutorSite, Site, start_executor},
        plumbing::Leave,
        quic::{Lost, QuicPlumbing},
        settings,
        start::{Parts, StartError, say_goodbye},
        users,
    },
};
use std::{
    io::BufRead,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidemill_actors::{
    seam::{PayloadCodec, Program},
    supervision::{Address, Intensity, SupervisorHandle},
};
use tidemill_protocol::{
    endpoint::{self, EndpointConfig, Identity, request},
    id::{Incarnation, Member, NodeId},
    identity::{ClusterName, DenyList, load_identity},
    message::{ProgramFacts, Reply, Request},
    world::World,
};
use tokio::sync::Notify;

/// How long one attempt to reach the driver may take.
const ATTEMPT: Duration = Duration::from_secs(3);
/// How long to wait before the next one.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);
/// How often a leaving executor looks whether it was let go.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the end of its actors may take.
const FAREWELL: Duration = Duration::from_secs(3);
/// How long an executor without an agent may take to close its connections; then the process ends as it is.
const ORPHANED: Duration = Duration::from_millis(500);

/// Which executor this process is, and where it belongs.
pub(crate) struct ExecutorSpec {
    pub(crate) member: Member,
    /// What its agent knows.
    pub(crate) origin: Origin,
    pub(crate) driver: SocketAddr,
    /// The address of this machine at which others fetch; its ports are the system's choice.
    pub(crate) ip: IpAddr,
    pub(crate) slots: Option<u16>,
    pub(crate) spill_dir: Option<PathBuf>,
    pub(crate) identity: Identity,
    /// The folder that it is from.
    pub(crate) data: PathBuf,
    pub(crate) cluster: ClusterName,
}

/// An executor's process tells its agent so that it was refused, and that the next may be taken.
pub(crate) const EXIT_NOT_NOW: u8 = 4;

/// Why an executor's process ends.
enum End {
    Left,
    Refused(String),
    NotNow(String),
    Failed(String),
}

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Refused(reason) => End::Refused(reason),
            Lost::NotNow(reason) => End::NotNow(reason),
            Lost::Broken(reason) => End::Failed(reason),
        }
    }
}

impl From<StartError> for End {
    fn from(error: StartError) -> Self {
        End::Failed(error.to_string())
    }
}

/// Runs an executor until it ends, and gives the exit code. Whoever started the process holds its standard input: the line
/// `leave` asks it to end in good order, `renewed` to read its certificate again, and the end of the input says that its agent is dead: it closes
/// its connections, so that the driver hears of it at once, and ends.
pub(crate) fn run_executor(
    name: &str,
    config: &Config,
    build: &dyn Fn(&StreamContext) -> Result<(), GraphError>,
    spec: ExecutorSpec,
) -> u8 {
    let agent = Arc::new(Heard::default());
    let told = agent.clone();
    let (identity, data) = (spec.identity.clone(), spec.data.clone());
    let listen = move || obey(&told, &|| take_renewed(&identity, &data));
    let listener = std::thread::Builder::new().name("tidemill-agent".into()).spawn(listen);
    if let Err(error) = listener {
        return complain(name, &format!("cannot start a thread: {error}"), EXIT_FAILED);
    }
    let me = format!("{name} executor {}", spec.member);
    match actix_rt::System::new().block_on(live(config, build, spec, &agent)) {
        End::Left => EXIT_DONE,
        End::Refused(reason) => complain(&me, &format!("refused: {reason}"), EXIT_REFUSED),
        End::NotNow(reason) => complain(&me, &format!("refused for now: {reason}"), EXIT_NOT_NOW),
        End::Failed(reason) => complain(&me, &reason, EXIT_FAILED),
    }
}

/// What was heard from the agent.
#[derive(Default)]
struct Heard {
    leave: Notify,
    is_gone: Notify,
}

/// Listens to the agent.
fn obey(agent: &Heard, renewed: &dyn Fn()) {
    for line in std::io::stdin().lock().lines() {
        match line.as_deref() {
            Ok("leave") => agent.leave.notify_one(),
            Ok("renewed") => renewed(),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    agent.is_gone.notify_one();
    // The process ends by itself before that, unless something holds it.
    std::thread::park_timeout(ORPHANED);
    std::process::exit(i32::from(EXIT_FAILED));
}

/// Shows the node's new certificate in handshakes from now on; links go on.
fn take_renewed(identity: &Identity, data: &Path) {
    let read = load_identity(data, "node").map_err(|error| error.to_string());
    let taken = read.and_then(|renewed| identity.replace(&renewed).map_err(|error| error.to_string()));
    match taken {
        Ok(()) => tracing::info!(serial = serial(identity), "the new certificate is used"),
        Err(error) => tracing::warn!(error, "the new certificate cannot be used"),
    }
}

async fn live(
    config: &Config,
    build: &dyn Fn(&StreamContext) -> Result<(), GraphError>,
    spec: ExecutorSpec,
    agent: &Heard,
) -> End {
    figures::declare_of_executor();
    let bulk = match BulkThread::start() {
        Ok(bulk) => bulk,
        Err(error) => return End::Failed(format!("cannot start a thread: {error}")),
    };
    tokio::select! {
        biased;
        () = agent.leave.notified() => End::Left,
        started = start(config, build, &spec, bulk.lanes()) => match started {
            Ok(started) => started.serve(agent).await,
            Err(end) => end,
        },
    }
}

/// An executor that runs.
struct Started {
    world: World,
    root: SupervisorHandle,
    plumbing: Arc<QuicPlumbing>,
    asked_to_leave: Address<Leave>,
    /// How long a leave may take.
    drain: Duration,
}

async fn start(
    config: &Config,
    build: &dyn Fn(&StreamContext) -> Result<(), GraphError>,
    spec: &ExecutorSpec,
    lanes: Lanes,
) -> Result<Started, End> {
    let endpoints = EndpointConfig::new(spec.identity.clone(), None);
    let world = World::real();
    let facts = learn(&world, &lanes, &endpoints, spec).await?;
    let mut config = settings::apply(config, &facts.settings).map_err(End::Refused)?;
    config.slots_per_executor = spec.slots.unwrap_or(config.slots_per_executor);
    config.spill_dir = spec.spill_dir.clone().or(config.spill_dir);
    let context = StreamContext::with_params(config, Params::from_wire(&facts.parameters));
    build(&context).map_err(|error| End::Failed(error.to_string()))?;
    let Parts { config, pipeline, world, progress, users } = context.prepare()?;
    let drain = drain::limit(config.batch_interval);
    if let Err(error) = drain::write_down(&spec.data, spec.member.node, drain) {
        tracing::warn!(%error, "the agent will not know how long a leave may take");
    }
    let codec: Arc<dyn PayloadCodec> = pipeline.clone();
    let plumbing = Arc::new(QuicPlumbing {
        world: world.clone(),
        lanes: lanes.clone(),
        is_seeded: false,
        endpoints,
        ip: spec.ip,
        driver: spec.driver,
        cluster: spec.cluster.clone(),
        codec,
        program: Program::id(&*pipeline),
        denied: DenyList::none(),
        lives: Mutex::default(),
        lost: Arc::default(),
    });
    let users = users::on_their_own_thread(users);
    let site = Site { config, pipeline, world: world.clone(), progress, users, lanes };
    let own = ExecutorSite {
        node: spec.member.node,
        first: spec.member.incarnation,
        origin: spec.origin,
        plumbing: plumbing.clone(),
        cost: None,
        observer: None,
        // A process is one incarnation: its agent starts the next.
        intensity: Some(Intensity { restarts_max: 0, period: Duration::from_secs(1) }),
    };
    let (root, _die, asked_to_leave) = start_executor(site, own);
    Ok(Started { world, root, plumbing, asked_to_leave, drain })
}

impl Started {
    async fn serve(self, agent: &Heard) -> End {
        let Started { world, root, plumbing, asked_to_leave, drain } = self;
        let exit = tokio::select! {
            biased;
            exit = root.ended() => Some(exit),
            () = agent.is_gone.notified() => {
                say_goodbye(&plumbing.endpoints(), &world).await;
                return End::Failed("its agent has ended".to_owned());
            }
            () = agent.leave.notified() => None,
        };
        let endpoints = plumbing.endpoints();
        if exit.is_none() {
            // Whoever cannot be asked has ended already.
            if asked_to_leave.try_send(Leave).is_ok() {
                drained(&plumbing, &world, drain).await;
            }
            root.shutdown();
            tokio::select! {
                biased;
                _ = root.ended() => {}
                () = world.clock.sleep(FAREWELL) => {}
            }
        }
        say_goodbye(&endpoints, &world).await;
        let lost = plumbing.lost.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (exit, lost) {
            (None, _) => End::Left,
            (Some(_), Some(lost @ Lost::Broken(_))) => End::Failed(lost.to_string()),
            (Some(_), Some(refused)) => refused.into(),
            (Some(exit), None) => End::Failed(format!("this incarnation has ended: {exit}")),
        }
    }
}

/// Waits until this executor has left: until nothing that it holds is needed and the driver has let it go.
async fn drained(plumbing: &QuicPlumbing, world: &World, limit: Duration) {
    let deadline = world.clock.now() + limit;
    while !plumbing.endpoints().is_empty() && world.clock.now() < deadline {
        world.clock.sleep(LOOK_EVERY).await;
    }
}

/// What the driver says that is to be run; waits for a driver that is not there yet.
async fn learn(
    world: &World,
    lanes: &Lanes,
    endpoints: &EndpointConfig,
    spec: &ExecutorSpec,
) -> Result<ProgramFacts, End> {
    let any_port = SocketAddr::new(spec.ip, 0);
    let endpoint = lanes.control.make(|| endpoint::control_client(&world.udp, any_port, endpoints));
    let endpoint = endpoint.map_err(|error| End::Failed(error.to_string()))?;
    let mut is_first = true;
    loop {
        let lost = match ask(&endpoint, spec, world).await {
            Ok(facts) => {
                say_goodbye(&[endpoint], world).await;
                return Ok(facts);
            }
            // Before it registers only the number of its connections is refused for now.
            Err(End::Failed(reason) | End::NotNow(reason)) => reason,
            Err(end) => return Err(end),
        };
        if std::mem::take(&mut is_first) {
            tracing::warn!(driver = %spec.driver, reason = lost, "the driver cannot be reached yet: trying again");
        }
        world.clock.sleep(BETWEEN_ATTEMPTS).await;
    }
}

async fn ask(endpoint: &quinn::Endpoint, spec: &ExecutorSpec, world: &World) -> Result<ProgramFacts, End> {
    let asked = async {
        let connection =
            endpoint::connect_to(endpoint, spec.driver, &spec.cluster.driver()).await.map_err(Lost::from)?;
        let replies = request::ask(&connection, &Request::Program).await;
        let replies =
            replies.map_err(|error| connection.close_reason().map_or(Lost::broken(error), Lost::from))?;
        match replies.into_iter().next() {
            Some(Reply::Program(facts)) => Ok(facts),
            Some(Reply::Refused(reason)) => Err(End::Refused(reason)),
            _ => Err(End::Refused("the driver is of another release: it gave another answer".to_owned())),
        }
    };
    tokio::select! {
        biased;
        answer = asked => answer,
        () = world.clock.sleep(ATTEMPT) => Err(End::Failed(format!("no answer within {ATTEMPT:?}"))),
    }
}

/// An executor's name in words.
pub(crate) fn member(node: u16, incarnation: u32) -> Member {
    Member { node: NodeId(node), incarnation: Incarnation(incarnation) }
}
