//! Certificates are replaced without a restart: links go on, new handshakes show the new one.

use crate::support::{Driver, Folder, JOIN, PATIENCE, any_port, ip, simulate};
use quinn::{Connection, Endpoint};
use std::time::Duration;
use tidemill_protocol::endpoint::join::{
    JoinError, Joined, Renewal, join, renew_driver_when_due, renew_when_due,
};
use tidemill_protocol::endpoint::link::LinkConfig;
use tidemill_protocol::endpoint::{
    ControlLink, EndpointConfig, Identity, IdentityError, connect_to, control_endpoint,
};
use tidemill_protocol::id::{Epoch, Incarnation, Member, NodeId, ProgramId};
use tidemill_protocol::identity::{
    Authority, CertificateFacts, NODE_LIFETIME, PeerName, RoleKind, load_identity, save_identity,
};
use tidemill_protocol::message::{Hello, ToDriver, ToExecutor};
use tidemill_protocol::world::sim::SimWorld;

const DAY: Duration = Duration::from_secs(86_400);

fn endpoint(sim: &SimWorld, last: u8, identity: &Identity) -> Endpoint {
    let config = EndpointConfig::new(identity.clone(), Some(u64::from(last)));
    control_endpoint(&sim.node(ip(last)).udp, any_port(last), &config).unwrap()
}

async fn pair(from: &Endpoint, to: &Endpoint, expected: &str) -> (Connection, Connection) {
    let address = to.local_addr().unwrap();
    let accepting = async { to.accept().await.unwrap().await.unwrap() };
    let (near, far) = tokio::join!(connect_to(from, address, expected), accepting);
    (near.unwrap(), far)
}

/// The serial number that the peer has shown.
fn serial(connection: &Connection) -> Vec<u8> {
    let shown = connection.peer_identity().unwrap();
    let chain = shown.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap();
    CertificateFacts::read(&chain[0]).unwrap().serial
}

fn hello(node: u16) -> Hello {
    let member = Member { node: NodeId(node), incarnation: Incarnation(1) };
    Hello { member, epoch: Epoch(1), program: ProgramId(1) }
}

#[test]
fn under_load_both_sides_rotate_and_no_message_is_lost() {
    const MESSAGES: u64 = 20_000;
    simulate(async |sim| {
        let (folder, world) = (Folder::new(), sim.node(ip(1)));
        let now = world.clock.wall();
        let authority = Authority::create(&folder, now).unwrap();
        let driver = authority.identity(RoleKind::Driver, now).unwrap().with_clock(world.clock.clone());
        let (nodes, node) = authority.node_identity(now, 1, NODE_LIFETIME).unwrap();
        let node = node.with_clock(world.clock.clone());
        let (here, there) = (endpoint(&sim, 1, &driver), endpoint(&sim, 2, &node));
        let name = authority.cluster().driver();
        let (near, far) = pair(&there, &here, &name).await;
        let before = (serial(&near), serial(&far));
        let (hello_driver, hello_node, config) = (hello(0), hello(1), LinkConfig::default());
        let (to_executor, to_driver) = tokio::join!(
            ControlLink::<ToExecutor, ToDriver>::open(far.clone(), &hello_driver, &config),
            ControlLink::<ToDriver, ToExecutor>::open(near.clone(), &hello_node, &config),
        );
        let (sender, mut receiver) = (to_executor.unwrap().sender, to_driver.unwrap().receiver);
        let sending = async {
            for nonce in 0..MESSAGES {
                sender.send(&ToExecutor::Ping { nonce }).await.unwrap();
            }
        };
        let receiving = async {
            for nonce in 0..MESSAGES {
                assert_eq!(receiver.recv().await.unwrap(), ToExecutor::Ping { nonce });
                if nonce == MESSAGES / 2 {
                    driver.replace(&authority.renew_identity(RoleKind::Driver, now).unwrap()).unwrap();
                    let granted = authority.clone();
                    let key = tidemill_protocol::identity::KeyPair::generate().unwrap();
                    let granted = granted.grant(now, nodes.clone(), key.public(), NODE_LIFETIME).unwrap();
                    let new =
                        Identity::from_der(granted.chain, key.to_pkcs8(), authority.certificate().to_vec());
                    node.replace(&new.unwrap()).unwrap();
                    let (new_near, new_far) = pair(&there, &here, &name).await;
                    let after = (serial(&new_near), serial(&new_far));
                    assert!(
                        after.0 != before.0 && after.1 != before.1,
                        "the new connection shows the old ones"
                    );
                    assert_eq!(after.0, driver.facts().unwrap().serial);
                    assert_eq!(after.1, node.facts().unwrap().serial);
                }
            }
        };
        tokio::join!(sending, receiving);
        assert_eq!((serial(&near), serial(&far)), before, "the old connection is the old one");
    });
}

