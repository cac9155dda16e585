//! Who may be in a cluster: its authority on disk, names in certificates, join tokens, and the list of denied nodes.
//!
//! ```text
//!   Authority (folder, 0700)                         a machine's folder
//!     ca.pem  ca.key (0600)    ── certificates ──>     node.pem (0600: certificate and key)  ca.pem
//!     driver, operator, observer (.pem, 0600: certificate and key)
//!     state   next node number, hashes of tokens
//!     denied  numbers of denied nodes ──> DenyList ──> admit(connection, roles, denied)
//! ```
//!
//! A certificate's DNS names say who its holder is ([`PeerName`]); what carries them is in
//! [`endpoint`](crate::endpoint), joining in [`endpoint::join`](crate::endpoint::join). This module must not know what a
//! role may do: whoever serves requests names the roles that it takes.

mod authority;
mod certificate;
mod denied;
mod folder;
mod issue;
mod names;
mod state;
mod token;

pub use authority::{
    AUTHORITY_LIFETIME, Authority, AuthorityError, Granted, NODE_LIFETIME, PERSON_LIFETIME, TokenRefused,
};
pub use certificate::{CertificateFacts, Malformed};
pub use denied::{DenyList, Refused, admit};
pub use folder::{FolderError, load_identity, prepare_folder, save_identity, write_private};
pub use issue::{CertificateError, Issuing, KeyPair};
pub(crate) use names::authority_cluster;
pub use names::{ClusterName, NameError, PeerName, Role, RoleKind};
pub use token::{NODES_PER_TOKEN_MAX, TOKEN_LIFETIME, Token, TokenError};

#[cfg(feature = "sim")]
pub(crate) use issue::Signer;

use ring::digest::{SHA256, digest};

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `N` bytes from exactly 2 N lower-case hexadecimal digits.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Whether both are equal, in a time that does not tell where they differ.
pub(crate) fn equal_in_constant_time(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let difference = one.iter().zip(other).fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
    std::hint::black_box(difference) == 0
}
