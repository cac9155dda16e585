//! What the commands of a cluster of processes do.

use super::{
    App, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_USAGE, Interrupt,
    cluster_args::{CaCommand, DriverArgs, ExecutorArgs, NodeArgs},
    command, complain,
};
use crate::{
    Running, StartError, StreamContext,
    cluster::process::{
        Agent, AgentEnd, AgentSpec, DriverOptions, ExecutorSpec, Launch, Origin, PastLives, Renewing,
        join_address, member, next_life, run_executor, take_folder,
    },
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    net::{SocketAddr, ToSocketAddrs},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tidemill_protocol::{
    endpoint::{
        Identity,
        join::{JoinError, Renewal, join},
    },
    id::NodeId,
    identity::{
        Authority, PERSON_LIFETIME, Role, RoleKind, TOKEN_LIFETIME, Token, load_identity, prepare_folder,
        save_identity, write_private,
    },
    world::World,
};
use tokio::sync::{Notify, oneshot};

/// How long a machine tries to reach the driver that it is to join.
const JOIN_PATIENCE: Duration = Duration::from_secs(20);
/// What is read of a token; it is far shorter.
const TOKEN_BYTES_MAX: u64 = 4_096;
/// The file in a node's folder with the driver's address.
const DRIVER_FILE: &str = "driver";

/// Why a command ends: its one line, and the exit code.
pub(super) struct Refusal(String, u8);

impl Refusal {
    pub(super) fn usage(text: impl ToString) -> Self {
        Refusal(text.to_string(), EXIT_USAGE)
    }

    pub(super) fn failed(text: impl ToString) -> Self {
        Refusal(text.to_string(), EXIT_FAILED)
    }

    pub(super) fn refused(text: impl ToString) -> Self {
        Refusal(text.to_string(), EXIT_REFUSED)
    }

    pub(super) fn complain(self, name: &str) -> u8 {
        complain(name, &self.0, self.1)
    }
}

impl App {
    pub(super) fn driver(self, args: &DriverArgs, interrupt: &Interrupt) -> u8 {
        let name = self.name.clone();
        match self.start_driver(args) {
            Err(refusal) => refusal.complain(&name),
            Ok(running) => {
                if let Some(address) = running.address() {
                    let join =
                        join_address(address).map(|join| format!(", for machines that join on {join}"));
                    eprintln!("{name}: listening for executors on {address}{}", join.unwrap_or_default());
                }
                let stop = running.stopper();
                let said = format!(
                    "{name}: ending in good order: what was received is still computed, by the executors that are there; a \
                     second signal ends at once"
                );
                interrupt.call(move || {
                    eprintln!("{said}");
                    stop.stop_gracefully();
                });
                match running.await_termination() {
                    Err(error) => complain(&name, &error.to_string(), EXIT_FAILED),
                    Ok(()) if interrupt.struck() => EXIT_INTERRUPTED,
                    Ok(()) => EXIT_DONE,
                }
            }
        }
    }

    fn start_driver(self, args: &DriverArgs) -> Result<Running, Refusal> {
        let config = args.apply(self.config.clone());
        let context = StreamContext::with_params(config, args.params().map_err(Refusal::usage)?);
        self.build(&context).map_err(Refusal::usage)?;
        let mut options = DriverOptions::new(args.listen, &args.ca);
        if let Some(seconds) = args.certificate_lifetime_s {
            options.certificate_lifetime = Duration::from_secs(seconds);
        }
        context.start_driver(options).map_err(|error| match error {
            StartError::Endpoint(error) => {
                Refusal::usage(format!("{error}; end what uses it, or choose another with --listen"))
            }
            other => Refusal::usage(other),
        })
    }

    /// An agent and its executors.
    pub(super) fn node(self, args: &NodeArgs, interrupt: &Interrupt) -> u8 {
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        interrupt.call(move || stop.notify_one());
        let ended = actix_rt::System::new().block_on(async {
            let world = World::real();
            // Joining may take its time.
            let spec = tokio::select! {
                biased;
                () = stopped.notified() => return Ok(EXIT_INTERRUPTED),
                spec = admit(args, &world) => spec?,
            };
            let agent = Agent::start(spec, world);
            match agent.run(&stopped).await {
                AgentEnd::Stopped => Ok(EXIT_INTERRUPTED),
                // The executor has said why.
                AgentEnd::Refused => Ok(EXIT_REFUSED),
                AgentEnd::Failed(reason) => {
                    Err(Refusal::failed(format!("the executors cannot run: {reason}")))
                }
            }
        });
        ended.unwrap_or_else(|refusal| refusal.complain(&self.name))
    }

    /// One executor of a node, started by its agent.
    pub(super) fn executor(self, args: &ExecutorArgs) -> u8 {
        let named = load_identity(&args.data, "node").map_err(Refusal::usage).and_then(|identity| {
            let cluster = identity.name().map_err(Refusal::usage)?.cluster;
            Ok((identity, cluster))
        });
        let (identity, cluster) = match named {
            Ok(named) => named,
            Err(refusal) => return refusal.complain(&self.name),
        };
        let spec = ExecutorSpec {
            member: member(args.node, args.incarnation),
            origin: Origin {
                agent: args.agent,
                ended: args.ended.map(|last| PastLives::new(args.ended_since.unwrap_or(last), last)),
            },
            driver: args.driver,
            ip: args.listen,
            slots: args.slots,
            spill_dir: args.spill_dir.clone(),
            identity,
            data: args.data.clone(),
            cluster,
        };
        run_executor(&self.name, &self.config, &|context| self.build(context), spec)
    }
}

/// The authority's commands.
pub(super) fn ca(name: &str, command: &CaCommand) -> u8 {
    let now = World::real().clock.wall();
    let done = match command {
        CaCommand::Init { dir } => Authority::create(dir, now).map(|authority| {
            println!("{} in {}: keep ca.key to yourself", authority.cluster(), dir.display());
        }),
        CaCommand::Token { dir, executors, out } => Authority::open(dir, now)
            .and_then(|authority| authority.token(now, TOKEN_LIFETIME, *executors))
            .and_then(|token| {
                let Some(file) = out else {
                    println!("{token}");
                    return Ok(());
                };
                write_private(file, format!("{token}\n").as_bytes())?;
                println!("{} has the token: only its owner may read it", file.display());
                Ok(())
            }),
        CaCommand::Renew { dir } => Authority::open(dir, now).and_then(|authority| {
            for kind in [RoleKind::Operator, RoleKind::Observer] {
                authority.renew_identity(kind, now)?;
                let path = dir.join(format!("{kind}.pem"));
                let days = PERSON_LIFETIME.as_secs() / DAY_S;
                println!("{} is valid for {days} days: copy it to where it is used", path.display());
            }
            Ok(())
        }),
        CaCommand::Deny { dir, node } => Authority::open(dir, now)
            .and_then(|authority| authority.deny(NodeId(*node)))
            .map(|()| println!("{} is denied", NodeId(*node))),
    };
    match done {
        Ok(()) => EXIT_DONE,
        Err(error) => complain(name, &error.to_string(), EXIT_USAGE),
    }
}

/// A node with a certificate, by its folder or by a token.
async fn admit(args: &NodeArgs, world: &World) -> Result<AgentSpec, Refusal> {
    if args.listen.is_unspecified() {
        let ip = args.listen;
        let remedy = "give --listen the address by which the others reach this machine";
        return Err(Refusal::usage(format!(
            "{ip} is no address at which another machine finds this one: {remedy}"
        )));
    }
    command::check_spill_dir(args.spill_dir.as_deref()).map_err(Refusal::usage)?;
    // Before a token is used; how many executors it names is not known yet.
    command::check_metrics(args.metrics).map_err(Refusal::usage)?;
    let (identity, driver) = match &args.join {
        Some(token) => join_cluster(args, token, world).await?,
        None => rejoin(args, world)?,
    };
    let named = identity.name().map_err(Refusal::usage)?;
    let Role::Node(nodes) = named.role else {
        return Err(Refusal::usage(format!(
            "{} is no node's certificate: join with a token",
            args.data.display()
        )));
    };
    let wanted = usize::from(args.executors.unwrap_or(u16::MAX));
    if args.executors.is_some() && wanted > nodes.len() {
        let may = nodes.len();
        return Err(Refusal::usage(format!(
            "this node may run {may} executors and not {wanted}: join with a token for more, in another folder"
        )));
    }
    let executors: Vec<NodeId> = nodes.into_iter().take(wanted).collect();
    let lock = take_folder(&args.data).map_err(Refusal::usage)?;
    let metrics = metrics_of(args.metrics, &executors).map_err(Refusal::usage)?;
    let life = next_life(&world.files, &args.data).map_err(Refusal::usage)?;
    let (ip, slots, data) = (args.listen, args.slots, args.data.clone());
    let renewal = join_address(driver)
        .map(|server| Renewing { identity, at: Renewal { local: SocketAddr::new(args.listen, 0), server } });
    let spill_dir = args.spill_dir.clone();
    let launch = Launch { driver, ip, slots, data, spill_dir, metrics, is_heard: true };
    Ok(AgentSpec { launch, executors, life, renewal, _lock: Some(Arc::new(lock)) })
}

/// Where each executor serves its metrics: the first one where it was said, each other one at the next port.
fn metrics_of(
    first: Option<SocketAddr>,
    executors: &[NodeId],
) -> Result<BTreeMap<NodeId, SocketAddr>, String> {
    let Some(first) = first else { return Ok(BTreeMap::new()) };
    let of = |(index, node): (u16, &NodeId)| {
        let port = first.port().checked_add(index).ok_or_else(|| {
            format!("--metrics {first} leaves no port for {} executors: choose a lower one", executors.len())
        })?;
        let address = SocketAddr::new(first.ip(), port);
        command::check_metrics(Some(address))?;
        Ok((*node, address))
    };
    (0..).zip(executors).map(of).collect()
}

async fn join_cluster(
    args: &NodeArgs,
    token: &Path,
    world: &World,
) -> Result<(Identity, SocketAddr), Refusal> {
    let data = args.data.display();
    if args.data.join("node.pem").exists() && ended_for(&args.data, "node", world).is_none() {
        return Err(Refusal::usage(format!(
            "{data} belongs to a node that has joined: leave --join out; if that node was denied, or this one is to join another \
             cluster, choose another --data"
        )));
    }
    let text = read_token(token).await?;
    let token: Token = text.parse().map_err(Refusal::usage)?;
    let driver = resolve(args.driver.as_deref().unwrap_or_default())?;
    let server = join_address(driver)
        .ok_or_else(|| Refusal::usage(format!("{driver} is not where a driver listens: name its port")))?;
    let local = SocketAddr::new(args.listen, 0);
    // A token is good for one machine once: what could keep it from being used well is found before.
    prepare_folder(&args.data).map_err(Refusal::usage)?;
    let joined = join(world, local, server, &token, args.executors, JOIN_PATIENCE).await.map_err(
        |error| match error {
            JoinError::Connect { .. } | JoinError::AnswerLost(_) => Refusal::failed(error),
            JoinError::Endpoint(_) | JoinError::Certificate(_) => Refusal::usage(error),
            _ => Refusal::refused(error),
        },
    )?;
    save_identity(&args.data, "node", &joined.identity).map_err(Refusal::usage)?;
    remember(&args.data, driver)?;
    tracing::info!(cluster = %joined.cluster, nodes = ?joined.nodes, "this machine has joined");
    Ok((joined.identity, driver))
}

pub(super) const DAY_S: u64 = 86_400;

/// For how long the certificate of this name in a folder has not been valid any more; none if it is, or there is none.
pub(super) fn ended_for(folder: &Path, name: &str, world: &World) -> Option<Duration> {
    let facts = load_identity(folder, name).ok()?.facts().ok()?;
    world.clock.wall().checked_sub(facts.valid_until)
}

fn rejoin(args: &NodeArgs, world: &World) -> Result<(Identity, SocketAddr), Refusal> {
    let identity = load_identity(&args.data, "node").map_err(Refusal::usage)?;
    if let Some(ended) = ended_for(&args.data, "node", world) {
        return Err(Refusal::usage(format!(
            "the certificate in {} ended {} days ago: join again with a new token from `tidemill ca token`",
            args.data.display(),
            ended.as_secs() / DAY_S
        )));
    }
    let driver = match &args.driver {
        Some(driver) => {
            let driver = resolve(driver)?;
            remember(&args.data, driver)?;
            driver
        }
        None => {
            let path = args.data.join(DRIVER_FILE);
            let text = std::fs::read_to_string(&path);
            let known = text.ok().and_then(|text| text.trim().parse().ok());
            known.ok_or_else(|| {
                Refusal::usage(format!(
                    "{} does not say where the driver is: name it with --driver",
                    path.display()
                ))
            })?
        }
    };
    Ok((identity, driver))
}

fn remember(data: &Path, driver: SocketAddr) -> Result<(), Refusal> {
    let path = data.join(DRIVER_FILE);
    let written = std::fs::write(&path, format!("{driver}\n"));
    written.map_err(|error| Refusal::usage(format!("cannot write {}: {error}", path.display())))
}

async fn read_token(path: &Path) -> Result<String, Refusal> {
    let (file, (told, text)) = (path.to_owned(), oneshot::channel());
    // Whoever types on standard input takes his time, and so may the other end of a pipe: a thread of its own, which nobody
    // has to wait for when the node is told to end.
    let read = move || {
        let mut text = String::new();
        let length = match file.as_path() == Path::new("-") {
            true => std::io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut text),
            false => File::open(file).and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text)),
        };
        // Nobody listens any more if the node ends.
        let _ = told.send(length.map(|_| text));
    };
    let refused =
        |error| Refusal::usage(format!("cannot read the join token from {}: {error}", path.display()));
    std::thread::Builder::new().name("tidemill-token".into()).spawn(read).map_err(refused)?;
    let text = text.await.unwrap_or_else(|_| Err(std::io::Error::other("its reader has died")));
    text.map_err(refused)
}

/// The first address of `HOST:PORT`.
pub(super) fn resolve(address: &str) -> Result<SocketAddr, Refusal> {
    let found = address.to_socket_addrs().map(|mut all| all.next());
    match found {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(Refusal::usage(format!("{address} has no address"))),
        Err(error) => Err(Refusal::usage(format!("{address} is no HOST:PORT that can be found: {error}"))),
    }
}