#[test]
fn another_cluster_or_another_name_replaces_nothing() {
    let (one, two) = (Folder::new(), Folder::new());
    let now = Duration::from_secs(20_605 * 86_400);
    let (a, b) = (Authority::create(&one, now).unwrap(), Authority::create(&two, now).unwrap());
    let driver = a.identity(RoleKind::Driver, now).unwrap();
    let serial = driver.facts().unwrap().serial;
    for other in [b.identity(RoleKind::Driver, now).unwrap(), a.identity(RoleKind::Operator, now).unwrap()] {
        assert!(matches!(driver.replace(&other), Err(IdentityError::Another)));
    }
    assert_eq!(driver.facts().unwrap().serial, serial);
    driver.clone().replace(&a.renew_identity(RoleKind::Driver, now).unwrap()).unwrap();
    assert_ne!(driver.facts().unwrap().serial, serial, "clones share what is shown");
}

#[test]
fn over_a_hundred_days_a_node_and_its_driver_renew_themselves_at_two_thirds() {
    simulate(async |sim| {
        let driver = Driver::start(&sim);
        let (world, machine) = (sim.node(ip(2)), Folder::new());
        let token = driver.token(1);
        let joined = join(&world, any_port(2), JOIN, &token, None, PATIENCE).await.unwrap();
        save_identity(&machine, "node", &joined.identity).unwrap();
        let node = joined.identity.clone();
        let began = world.clock.wall();
        let mut renewed_at = Vec::new();
        let renewal = Renewal { local: any_port(2), server: JOIN };
        let save =
            |joined: &Joined| save_identity(&machine, "node", &joined.identity).map_err(|e| e.to_string());
        let of_node = renew_when_due(&world, &renewal, &node, save, |renewed| {
            renewed.unwrap();
            renewed_at.push(world.clock.wall() - began);
        });
        let of_driver = renew_driver_when_due(
            &driver.world,
            &driver.authority,
            &driver.identity,
            NODE_LIFETIME,
            |renewed| {
                renewed.unwrap();
            },
        );
        tokio::select! {
            biased;
            () = of_node => panic!("ended"),
            () = of_driver => panic!("ended"),
            () = world.clock.sleep(DAY * 100) => {}
        }
        assert_eq!(renewed_at.len(), 5, "{renewed_at:?}");
        for (at, due) in renewed_at.iter().zip([20, 40, 60, 80, 100].map(|days| DAY * days)) {
            // Certificates begin 5 minutes before they are made.
            assert!(*at <= due && due - *at < Duration::from_secs(1_500), "{at:?} instead of {due:?}");
        }
        assert_eq!(load_identity(&machine, "node").unwrap().facts(), node.facts());
        // The certificates that they began with have expired long ago.
        let (here, there) = (endpoint(&sim, 1, &driver.identity), endpoint(&sim, 2, &node));
        let (_near, far) = pair(&there, &here, &joined.cluster.driver()).await;
        assert!(PeerName::of_connection(&far).unwrap().may_be(NodeId(1)));
    });
}

#[test]
fn a_renewed_certificate_that_cannot_be_saved_is_not_shown_and_asked_for_again_a_minute_later() {
    simulate(async |sim| {
        let driver = Driver::start(&sim);
        let (world, machine) = (sim.node(ip(2)), Folder::new());
        let joined = join(&world, any_port(2), JOIN, &driver.token(1), None, PATIENCE).await.unwrap();
        let node = joined.identity.clone();
        let serial = || node.facts().unwrap().serial;
        let (first, mut told) = (serial(), Vec::new());
        let renewal = Renewal { local: any_port(2), server: JOIN };
        let mut is_full = true;
        let save = |joined: &Joined| match std::mem::take(&mut is_full) {
            true => Err("no space left on device".to_owned()),
            false => save_identity(&machine, "node", &joined.identity).map_err(|e| e.to_string()),
        };
        let renewing = renew_when_due(&world, &renewal, &node, save, |renewed| {
            told.push((renewed.map(|_| ()).map_err(ToString::to_string), serial(), world.clock.now()));
        });
        tokio::select! {
            biased;
            () = renewing => panic!("ended"),
            () = world.clock.sleep(DAY * 21) => {}
        }
        let [(failed, shown, then), (done, renewed, later)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(*failed, Err(JoinError::NotSaved("no space left on device".into()).to_string()));
        assert_eq!(*shown, first, "what is not on disk is not shown");
        assert!(done.is_ok() && *renewed != first, "{done:?}");
        let waited = later.since(*then);
        assert!(waited >= Duration::from_secs(60) && waited < Duration::from_secs(62), "{waited:?}");
        assert_eq!(load_identity(&machine, "node").unwrap().facts(), node.facts());
    });
}
