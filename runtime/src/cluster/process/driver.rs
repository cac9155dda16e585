//! A driver whose executors are other processes, and where their machines join.

use super::serial;
use crate::{
    Running, StreamContext,
    cluster::{
        driver::Roles,
        lane::BulkThread,
        over_quic::{DriverOverQuic, Site},
        quic::{Answers, QuicLinks, turned_away},
        settings,
        start::{Assembled, Handles, Parts, StartError},
        status, users,
    },
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tidemill_actors::{node, supervision::SupervisorHandle};
use tidemill_protocol::{
    endpoint::{
        EndpointConfig, Identity,
        join::{
            Attempts, JoinCounts, JoinDesk, JoinLimits, join_endpoint, renew_driver_when_due, serve_join,
        },
    },
    identity::{Authority, AuthorityError, DenyList, NODE_LIFETIME, RoleKind},
    message::{ProgramFacts, Reply, Request},
    world::World,
};

/// How often the log says what has come to the join port.
const TELL_JOINS_EVERY: Duration = Duration::from_secs(5);

/// How a driver is reached.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// Where it listens for executors; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where machines join with a token; none: nowhere, all certificates are made beside the authority.
    pub join: Option<SocketAddr>,
    /// The folder of the cluster's authority, made by `ca init`.
    pub authority: PathBuf,
    /// How long certificates of the driver and of nodes are valid; they are renewed when two thirds of it are over.
    pub certificate_lifetime: Duration,
}

impl DriverOptions {
    /// Listens on `listen` for executors and on the next port for machines that join; none where the port is 0.
    pub fn new(listen: SocketAddr, authority: impl Into<PathBuf>) -> Self {
        DriverOptions {
            listen,
            join: join_address(listen),
            authority: authority.into(),
            certificate_lifetime: NODE_LIFETIME,
        }
    }
}

/// Where the driver that listens for executors at `control` takes machines that join: one port further.
pub(crate) fn join_address(control: SocketAddr) -> Option<SocketAddr> {
    let port = control.port().checked_add(1).filter(|port| *port > 1)?;
    Some(SocketAddr::new(control.ip(), port))
}

/// The authority's side of a driver.
struct Papers {
    authority: Authority,
    identity: Identity,
    denied: DenyList,
}

impl StreamContext {
    /// Starts the driver of a cluster whose executors are other processes: it waits for them, and gives them its
    /// parameters and settings. As [`start`](Self::start) otherwise.
    ///
    /// # Errors
    /// [`StartError`], with the remedy; nothing was read.
    pub fn start_driver(&self, options: DriverOptions) -> Result<Running, StartError> {
        let papers = papers(&options)?;
        let parts = self.prepare()?;
        let facts =
            ProgramFacts { settings: settings::to_wire(&parts.config), parameters: self.params().to_wire() };
        self.launch(parts, move |parts| assemble(parts, &options, papers, facts))
    }
}

fn papers(options: &DriverOptions) -> Result<Papers, StartError> {
    let now = World::real().clock.wall();
    let authority = Authority::open(&options.authority, now)?;
    let identity = match authority.identity(RoleKind::Driver, now)? {
        longer
            if longer.facts().is_ok_and(|facts| facts.valid_until > now + options.certificate_lifetime) =>
        {
            authority.renew_driver(now, options.certificate_lifetime)?
        }
        identity => identity,
    };
    let denied = authority.denied()?;
    Ok(Papers { authority, identity, denied })
}

