//! Names in certificates: `driver.<cluster>`, `node-<n>.<cluster>`, `operator.<cluster>`, `observer.<cluster>`, where
//! `<cluster>` is 16 hexadecimal digits and `.tidemill`.

use crate::id::NodeId;
use quinn::Connection;
use rustls::pki_types::CertificateDer;
use std::{collections::BTreeSet, fmt, str::FromStr};

const DOMAIN: &str = ".tidemill";

/// The name of one cluster, drawn when its authority is made: 16 hexadecimal digits and `.tidemill`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterName(String);

impl ClusterName {
    /// The cluster of these 64 bits.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        ClusterName(format!("{bits:016x}{DOMAIN}"))
    }

    /// The name that the driver's certificate has, for [`connect_to`](crate::endpoint::connect_to).
    #[must_use]
    pub fn driver(&self) -> String {
        format!("driver.{self}")
    }

    /// The name that the certificate of an executor's machine has, for [`connect_to`](crate::endpoint::connect_to).
    #[must_use]
    pub fn node(&self, node: NodeId) -> String {
        if node == NodeId::DRIVER { self.driver() } else { format!("node-{}.{self}", node.0) }
    }

    /// The names that a certificate of `role` has.
    #[must_use]
    pub fn names(&self, role: &Role) -> Vec<String> {
        match role {
            Role::Driver => vec![self.driver()],
            Role::Node(nodes) => nodes.iter().map(|node| self.node(*node)).collect(),
            Role::Operator => vec![format!("operator.{self}")],
            Role::Observer => vec![format!("observer.{self}")],
        }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ClusterName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let digits = text.strip_suffix(DOMAIN).and_then(super::unhex::<8>);
        let bits = digits.ok_or_else(|| NameError::NotOurs(text.to_owned()))?;
        Ok(ClusterName::from_bits(u64::from_be_bytes(bits)))
    }
}

/// What a certificate's holder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The driver.
    Driver,
    /// A machine that may run these executors.
    Node(BTreeSet<NodeId>),
    /// A person or tool that may change things.
    Operator,
    /// A person or tool that may look.
    Observer,
}

/// A role without its numbers: what a server allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleKind {
    /// [`Role::Driver`].
    Driver,
    /// [`Role::Node`].
    Node,
    /// [`Role::Operator`].
    Operator,
    /// [`Role::Observer`].
    Observer,
}

impl Role {
    /// The role of one executor.
    #[must_use]
    pub fn node(node: NodeId) -> Self {
        Role::Node(BTreeSet::from([node]))
    }

    /// Without the numbers.
    #[must_use]
    pub fn kind(&self) -> RoleKind {
        match self {
            Role::Driver => RoleKind::Driver,
            Role::Node(_) => RoleKind::Node,
            Role::Operator => RoleKind::Operator,
            Role::Observer => RoleKind::Observer,
        }
    }
}

impl fmt::Display for RoleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RoleKind::Driver => "driver",
            RoleKind::Node => "node",
            RoleKind::Operator => "operator",
            RoleKind::Observer => "observer",
        })
    }
}

/// Who a peer is, by what the authority has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerName {
    /// Of which cluster.
    pub cluster: ClusterName,
    /// And what there.
    pub role: Role,
}

/// Why a certificate does not say who its holder is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The connection has no certificate of its peer.
    #[error("the peer has shown no certificate")]
    NoCertificate,
    /// The certificate cannot be read.
    #[error("the certificate cannot be read: {0}")]
    Malformed(String),
    /// No DNS names at all.
    #[error("the certificate has no DNS names")]
    Nameless,
    /// A name that is not of the forms above.
    #[error("the name {0:?} is not one of a Tidemill cluster")]
    NotOurs(String),
    /// Names of two clusters, or of two roles.
    #[error("the names {0:?} and {1:?} do not belong into one certificate")]
    Mixed(String, String),
}

