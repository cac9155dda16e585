//! The pinned identities of simulations and tests: see protocol/testdata/README.md. Their keys are public: never use them
//! elsewhere.

use super::Identity;
use crate::identity::{CertificateError, ClusterName, Issuing, KeyPair, Role, Signer, sha256};
use std::time::Duration;

const TEST_CLUSTER: u64 = 0x7e57_7e57_7e57_7e57;
const FOREIGN_CLUSTER: u64 = 0xf0f0_f0f0_f0f0_f0f0;
/// 2020-01-01.
const BEGIN: Duration = Duration::from_secs(18_262 * 86_400);
const HUNDRED_YEARS: Duration = Duration::from_secs(36_525 * 86_400);

/// The one identity that every node of a simulation may have, whatever its number.
#[must_use]
pub fn test_identity() -> Identity {
    let chain = vec![include_bytes!("../../testdata/test-node.der").to_vec()];
    let key = include_bytes!("../../testdata/test-node.key.der").to_vec();
    let authority = include_bytes!("../../testdata/test-ca.der").to_vec();
    Identity::from_der(chain, key, authority).expect("the pinned files fit each other, and a test reads them")
}

/// The cluster of [`test_identity_of`].
#[must_use]
pub fn test_cluster() -> ClusterName {
    ClusterName::from_bits(TEST_CLUSTER)
}

/// The identity of `role` in the test cluster, the same bytes in every run: keys come from fixed seeds, and Ed25519
/// signatures are deterministic. Valid from 2020 to 2119.
#[must_use]
pub fn test_identity_of(role: &Role) -> Identity {
    pinned(TEST_CLUSTER, TEST_CLUSTER, role, HUNDRED_YEARS)
}

/// The identity of `role` in another cluster that calls itself the test cluster.
#[must_use]
pub fn foreign_test_identity_of(role: &Role) -> Identity {
    pinned(FOREIGN_CLUSTER, TEST_CLUSTER, role, HUNDRED_YEARS)
}

/// The identity of `role` in the test cluster, valid in January 2020 only.
#[must_use]
pub fn expired_test_identity_of(role: &Role) -> Identity {
    pinned(TEST_CLUSTER, TEST_CLUSTER, role, Duration::from_secs(30 * 86_400))
}

fn pinned(seed: u64, cluster: u64, role: &Role, lifetime: Duration) -> Identity {
    made(seed, ClusterName::from_bits(cluster), role, lifetime)
        .expect("fixed inputs make certificates, and a test makes them")
}

fn made(
    seed: u64,
    cluster: ClusterName,
    role: &Role,
    lifetime: Duration,
) -> Result<Identity, CertificateError> {
    let drawn = |label: &str| sha256(format!("tidemill test {seed:x} {label}").as_bytes());
    let issuing = |label: &str, lifetime| {
        let mut serial = [0; 16];
        serial.copy_from_slice(&drawn(&format!("serial of {label}"))[..16]);
        Issuing { now: BEGIN, lifetime, serial }
    };
    let names = cluster.names(role).join(",");
    let authority = KeyPair::from_seed(drawn("authority"))?;
    let signer = Signer::create(cluster, authority, &issuing("authority", HUNDRED_YEARS))?;
    let key = KeyPair::from_seed(drawn(&names))?;
    let chain = vec![signer.issue(role, key.public(), &issuing(&names, lifetime))?];
    let identity = Identity::from_der(chain, key.to_pkcs8(), signer.certificate);
    Ok(identity.expect("a certificate fits the key that it was made for"))
}
