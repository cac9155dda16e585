//! Role and node are checked on both sides: by TLS where a client connects, by `admit` where a server lets in.

use crate::support::{any_port, ip, simulate};
use quinn::{Connection, Endpoint};
use std::net::SocketAddr;
use tidemill_protocol::endpoint::{
    ConnectError, EndpointConfig, Identity, connect_to, control_endpoint, expired_test_identity_of,
    foreign_test_identity_of, test_cluster, test_identity_of,
};
use tidemill_protocol::id::NodeId;
use tidemill_protocol::identity::{
    Authority, DenyList, NODE_LIFETIME, NameError, PeerName, Refused, Role, RoleKind, admit,
};
use tidemill_protocol::world::sim::SimWorld;

const ALL: [RoleKind; 4] = [RoleKind::Driver, RoleKind::Node, RoleKind::Operator, RoleKind::Observer];

fn two() -> Role {
    Role::Node([NodeId(1), NodeId(2)].into())
}

/// A control endpoint at 10.0.0.`last`.
fn endpoint(sim: &SimWorld, last: u8, identity: Identity) -> Endpoint {
    let config = EndpointConfig::new(identity, Some(u64::from(last)));
    control_endpoint(&sim.node(ip(last)).udp, any_port(last), &config).unwrap()
}

/// Both ends of an attempt to reach `server` under the name `expected`.
async fn meet(
    client: &Endpoint,
    server: &Endpoint,
    expected: &str,
) -> (Result<Connection, ConnectError>, Option<Connection>) {
    let address: SocketAddr = server.local_addr().unwrap();
    let accepting = async { server.accept().await.unwrap().await.ok() };
    tokio::join!(connect_to(client, address, expected), accepting)
}

#[test]
fn a_client_reaches_only_the_role_and_node_that_it_expects() {
    simulate(async |sim| {
        let client = endpoint(&sim, 1, test_identity_of(&Role::Driver));
        let cluster = test_cluster();
        let servers =
            [Role::Driver, Role::node(NodeId(3)), two()].map(|role| (role.clone(), test_identity_of(&role)));
        let expected =
            [cluster.driver(), cluster.node(NodeId(1)), cluster.node(NodeId(2)), cluster.node(NodeId(3))];
        let mut reached = Vec::new();
        for (at, (role, identity)) in servers.into_iter().enumerate() {
            let server = endpoint(&sim, 10 + u8::try_from(at).unwrap(), identity);
            for (n, name) in expected.iter().enumerate() {
                if let (Ok(connection), Some(_)) = meet(&client, &server, name).await {
                    assert_eq!(PeerName::of_connection(&connection).unwrap().role, role);
                    reached.push((at, n));
                }
            }
        }
        assert_eq!(reached, [(0, 0), (1, 3), (2, 1), (2, 2)]);
    });
}

#[test]
fn a_server_lets_in_only_the_roles_that_it_names() {
    simulate(async |sim| {
        let server = endpoint(&sim, 1, test_identity_of(&Role::Driver));
        for (n, role) in [Role::Driver, two(), Role::Operator, Role::Observer].into_iter().enumerate() {
            let client = endpoint(&sim, 10 + u8::try_from(n).unwrap(), test_identity_of(&role));
            let (_near, far) = meet(&client, &server, &test_cluster().driver()).await;
            let far = far.unwrap();
            for kind in ALL {
                let expected = if kind == role.kind() {
                    Ok(PeerName { cluster: test_cluster(), role: role.clone() })
                } else {
                    let peer = test_cluster().names(&role).join(", ");
                    Err(Refused::Role { peer, role: role.kind() })
                };
                assert_eq!(admit(&far, &[kind], &DenyList::none()), expected);
            }
            assert!(
                admit(&far, &ALL, &DenyList::none()).is_ok() && admit(&far, &[], &DenyList::none()).is_err()
            );
        }
    });
}

