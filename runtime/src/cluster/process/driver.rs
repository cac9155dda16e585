//! A driver whose executors are other processes, and where their machines join.

use crate::{
    Running, StreamContext,
    cluster::{
        driver::Roles,
        lane::BulkThread,
        over_quic::{DriverOverQuic, Site},
        quic::Answers,
        settings,
        start::{Assembled, Handles, Parts, StartError},
        status,
    },
};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};
use tidemill_actors::supervision::SupervisorHandle;
use tidemill_protocol::{
    endpoint::{
        EndpointConfig, Identity,
        join::{JoinDesk, JoinLimits, join_endpoint, serve_join},
    },
    identity::{Authority, DenyList, NODE_LIFETIME, RoleKind},
    message::{ProgramFacts, Reply, Request},
    world::World,
};

/// How a driver is reached.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// Where it listens for executors; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where machines join with a token; none: nowhere, all certificates are made beside the authority.
    pub join: Option<SocketAddr>,
    /// The folder of the cluster's authority, made by `ca init`.
    pub authority: PathBuf,
}

impl DriverOptions {
    /// Listens on `listen` for executors and on the next port for machines that join; none where the port is 0.
    pub fn new(listen: SocketAddr, authority: impl Into<PathBuf>) -> Self {
        DriverOptions { listen, join: join_address(listen), authority: authority.into() }
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
    let identity = authority.identity(RoleKind::Driver, now)?;
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
    let site = Site { config, pipeline, world: world.clone(), progress, users, lanes: bulk.lanes() };
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
    let DriverOverQuic { root, control, bulk: bulk_endpoint } = started;
    let address = control.local_addr().ok();
    let mut endpoints = vec![control, bulk_endpoint];
    if let Some(join) = join {
        let desk = JoinDesk::new(
            papers.authority,
            papers.denied,
            address.unwrap_or(options.listen),
            NODE_LIFETIME,
            world,
        );
        tokio::spawn(serve_join(join.clone(), desk, JoinLimits::default()));
        endpoints.push(join);
    }
    let handles = Handles { roles, root, executors: BTreeMap::new(), address };
    Ok(Assembled { handles, endpoints, bulk: Some(bulk) })
}
