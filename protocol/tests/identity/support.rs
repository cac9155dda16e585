//! A folder of its own for each test, and a driver with a join endpoint in a simulated world.

use quinn::Endpoint;
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};
use tidemill_protocol::endpoint::Identity;
use tidemill_protocol::endpoint::join::{JoinDesk, JoinLimits, join_endpoint, serve_join};
use tidemill_protocol::identity::{Authority, NODE_LIFETIME, RoleKind};
use tidemill_protocol::world::World;
use tidemill_protocol::world::sim::{self, SimConfig, SimWorld};

/// Where the driver's join endpoint is in simulations.
pub const JOIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 7_001);
/// What the driver says its control endpoint's address is.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that ends with the test.
pub struct Folder(PathBuf);

impl Folder {
    /// A path at which there is nothing yet.
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let path = std::env::temp_dir().join(format!("tidemill-identity-{}-{number}", std::process::id()));
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{path:?}: {error}"),
            _ => Folder(path),
        }
    }
}

impl std::ops::Deref for Folder {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

pub fn any_port(last: u8) -> SocketAddr {
    SocketAddr::new(ip(last), 0)
}

/// Runs `scenario` in a simulated world.
pub fn simulate<T>(scenario: impl AsyncFnOnce(SimWorld) -> T) -> T {
    sim::run(7, SimConfig::default(), scenario)
}

/// A driver at 10.0.0.1 that serves joiners.
pub struct Driver {
    pub folder: Folder,
    pub authority: Authority,
    pub identity: Identity,
    pub endpoint: Endpoint,
    pub desk: JoinDesk,
    pub world: World,
}

impl Driver {
    pub fn start(sim: &SimWorld) -> Self {
        Driver::start_with(sim.node(ip(1)), Folder::new(), JoinLimits::default())
    }

    /// In `world`, with the authority in `folder`, which is made if it is not there.
    pub fn start_with(world: World, folder: Folder, limits: JoinLimits) -> Self {
        let now = world.clock.wall();
        let authority = if folder.exists() {
            Authority::open(&folder, now).unwrap()
        } else {
            Authority::create(&folder, now).unwrap()
        };
        let identity = authority.identity(RoleKind::Driver, now).unwrap().with_clock(world.clock.clone());
        let endpoint = join_endpoint(&world.udp, JOIN, &identity, Some(1)).unwrap();
        let denied = authority.denied().unwrap();
        let desk = JoinDesk::new(authority.clone(), denied, NODE_LIFETIME, world.clone());
        world.spawner.spawn(serve_join(endpoint.clone(), desk.clone(), limits));
        Driver { folder, authority, identity, endpoint, desk, world }
    }

    /// A token for `nodes` executors, good for 15 minutes.
    pub fn token(&self, nodes: u16) -> tidemill_protocol::identity::Token {
        let lifetime = tidemill_protocol::identity::TOKEN_LIFETIME;
        self.authority.token(self.world.clock.wall(), lifetime, nodes).unwrap()
    }
}