#[test]
fn a_certificate_of_a_person_makes_no_server() {
    simulate(async |sim| {
        let client = endpoint(&sim, 1, test_identity_of(&Role::Driver));
        for (n, role) in [Role::Operator, Role::Observer].into_iter().enumerate() {
            let server = endpoint(&sim, 10 + u8::try_from(n).unwrap(), test_identity_of(&role));
            let (near, far) = meet(&client, &server, &test_cluster().names(&role)[0]).await;
            assert!(near.is_err() && far.is_none(), "{role:?}");
        }
    });
}

#[test]
fn a_wrong_authority_and_an_expired_certificate_are_refused_on_both_sides() {
    simulate(async |sim| {
        let driver = test_cluster().driver();
        let wrong = [foreign_test_identity_of, expired_test_identity_of];
        for (n, wrong) in wrong.into_iter().enumerate() {
            let at = 10 * u8::try_from(n + 1).unwrap();
            let good_server = endpoint(&sim, at, test_identity_of(&Role::Driver));
            let bad_client = endpoint(&sim, at + 1, wrong(&Role::node(NodeId(1))));
            assert!(meet(&bad_client, &good_server, &driver).await.1.is_none(), "client {n}");
            let bad_server = endpoint(&sim, at + 2, wrong(&Role::Driver));
            let good_client = endpoint(&sim, at + 3, test_identity_of(&Role::node(NodeId(1))));
            assert!(meet(&good_client, &bad_server, &driver).await.0.is_err(), "server {n}");
            // The same two, both good: it was the certificate.
            assert!(meet(&good_client, &good_server, &driver).await.1.is_some());
        }
    });
}

#[test]
fn a_denied_machine_is_refused_with_all_its_executors() {
    simulate(async |sim| {
        let (folder, world) = (crate::support::Folder::new(), sim.node(ip(1)));
        let now = world.clock.wall();
        let authority = Authority::create(&folder, now).unwrap();
        let driver = authority.identity(RoleKind::Driver, now).unwrap().with_clock(world.clock.clone());
        let (nodes, identity) = authority.node_identity(now, 2, NODE_LIFETIME).unwrap();
        let (server, denied) = (endpoint(&sim, 1, driver), authority.denied().unwrap());
        let client = endpoint(&sim, 2, identity.with_clock(world.clock.clone()));
        let (_near, far) = meet(&client, &server, &authority.cluster().driver()).await;
        let far = far.unwrap();
        assert!(admit(&far, &[RoleKind::Node], &denied).is_ok());
        authority.deny(nodes[1]).unwrap();
        assert_eq!(denied.poll().unwrap(), [nodes[1]]);
        assert_eq!(admit(&far, &[RoleKind::Node], &denied), Err(Refused::Denied(nodes[1])));
    });
}

#[test]
fn a_certificate_without_our_names_is_nobody() {
    let node = include_bytes!("../../testdata/test-node.der");
    assert_eq!(PeerName::of_certificate(node), Err(NameError::NotOurs("node".to_owned())));
    assert!(matches!(PeerName::of_certificate(b"\x30\x00"), Err(NameError::Malformed(_))));
}

#[test]
fn pinned_identities_are_the_same_in_every_run() {
    let mut certificates = test_identity_of(&Role::Driver).authority().to_vec();
    for node in 1..=32 {
        let identity = test_identity_of(&Role::node(NodeId(node)));
        assert!(identity.name().unwrap().may_be(NodeId(node)));
        certificates.extend(identity.certificate());
    }
    for role in [Role::Driver, Role::Operator, Role::Observer] {
        certificates.extend(test_identity_of(&role).certificate());
        certificates.extend(foreign_test_identity_of(&role).certificate());
        certificates.extend(expired_test_identity_of(&role).certificate());
    }
    // Recorded once: another value means that simulations send other bytes than before.
    assert_eq!(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&certificates)), "1ff06275dcb25139");
}