fn assemble(
    parts: Parts,
    options: &DriverOptions,
    papers: Papers,
    facts: ProgramFacts,
) -> Result<Assembled, StartError> {
    let Parts { config, pipeline, world, progress, users } = parts;
    let bulk = BulkThread::start().map_err(StartError::Thread)?;
    let (roles, inboxes) = Roles::new(None);
    let endpoints = EndpointConfig::new(papers.identity.clone(), None);
    // Before anything else runs: a port that is taken ends the start.
    let join = match options.join {
        Some(address) => Some(join_endpoint(&world.udp, address, &papers.identity, None)?),
        None => None,
    };
    let (users, lanes) = (users::on_their_own_thread(users), bulk.lanes());
    let site = Site { config, pipeline, world: world.clone(), progress, users, lanes };
    let (told, program) = (site.progress.clone(), site.pipeline.clone());
    let answers = |root: &SupervisorHandle| -> Answers {
        let root = root.clone();
        Arc::new(move |request: Request| match request {
            Request::Program => vec![Reply::Program(facts.clone())],
            Request::Status => {
                let entries = status::entries(&told, &program, &root.tree());
                Reply::status(entries).unwrap_or_else(|error| vec![Reply::Refused(error.to_string())])
            }
        })
    };
    let cluster = (papers.authority.cluster().clone(), papers.denied.clone());
    let pair = (roles.clone(), inboxes);
    let started = DriverOverQuic::start(site, pair, &endpoints, options.listen, cluster, answers)?;
    let DriverOverQuic { root, control, bulk: bulk_endpoint, links } = started;
    let address = control.local_addr().ok();
    let mut endpoints = vec![control, bulk_endpoint];
    tokio::spawn(follow_denied(papers.denied.clone(), roles.clone(), links, world.clone()));
    let lifetime = options.certificate_lifetime;
    tokio::spawn(renew(papers.authority.clone(), papers.identity, lifetime, world.clone()));
    if let Some(join) = join {
        let desk = JoinDesk::new(papers.authority, papers.denied, lifetime, world.clone());
        tokio::spawn(tell_joins(desk.counts.clone(), world));
        tokio::spawn(serve_join(join.clone(), desk, JoinLimits::default()));
        endpoints.push(join);
    }
    let handles = Handles { roles, root, executors: BTreeMap::new(), address };
    Ok(Assembled { handles, endpoints, bulk: Some(bulk) })
}

/// Cuts off whoever is denied while the driver runs, here and where executors serve each other.
async fn follow_denied(denied: DenyList, roles: Roles, links: QuicLinks, world: World) {
    let mut is_damaged = false;
    loop {
        match denied.next_denied(&world.clock).await {
            Ok(nodes) => {
                is_damaged = false;
                tracing::warn!(?nodes, "nodes are denied");
                // First the others, who shall know why these go.
                roles.node.tell(node::Event::Denied { nodes });
                links.cut(&denied);
            }
            Err(error) => {
                if !std::mem::replace(&mut is_damaged, true) {
                    tracing::error!(%error, "the list of denied nodes cannot be read: what it said before holds");
                }
            }
        }
    }
}

/// Renews the driver's own certificate.
async fn renew(authority: Authority, identity: Identity, lifetime: Duration, world: World) {
    let tell = |renewed: Result<(), AuthorityError>| match renewed {
        Ok(()) => tracing::info!(serial = serial(&identity), "the driver's certificate has been renewed"),
        Err(error) => tracing::error!(%error, "the driver's certificate is due, and cannot be renewed"),
    };
    renew_driver_when_due(&world, &authority, &identity, lifetime, tell).await;
}

/// Says what has come to the join port, if anything has: all of it in one line, and a line of each kind that was not let in.
async fn tell_joins(counts: Arc<JoinCounts>, world: World) {
    let (mut told, mut kinds_told) = ([0; 5], BTreeMap::new());
    loop {
        world.clock.sleep(TELL_JOINS_EVERY).await;
        let all = [&counts.granted, &counts.refused, &counts.failed, &counts.turned_away, &counts.unproven];
        let now = all.map(|count| count.load(Ordering::Relaxed));
        // An address that is not proven yet is how each of them begins.
        if now[..4] != told[..4] {
            let [granted, refused, failed, turned_away, unproven] =
                std::array::from_fn(|at| now[at] - told[at]);
            tracing::info!(granted, refused, failed, turned_away, unproven, "machines have come to join");
            told = now;
        }
        for (kind, Attempts { count, last }) in counts.kinds() {
            let new = count - kinds_told.insert(kind, count).unwrap_or(0);
            if new > 0 {
                turned_away("join", kind, new);
                tracing::warn!(port = "join", kind, peer = %last, count = new, "peers were turned away");
            }
        }
    }
}
