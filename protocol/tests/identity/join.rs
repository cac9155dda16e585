//! Joining: a token is good once, for its cluster, in its time; and its secret is shown to nobody else.

use crate::support::{Driver, Folder, JOIN, PATIENCE, any_port, ip, simulate};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use tidemill_protocol::endpoint::join::{
    JoinDesk, JoinError, JoinLimits, Joined, join, join_endpoint, renew, serve_join,
};
use tidemill_protocol::endpoint::{EndpointConfig, Identity, connect_to, control_endpoint};
use tidemill_protocol::id::NodeId;
use tidemill_protocol::identity::{
    Authority, DenyList, NODE_LIFETIME, Role, RoleKind, TOKEN_LIFETIME, Token, admit,
};
use tidemill_protocol::message::{JoinRefusal, Secret};
use tidemill_protocol::world::World;
use tidemill_protocol::world::sim::SimWorld;

/// A machine at 10.0.0.`last` tries to join.
async fn try_join(sim: &SimWorld, last: u8, token: &Token, nodes: Option<u16>) -> Result<Joined, JoinError> {
    join(&sim.node(ip(last)), any_port(last), JOIN, token, nodes, PATIENCE).await
}

fn refused(result: Result<Joined, JoinError>) -> JoinRefusal {
    match result {
        Err(JoinError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_machine_joins_over_real_loopback_and_speaks_as_its_nodes() {
    let (world, folder) = (World::real_on(tokio::runtime::Handle::current()), Folder::new());
    let (now, loopback) = (world.clock.wall(), SocketAddr::from(([127, 0, 0, 1], 0)));
    let authority = Authority::create(&folder, now).unwrap();
    let driver = authority.identity(RoleKind::Driver, now).unwrap();
    let control = control_endpoint(&world.udp, loopback, &EndpointConfig::new(driver.clone(), None)).unwrap();
    let endpoint = join_endpoint(&world.udp, loopback, &driver, None).unwrap();
    let server = endpoint.local_addr().unwrap();
    let address = control.local_addr().unwrap();
    let desk = JoinDesk::new(authority.clone(), DenyList::none(), NODE_LIFETIME, world.clone());
    world.spawner.spawn(serve_join(endpoint, desk, JoinLimits::default()));

    let token = authority.token(now, TOKEN_LIFETIME, 2).unwrap();
    // As it is pasted.
    let token: Token = format!("{token}\n").parse().unwrap();
    let joined = join(&world, loopback, server, &token, None, PATIENCE).await.unwrap();
    assert_eq!((&joined.cluster, &joined.nodes[..]), (authority.cluster(), &[NodeId(1), NodeId(2)][..]));
    let node =
        control_endpoint(&world.udp, loopback, &EndpointConfig::new(joined.identity.clone(), None)).unwrap();
    let expected = joined.cluster.driver();
    let connecting = connect_to(&node, address, &expected);
    let accepting = async { control.accept().await.unwrap().await.unwrap() };
    let both = async { tokio::join!(connecting, accepting) };
    let (near, far) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    near.unwrap();
    let peer = admit(&far, &[RoleKind::Node], &DenyList::none()).unwrap();
    assert!(peer.may_be(NodeId(1)) && peer.may_be(NodeId(2)) && !peer.may_be(NodeId(3)));
}

#[test]
fn tokens_that_are_used_expired_unknown_or_too_small_are_refused_with_the_reason() {
    simulate(async |sim| {
        let driver = Driver::start(&sim);
        let token = driver.token(2);
        assert_eq!(refused(try_join(&sim, 2, &token, Some(3)).await), JoinRefusal::TooMany(2));
        assert_eq!(refused(try_join(&sim, 2, &token, Some(0)).await), JoinRefusal::TooMany(2));
        let joined = try_join(&sim, 2, &token, Some(1)).await.unwrap();
        assert_eq!(joined.nodes, vec![NodeId(1)]);
        assert_eq!(refused(try_join(&sim, 3, &token, None).await), JoinRefusal::Used);
        let invented = Token { authority: token.authority, secret: Secret([1; 32]) };
        assert_eq!(refused(try_join(&sim, 3, &invented, None).await), JoinRefusal::Unknown);
        let late = driver.token(1);
        driver.world.clock.sleep(TOKEN_LIFETIME).await;
        assert_eq!(refused(try_join(&sim, 3, &late, None).await), JoinRefusal::Expired);
        let last = try_join(&sim, 3, &driver.token(32), None).await.unwrap();
        assert_eq!(last.nodes, (2..34).map(NodeId).collect::<Vec<_>>());
        assert_eq!(driver.desk.counts.granted.load(Relaxed), 2);
        assert_eq!(driver.desk.counts.refused.load(Relaxed), 5);
    });
}

#[test]
fn the_secret_is_shown_to_nobody_but_the_driver_of_the_tokens_cluster() {
    simulate(async |sim| {
        let driver = Driver::start(&sim);
        // Another cluster's token, at this driver.
        let elsewhere = Folder::new();
        let now = driver.world.clock.wall();
        let other = Authority::create(&elsewhere, now).unwrap();
        let foreign = other.token(now, TOKEN_LIFETIME, 1).unwrap();
        let result = try_join(&sim, 2, &foreign, None).await;
        assert!(matches!(result, Err(JoinError::WrongAuthority(JOIN))), "{result:?}");
        // A machine of the right cluster that poses as the driver.
        let (_, machine) = driver.authority.node_identity(now, 1, NODE_LIFETIME).unwrap();
        let (world, address) = (sim.node(ip(9)), SocketAddr::new(ip(9), 7_001));
        let machine = machine.with_clock(world.clock.clone());
        let endpoint = join_endpoint(&world.udp, address, &machine, Some(9)).unwrap();
        let desk = driver.desk.clone();
        world.spawner.spawn(serve_join(endpoint, desk, JoinLimits::default()));
        let token = driver.token(1);
        let result = join(&sim.node(ip(3)), any_port(3), address, &token, None, PATIENCE).await;
        assert!(matches!(result, Err(JoinError::NotTheDriver(at)) if at == address), "{result:?}");
        let counts = &driver.desk.counts;
        assert_eq!((counts.granted.load(Relaxed), counts.refused.load(Relaxed)), (0, 0));
        // Nobody has heard the secret: it is still good.
        try_join(&sim, 4, &token, None).await.unwrap();
    });
}

#[test]
fn nobody_there_is_said_after_the_patience_is_over() {
    simulate(async |sim| {
        let token = Token { authority: [0; 32], secret: Secret([0; 32]) };
        let (world, patience) = (sim.node(ip(2)), Duration::from_secs(10));
        let result = join(&world, any_port(2), JOIN, &token, None, patience).await;
        assert!(matches!(result, Err(JoinError::Connect { address: JOIN, .. })), "{result:?}");
        let waited = world.clock.now().since(tidemill_protocol::time::Time::ZERO);
        assert!(
            waited >= patience - Duration::from_secs(4) && waited <= patience + Duration::from_secs(4),
            "{waited:?}"
        );
    });
}

/// What a machine at 10.0.0.`last` is told that joins at `server`, and how long it took to find out.
async fn told(sim: &SimWorld, last: u8, server: SocketAddr, token: &Token) -> (String, Duration) {
    let world = sim.node(ip(last));
    let began = world.clock.now();
    let result = join(&world, any_port(last), server, token, None, PATIENCE).await;
    let Err(error @ JoinError::Tls { .. }) = result else { panic!("{result:?}") };
    (error.to_string(), world.clock.now().since(began))
}

#[test]
fn a_joiner_whose_clock_is_behind_is_told_to_check_the_clocks() {
    simulate(async |sim| {
        let driver = Driver::start(&sim);
        let token = driver.token(1);
        sim.set_wall_offset_ms(ip(2), -86_400_000);
        let (said, took) = told(&sim, 2, JOIN, &token).await;
        let remedy = "a certificate is not valid at this time: check the clocks of both machines";
        assert!(said.starts_with(&format!("cannot join by way of {JOIN}: {remedy} (")), "{said}");
        assert!(took < Duration::from_secs(1), "it does not try in vain: {took:?}");
        // The token was not shown: once the clock is right it is still good.
        sim.set_wall_offset_ms(ip(2), 0);
        try_join(&sim, 2, &token, None).await.unwrap();
    });
}

#[test]
fn a_joiner_of_another_release_is_told_so() {
    simulate(async |sim| {
        let driver = Driver::start(&sim);
        let token = driver.token(1);
        // The right driver, but it speaks another protocol there.
        let (world, address) = (sim.node(ip(1)), SocketAddr::new(ip(1), 7_002));
        let config = EndpointConfig::new(driver.identity.clone(), Some(2));
        let other = control_endpoint(&world.udp, address, &config).unwrap();
        world.spawner.spawn(async move {
            while let Some(incoming) = other.accept().await {
                incoming.await.unwrap_err();
            }
        });
        let (said, took) = told(&sim, 2, address, &token).await;
        assert!(said.contains("check the address, and run the same release on all machines ("), "{said}");
        assert!(took < Duration::from_secs(1), "it does not try in vain: {took:?}");
        try_join(&sim, 2, &token, None).await.unwrap();
    });
}

#[test]
fn a_crash_between_the_record_and_the_answer_leaves_the_token_used() {
    simulate(async |sim| {
        let Driver { folder, desk, endpoint, world, authority, .. } = Driver::start(&sim);
        let token = authority.token(world.clock.wall(), TOKEN_LIFETIME, 1).unwrap();
        let struck = Arc::new(AtomicU32::new(0));
        let count = struck.clone();
        sim.set_fault_hook(move |sim, at, point| {
            if point == "join.recorded" && count.fetch_add(1, Relaxed) == 0 {
                sim.kill(at);
            }
        });
        let result = try_join(&sim, 2, &token, None).await;
        assert!(matches!(result, Err(JoinError::AnswerLost(_))), "{result:?}");
        assert_eq!(struck.load(Relaxed), 1, "the crash did not strike");
        drop((desk, endpoint));
        let next = Driver::start_with(sim.revive(ip(1)), folder, JoinLimits::default());
        assert_eq!(refused(try_join(&sim, 3, &token, None).await), JoinRefusal::Used);
        // Its number is not given again either.
        assert_eq!(try_join(&sim, 3, &next.token(1), None).await.unwrap().nodes, [NodeId(2)]);
    });
}

#[test]
fn a_nodes_certificate_is_renewed_and_no_other() {
    simulate(async |sim| {
        let driver = Driver::start(&sim);
        let now = driver.world.clock.wall();
        let joined = try_join(&sim, 2, &driver.token(2), None).await.unwrap();
        let world = sim.node(ip(2));
        let again = async |identity: &Identity| {
            renew(&world, any_port(2), JOIN, identity, Duration::from_secs(5)).await
        };
        let renewed = again(&joined.identity).await.unwrap();
        assert_eq!((renewed.identity.name(), renewed.nodes), (joined.identity.name(), joined.nodes.clone()));
        assert_ne!(renewed.identity.facts().unwrap().serial, joined.identity.facts().unwrap().serial);
        // A person's certificate is made anew in the authority's folder only.
        let observer = driver.authority.identity(RoleKind::Observer, now).unwrap();
        let observer = observer.with_clock(world.clock.clone());
        assert_eq!(refused(again(&observer).await), JoinRefusal::NoCertificate);
        // Another authority's is no certificate at all.
        let elsewhere = Folder::new();
        let other = Authority::create(&elsewhere, now).unwrap();
        let (_, foreign) = other.node_identity(now, 1, NODE_LIFETIME).unwrap();
        let foreign = foreign.with_clock(world.clock.clone());
        let result = again(&foreign).await;
        assert!(matches!(result, Err(JoinError::Tls { .. })), "{result:?}");
        // Denied: not any more.
        driver.authority.deny(joined.nodes[0]).unwrap();
        driver.desk.denied.poll().unwrap();
        assert_eq!(refused(again(&joined.identity).await), JoinRefusal::Denied(joined.nodes[0]));
        // Expired: not any more.
        let late = try_join(&sim, 3, &driver.token(1), None).await.unwrap();
        assert_eq!(late.identity.name().unwrap().role, Role::node(NodeId(3)));
        driver.world.clock.sleep(NODE_LIFETIME + Duration::from_secs(1)).await;
        let fresh = driver.authority.identity(RoleKind::Driver, driver.world.clock.wall()).unwrap();
        driver.identity.replace(&fresh).unwrap();
        let result = again(&late.identity).await;
        assert!(matches!(result, Err(JoinError::AnswerLost(_) | JoinError::Tls { .. })), "{result:?}");
    });
}
