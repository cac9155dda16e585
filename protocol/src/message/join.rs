//! Joining: one message each way on a connection of its own (`tidemill-join/1`), without frames. The stream's end is the
//! message's end.

use crate::id::NodeId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest of either, in bytes.
pub const JOIN_BYTES_MAX: usize = 4 * 1024;

/// The secret of a join token. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What a machine asks for. The private half of its key never leaves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinRequest {
    /// A first certificate.
    Join {
        /// Of the token.
        secret: Secret,
        /// An Ed25519 key.
        public_key: [u8; 32],
        /// How many executors it will run; none: as many as the token is for.
        #[serde(default)]
        nodes: Option<u16>,
    },
    /// A new certificate with the names of the one that the connection was made with.
    Renew {
        /// An Ed25519 key.
        public_key: [u8; 32],
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinReply {
    /// A certificate.
    Joined {
        /// DER: the machine's certificate, then the authority's.
        chain: Vec<CertificateBytes>,
        /// The cluster's name.
        cluster: String,
        /// The executor numbers that are in the certificate.
        nodes: Vec<NodeId>,
    },
    /// No certificate.
    Refused(JoinRefusal),
}

/// A certificate (DER).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CertificateBytes(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// Why there is no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum JoinRefusal {
    /// Of another cluster, forgotten, or invented.
    #[error("the join token is unknown to this cluster: make one with `tidemill ca token`")]
    Unknown,
    /// Too late.
    #[error("the join token has expired: make another one with `tidemill ca token`")]
    Expired,
    /// Somebody has joined with it, or has tried to.
    #[error("the join token has been used: make another one with `tidemill ca token`")]
    Used,
    /// More executors than the token was made for, or none.
    #[error("the join token is for 1 to {0} executors")]
    TooMany(u16),
    /// A renewal needs a node's certificate.
    #[error("only a node's valid certificate is renewed: join again with a new token")]
    NoCertificate,
    /// The node was denied.
    #[error("{0} was denied")]
    Denied(NodeId),
    /// The authority cannot work; the driver's log says why.
    #[error("the cluster's authority cannot give certificates: see the driver's log")]
    Broken,
}
