//! Who is let in: the roles that a server takes, less the nodes that were denied.

use super::{NameError, PeerName, Role, RoleKind};
use crate::id::NodeId;
use crate::world::Clock;
use quinn::Connection;
use std::{
    collections::BTreeSet,
    fs, io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// How often the file is looked at.
const POLL: Duration = Duration::from_secs(1);

/// The nodes that may not take part any more; clones share it. Reread from the authority's folder, so that
/// [`Authority::deny`](super::Authority::deny) in another process is heard of.
#[derive(Clone, Debug, Default)]
pub struct DenyList {
    path: Option<PathBuf>,
    denied: Arc<RwLock<BTreeSet<NodeId>>>,
}

impl DenyList {
    /// Nobody is denied.
    #[must_use]
    pub fn none() -> Self {
        DenyList::default()
    }

    /// The list in a file: a node number a line. No file: nobody.
    ///
    /// # Errors
    /// The file cannot be read, or is not such a list.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let list = DenyList { path: Some(path), denied: Arc::default() };
        list.poll()?;
        Ok(list)
    }

    /// Whether `node` is denied.
    #[must_use]
    pub fn is_denied(&self, node: NodeId) -> bool {
        self.denied.read().unwrap_or_else(PoisonError::into_inner).contains(&node)
    }

    /// All who are denied, by number.
    #[must_use]
    pub fn all(&self) -> Vec<NodeId> {
        self.denied.read().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// Denies these as well; gives those who were not denied before. For a list that is told rather than read.
    pub fn add(&self, nodes: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
        let mut denied = self.denied.write().unwrap_or_else(PoisonError::into_inner);
        nodes.into_iter().filter(|node| denied.insert(*node)).collect()
    }

    /// The first denied number of a certificate: a machine is denied with all its executors.
    #[must_use]
    pub fn denies(&self, role: &Role) -> Option<NodeId> {
        let Role::Node(nodes) = role else { return None };
        nodes.iter().copied().find(|node| self.is_denied(*node))
    }

    /// Reads the file again; gives whom it denies now and did not before. Nobody is ever let in again by what becomes of the
    /// file: whom it has denied once stays denied.
    ///
    /// # Errors
    /// The file cannot be read, or is not such a list.
    pub fn poll(&self) -> io::Result<Vec<NodeId>> {
        let Some(path) = &self.path else { return Ok(Vec::new()) };
        let text = match fs::read_to_string(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read?,
        };
        let read = parse(&text).ok_or(io::ErrorKind::InvalidData)?;
        Ok(self.add(read))
    }

    /// Looks at the file each second until it denies somebody new; the caller cuts their connections and calls again.
    ///
    /// # Errors
    /// As [`poll`](Self::poll); the caller says so and calls again.
    pub async fn next_denied(&self, clock: &Clock) -> io::Result<Vec<NodeId>> {
        loop {
            clock.sleep(POLL).await;
            let fresh = self.poll()?;
            if !fresh.is_empty() {
                return Ok(fresh);
            }
        }
    }
}

pub(super) fn parse(text: &str) -> Option<BTreeSet<NodeId>> {
    text.lines().map(|line| line.parse().ok().map(NodeId)).collect()
}

/// Why a peer is not let in. Its connection is to be closed with
/// [`CloseCode::Refused`](crate::endpoint::CloseCode::Refused).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It does not say who it is.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Its role has no business here.
    #[error("{peer} is not let in here: the role {role} is not among those that are")]
    Role {
        /// Who.
        peer: String,
        /// Its role.
        role: RoleKind,
    },
    /// It was denied.
    #[error("{0} was denied")]
    Denied(NodeId),
}

/// Who is at the other end, if it is let in: of an allowed role and not denied. Called by servers after each handshake;
/// TLS has checked that the cluster's authority has signed the peer's name.
///
/// # Errors
/// [`Refused`].
pub fn admit(connection: &Connection, allowed: &[RoleKind], denied: &DenyList) -> Result<PeerName, Refused> {
    let peer = PeerName::of_connection(connection)?;
    let role = peer.role.kind();
    if !allowed.contains(&role) {
        return Err(Refused::Role { peer: peer.to_string(), role });
    }
    match denied.denies(&peer.role) {
        Some(node) => Err(Refused::Denied(node)),
        None => Ok(peer),
    }
}
