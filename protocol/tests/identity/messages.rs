//! The two messages of joining: they come back, they fit, and hostile bytes do not pass.

use tidemill_protocol::codec::{self, CodecError, Limits};
use tidemill_protocol::id::NodeId;
use tidemill_protocol::identity::{Authority, ClusterName, NODE_LIFETIME, NODES_PER_TOKEN_MAX, Role};
use tidemill_protocol::message::{CertificateBytes, JOIN_BYTES_MAX, JoinReply, JoinRequest};
use tidemill_protocol::world::SeededRng;

/// As the endpoints have them (docs/PROTOCOL.md).
const LIMITS: Limits = Limits { bytes: JOIN_BYTES_MAX, depth: 8, elements: 256 };

#[test]
fn every_sample_comes_back() {
    for request in JoinRequest::samples() {
        let bytes = codec::encode(&request).unwrap();
        assert_eq!(codec::decode::<JoinRequest>(&bytes, &LIMITS).unwrap(), request);
    }
    for reply in JoinReply::samples() {
        let bytes = codec::encode(&reply).unwrap();
        assert_eq!(codec::decode::<JoinReply>(&bytes, &LIMITS).unwrap(), reply);
    }
    let shown = format!("{:?}", JoinRequest::samples()[0]);
    assert!(shown.contains("secret: Secret,"), "the secret shows: {shown}");
}

#[test]
fn the_longest_reply_fits() {
    let folder = crate::support::Folder::new();
    let now = std::time::Duration::from_secs(20_605 * 86_400);
    let authority = Authority::create(&folder, now).unwrap();
    let nodes: Vec<NodeId> = (0..NODES_PER_TOKEN_MAX).map(|n| NodeId(u16::MAX - n)).collect();
    let granted = authority.grant(now, nodes, [9; 32], NODE_LIFETIME).unwrap();
    let reply = JoinReply::Joined {
        chain: granted.chain.into_iter().map(CertificateBytes).collect(),
        cluster: ClusterName::from_bits(u64::MAX).to_string(),
        nodes: granted.nodes,
    };
    let bytes = codec::encode(&reply).unwrap();
    assert_eq!(codec::decode::<JoinReply>(&bytes, &LIMITS).unwrap(), reply);
    assert!(bytes.len() < JOIN_BYTES_MAX * 3 / 4, "{} bytes", bytes.len());
    assert_eq!(authority.cluster().names(&Role::Driver), [authority.cluster().driver()]);
}

#[test]
fn hostile_bytes_are_refused_before_they_are_decoded() {
    let refused = |bytes: Vec<u8>| codec::decode::<JoinRequest>(&bytes, &LIMITS).unwrap_err();
    assert!(matches!(refused(vec![0x91; JOIN_BYTES_MAX]), CodecError::TooDeep { .. }));
    assert!(matches!(refused(vec![0x91; JOIN_BYTES_MAX + 1]), CodecError::TooLong { .. }));
    let many = [vec![0xdc, 0x0f, 0x00], vec![0xc0; 0x0f00]].concat();
    assert!(matches!(refused(many), CodecError::TooManyElements { .. }));
    let samples: Vec<Vec<u8>> = JoinRequest::samples().iter().map(|m| codec::encode(m).unwrap()).collect();
    let (mut rng, mut decoded, mut wrong) = (SeededRng::new(4), 0, 0);
    for n in 0..50_000 {
        let mut bytes = samples[n % samples.len()].clone();
        for _ in 0..rng.range(1, 4) {
            let at = usize::try_from(rng.range(0, bytes.len() as u64)).unwrap();
            bytes[at] = rng.next_u64().to_le_bytes()[0];
        }
        match codec::decode::<JoinRequest>(&bytes, &LIMITS) {
            Ok(_) => decoded += 1,
            Err(_) => wrong += 1,
        }
    }
    assert!(decoded > 1_000 && wrong > 1_000, "{decoded} {wrong}");
}