impl PeerName {
    /// Who is at the other end of a connection. Its TLS has checked that the authority has signed this.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn of_connection(connection: &Connection) -> Result<Self, NameError> {
        let identity = connection.peer_identity().ok_or(NameError::NoCertificate)?;
        let chain =
            identity.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| NameError::NoCertificate)?;
        PeerName::of_certificate(chain.first().ok_or(NameError::NoCertificate)?)
    }

    /// Whom a certificate (DER) names. Says nothing about who has signed it.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn of_certificate(certificate: &[u8]) -> Result<Self, NameError> {
        PeerName::of_names(&dns_names(certificate)?)
    }

    fn of_names(names: &[String]) -> Result<Self, NameError> {
        let first = names.first().ok_or(NameError::Nameless)?;
        let (cluster, role) = parse(first)?;
        let mut peer = PeerName { cluster, role };
        for name in &names[1..] {
            let (cluster, role) = parse(name)?;
            match (&mut peer.role, role) {
                (Role::Node(nodes), Role::Node(more)) if cluster == peer.cluster => nodes.extend(more),
                _ => return Err(NameError::Mixed(first.clone(), name.clone())),
            }
        }
        Ok(peer)
    }

    /// Whether the peer may speak as `node`.
    #[must_use]
    pub fn may_be(&self, node: NodeId) -> bool {
        match &self.role {
            Role::Driver => node == NodeId::DRIVER,
            Role::Node(nodes) => nodes.contains(&node),
            Role::Operator | Role::Observer => false,
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cluster.names(&self.role).join(", "))
    }
}

/// The DNS names of a certificate (DER), in its order.
pub(super) fn dns_names(certificate: &[u8]) -> Result<Vec<String>, NameError> {
    let certificate = CertificateDer::from(certificate);
    let parsed = webpki::EndEntityCert::try_from(&certificate)
        .map_err(|cause| NameError::Malformed(cause.to_string()))?;
    Ok(parsed.valid_dns_names().map(str::to_owned).collect())
}

/// The cluster of an authority's certificate (DER).
pub(crate) fn authority_cluster(certificate: &[u8]) -> Result<ClusterName, NameError> {
    dns_names(certificate)?.first().ok_or(NameError::Nameless)?.parse()
}

fn parse(name: &str) -> Result<(ClusterName, Role), NameError> {
    let not_ours = || NameError::NotOurs(name.to_owned());
    let (label, cluster) = name.split_once('.').ok_or_else(not_ours)?;
    let cluster = cluster.parse().map_err(|_| not_ours())?;
    let role = match label {
        "driver" => Role::Driver,
        "operator" => Role::Operator,
        "observer" => Role::Observer,
        _ => {
            let number = label.strip_prefix("node-").ok_or_else(not_ours)?;
            let node = number.parse::<u16>().ok().filter(|node| *node > 0 && node.to_string() == number);
            Role::node(NodeId(node.ok_or_else(not_ours)?))
        }
    };
    Ok((cluster, role))
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: &str = "0123456789abcdef.tidemill";

    fn read(names: &[&str]) -> Result<PeerName, NameError> {
        PeerName::of_names(&names.iter().map(|name| name.replace("$", C)).collect::<Vec<_>>())
    }

    #[test]
    fn names_say_cluster_and_role() {
        for (names, role) in [
            (&["driver.$"][..], Role::Driver),
            (&["operator.$"], Role::Operator),
            (&["observer.$"], Role::Observer),
            (&["node-7.$"], Role::node(NodeId(7))),
            (&["node-7.$", "node-65535.$"], Role::Node(BTreeSet::from([NodeId(7), NodeId(65_535)]))),
        ] {
            let peer = read(names).unwrap();
            assert_eq!((peer.cluster.to_string().as_str(), &peer.role), (C, &role));
            assert_eq!(peer.to_string(), names.join(", ").replace("$", C));
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "node.$",
            "node-0.$",
            "node-07.$",
            "node-+7.$",
            "node-65536.$",
            "king.$",
            "$",
            "driver.x.$",
            "driver",
            "*.$",
        ] {
            assert_eq!(read(&[name]), Err(NameError::NotOurs(name.replace("$", C))), "{name}");
        }
        for cluster in ["0123456789ABCDEF.tidemill", "0123456789abcde.tidemill", "0123456789abcdef.ebb"] {
            assert!(read(&[&format!("driver.{cluster}")]).is_err(), "{cluster}");
        }
        assert_eq!(read(&[]), Err(NameError::Nameless));
        assert!(matches!(read(&["driver.$", "node-1.$"]), Err(NameError::Mixed(..))));
        assert!(matches!(read(&["driver.$", "driver.$"]), Err(NameError::Mixed(..))));
        assert!(matches!(read(&["node-1.$", "node-2.1123456789abcdef.tidemill"]), Err(NameError::Mixed(..))));
    }

    #[test]
    fn a_peer_may_be_what_its_certificate_says() {
        let two = read(&["node-1.$", "node-2.$"]).unwrap();
        assert_eq!([0, 1, 2, 3].map(|node| two.may_be(NodeId(node))), [false, true, true, false]);
        let driver = read(&["driver.$"]).unwrap();
        assert_eq!([0, 1].map(|node| driver.may_be(NodeId(node))), [true, false]);
        assert!(!read(&["operator.$"]).unwrap().may_be(NodeId::DRIVER));
    }
}
