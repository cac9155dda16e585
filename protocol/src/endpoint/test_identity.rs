//! The pinned identity of simulations and tests: see protocol/testdata/README.md.

use super::Identity;

/// The identity that every node of a simulation has. Its key is public: never use it elsewhere.
#[must_use]
pub fn test_identity() -> Identity {
    let chain = vec![include_bytes!("../../testdata/test-node.der").to_vec()];
    let key = include_bytes!("../../testdata/test-node.key.der").to_vec();
    let authority = include_bytes!("../../testdata/test-ca.der").to_vec();
    Identity::from_der(chain, key, authority).expect("the pinned files fit each other, and a test reads them")
}
